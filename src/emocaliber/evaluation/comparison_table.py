"""A comparison of two systems for people: a table of the answers, and one for each source of confidence."""

from __future__ import annotations

from collections.abc import Sequence

from emocaliber.evaluation.compare import TOO_FEW, Difference
from emocaliber.layout import NONE, Table, interval, percent

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
    """Every difference on a line, in percent, with its interval and p-values; a star where the corrected p-value is below 0.05, and
    "too few" where no p-value could be."""
    tables = []
    for source in dict.fromkeys(each.source for each in differences):
        rows = [_row(each) for each in differences if each.source == source]
        title = "Answers" if source is None else f"Confidence: {source}"
        tables.append(f"{title}\n{Table(['', '', 'A', 'B', 'B - A', '95 % interval', 'p', 'p, Holm', ''], rows, words=2).as_text()}")
    note = (
        f"A: {a}\nB: {b}\nIn percent. p: McNemar's exact test for accuracy over samples, else a permutation test that lets the two systems "
        "change places in answering an image; Holm's correction is over the tests of a table, each number once. "
        f"*: corrected p below {_CERTAIN}. {NONE}: the same for both, or not defined. {TOO_FEW.capitalize()}: they differ on too few "
        f"images for any test to reach {_CERTAIN}."
    )
    return "\n\n".join([*tables, note])


def _row(each: Difference) -> list[str]:
    verdict = TOO_FEW if each.note == TOO_FEW else "*" if each.p_holm is not None and each.p_holm < _CERTAIN else ""
    change = NONE if each.difference is None else f"{100 * each.difference:+.2f}"
    scope = "Overall" if each.kind == "overall" else each.scope
    values = (percent(each.a), percent(each.b), change, interval(each.interval), _p(each.p), _p(each.p_holm))
    return [scope, _TITLES[each.metric], *values, verdict]


def _p(p: float | None) -> str:
    return NONE if p is None else "<0.001" if p < 0.001 else f"{p:.3f}"
