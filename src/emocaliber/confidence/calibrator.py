"""The calibrators of stage 2: the probability that an answer is right, by logistic regression on the log-odds of its confidences.

Stage 2 fits them on the answers of the model that it trains, so that the number to be written says what the model's own token
probabilities already know. Every answer's probability comes from a fit on other answers (cross-fitting).
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize

from emocaliber.core.calibrators import Logistic, log_odds

Floats = npt.NDArray[np.float64]

SOURCES = ("commit", "norm", "margin", "avg", "verb_mean")  # those of one reply that a calibrator may use
FOLDS = 5
FEWEST = 50  # answers to one question; with fewer, its answers are calibrated with those to all questions
NEAREST = 0.01  # confidences are clipped to [NEAREST, 1 - NEAREST], or one confident mistake would dominate a target
RIDGE = 1e-2  # keeps weights finite where one source tells right from wrong without fault


def fit(answers: Sequence[tuple[Mapping[str, float | None], bool]], sources: Sequence[str]) -> Logistic:
    """The maximum-likelihood calibrator on pairs of an answer's confidences by source and whether it is right, with a slight ridge."""
    features = np.array([[log_odds(confidences[source] or 0.0, NEAREST) for source in sources] for confidences, _ in answers])
    signs = np.where([right for _, right in answers], 1.0, -1.0)

    def loss(parameters: Floats) -> tuple[float, Floats]:
        margins = signs * (features @ parameters[1:] + parameters[0])
        slopes = -signs / (1 + np.exp(np.clip(margins, -500, 500))) / len(signs)
        ridge = RIDGE / 2 * float(parameters[1:] @ parameters[1:])
        gradient = np.concatenate([[slopes.sum()], features.T @ slopes + RIDGE * parameters[1:]])
        return float(np.logaddexp(0, -margins).mean()) + ridge, gradient

    found = minimize(loss, np.zeros(len(sources) + 1), jac=True, method="L-BFGS-B").x
    return Logistic(tuple(sources), tuple(float(each) for each in found[1:]), float(found[0]), clip=NEAREST)


def usable_sources(answers: Sequence[Mapping[str, float | None]]) -> tuple[str, ...]:
    """Those of `SOURCES` that every answer has."""
    return tuple(source for source in SOURCES if all(confidences.get(source) is not None for confidences in answers))


def cross_fitted(answers: Sequence[tuple[str, Mapping[str, float | None], bool]], sources: Sequence[str], *, seed: int) -> list[float]:
    """The calibrated probability of each answer, by a calibrator that was not fitted on it.

    `answers` are (question, confidences, right). Questions with at least `FEWEST` answers have calibrators of their own; the others share
    those of all answers. The folds depend on `seed`.
    """
    found = [0.0] * len(answers)
    places: dict[str, list[int]] = {}
    for place, (question, _, _) in enumerate(answers):
        places.setdefault(question, []).append(place)
    few = [place for mine in places.values() if len(mine) < FEWEST for place in mine]
    groups = [(mine, mine) for mine in places.values() if len(mine) >= FEWEST] + ([(few, list(range(len(answers))))] if few else [])
    for mine, known in groups:
        shuffled = random.Random(seed).sample(known, len(known))
        folds = {place: number % FOLDS for number, place in enumerate(shuffled)}
        for fold in range(FOLDS):
            held_out = [place for place in mine if folds[place] == fold]
            others = [answers[place][1:] for place in known if folds[place] != fold]
            if held_out:
                calibrator = fit(others or [answers[place][1:] for place in known], sources)
                for place in held_out:
                    found[place] = calibrator(answers[place][1])
    return found
