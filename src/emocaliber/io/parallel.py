"""Work shared by several processes where this one can be copied, and else done in turn; the results are the same."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar, cast

from emocaliber.errors import UserError

Item = TypeVar("Item")
Result = TypeVar("Result")

MOST = 4  # processes: each holds what it works on in memory
_work: Callable[[int], object] | None = None  # of the process that is being copied


def shared_out(
    work: Callable[[Item], Result], items: Sequence[Item], *, processes: int | None = None, at_once: int = 1
) -> Iterator[Result]:
    """The results of `work` for all items, in their order.

    With several cores and items, copies of this process do the work, each `at_once` items at a time. They see all that it has in memory,
    so that only results, which must be picklable, are sent. A copy of a process with threads could hang, and one on macOS fail; there the
    work is done in turn.
    Raises what `work` raises for the first item for which it does, and UserError if a process is killed, as for lack of memory.
    """
    global _work
    count = min(-(-len(items) // at_once), MOST, _cores() if processes is None else processes)
    if count < 2 or sys.platform != "linux" or threading.active_count() > 1:
        yield from map(work, items)
        return
    from concurrent.futures import ProcessPoolExecutor
    from concurrent.futures.process import BrokenProcessPool
    from multiprocessing import get_context

    before, _work = _work, lambda place: work(items[place])
    try:
        with ProcessPoolExecutor(count, mp_context=get_context("fork"), initializer=_ignore_interrupts) as pool:
            try:
                yield from cast("Iterator[Result]", pool.map(_do, range(len(items)), chunksize=at_once))
            except BrokenProcessPool as error:
                raise UserError("a process that did a part of the work was killed, probably for lack of memory; free some.") from error
            finally:
                pool.shutdown(cancel_futures=True)
    finally:
        _work = before


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _ignore_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the process that waits for the results ends the others


def _do(place: int) -> object:
    assert _work is not None, "a copy of a process has its work"
    return _work(place)
