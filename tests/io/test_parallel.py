"""Work that is shared out has the results of work done in turn."""

from __future__ import annotations

import os
import sys
import threading

import pytest

from emocaliber.errors import UserError
from emocaliber.io.parallel import shared_out

shares = pytest.mark.skipif(sys.platform != "linux", reason="processes are copied on Linux alone")


def refuse_odd(number: int) -> int:
    if number % 2:
        raise UserError(f"{number} is odd")
    return number


@pytest.mark.parametrize("processes", [1, 2])
def test_results_are_in_the_order_of_the_items(processes: int) -> None:
    offset = 100  # which is not sent, but seen
    assert list(shared_out(lambda number: number + offset, range(20), processes=processes)) == list(range(100, 120))
    assert list(shared_out(str, [], processes=processes)) == []


@pytest.mark.parametrize("processes", [1, 2])
def test_the_first_item_that_is_refused_is_the_one_named(processes: int) -> None:
    with pytest.raises(UserError, match="3 is odd"):
        list(shared_out(refuse_odd, [2, 4, 3, 5, 7], processes=processes))


@shares
def test_several_processes_do_the_work_unless_there_are_threads() -> None:
    assert os.getpid() not in set(shared_out(lambda _: os.getpid(), range(4), processes=2))
    found: list[int] = []
    thread = threading.Thread(target=lambda: found.extend(shared_out(lambda _: os.getpid(), range(4), processes=2)))
    thread.start()
    thread.join()
    assert set(found) == {os.getpid()}


@shares
def test_a_process_that_is_killed_is_said() -> None:
    with pytest.raises(UserError, match="was killed"):
        list(shared_out(lambda _: os.kill(os.getpid(), 9), range(4), processes=2))
