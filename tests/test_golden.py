"""The shipped model on 200 fixed scenes: numbers that change only if the model, its calibrator or the reading of its answers does.

The bounds lie around what this model gave on these scenes when the check was written, so that another machine's rounding passes: 0.03 (six
answers of 200) for accuracy, ECE and AUROC, and 0.008 for the mean distance between a confidence and the probability, known for each scene,
that its answer is right. By the latter the number as it is written is outside (0.074), and the probability at the answer (0.533).
The bounds say nothing of how good the model is: docs/written-confidence.md does, on more scenes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

import emocaliber
from emocaliber.core.samples import Sample, read_samples
from emocaliber.scenes.dataset import draw_samples

SCENES, SEED = 200, 11
BOUNDS = {"accuracy": (0.435, 0.495), "ece": (0.011, 0.071), "auroc": (0.665, 0.725), "distance": (0.056, 0.072)}

Numbers = Sequence[float]


def expected_calibration_error(confidence: Numbers, right: Sequence[bool]) -> float:
    """By its definition, on ten bins (low, high]: the mean of |share right - mean confidence|, weighed by how many are in the bin."""
    bins = np.clip(np.ceil(np.round(np.array(confidence) * 10, 9)) - 1, 0, 9)
    surplus = np.array(right, float) - np.array(confidence)
    return float(sum(abs(surplus[bins == each].sum()) for each in range(10)) / len(surplus))


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> list[Sample]:
    folder = tmp_path_factory.mktemp("golden")
    for _ in draw_samples(folder, SCENES, SEED):
        pass
    return list(read_samples(folder / "samples.jsonl"))


def test_tiny_is_as_right_as_sure_and_as_discerning_as_it_was(samples: list[Sample]) -> None:
    predictor = emocaliber.load("tiny")
    assert predictor.confidence_source == "calibrated"
    predictions = list(predictor.predict_many([Path(sample.image) for sample in samples], task="EmoSet-8"))
    assert all(each.error is None and each.confidence is not None for each in predictions)
    right = [each.emotion == sample.ground_truth for each, sample in zip(predictions, samples, strict=True)]
    confidence = [each.confidence or 0.0 for each in predictions]
    known = [(sample.posterior or {})[each.emotion or ""] for each, sample in zip(predictions, samples, strict=True)]
    found = {
        "accuracy": float(np.mean(right)),
        "ece": expected_calibration_error(confidence, right),
        "auroc": float(roc_auc_score(right, confidence)),
        "distance": float(np.mean(np.abs(np.array(confidence) - np.array(known)))),
    }
    assert not {name: value for name, value in found.items() if not BOUNDS[name][0] <= value <= BOUNDS[name][1]}
