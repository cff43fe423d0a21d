"""Output on a terminal of some width, and elsewhere."""

from __future__ import annotations

import io
import re
import sys

import pytest
from rich.cells import cell_len
from rich.text import Text

from emocaliber.render.progress import Progress
from emocaliber.render.table import Table
from emocaliber.render.terminal import emit, quiet, say, show

WIDE = Table(
    ("image", "n", "accuracy", "coverage"),
    [("photos/日本語の写真 🎉 of a holiday.jpg", "1,000", "45.10 [42.80, 47.30]", "100.00"), ("b.jpg", "2", "–", "0.00")],  # noqa: RUF001
    title="Answers",
    fit=((3, 0), (0, 16)),
)


class Screen(io.StringIO):
    """A terminal that keeps what is written."""

    def isatty(self) -> bool:
        return True

    @property
    def lines(self) -> list[str]:
        return [Text.from_ansi(line).plain for line in self.getvalue().splitlines()]


def screen_of(monkeypatch: pytest.MonkeyPatch, width: int) -> Screen:
    """Standard output as a terminal of this width."""
    found = Screen()
    monkeypatch.setattr(sys, "stdout", found)
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", str(width))
    return found


@pytest.mark.parametrize("width", [200, 80, 60, 48, 30])
def test_a_table_fits_the_terminal_and_loses_columns_only_as_declared(monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    screen = screen_of(monkeypatch, width)
    show(WIDE)
    assert all(cell_len(line) <= width for line in screen.lines if not line.startswith("(a wider terminal"))
    assert "45.10 [42.80, 47.30]" in screen.getvalue()
    assert ("coverage" in screen.lines[1]) is (width >= 80)
    assert any("photos/日本語の写真 🎉 of a holiday.jpg" in line for line in screen.lines) is (width >= 80)


def test_columns_of_wide_characters_are_aligned(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = screen_of(monkeypatch, 120)
    show(WIDE)
    _, head, first, second = screen.lines
    assert cell_len(head) == cell_len(first) == cell_len(second)


def test_elsewhere_a_table_is_plain_and_whole(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    show(WIDE, WIDE)
    shown = capsys.readouterr().out
    assert shown == f"Answers\n{WIDE.as_text()}\n\nAnswers\n{WIDE.as_text()}\n" and "\x1b" not in shown


def test_there_is_no_colour_where_the_user_wants_none(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = screen_of(monkeypatch, 80)
    red = Text("failed", "red")
    emit(red)
    assert "\x1b[31m" in screen.getvalue()
    monkeypatch.setenv("NO_COLOR", "1")
    screen.truncate(0)
    emit(red)
    assert "\x1b[31m" not in screen.getvalue()


def test_lines_are_printed_above_the_bar_which_goes_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = screen_of(monkeypatch, 80)
    monkeypatch.setattr(sys, "stderr", Screen())
    with Progress("predicting", "images", 2) as progress:
        emit("first")
        print("a library's line", file=sys.stderr)
        progress.advance()
    written = screen.getvalue()
    assert "predicting" in written and "1 of 2 images" in written
    assert "first" in [re.sub(r".*\r|\x1b\[[?0-9;]*[A-Za-z]", "", line) for line in written.split("\n")], "on a line of its own"
    assert "a library's line" in written
    assert written.endswith("\x1b[2K"), "the bar is erased"


def test_quiet_output_has_no_notices(capsys: pytest.CaptureFixture[str]) -> None:
    with quiet():
        say("unheard")
    say("one sentence\nand another")
    assert capsys.readouterr().err == "emocaliber: one sentence\nemocaliber: and another\n"
