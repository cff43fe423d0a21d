"""Progress of long work: a bar on a terminal or in a notebook, a line on standard error every half minute in a log, nothing for short work.

The time left is estimated only after enough is known of the pace.
"""

from __future__ import annotations

import html
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from emocaliber.render.layout import cells
from emocaliber.render.terminal import is_quiet, printing_above, width_of

if TYPE_CHECKING:
    from rich.table import Table

_LOG_EVERY = 30.0  # seconds between the lines of a log
_TOGETHER = 0.5  # seconds; items finished within this time of another are one observation, such as a batch
_REDRAWN_EVERY = 0.25  # seconds between the states of a bar
_KNOWN_AFTER = 3.0  # seconds before which no time is estimated
_WIDEST_BAR, _NARROWEST_BAR = 40, 8  # cells

Clock = Callable[[], float]


class Pace:
    """Estimates the time left from the times at which items were finished, in seconds of any clock.

    Items finished together (a batch) are one observation. The first observation is where measuring starts, as it contains what is done
    once; so an estimate needs two.
    """

    def __init__(self, now: float) -> None:
        self._start = now
        self._observed: list[tuple[float, int]] = []  # (time, finished by then): the first, the one before the latest, and the latest

    def observe(self, now: float, done: int) -> None:
        """Notes that `done` items are finished now."""
        if self._observed and now - self._observed[-1][0] < _TOGETHER:
            self._observed[-1] = (self._observed[-1][0], done)
        else:
            self._observed = [*self._observed[:1], *self._observed[1:][-1:], (now, done)]

    def left(self, now: float, total: int) -> float | None:
        """The estimated seconds until `total` items are finished; None as long as too little is known."""
        if now - self._start < _KNOWN_AFTER or not self._observed:
            return None
        growing = now - self._observed[-1][0] < _TOGETHER
        known = self._observed[:-1] if growing else self._observed
        if len(known) < 2:
            return None
        (began, before), (at, done) = known[0], known[-1]
        return max(0.0, (at - began) / (done - before) * (total - done) - (now - at))


class Progress:
    """The progress of `what` over `total` items (None if not known) called `unit`, of which `done` are finished at the start.

    Use as a context manager. `count`, if given, returns the number of finished items whenever the bar is drawn; else call `advance` or
    `to`. Only the outermost of several is shown, and none where output is quiet.
    """

    _shown = 0  # objects inside their context

    def __init__(
        self,
        what: str,
        unit: str = "",
        total: int | None = None,
        *,
        done: int = 0,
        count: Callable[[], int] | None = None,
        clock: Clock = time.monotonic,
    ) -> None:
        self.what, self.unit, self.total, self.done = what, unit, total, done
        self._told = done  # by `advance` and `to`
        self.note = ""
        self._count, self._clock = count, clock
        self._start = self._logged = clock()
        self._pace = Pace(self._start)
        self._log = False
        self._has_logged = False
        self._cell: Any = None  # the bar of a notebook
        self._closing = ExitStack()

    def advance(self, items: int = 1) -> None:
        """Counts further finished items."""
        self.to(self._told + items)

    def to(self, done: int) -> None:
        """Sets the number of finished items; those that `count` returns may be more."""
        self._told = done
        if self._count:
            done = max(done, self.done, self._count())
        if done > self.done:
            self._pace.observe(self._clock(), done)
        self.done = done
        if self._log and self._clock() - self._logged >= _LOG_EVERY:
            self._print_line()
        if self._cell is not None and self._clock() - self._logged >= _REDRAWN_EVERY:
            self._update_cell()

    def restart(self, what: str, total: int | None = None) -> None:
        """Goes on with another part of the work, counted from 0."""
        self.what, self.total, self.done, self._told = what, total, 0, 0
        self._start = self._clock()
        self._pace = Pace(self._start)

    def text(self) -> str:
        """The state of the work: what is finished, the time it took, the estimated time that is left, and the note."""
        now = self._clock()
        of = "" if self.total is None else f" of {self.total:,}"
        counted = f"{self.done:,}{of} {self.unit}" if self.unit and (self.done or self.total is not None) else ""
        left = None if self.total is None else self._pace.left(now, self.total)
        about = "" if left is None or self.done >= (self.total or 0) else f"about {_duration(max(left, 1.0))} left"
        return ", ".join(filter(None, (counted, _duration(now - self._start), about, self.note)))

    def __enter__(self) -> Self:
        first = Progress._shown == 0
        Progress._shown += 1
        self._closing.callback(self._leave)
        if first and not is_quiet():
            if in_notebook():
                from IPython.display import HTML, display

                self._cell = display(HTML(""), display_id=True)
                self._update_cell()
            elif sys.stderr.isatty():
                self._show()
            else:
                self._log = True
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._has_logged and kind is None:
            self._print_line()
        if self._cell is not None:
            self._update_cell()
        self._closing.close()

    @staticmethod
    def _leave() -> None:
        Progress._shown -= 1

    def _print_line(self) -> None:
        print(f"emocaliber: {self.what}: {self.text()}", file=sys.stderr, flush=True)
        self._logged, self._has_logged = self._clock(), True

    def _update_cell(self) -> None:
        from IPython.display import HTML

        bar = f'<progress max="{self.total}" value="{self.done}"></progress> ' if self.total else ""
        self._cell.update(HTML(f"{html.escape(self.what)} {bar}{html.escape(self.text())}"))
        self._logged = self._clock()

    def _show(self) -> None:
        from rich.console import Console
        from rich.live import Live

        # Where both streams are the terminal, the bar is drawn on standard output, so that lines printed there appear above it.
        both = sys.stdout.isatty()
        console = Console(file=sys.stdout if both else sys.stderr, highlight=False)
        live = Live(console=console, get_renderable=self._line, auto_refresh=False, transient=True, redirect_stdout=both)
        self._closing.enter_context(live)
        self._closing.enter_context(_repeated(live.refresh))
        if both:
            self._closing.enter_context(printing_above(console))

    def _line(self) -> Table:
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        if self._count:
            self.to(self._told)
        text = self.text()
        room = (width_of(sys.stderr) or 80) - cells(self.what) - cells(text) - 3
        line = Table.grid(padding=(0, 1))
        parts: list[Text | ProgressBar] = [Text(self.what, no_wrap=True)]
        if self.total and room >= _NARROWEST_BAR:
            parts.append(ProgressBar(self.total, min(self.done, self.total), width=min(room, _WIDEST_BAR)))
        line.add_row(*parts, Text(text, no_wrap=True, overflow="ellipsis"))
        return line


def in_notebook() -> bool:
    """Whether this runs in a notebook, with a kernel of its own."""
    ipython = sys.modules.get("IPython")
    return ipython is not None and type(ipython.get_ipython()).__name__ == "ZMQInteractiveShell"


@contextmanager
def _repeated(action: Callable[[], object]) -> Iterator[None]:
    """Calls `action` again and again in a thread that has ended when this context has."""
    ended = threading.Event()

    def repeat() -> None:
        while not ended.wait(_REDRAWN_EVERY):
            action()

    thread = threading.Thread(target=repeat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _duration(seconds: float) -> str:
    """Seconds as minutes and seconds, or hours, minutes and seconds."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
