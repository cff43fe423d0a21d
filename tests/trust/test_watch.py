"""A watch over rows and labels, without files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from emocaliber.errors import UserError
from emocaliber.trust.observation import Reference, observe, reference_of
from emocaliber.trust.watch import PROMISE, Promise, Watch
from emocaliber.trust.watch_figure import watch_figure
from emocaliber.trust.watch_output import metrics_text, sentences, summary_of, watch_table
from watched_rows import LABELS, prediction, predictions

KEPT = Promise(0.8, {"EmoSet-8": 0.5})


def reference(**changes: Any) -> Reference:
    return reference_of([observe(row, "r") for row in predictions(300, 0, **changes)], "r", mark="m")


def seen(watch: Watch, rows: list[dict[str, Any]]) -> Watch:
    """The watch after rows, up to an alarm."""
    for row in rows:
        if watch.see(row):
            break
    return watch


def labelled(watch: Watch, n: int, share: float) -> Watch:
    """The watch after n accepted rows, each of which got a label; a share of them is right."""
    for number in range(n):
        watch.see(prediction(f"{number}.jpg", LABELS[number % 8], 0.6))
        right = number * 37 % 100 < 100 * share
        watch.label(f"{number}.jpg", LABELS[(number + (not right)) % 8])
    return watch


def test_rows_like_the_reference_raise_no_alarm() -> None:
    watch = seen(Watch.start(reference()), predictions(600, 1))
    assert watch.alarm is None and watch.rows == 600
    assert "No alarm" in sentences(watch)[0]


@pytest.mark.parametrize(
    ("changes", "test"),
    [
        ({"sure": 0.35}, "confidence"),
        ({"first": "awe"}, "answers"),
        ({"emotion": None, "confidence": None, "error": {"code": "malformed"}}, "malformed"),
    ],
)
def test_an_alarm_says_what_moved_and_since_when(changes: dict[str, Any], test: str) -> None:
    watch = seen(Watch.start(reference()), [*predictions(200, 1), *predictions(200, 2, **changes)])
    assert watch.alarm and test in watch.alarm.tests
    assert 185 <= watch.alarm.since <= watch.alarm.row == watch.rows <= 300
    assert watch.alarm.wealth >= watch.lines[watch.alarm.tests[0]] == 3 / 0.05
    assert f"since about row {watch.alarm.since}" in watch.alarm.sentence


def test_after_the_first_alarm_rows_are_counted_and_no_other_alarm_is_raised() -> None:
    watch = seen(Watch.start(reference()), predictions(100, 2, first="awe"))
    first, rows = watch.alarm, watch.rows
    assert first
    assert [watch.see(row) for row in predictions(20, 3, first="awe")] == [None] * 20
    assert watch.alarm == first and watch.rows == rows + 20


def test_the_tests_share_alpha_and_the_promise_has_half_of_it() -> None:
    for watch in (Watch.start(reference(), alpha=0.1), Watch.start(reference(), KEPT, alpha=0.1)):
        assert sum(1 / line for line in watch.lines.values()) == pytest.approx(0.1)
    assert watch.lines[PROMISE] == 20


def test_unlabelled_changes_and_wrong_answers_are_told_apart() -> None:
    broken = Watch.start(reference(), KEPT, only=["malformed"])
    labelled(broken, 800, 0.6)
    assert broken.alarm and broken.alarm.tests == (PROMISE,) and broken.alarm.counted == "label"
    assert "the accuracy of accepted answers fell below what was promised" in broken.alarm.sentence
    kept = labelled(Watch.start(reference(), KEPT, only=["malformed"]), 800, 0.85)
    assert kept.alarm is None and (kept.labels, kept.right) == (800, 680)


def test_a_label_counts_once_whenever_it_comes_and_only_for_accepted_answers() -> None:
    watch = Watch.start(reference(), KEPT)
    watch.label("in/early.jpg", "awe")
    watch.see(prediction("in/early.jpg", "awe", 0.7))
    watch.see(prediction("unsure.jpg", "awe", 0.3))
    watch.see(prediction("told.jpg", "awe", 0.3) | {"accepted": True})
    watch.see(prediction("photos/late.jpg", "fear", 0.7))
    for id in ("in/early.jpg", "unsure.jpg", "late.jpg", "told.jpg", "told.jpg"):
        watch.label(id, "Awe")
    assert (watch.accepted, watch.labels, watch.right) == (3, 3, 2)


def test_a_label_of_another_question_is_refused() -> None:
    watch = Watch.start(reference(), KEPT)
    watch.see(prediction("a.jpg", "awe", 0.7))
    with pytest.raises(UserError, match=r"the label of 'a\.jpg' is 'calm', which is none of amusement"):
        watch.label("a.jpg", "calm")


def test_a_row_that_is_refused_is_not_counted() -> None:
    watch = Watch.start(reference())
    with pytest.raises(UserError, match="row 1: the answer is of the model 'other'"):
        watch.see(prediction("a.jpg", "awe", 0.7) | {"model": "other"})
    assert watch.rows == 0


def test_embeddings_are_watched_where_rows_have_them() -> None:
    rows = [row | {"embedding": [number % 11, number % 7, 1.0]} for number, row in enumerate(predictions(400, 0))]
    watch = Watch.start(reference_of([observe(row, "r") for row in rows], "r", mark="m"), only=["embedding"])
    seen(watch, [row | {"embedding": [30.0, 30.0, 1.0]} for row in predictions(40, 1)])
    assert watch.alarm and watch.alarm.tests == ("embedding",)


def test_a_restarted_watch_is_the_same_to_the_last_bit() -> None:
    whole, broken = (Watch.start(reference(), KEPT) for _ in range(2))
    for number, row in enumerate([*predictions(60, 1), *predictions(60, 2, first="awe")]):
        for watch in (whole, broken):
            watch.see(row)
            watch.label(row["image"], "awe")
        if number % 20 == 7:
            broken = Watch.from_dict(json.loads(json.dumps(broken.to_dict())))
    assert whole.alarm and broken.alarm
    first, second = whole.to_dict(), broken.to_dict()
    assert first["alarm"].pop("at") and second["alarm"].pop("at")
    assert json.dumps(first) == json.dumps(second)


def test_what_cannot_be_watched_is_refused() -> None:
    with pytest.raises(UserError, match=r"nothing for the test 'confidenc'; it has .*; did you mean confidence"):
        Watch.start(reference(), only=["confidenc"])
    with pytest.raises(UserError, match="alpha is 0; it must be between 0 and 1"):
        Watch.start(reference(), alpha=0)
    with pytest.raises(UserError, match=r"s\.json: not the state of a watch"):
        Watch.from_dict({"format": 1}, "s.json")


def test_gauges_are_in_the_text_format_and_tell_the_wealth() -> None:
    watch = seen(Watch.start(reference(), KEPT), predictions(100, 2, first="awe"))
    lines = metrics_text(watch).splitlines()
    values = dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    assert float(values['emocaliber_watch_wealth{test="answers"}']) == watch.wealth["answers"]
    assert values["emocaliber_watch_rows_total"] == str(watch.rows) and values["emocaliber_watch_voided"] == "1"
    typed = [line.split()[2] for line in lines if line.startswith("# TYPE")]
    assert len(typed) == len(set(typed)) and {name.split("{")[0] for name in values} == set(typed)


def test_the_chart_shows_every_test_its_line_and_the_alarm() -> None:
    watch = seen(Watch.start(reference(), KEPT), [*predictions(100, 1), *predictions(100, 2, first="awe")])
    axes = watch_figure(watch).axes[0]
    highest = {name: np.max(np.asarray(line.get_ydata(), float)) for name, line in zip(watch.lines, axes.lines, strict=False)}
    assert highest["answers"] == pytest.approx(watch.wealth["answers"] / watch.lines["answers"], rel=1e-3)
    assert axes.get_yscale() == "log" and f"alarm at row {watch.rows}" in watch_figure(watch).texts[0].get_text()


def test_a_long_stream_keeps_a_short_chart() -> None:
    watch = seen(Watch.start(reference(), only=["malformed"], alpha=1e-6), predictions(1500, 1))
    assert len(watch.chart["rows"]) <= 600 and watch.chart["rows"][-1] > 1490
    assert all(len(points) == len(watch.chart["rows"]) for points in watch.chart["log_wealth"].values())


def test_the_table_and_the_summary_name_the_test_that_moved(tmp_path: Path) -> None:
    watch = seen(Watch.start(reference()), predictions(100, 2, first="awe"))
    assert "answers" in [row[0] for row in watch_table(watch).rows if row[-1] == "ALARM"]
    summary = json.loads(json.dumps(summary_of(watch)))
    assert "answers" in summary["alarm"]["tests"] and not summary["voided"]
    assert summary["tests"]["answers"] == {"wealth": watch.wealth["answers"], "line": 60}
