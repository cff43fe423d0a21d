"""Recalibration after training: how a model's stated confidence is best read, fitted on held-out samples.

A model says a confidence digit by digit, and the mean over the digits' probabilities tells more than the one number that is decoded. Two
numbers, the same for all images, make that mean a better probability: a temperature, by which the digits are sharpened or flattened
(temperature scaling, Guo et al. 2017), and a bias that moves its log-odds (Platt 1999). They are those under which it was likeliest that
the right answers are right and the others wrong.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar
from tqdm import tqdm

from emocaliber.answering import understand
from emocaliber.emotions import Labels
from emocaliber.errors import UserError
from emocaliber.models.base import Model, Recalibration
from emocaliber.models.local import RECALIBRATION, LocalModel, question_key, read_card, write_card
from emocaliber.scoring import is_correct
from emocaliber.sources import StatedNumber, log_odds, recalibrated
from emocaliber.vecbench import Sample

Floats = npt.NDArray[np.float64]

TEMPERATURES = tuple(step / 20 for step in range(2, 61))  # 0.1 to 3
BIASES = (-5.0, 5.0)
FEWEST = 100  # answers to fit on


@dataclass(frozen=True)
class Fit:
    """A recalibration, and of the `n` answers it was fitted on the mean negative log-likelihood in nats: of their confidence as it is
    (the mean over the digits at temperature 1), and recalibrated."""

    recalibration: Recalibration
    n: int
    loss_as_it_is: float
    loss: float

    def __str__(self) -> str:
        how = f"temperature {self.recalibration.temperature:g}, log-odds moved by {self.recalibration.bias:+g}"
        why = f"negative log-likelihood {self.loss_as_it_is:.4f} nats before and {self.loss:.4f} after"
        return f"{how}; fitted on {self.n:,} held-out answers, {why}"


def recalibrate(folder: Path, samples: Sequence[Sample]) -> Mapping[Labels, Fit]:
    """Fits a recalibration for the checkpoint in `folder` by its greedy answers to `samples`, for each question among them, and writes them
    into the card, which names that as the source of the confidence from then on. Raises UserError as `fit_on` does.
    """
    found = fit_on(samples, LocalModel(folder))
    entries = [{"labels": list(labels), **asdict(fit.recalibration), "n": fit.n} for labels, fit in found.items()]
    write_card(folder, read_card(folder) | {"confidence_source": recalibrated.__name__, RECALIBRATION: entries})
    return found


def fit_on(samples: Sequence[Sample], model: Model) -> Mapping[Labels, Fit]:
    """A recalibration for `model` by its answers to `samples`, for each question (set of labels) among them.

    Raises UserError if fewer than `FEWEST` of the answers to one of them state a confidence.
    """
    questions: dict[frozenset[str], Labels] = {}
    asked: Counter[frozenset[str]] = Counter()
    for sample in samples:
        questions.setdefault(question_key(sample.candidates), sample.candidates)
        asked[question_key(sample.candidates)] += 1
    answers: dict[frozenset[str], tuple[list[StatedNumber], list[bool]]] = {key: ([], []) for key in questions}
    with tqdm(total=len(samples), desc="held-out answers", unit="answer", mininterval=1) as bar:
        for sample, _, understood in understand(samples, model, progress=lambda count: bar.update(count - bar.n)):
            if understood and understood.stated_number:
                numbers, right = answers[question_key(sample.candidates)]
                numbers.append(understood.stated_number)
                right.append(is_correct(understood.response.answer, sample.ground_truth, sample.candidates))
    for key, (numbers, _) in answers.items():
        if len(numbers) < FEWEST:
            raise UserError(
                f"{len(numbers)} of the answers to {asked[key]} held-out samples with the labels {', '.join(questions[key])} state a "
                f"confidence that can be read, and to recalibrate wants {FEWEST} at least: give more samples of a task that it knows"
            )
    return {questions[key]: fit(numbers, right) for key, (numbers, right) in answers.items()}


def fit(numbers: Sequence[StatedNumber], right: Sequence[bool]) -> Fit:
    """The recalibration with the least negative log-likelihood: of each of `TEMPERATURES` the best bias, and the best of those."""
    signs = np.where(right, 1.0, -1.0)

    def odds_at(temperature: float) -> Floats:
        return np.array([log_odds(number.mean(temperature)) for number in numbers])

    def loss(bias: float, odds: Floats) -> float:
        return float(np.logaddexp(0, -signs * (odds + bias)).mean())

    found = {}
    for temperature in TEMPERATURES:
        best = minimize_scalar(loss, bounds=BIASES, args=(odds_at(temperature),), method="bounded")
        found[temperature] = float(best.fun), round(float(best.x), 3)
    temperature = min(found, key=found.__getitem__)
    least, bias = found[temperature]
    return Fit(Recalibration(temperature, bias), len(numbers), loss(0.0, odds_at(1.0)), least)
