"""Recalibration: what is fitted, on what, where it ends up, and that models go by it."""

from __future__ import annotations

import shutil
from math import log
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from emocaliber.core.model import Recalibration, Request
from emocaliber.core.samples import read_samples
from emocaliber.core.sources import NEAREST, StatedNumber
from emocaliber.emotions.taxonomy import taxonomy
from emocaliber.errors import UserError
from emocaliber.inference.engine import question_for, respond
from emocaliber.io.images import open_image
from emocaliber.models import TINY
from emocaliber.models.card import read_card, write_card
from emocaliber.models.local import LocalModel
from emocaliber.scenes.dataset import draw_samples
from emocaliber.training.export import TEMPERATURES, fit_recalibration, fit_recalibrations, recalibrate
from stand_ins import ColourModel

SIX = taxonomy("unbiasedemo-6").labels


def a_digit(odds: Any) -> StatedNumber:
    """A number 0.0 to 0.9 of one digit, with these odds."""
    return StatedNumber(0.5, [[(digit / 10, log(weight)) for digit, weight in enumerate(odds)]])


@pytest.mark.slow
@pytest.mark.parametrize("true", [Recalibration(0.4, -0.3), Recalibration(0.7, 0.0), Recalibration(1.0, 0.5), Recalibration(1.6, -1.0)])
def test_the_recalibration_that_made_the_labels_is_found(true: Recalibration) -> None:
    random = np.random.default_rng(3)
    numbers = [a_digit(odds) for odds in random.dirichlet(np.full(10, 0.4), 20_000).clip(1e-6)]
    found = fit_recalibration(numbers, [bool(random.random() < number.recalibrated(true)) for number in numbers])
    assert found.recalibration.temperature == pytest.approx(true.temperature, rel=0.15)
    assert found.recalibration.temperature in TEMPERATURES
    assert found.recalibration.bias == pytest.approx(true.bias, abs=0.06)
    assert found.loss <= found.loss_before
    assert found.n == len(numbers)


def test_one_confident_mistake_does_not_dominate_the_fit() -> None:
    never = StatedNumber(0.0, [[(0.0, 0.0)]])
    assert fit_recalibration([never], [True]).loss_before == pytest.approx(-log(NEAREST))
    assert never.recalibrated(Recalibration(1.0, 0.0)) == pytest.approx(NEAREST)


def test_without_any_change_the_recalibrated_confidence_is_the_mean() -> None:
    number = a_digit(range(1, 11))
    assert number.recalibrated(Recalibration(1.0, 0.0)) == pytest.approx(number.mean(1.0))
    assert number.recalibrated(Recalibration(0.5, 0.0)) == pytest.approx(number.mean(0.5))
    assert number.recalibrated(Recalibration(1.0, 1.0)) > number.mean(1.0) > number.recalibrated(Recalibration(1.0, -1.0))


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("held-out")
    for _ in draw_samples(folder, 120, 23, size=112, split="validation"):
        pass
    return folder / "samples.jsonl"


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """The shipped model before it was recalibrated."""
    shutil.copytree(TINY, tmp_path / "bare")
    card = read_card(TINY)
    card.pop("recalibration", None)
    write_card(tmp_path / "bare", card | {"confidence_source": "verb"})
    return tmp_path / "bare"


@pytest.mark.slow
def test_a_checkpoint_is_recalibrated_in_its_card_and_loads_so(scenes: Path, bare: Path) -> None:
    samples = list(read_samples(scenes))
    before = list(respond(samples[:3], LocalModel(bare)))
    assert all("recalibrated" not in row["confidence"] for row in before), "there is nothing that could be missing"
    found = recalibrate(bare, samples)
    card = read_card(bare)
    assert card["confidence_source"] == "recalibrated"
    ((labels, fitted),) = found.items()
    held = {"labels": list(labels), "temperature": fitted.recalibration.temperature, "bias": fitted.recalibration.bias, "n": 120}
    assert card["recalibration"] == [held]
    assert card["rollout_temperature"] == 0.7, "what was there stays"
    assert (fitted.n, fitted.loss < fitted.loss_before) == (120, True)
    after = list(respond(samples[:3], LocalModel(bare)))
    assert [row["confidence"]["verb_mean"] for row in after] == [row["confidence"]["verb_mean"] for row in before]
    assert all(0 < row["confidence"]["recalibrated"] < 1 for row in after)
    assert fit_recalibrations(samples, LocalModel(bare)) == found, "one recalibration is not fitted on top of another"


@pytest.mark.slow
def test_each_question_has_a_recalibration_of_its_own_and_others_have_none(scenes: Path, bare: Path, tmp_path: Path) -> None:
    for _ in draw_samples(tmp_path / "two", 100, 24, "FI-2", size=112, split="validation"):
        pass
    two = list(read_samples(tmp_path / "two" / "samples.jsonl"))
    found = recalibrate(bare, [*read_samples(scenes), *two])
    assert [(len(labels), fit.n) for labels, fit in found.items()] == [(8, 120), (2, 100)]
    others = list(LocalModel(bare).answer([Request(open_image(two[0].image).image, question_for("UnbiasedEmo-6", SIX), SIX)]))
    assert others[0].tokens is not None and others[0].tokens.recalibration is None
    with pytest.raises(UserError, match="1 of the answers to 1 held-out samples with the labels positive, negative state a confidence"):
        recalibrate(bare, [*read_samples(scenes), two[0]])


def test_a_recalibration_without_labels_is_ignored_with_a_notice(bare: Path) -> None:
    write_card(bare, read_card(bare) | {"recalibration": {"temperature": 0.5, "bias": -0.2}})
    model = LocalModel(bare)
    assert model.stated_confidence.of(SIX)["recalibration"] is None
    assert "does not name the labels of its recalibration" in (model.notice or "")


def test_too_few_answers_are_refused(scenes: Path, colour_model: ColourModel) -> None:
    with pytest.raises(UserError, match=r"5 of the answers to 5 held-out samples .* recalibration needs at least 100"):
        fit_recalibrations(list(read_samples(scenes))[:5], colour_model)
