"""Progress: what it says of the time left, and what stands in a log."""

from __future__ import annotations

from typing import Any

import pytest

from emocaliber.render.progress import Pace, Progress
from emocaliber.render.terminal import quiet


class Clock:
    """A clock that tests set."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_one_batch_tells_nothing_of_the_pace_and_two_do() -> None:
    pace = Pace(0.0)
    for item in range(32):  # the first batch of 32 takes longest, and its answers come at once
        pace.observe(26.0 + item / 1000, item + 1)
    assert pace.left(27.0, 96) is None
    for item in range(32):
        pace.observe(36.0 + item / 1000, 33 + item)
        assert pace.left(36.0 + item / 1000, 96) is None  # half a batch tells nothing either
    assert pace.left(37.0, 96) == pytest.approx(9.0)


def test_a_steady_pace_is_known_after_some_seconds() -> None:
    pace = Pace(0.0)
    for item in range(1, 101):
        pace.observe(item / 10, item)
        left = pace.left(item / 10, 1000)
        assert left is None if item < 30 else left == pytest.approx((1000 - item) / 10, rel=0.05)


def test_a_log_has_a_line_every_half_minute_and_one_at_the_end(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    with Progress("predicting", "images", 390, clock=clock) as progress:
        for _ in range(390):
            clock.now += 0.25
            progress.advance()
    assert capsys.readouterr().err.splitlines() == [
        "emocaliber: predicting: 120 of 390 images, 0:30, about 1:07 left",
        "emocaliber: predicting: 240 of 390 images, 1:00, about 0:37 left",
        "emocaliber: predicting: 360 of 390 images, 1:30, about 0:07 left",
        "emocaliber: predicting: 390 of 390 images, 1:37",
    ]


def test_short_work_leaves_nothing_in_a_log(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress("building", "images") as progress:
        progress.advance(5)
        progress.restart("EmoSet-8 test", 3)
        progress.to(3)
    assert capsys.readouterr() == ("", "")


def test_items_that_are_finished_before_they_are_told_of_are_counted_once() -> None:
    finished = 0
    progress = Progress("asking", "samples", 8, count=lambda: finished)
    shown = []
    for told in range(8):
        finished = 4 * (told // 4 + 1)  # a batch of four
        progress.advance()
        shown.append(progress.done)
    assert shown == [4, 4, 4, 4, 8, 8, 8, 8]


def test_only_the_outermost_is_shown_and_none_when_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    with Progress("outer", clock=clock), Progress("inner", clock=clock) as inner:
        clock.now = 100
        inner.advance()
    with quiet(), Progress("unseen", clock=clock) as unseen:
        clock.now = 200
        unseen.advance()
    assert capsys.readouterr().err == ""


def test_in_a_notebook_the_bar_is_a_cell_that_is_updated(monkeypatch: pytest.MonkeyPatch) -> None:
    display = pytest.importorskip("IPython.display", reason="IPython is not installed")
    shown: list[str] = []

    class Handle:
        def update(self, content: Any) -> None:
            shown.append(content.data)

    monkeypatch.setattr("IPython.get_ipython", lambda: type("ZMQInteractiveShell", (), {})())
    monkeypatch.setattr(display, "display", lambda *_, **__: Handle())
    times = iter(range(100))
    with Progress("predicting <b>", "images", 3, clock=lambda: float(next(times))) as bar:
        for _ in range(3):
            bar.advance()
    assert 'value="0"' in shown[0] and 'value="3"' in shown[-1] and "3 of 3 images" in shown[-1]
    assert all("predicting &lt;b&gt;" in each for each in shown)
