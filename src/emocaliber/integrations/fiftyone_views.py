"""What the panel for FiftyOne shows: reliability, accuracy against coverage, and the most overconfident mistakes, from label fields."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from emocaliber.core.scoring import is_correct
from emocaliber.core.tasks import labels_of
from emocaliber.emotions.labels import Labels
from emocaliber.errors import UserError
from emocaliber.evaluation.calibration import ece, reliability_bins
from emocaliber.evaluation.metrics import Tally
from emocaliber.evaluation.ranking import auroc, risk_coverage

MISTAKES = "most overconfident mistakes"  # the name of the saved view


@dataclass(frozen=True)
class Judged:
    """Samples with a truth and a prediction, (n,) each. `missing` counts those that lack a truth, a label or a confidence."""

    ids: tuple[str, ...]
    confidences: tuple[float, ...]
    correct: tuple[bool, ...]
    missing: int

    @property
    def tally(self) -> Tally:
        """The numbers of right and wrong answers at each confidence."""
        return Tally.of(self.confidences, [float(each) for each in self.correct])

    def mistakes(self, most: int | None = None) -> list[str]:
        """The ids of wrong answers, the most confident first."""
        wrong = [(-confidence, key) for key, confidence, hit in zip(self.ids, self.confidences, self.correct, strict=True) if not hit]
        return [key for _, key in sorted(wrong)][:most]

    def summary(self) -> str:
        """The numbers in a sentence."""
        n = len(self.ids)
        if not n:
            return f"No sample has a truth, a label and a confidence ({self.missing} lack one)."
        right, tally = sum(self.correct), self.tally
        order = float(auroc(tally))
        told = "" if np.isnan(order) else f", AUROC {order:.1%}"
        lacking = f"; {self.missing} samples without a truth, a label or a confidence are left out" if self.missing else ""
        return f"{n} samples, {right} right ({right / n:.1%}), ECE {float(ece(tally)):.1%}{told}{lacking}."


def judged(samples: Any, predicted: str = "evoked", truth: str = "ground_truth", task: str = "EmoSet-8") -> Judged:
    """The labels in the field `predicted` of FiftyOne's samples, judged by those in `truth`, in the spellings of the task.

    Raises UserError for a field that is not there.
    """
    fields = samples.get_field_schema()
    if missing := [name for name in (predicted, truth) if name not in fields]:
        raise UserError(f"the samples have no field {missing[0]!r}; their fields are {', '.join(fields)}")
    ids, said, stated, truths = samples.values(["id", f"{predicted}.label", f"{predicted}.confidence", f"{truth}.label"])
    return judge(ids, said, stated, truths, task)


def judge(
    ids: Sequence[str], said: Sequence[str | None], stated: Sequence[float | None], truths: Sequence[str | None], task: str = "EmoSet-8"
) -> Judged:
    """Answers of a list judged by the truths; see `Judged`."""
    labels = Labels()
    for each in dict.fromkeys(each for each in [*truths, *said] if each):
        if labels.named(each) is None:  # the first spelling of a label stands for the others
            labels = labels_of(task, [*labels, each])
    kept = [
        (key, float(confidence), is_correct(answer, truth, labels))
        for key, answer, confidence, truth in zip(ids, said, stated, truths, strict=True)
        if answer and truth and confidence is not None
    ]
    return Judged(
        tuple(key for key, _, _ in kept), tuple(each for _, each, _ in kept), tuple(hit for *_, hit in kept), len(ids) - len(kept)
    )


def save_mistakes(samples: Any, found: Judged, most: int = 100) -> Any:
    """Saves the wrong answers, the most confident first, as a view of FiftyOne's dataset, and returns it. Raises UserError without any."""
    wrong = found.mistakes(most)
    if not wrong:
        raise UserError("no answer with a confidence is wrong, so there is no mistake to show")
    view = samples.select(wrong, ordered=True)
    dataset = getattr(samples, "_dataset", samples)
    dataset.save_view(MISTAKES, view, description="wrong answers, the most confident first", overwrite=True)
    return view


def reliability_traces(found: Judged) -> list[dict[str, Any]]:
    """Plotly's traces of accuracy against confidence, in the bins of the ECE with their 95 % intervals, and the diagonal."""
    bins = reliability_bins(found.tally)
    return [
        {"type": "scatter", "mode": "lines", "x": [0, 1], "y": [0, 1], "name": "calibrated", "line": {"dash": "dot"}},
        {
            "type": "scatter",
            "mode": "markers+lines",
            "name": "accuracy",
            "x": [each.confidence for each in bins],
            "y": [each.accuracy for each in bins],
            "error_y": {
                "type": "data",
                "symmetric": False,
                "array": [each.accuracy_ci[1] - each.accuracy for each in bins],
                "arrayminus": [each.accuracy - each.accuracy_ci[0] for each in bins],
            },
            "text": [f"{each.n:.0f} samples" for each in bins],
        },
    ]


def coverage_traces(found: Judged) -> list[dict[str, Any]]:
    """Plotly's trace of the accuracy of the answers kept, from the most confident alone to all."""
    coverage, risk = risk_coverage(found.tally)
    return [{"type": "scatter", "mode": "lines+markers", "name": "accuracy", "x": coverage.tolist(), "y": (1 - risk).tolist()}]
