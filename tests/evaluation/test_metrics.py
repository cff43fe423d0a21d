from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, f1_score

from emocaliber.evaluation import metrics

LABELS = ("awe", "fear", "joy")
answered = st.lists(st.tuples(st.sampled_from(LABELS), st.none() | st.sampled_from(LABELS)), min_size=1, max_size=60)
Pairs = list[tuple[str, str | None]]


def confusion(pairs: Pairs) -> np.ndarray:
    table = np.zeros((len(LABELS), len(LABELS) + 1))
    for truth, answer in pairs:
        table[LABELS.index(truth), len(LABELS) if answer is None else LABELS.index(answer)] += 1
    return table


@given(answered)
def test_accuracy_and_f1_agree_with_scikit_learn(pairs: Pairs) -> None:
    truths, said = [truth for truth, _ in pairs], [answer or "(none)" for _, answer in pairs]
    labels = sorted({label for label in (*truths, *said) if label != "(none)"})
    assert metrics.accuracy(confusion(pairs)) == pytest.approx(accuracy_score(truths, said))
    for average, ours in (("macro", metrics.f1_macro), ("weighted", metrics.f1_weighted)):
        assert ours(confusion(pairs)) == pytest.approx(f1_score(truths, said, labels=labels, average=average, zero_division=0))


@pytest.mark.slow
@given(st.lists(answered, min_size=2, max_size=4))
def test_many_confusions_at_once_give_what_each_gives_alone(runs: list[Pairs]) -> None:
    tables = [confusion(pairs) for pairs in runs]
    for metric in (metrics.accuracy, metrics.f1_macro, metrics.f1_weighted, metrics.malformed_share, metrics.wrong_answers):
        assert metric(np.stack(tables)) == pytest.approx([float(metric(table)) for table in tables])


def test_a_missing_answer_is_not_right_and_no_label() -> None:
    table = confusion([("awe", "awe"), ("awe", None), ("fear", "joy")])
    assert metrics.accuracy(table) == pytest.approx(1 / 3)
    assert metrics.malformed_share(table) == pytest.approx(1 / 3)
    assert metrics.wrong_answers(table) == 1
    assert metrics.f1_macro(table) == pytest.approx((2 / 3 + 0 + 0) / 3)


def test_no_data_is_never_zero() -> None:
    nothing = np.zeros((3, 4))
    for metric in (metrics.accuracy, metrics.f1_macro, metrics.f1_weighted, metrics.malformed_share):
        assert np.isnan(metric(nothing))
