"""Calibrators in a checkpoint's card: what they are fitted on, and that models go by them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from emocaliber.core.samples import read_samples
from emocaliber.errors import UserError
from emocaliber.inference.engine import respond
from emocaliber.models import TINY
from emocaliber.models.card import read_card, write_card
from emocaliber.models.local import LocalModel
from emocaliber.models.unloaded import UnloadedModel
from emocaliber.scenes.dataset import draw_samples
from emocaliber.training.export import calibrate_checkpoint


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("held-out")
    for _ in draw_samples(folder, 60, 23, size=112, split="validation"):
        pass
    return folder / "samples.jsonl"


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """The shipped model before it was calibrated."""
    shutil.copytree(TINY, tmp_path / "bare")
    card = read_card(TINY)
    card.pop("calibration", None)
    write_card(tmp_path / "bare", card | {"confidence_source": "verb"})
    return tmp_path / "bare"


@pytest.mark.slow
def test_a_checkpoint_is_calibrated_in_its_card_and_loads_so(scenes: Path, bare: Path) -> None:
    samples = list(read_samples(scenes))
    before = list(respond(samples[:3], LocalModel(bare)))
    assert all("calibrated" not in row for row in before), "there is nothing that could be missing"
    found = calibrate_checkpoint(bare, samples, {"path": "samples.jsonl", "sha256": "12"})
    card = read_card(bare)
    assert card["confidence_source"] == "calibrated" and card["calibration"] == found.content
    assert card["unfamiliar"] == "nothing familiar", "what was there stays"
    (entry,) = found.content["questions"]
    assert (entry["task"], entry["answers"]) == ("EmoSet-8", {"path": "samples.jsonl", "sha256": "12", "rows": 60})
    after = list(respond(samples[:3], LocalModel(bare)))
    assert [row["confidence"] for row in after] == [row["confidence"] for row in before]
    assert all(0 < row["calibrated"] < 1 and row["uncalibrated"] is None for row in after)
    other = next(iter(respond([samples[0].__class__(**vars(samples[0]) | {"task": "FI-8"})], LocalModel(bare))))
    assert (other["calibrated"], other["uncalibrated"]) == (None, "it was not fitted for FI-8, but for EmoSet-8")


def test_a_recalibration_of_an_earlier_form_is_ignored_with_a_notice(bare: Path) -> None:
    write_card(bare, read_card(bare) | {"recalibration": [{"temperature": 0.5, "bias": -0.2}]})
    model = LocalModel(bare)
    assert model.calibrators is None
    assert "'recalibration' is of an earlier form and is not used" in (model.notice or "")


def test_calibrators_that_cannot_be_read_stop_the_loading(bare: Path) -> None:
    write_card(bare, read_card(bare) | {"calibration": {"temperature": 0.5}})
    with pytest.raises(UserError, match="the card of tiny, 'calibration': this is not a calibrator"):
        UnloadedModel(str(bare))
