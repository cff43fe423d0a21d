"""Decisions of a trained checkpoint: its temperature fitted, its loss without reasoning measured, its `decision.json` written.

See `emocaliber.models.decision` for what such a file can hold.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emocaliber.core.samples import Sample
from emocaliber.core.tasks import TASKS, task_order
from emocaliber.errors import UserError
from emocaliber.evaluation.calibration import brier, ece
from emocaliber.evaluation.metrics import Tally
from emocaliber.evaluation.ranking import auroc
from emocaliber.inference.engine import downscaled
from emocaliber.inference.plan import sampling_key
from emocaliber.io.images import ImageError, open_image
from emocaliber.models.decision import OPENINGS, DecisionQuestion, decision_config
from emocaliber.render.progress import Progress
from emocaliber.render.table import Table, percent

Floats = NDArray[np.float64]
FEWEST = 50  # samples of a task, as for a calibrator
MOST = 1000
POLARITY = "polarity-2"


@dataclass(frozen=True)
class Decided:
    """What was fitted and measured for one question: on `n` samples that the `temperature` was not fitted on, as fractions."""

    question: DecisionQuestion
    opening: str
    temperature: float
    n: int
    accuracy: float
    ece: float
    brier: float
    auroc: float


def write_decision(folder: Path, samples: Sequence[Sample]) -> list[Decided] | str:
    """Writes `decision.json` and its template beside the checkpoint in `folder`; returns what was measured, or why nothing was written.

    Of the tasks with at least `FEWEST` of the `samples`, the first with three labels or more is the choice and the first of positive and
    negative the yes-or-no question. For each way to begin the response, a temperature is fitted on one half of the samples (chosen by their
    ids), and the way with the lowest log loss there is taken; accuracy, ECE, Brier score and AUROC are of the other half.
    """
    asked = _questions(samples)
    if not asked:
        return f"no task of several emotions has {FEWEST} held-out samples"
    try:
        from transformers.decision import DecisionConfig  # noqa: F401
    except ImportError:
        return "the installed transformers knows no decisions; they came with 5.23"
    asking = DecisionModel(folder)
    tried: dict[str, list[tuple[Decided, float]]] = {}
    for opening in OPENINGS:
        if decision_config([question for question, _ in asked], opening, asking.tokenizer) is None:
            continue
        tried[opening] = [_fitted(asking, opening, question, some) for question, some in asked]
    if not tried:
        return "two labels begin with the same token, so that one token cannot tell them apart"
    best = min(tried, key=lambda opening: sum(loss for _, loss in tried[opening]))
    decided = [each for each, _ in tried[best]]
    temperatures = {each.question.kind: round(each.temperature, 4) for each in decided}
    config = decision_config([each.question for each in decided], best, asking.tokenizer, temperatures)
    assert config is not None
    config.save_pretrained(folder)
    return decided


class DecisionModel:
    """A checkpoint asked for decisions by transformers' own pipeline, without a temperature."""

    def __init__(self, folder: Path) -> None:
        import torch
        from transformers import AutoModelForImageTextToText

        from emocaliber.models.processor import load_processor

        device = "cuda" if torch.cuda.is_available() else "cpu"
        dtype = torch.bfloat16 if device == "cuda" else torch.float32
        self._processor = load_processor(folder)
        self._model = AutoModelForImageTextToText.from_pretrained(folder, dtype=dtype).to(device).eval()
        self.tokenizer = self._processor.tokenizer

    def scores(self, question: DecisionQuestion, opening: str, images: Sequence[str]) -> Floats:
        """The scores of the options for each image, (images, options), before any temperature."""
        from transformers.pipelines import DecisionPipeline

        config = decision_config([question], opening, self.tokenizer)
        asking = DecisionPipeline(
            model=self._model, tokenizer=self.tokenizer, processor=self._processor, decision_config=config, device=self._model.device
        )
        rows = []
        with Progress(f"deciding ({opening})", "images", len(images)) as bar:
            for number, image in enumerate(images, 1):
                inputs = asking.preprocess(question.request(_opened(image)))
                rows.append(asking.forward(inputs)["scores"][0][0].double().cpu().numpy())
                bar.to(number)
        return np.stack(rows)


def fitted_temperature(scores: Floats, truth: NDArray[np.int64]) -> float:
    """The temperature, in [0.05, 20], with the lowest log loss of softmax(scores / temperature); scores (n, k), truth (n,) places."""
    from scipy.optimize import minimize_scalar

    found = minimize_scalar(lambda log: _log_loss(scores / np.exp(log), truth), bounds=(np.log(0.05), np.log(20)), method="bounded")
    return float(np.exp(found.x))


def decisions_section(decided: Sequence[Decided] | str) -> str:
    """What a model card says about decisions, in Markdown."""
    if isinstance(decided, str):
        return f"None (`decision.json` was not written): {decided}."
    rows = [
        [each.question.task, each.question.kind, f"{each.n:,}", *(percent(v) for v in (each.accuracy, each.ece, each.brier, each.auroc))]
        for each in decided
    ]
    note = (
        '`pipeline("decision")` and servers of System One read `decision.json`: one forward pass, no reasoning, and a temperature in place '
        "of a calibrator. Percentages, of held-out samples that the temperature was not fitted on. For reasoning, calibration and other "
        "questions, use `emocaliber`."
    )
    return Table(["", "asked as", "n", "Acc", "ECE", "Brier", "AUROC"], rows, note=note).as_markdown()


def _questions(samples: Sequence[Sample]) -> list[tuple[DecisionQuestion, list[Sample]]]:
    by_task: dict[str, list[Sample]] = {}
    for sample in sorted(samples, key=lambda each: sampling_key(each.id)):
        by_task.setdefault(sample.task, []).append(sample)
    known = sorted((task for task, some in by_task.items() if len(some) >= FEWEST), key=task_order)
    found: dict[str, tuple[DecisionQuestion, list[Sample]]] = {}
    for task in known:
        labels = tuple(by_task[task][0].candidates)
        polar = task in TASKS and TASKS[task].taxonomy == POLARITY
        if polar or len(labels) > 2:
            kind = "noul" if polar else "choice"
            found.setdefault(kind, (DecisionQuestion(kind, task, labels), by_task[task][:MOST]))
    return [found[kind] for kind in ("choice", "noul") if kind in found] if "choice" in found else []


def _fitted(asking: DecisionModel, opening: str, question: DecisionQuestion, samples: Sequence[Sample]) -> tuple[Decided, float]:
    scores = asking.scores(question, opening, [sample.image for sample in samples])
    truth = np.array([question.labels.index(sample.ground_truth) for sample in samples])
    half = len(samples) // 2
    temperature = fitted_temperature(scores[:half], truth[:half])
    numbers = measured(scores[half:] / temperature, truth[half:])
    decided = Decided(question, opening, temperature, len(samples) - half, **numbers)
    return decided, _log_loss(scores[:half] / temperature, truth[:half])


def measured(scores: Floats, truth: NDArray[np.int64]) -> dict[str, float]:
    """Accuracy of the likeliest option, and ECE, Brier score and AUROC of its probability."""
    shares = probabilities(scores)
    right = shares.argmax(axis=1) == truth
    tally = Tally.of(shares.max(axis=1), right.astype(float))
    return {"accuracy": float(right.mean()), **{name: float(metric(tally)) for name, metric in _METRICS.items()}}


_METRICS: Mapping[str, Any] = {"ece": ece, "brier": brier, "auroc": auroc}


def probabilities(scores: Floats) -> Floats:
    """softmax, (n, k)."""
    shifted = np.exp(scores - scores.max(axis=1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=1, keepdims=True))


def _log_loss(scores: Floats, truth: NDArray[np.int64]) -> float:
    of_truth = probabilities(scores)[np.arange(truth.size), truth]
    return float(-np.log(np.maximum(of_truth, 1e-12)).mean())


def _opened(image: str) -> Any:
    try:
        return downscaled(open_image(image).image)
    except ImageError as error:
        raise UserError(error.message) from error
