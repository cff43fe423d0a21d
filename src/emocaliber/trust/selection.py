"""The choice of a calibrator for each question, by cross-validated Brier score.

The Brier score is proper: it is least in expectation where confidences are the true probabilities, so it rewards both calibration and
telling right answers from wrong ones. ECE is never used to choose: a constant confidence has an ECE of nearly 0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from emocaliber.core.calibrators import CalibrationMap
from emocaliber.trust.fitting import Bools, Candidate, Floats, candidates_of, fit_map, probabilities

FOLDS = 5
FEWEST = 50  # answers to a question; with fewer it has no calibrator
FEWEST_OF_A_KIND = 5  # right answers among them, and wrong ones


@dataclass(frozen=True)
class Answered:
    """The n answers to one question that have a confidence of every one of its `sources`: `confidences` (n, sources), `right` (n,).

    `images` (n,) are names; answers about one image are kept in one fold, whatever the question.
    """

    sources: tuple[str, ...]
    confidences: Floats
    right: Bools
    images: tuple[str, ...]

    def of(self, sources: Sequence[str]) -> Floats:
        """(n, sources): the confidences of some of the sources."""
        return self.confidences[:, [self.sources.index(source) for source in sources]]


@dataclass(frozen=True)
class Tried:
    """A candidate with its cross-validated Brier score."""

    candidate: Candidate
    brier: float


@dataclass(frozen=True)
class Chosen:
    """The calibrator chosen for a question, the candidates tried, and P(right) of each answer by a fit on other images (n,)."""

    map: CalibrationMap
    tried: tuple[Tried, ...]
    held_out: Floats


def why_none(answered: Answered) -> str | None:
    """The reason for which a question gets no calibrator; None if it can have one."""
    n, rights = answered.right.size, int(answered.right.sum())
    if n < FEWEST:
        return f"{n:,} answers have a confidence, and a calibrator needs at least {FEWEST}"
    for count, kind in ((rights, "right"), (n - rights, "wrong")):
        if count < FEWEST_OF_A_KIND:
            few = f"only {count} of {n:,} answers {'is' if count == 1 else 'are'}" if count else f"none of {n:,} answers is"
            return f"{few} {kind}, and a calibrator needs at least {FEWEST_OF_A_KIND}"
    if all(np.ptp(column) == 0 for column in answered.confidences.T):
        values = ", ".join(f"{value:g}" for value in dict.fromkeys(answered.confidences[0].tolist()))
        return f"all {n:,} answers have the same confidence ({values}), which says nothing about any one of them"
    return None


def choose(
    questions: Mapping[str, Answered], methods: Sequence[str], *, seed: int, progress: Callable[[int], object] = lambda done: None
) -> dict[str, Chosen]:
    """The calibrator of each question, all of which must pass `why_none`.

    Of the candidates whose cross-validated Brier score is within one standard error of the best (of the paired difference), the one with
    the fewest fitted numbers is taken, among these the best (Breiman et al. 1984, section 3.4.3). `progress` is called with the number of
    questions done.
    """
    folds = _folds((image for each in questions.values() for image in each.images), seed)
    pools = _Pools(questions, folds)
    found = {}
    for number, (name, answered) in enumerate(questions.items(), 1):
        varying = [source for source, column in zip(answered.sources, answered.confidences.T, strict=True) if np.ptp(column) > 0]
        errors = {}
        for candidate in candidates_of(varying, methods, answered.right.size):
            held_out = _held_out(candidate, answered, folds, pools)
            errors[candidate] = (held_out, (held_out - answered.right) ** 2)
        best = within_one_error({candidate: squares for candidate, (_, squares) in errors.items()})
        fitted = fit_map(best, answered.of(best.sources), answered.right, pools.fit(best, None))
        tried = sorted((Tried(candidate, float(squares.mean())) for candidate, (_, squares) in errors.items()), key=lambda each: each.brier)
        found[name] = Chosen(fitted, tuple(tried), errors[best][0])
        progress(number)
    return found


def within_one_error(errors: Mapping[Candidate, Floats]) -> Candidate:
    """Of the candidates whose mean error is within one standard error of the least, by their errors (n,) of each answer, the one with the
    fewest numbers; among these, the best."""
    best = min(errors, key=lambda candidate: float(errors[candidate].mean()))

    def near(candidate: Candidate) -> bool:
        difference = errors[candidate] - errors[best]
        return bool(difference.mean() <= difference.std() / np.sqrt(difference.size))

    return min(filter(near, errors), key=lambda candidate: (candidate.numbers, float(errors[candidate].mean())))


def _folds(images: Iterable[str], seed: int) -> dict[str, int]:
    """The fold of each image."""
    names = sorted(set(images))
    order = np.random.default_rng(seed).permutation(len(names))
    return {names[place]: number % FOLDS for number, place in enumerate(order.tolist())}


def _fold_of(answered: Answered, folds: Mapping[str, int]) -> Floats:
    return np.array([folds[image] for image in answered.images], dtype=float)


def _held_out(candidate: Candidate, answered: Answered, folds: Mapping[str, int], pools: _Pools) -> Floats:
    """P(right) of each answer (n,), by the candidate fitted without the answers about its fold of images."""
    given, fold = answered.of(candidate.sources), _fold_of(answered, folds)
    found = np.empty(answered.right.size)
    for number in range(FOLDS):
        inside = fold == number
        if inside.any():
            fitted = fit_map(candidate, given[~inside], answered.right[~inside], pools.fit(candidate, number))
            found[inside] = probabilities(fitted, given[inside])
    return found


class _Pools:
    """The maps fitted to the answers to all questions, by candidate and fold left out; none where there is one question alone."""

    def __init__(self, questions: Mapping[str, Answered], folds: Mapping[str, int]) -> None:
        self._questions, self._folds = questions, folds
        self._fitted: dict[tuple[Candidate, int | None], CalibrationMap | None] = {}

    def fit(self, candidate: Candidate, left_out: int | None) -> CalibrationMap | None:
        """The pooled map of a parametric candidate, without the images of a fold."""
        if candidate.method == "isotonic":
            return None
        key = candidate, left_out
        if key not in self._fitted:
            parts = list(self._parts(candidate, left_out))
            pooled = [np.concatenate(each) for each in zip(*parts, strict=True)] if len(parts) > 1 else None
            self._fitted[key] = fit_map(candidate, pooled[0], pooled[1].astype(bool)) if pooled else None
        return self._fitted[key]

    def _parts(self, candidate: Candidate, left_out: int | None) -> Iterator[tuple[Floats, Bools]]:
        for answered in self._questions.values():
            if set(candidate.sources) <= set(answered.sources):
                kept = _fold_of(answered, self._folds) != (-1 if left_out is None else left_out)
                yield answered.of(candidate.sources)[kept], answered.right[kept]
