"""Outcomes by column are the outcomes themselves, in less memory."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emocaliber.core.outcome_lines import outcome_lines
from emocaliber.core.outcomes import Outcomes
from emocaliber.core.scoring import Outcome

LABELS = st.sampled_from(["awe", "fear", "100 %s"])
FRACTION = st.floats(0, 1) | st.integers(0, 1)


def tables(numbers: st.SearchStrategy[object]) -> st.SearchStrategy[dict[str, object] | None]:
    return st.none() | st.dictionaries(LABELS, numbers, max_size=3)


OUTCOME = st.builds(
    Outcome,
    id=st.text(max_size=4),
    task=st.sampled_from(["FI-8", "EmoSet-8", "own"]),
    ground_truth=LABELS,
    answer=st.none() | LABELS,
    correct=st.booleans(),
    malformed=st.none() | st.sampled_from(["empty", "no_answer"]),
    distance=st.none() | st.floats(0, 0.5),
    confidence=st.dictionaries(st.sampled_from(["verb", "ans", "avg"]), st.none() | FRACTION, max_size=3),
    posterior=tables(FRACTION),
    votes=st.none() | st.dictionaries(LABELS, st.integers(1, 2**70), min_size=1, max_size=3),
    image=st.none() | st.text(max_size=4),
    format=st.none() | st.booleans(),
    people=st.none() | st.fixed_dictionaries({"people": FRACTION}),
)
SEVERAL = st.lists(OUTCOME, max_size=8)


def written(outcomes: Outcomes | list[Outcome]) -> list[str]:
    """The outcomes as they are written: the order of names and whole numbers show."""
    return [json.dumps(each.to_row()) for each in outcomes]


@settings(max_examples=40)
@given(SEVERAL)
def test_every_outcome_comes_out_as_it_went_in(outcomes: list[Outcome]) -> None:
    columns = Outcomes.of(outcomes)
    assert columns == outcomes
    assert written(columns) == written(outcomes)
    assert [json.dumps(row) for row in columns.rows()] == written(outcomes)
    assert written([columns[place] for place in range(len(columns))]) == written(outcomes)
    assert Outcomes.of(columns) is columns


@given(SEVERAL, st.integers(0, 9), st.integers(0, 9))
def test_lines_are_those_of_the_rows(outcomes: list[Outcome], start: int, stop: int) -> None:
    rows = [(json.dumps(each.to_row()) + "\n").encode() for each in outcomes]
    assert outcome_lines(Outcomes.of(outcomes), start, stop) == b"".join(rows[start:stop])


@settings(max_examples=40)
@given(SEVERAL, SEVERAL)
def test_parts_are_joined_one_after_the_other(first: list[Outcome], second: list[Outcome]) -> None:
    assert written(Outcomes.joined([Outcomes.of(first), Outcomes.of(second)])) == written([*first, *second])


@settings(max_examples=40)
@given(SEVERAL, st.data())
def test_outcomes_are_taken_in_any_order(outcomes: list[Outcome], data: st.DataObject) -> None:
    rows = data.draw(st.lists(st.sampled_from(range(len(outcomes))), max_size=6)) if outcomes else []
    assert written(Outcomes.of(outcomes).take(np.array(rows, dtype=int))) == written([outcomes[row] for row in rows])
    assert written(Outcomes.of(outcomes)[1:3]) == written(outcomes[1:3])


@settings(max_examples=40)
@given(SEVERAL)
def test_they_are_sorted_by_task_and_id(outcomes: list[Outcome]) -> None:
    assert written(Outcomes.of(outcomes).in_order()) == written(sorted(outcomes, key=lambda each: (each.task, each.id)))


@settings(max_examples=40)
@given(SEVERAL)
def test_a_column_of_numbers_is_nan_where_there_is_none(outcomes: list[Outcome]) -> None:
    columns = Outcomes.of(outcomes)
    assert columns.sources == {source for each in outcomes for source in each.confidence}
    expected = [np.nan if (value := each.confidence.get("ans")) is None else value for each in outcomes]
    np.testing.assert_array_equal(columns.confidence.column("ans"), np.array(expected, dtype=float))
    assert list(columns.agreement(np.arange(len(outcomes)))) == [each.agreement for each in outcomes]


def test_a_place_that_is_not_there_is_an_index_error() -> None:
    with pytest.raises(IndexError):
        Outcomes.of([])[0]
