"""Numbers that others published, from the answers they published: RLCR (Damani et al. 2025), five methods on two benchmarks.

How they read a confidence and how they bin it is theirs, not ours, so it stands here and not in the package.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray

from emocaliber.evaluation.calibration import brier, ece
from emocaliber.evaluation.metrics import Tally
from emocaliber.evaluation.ranking import auroc

DATA = os.environ.get("EMOCALIBER_DATA")
pytestmark = pytest.mark.skipif(DATA is None, reason="EMOCALIBER_DATA does not name the folder of real inputs")

BENCHMARKS = ("commonsenseqa", "math-500")
METHODS = ("Base", "RLVR", "RLVR-Classifier", "Answer-Prob", "RLCR")
CLASSIFIER = "RLVR-Classifier"  # its confidence is a classifier's: the text states none
FOUR_DECIMALS = 5e-5
every_record = pytest.mark.parametrize(("benchmark", "method"), [(each, method) for each in BENCHMARKS for method in METHODS])

Floats = NDArray[np.float64]


@pytest.fixture(scope="module")
def answers() -> dict[str, Any]:
    return {benchmark: pa.ipc.open_stream(folder(benchmark) / "responses.arrow").read_all() for benchmark in BENCHMARKS}


def folder(benchmark: str) -> Path:
    return Path(DATA or "") / "rlcr" / benchmark


def published(benchmark: str, method: str) -> dict[str, float]:
    numbers: dict[str, float] = json.loads((folder(benchmark) / "metrics.json").read_text())[method]
    return numbers


def column(table: Any, name: str) -> Floats:
    return np.array([first for (first,) in table[name].to_pylist()], dtype=float)


def confidences(table: Any, method: str) -> Floats:
    """Read from the texts, by their rules; only the classifier's come from its own column."""
    if method == CLASSIFIER:
        return column(table, f"{method}-confidence_levels")
    return np.array([stated_confidence(text) for text in table[f"{method}-output_0"].to_pylist()])


def stated_confidence(text: str) -> float:
    """Their rule: the last tag; a number in (1, 100] is a percentage; other words are searched for a number; 0 where nothing is found."""
    tags = re.findall(r"<confidence>(.*?)</confidence>", text, re.DOTALL)
    number = re.search(r"-?\d+(?:\.\d+)?", tags[-1]) if tags else None
    value = float(number.group()) if number else 0.0
    return value / 100 if 1 < value <= 100 else value if 0 <= value <= 1 else 0.0


def their_ece(confidence: Floats, correct: Floats) -> float:
    """Ten bins [low, high), the last one closed, whose edges are those of numpy.linspace."""
    edges = np.linspace(0, 1, 11)
    edges[0], edges[-1] = -np.inf, np.inf
    index = np.digitize(confidence, edges)
    gaps = [abs(confidence[index == b].sum() - correct[index == b].sum()) for b in np.unique(index)]
    return float(sum(gaps) / confidence.size)


@every_record
def test_confidences_read_from_the_texts_are_those_on_record(answers: dict[str, Any], benchmark: str, method: str) -> None:
    table = answers[benchmark]
    assert np.array_equal(confidences(table, method), column(table, f"{method}-confidence_levels"))


@every_record
def test_the_published_accuracy_brier_and_auroc_are_ours(answers: dict[str, Any], benchmark: str, method: str) -> None:
    stated, correct = confidences(answers[benchmark], method), column(answers[benchmark], f"{method}-evals")
    tally, expected = Tally.of(stated, correct), published(benchmark, method)
    assert correct.mean() == pytest.approx(expected["accuracy"], abs=FOUR_DECIMALS)
    assert brier(tally) == pytest.approx(expected["brier_score"], abs=FOUR_DECIMALS)
    assert auroc(tally) == pytest.approx(expected["auroc"], abs=FOUR_DECIMALS)


@every_record
def test_the_published_ece_comes_from_bins_closed_below(answers: dict[str, Any], benchmark: str, method: str) -> None:
    stated, correct = confidences(answers[benchmark], method), column(answers[benchmark], f"{method}-evals")
    assert their_ece(stated, correct) == pytest.approx(published(benchmark, method)["ece"], abs=FOUR_DECIMALS)


@pytest.mark.parametrize("benchmark", BENCHMARKS)
@pytest.mark.parametrize("method", sorted({*METHODS} - {"RLVR"}))  # every confidence of RLVR's stands on an edge
def test_our_ece_is_the_published_one_but_for_confidences_on_an_edge(answers: dict[str, Any], benchmark: str, method: str) -> None:
    stated, correct = confidences(answers[benchmark], method), column(answers[benchmark], f"{method}-evals")
    inside = np.round(stated * 10, 9) % 1 != 0
    assert ece(Tally.of(stated[inside], correct[inside])) == pytest.approx(their_ece(stated[inside], correct[inside]))


@pytest.mark.parametrize(
    ("benchmark", "method", "ours", "theirs"), [("commonsenseqa", "Base", 0.0252, 0.0037), ("math-500", "RLCR", 0.1889, 0.1879)]
)
def test_where_round_confidences_are_many_the_edges_decide(
    answers: dict[str, Any], benchmark: str, method: str, ours: float, theirs: float
) -> None:
    stated, correct = confidences(answers[benchmark], method), column(answers[benchmark], f"{method}-evals")
    assert ece(Tally.of(stated, correct)) == pytest.approx(ours, abs=FOUR_DECIMALS)
    assert published(benchmark, method)["ece"] == pytest.approx(theirs, abs=FOUR_DECIMALS)
