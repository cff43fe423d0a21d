"""Paired comparison of two systems on the same samples: differences with intervals, p-values and Holm's correction."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from emocaliber.core.scoring import FIRST_SOURCES, Outcome
from emocaliber.evaluation import intervals
from emocaliber.evaluation.estimates import Scope, rows_by_task, scopes_of
from emocaliber.evaluation.paired import OutcomeColumns, PairedDifference, PairedSystems, check_same_samples
from emocaliber.render.table import NONE, Table, interval, percent

ALIKE, TOO_FEW = "alike", "too few"
FEWEST_DIFFERING = 6  # images: 2 / 2**5 is above 0.05
_SWAPS_PER_TEST = 40  # so that the smallest p, corrected for all tests of a table, is below 0.05
_MOST_SWAPS = 10_000


@dataclass(frozen=True)
class Difference:
    """B minus A in one metric, of the answers (`source` None) or of a source of confidence.

    `test` is "mcnemar" (exact, on discordant samples) for accuracy over samples with distinct images, else "permutation" (the systems'
    answers to an image are swapped at random). `p_holm` is `p` with Holm's correction over the tests of its table: the answers, or one
    source. `interval` and `p` are None if the metric is undefined for either system. `note` is "alike" if both systems have the same value
    in every replicate, and nothing is tested; "too few" if they differ on fewer than six images, so that no test could reach 0.05: `p_holm`
    does not correct for these.
    """

    kind: str
    scope: str
    source: str | None
    metric: str
    a: float | None
    b: float | None
    difference: float | None
    interval: tuple[float, float] | None
    test: str
    p: float | None
    p_holm: float | None = None
    note: str | None = None


def compare(a: Iterable[Outcome], b: Iterable[Outcome], *, replicates: int = 1000, seed: int = 0) -> list[Difference]:
    """The differences between two systems by task, by group and overall.

    Both systems are resampled by the same images. A number that occurs in two lines, such as a task's that is alone in its group, is tested
    once. Where the systems' first sources of confidence differ, these are compared too, under both their names ("calibrated | verb").
    Raises UserError if the systems did not answer the same samples, or disagree about which samples share an image.
    """
    first, second = OutcomeColumns.of(a), OutcomeColumns.of(b)
    check_same_samples(first, second)
    scopes = scopes_of(rows_by_task(first.tasks))
    distinct = dict.fromkeys(scope.tasks for scope in scopes)
    swaps = max(replicates, min(_MOST_SWAPS, _SWAPS_PER_TEST * 5 * len(distinct)))
    both = _first_of_both(first, second)
    pair = PairedSystems(first, second, replicates=replicates, permutations=swaps, seed=seed)
    sources = sorted(first.confidence.keys() & second.confidence.keys(), key=lambda source: (source != both, _rank(source)))
    found: list[Difference] = []
    for source in (None, *sources):
        corrected = _holm({tasks: _tested(pair, source, tasks) for tasks in distinct})
        found += [replace(each, kind=scope.kind, scope=scope.name) for scope in scopes for each in _lines(scope, corrected[scope.tasks])]
    return found


def _rank(source: str) -> tuple[int, str]:
    return (FIRST_SOURCES.index(source) if source in FIRST_SOURCES else len(FIRST_SOURCES), source)


def _first_of_both(a: OutcomeColumns, b: OutcomeColumns) -> str | None:
    """The source to compare first; None if a system has none. If the two differ, both systems get theirs under a common name."""
    mains = [min(columns.confidence, key=_rank, default=None) for columns in (a, b)]
    if None in mains or mains[0] == mains[1]:
        return mains[0] if None not in mains else None
    name = " | ".join(str(main) for main in mains)
    for columns, main in zip((a, b), mains, strict=True):
        columns.confidence[name] = columns.confidence[str(main)]
    return name


def mcnemar(a: ArrayLike, b: ArrayLike) -> float:
    """The exact two-sided p-value for equal accuracy, from whether each system was right on the same n samples, (n,) each.

    Only discordant pairs count; under H0 they are Binomial(n, 0.5). McNemar (1947).
    """
    from scipy.stats import binomtest  # takes half a second to import, which every `score` would wait for

    first, second = np.asarray(a, dtype=bool), np.asarray(b, dtype=bool)
    only_a, only_b = int(np.count_nonzero(first & ~second)), int(np.count_nonzero(second & ~first))
    return float(binomtest(only_a, only_a + only_b).pvalue) if only_a + only_b else 1.0


def _tested(pair: PairedSystems, source: str | None, tasks: tuple[str, ...]) -> list[Difference]:
    """The differences of one source, or of the answers, over some tasks. If the tasks differ in size, accuracy is both averaged and
    pooled."""
    scope = Scope("tasks" if len(tasks) == 1 else "groups", "", tasks)
    numbers = pair.answers(scope) if source is None else pair.confidence(source, scope)
    over_samples = "accuracy_pooled" if "accuracy_pooled" in numbers else "accuracy"
    found = []
    for name, paired in numbers.items():
        exact = mcnemar(*pair.right(scope)) if name == over_samples and pair.one_image_each(scope) else None
        found.append(_difference(scope, source, name, paired, exact))
    return found


def _lines(scope: Scope, tested: Sequence[Difference]) -> list[Difference]:
    """The lines of a scope. If its tasks have one size, the mean accuracy also is the pooled one."""
    if scope.kind == "tasks" or any(each.metric == "accuracy_pooled" for each in tested):
        return list(tested)
    return [line for each in tested for line in ([each, replace(each, metric="accuracy_pooled")] if each.metric == "accuracy" else [each])]


def _difference(scope: Scope, source: str | None, metric: str, paired: PairedDifference, exact: float | None) -> Difference:
    change = paired.b - paired.a
    first, second, difference = (None if np.isnan(each) else each for each in (paired.a, paired.b, change))
    test = "permutation" if exact is None else "mcnemar"
    untested = Difference(scope.kind, scope.name, source, metric, first, second, difference, None, test, None)
    if difference is None:
        return untested
    if paired.alike:
        return replace(untested, interval=(0.0, 0.0), note=ALIKE)
    interval = intervals.bootstrap_estimate(change, paired.drawn, paired.images, within=(-1.0, 1.0)).interval
    few = TOO_FEW if paired.differing < FEWEST_DIFFERING else None
    return replace(untested, interval=interval, p=paired.p if exact is None else exact, note=few)


def _holm(tested: dict[tuple[str, ...], list[Difference]]) -> dict[tuple[str, ...], list[Difference]]:
    """Holm's step-down correction (1979) over all tests of a table that could reach significance: Tarone (1990)."""
    places = [
        (each.p, tasks, at) for tasks, found in tested.items() for at, each in enumerate(found) if each.p is not None and not each.note
    ]
    corrected = {tasks: list(found) for tasks, found in tested.items()}
    running = 0.0
    for rank, (p, tasks, at) in enumerate(sorted(places)):
        running = max(running, min(1.0, (len(places) - rank) * p))
        corrected[tasks][at] = replace(corrected[tasks][at], p_holm=running)
    return corrected


# The comparison as text

_TITLES = {
    "accuracy": "Accuracy",
    "accuracy_pooled": "Accuracy, pooled",
    "f1_macro": "F1 macro",
    "f1_weighted": "F1 weighted",
    "malformed": "Malformed",
    "ece": "ECE",
    "brier": "Brier",
    "auroc": "AUROC",
    "aurc": "AURC",
}
_CERTAIN = 0.05


def comparison_table(differences: Sequence[Difference], *, a: str, b: str) -> str:
    """`comparison_tables` and `comparison_note` as text."""
    tables = (f"{table.title}\n{table.as_text()}" for table in comparison_tables(differences))
    return "\n\n".join([*tables, comparison_note(a=a, b=b)])


def comparison_tables(differences: Sequence[Difference]) -> list[Table]:
    """The differences as tables, in percent with intervals and p-values, one table for the answers and one per source.

    A star marks corrected p-values below 0.05; "too few" marks differences on too few images for any test to reach 0.05.
    """
    header = ["", "", "A", "B", "B - A", "95 % interval", "p", "p, Holm", ""]
    tables = []
    for source in dict.fromkeys(each.source for each in differences):
        rows = [_row(each) for each in differences if each.source == source]
        title = "Answers" if source is None else f"Confidence: {source}"
        # A narrower terminal shortens the scopes, and leaves out A, B and the uncorrected p-value.
        tables.append(Table(header, rows, title, words=2, fit=[(0, 14), (6, 0), (2, 0), (3, 0), (0, 8)]))
    return tables


def comparison_note(*, a: str, b: str) -> str:
    """What stands in `comparison_tables` of two systems called `a` and `b`."""
    return (
        f"A: {a}\nB: {b}\nIn percent. p: McNemar's exact test for accuracy over samples, else a permutation test that swaps the two "
        "systems' answers to an image; Holm's correction is over the tests of a table, each number once. "
        f"*: corrected p below {_CERTAIN}. {NONE}: equal for both, or not defined. {TOO_FEW.capitalize()}: they differ on too few "
        f"images for any test to reach {_CERTAIN}."
    )


def _row(each: Difference) -> list[str]:
    verdict = TOO_FEW if each.note == TOO_FEW else "*" if each.p_holm is not None and each.p_holm < _CERTAIN else ""
    change = NONE if each.difference is None else f"{100 * each.difference:+.2f}"
    scope = "Overall" if each.kind == "overall" else each.scope
    values = (percent(each.a), percent(each.b), change, interval(each.interval), _p(each.p), _p(each.p_holm))
    return [scope, _TITLES[each.metric], *values, verdict]


def _p(p: float | None) -> str:
    return NONE if p is None else "<0.001" if p < 0.001 else f"{p:.3f}"
