"""What FiftyOne is given: the manifest of the zoo, and what the panel says of labels. `make try-fiftyone` runs both inside FiftyOne."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from emocaliber.errors import UserError
from emocaliber.evaluation.calibration import reliability_bins
from emocaliber.integrations import fiftyone_zoo
from emocaliber.integrations.fiftyone_views import coverage_traces, judge, reliability_traces, save_mistakes

SAID = ("awe", "awe", "fear", "Sadness", None, "joy")
STATED = (0.9, 0.7, 0.8, 0.6, None, 0.5)
TRUTHS = ("awe", "fear", "anger", "sadness", "awe", None)


def test_the_manifest_names_a_source_and_models_that_can_be_loaded() -> None:
    manifest = json.loads((Path(fiftyone_zoo.__file__).parent / "manifest.json").read_text())
    assert "://" not in json.dumps(manifest), "FiftyOne writes the address that it downloads from into its copy"
    assert manifest["name"] != "emocaliber"  # FiftyOne imports the folder under this name, and would hide the package
    assert {each["base_name"] for each in manifest["models"]} == set(fiftyone_zoo.MODELS)
    assert all(each["requirements"]["packages"][0] == "emocaliber" for each in manifest["models"])


def test_downloading_notes_the_model(tmp_path: Path) -> None:
    fiftyone_zoo.download_model("emocaliber-tiny", str(tmp_path / "tiny.json"))
    assert json.loads((tmp_path / "tiny.json").read_text()) == {"model": "tiny"}


def test_labels_are_judged_as_score_does_and_what_lacks_one_is_counted() -> None:
    found = judge("abcdef", SAID, STATED, TRUTHS)
    assert (found.ids, found.correct, found.missing) == (("a", "b", "c", "d"), (True, False, False, True), 2)
    assert found.summary().startswith("4 samples, 2 right (50.0%), ECE ")
    assert "2 samples without a truth, a label or a confidence are left out" in found.summary()


def test_mistakes_come_with_the_most_confident_first() -> None:
    found = judge("abcdef", SAID, STATED, TRUTHS)
    assert found.mistakes() == ["c", "b"]
    assert found.mistakes(1) == ["c"]


def test_the_plots_are_those_of_the_metrics() -> None:
    found = judge("abcdef", SAID, STATED, TRUTHS)
    _, points = reliability_traces(found)
    assert points["y"] == [each.accuracy for each in reliability_bins(found.tally)]
    (curve,) = coverage_traces(found)
    assert curve["x"] == [0.25, 0.5, 0.75, 1.0]
    assert curve["y"] == pytest.approx([1, 1 / 2, 1 / 3, 1 / 2])


def test_without_a_mistake_there_is_no_view() -> None:
    with pytest.raises(UserError, match="no mistake to show"):
        save_mistakes(None, judge("a", ["awe"], [0.9], ["awe"]))


def test_without_fiftyone_installing_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "fiftyone", None)
    with pytest.raises(UserError, match="pip install fiftyone"):
        fiftyone_zoo.install()
