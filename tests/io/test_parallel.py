"""Work that is shared out has the results of work done in turn."""

from __future__ import annotations

import subprocess
import sys

import pytest

from emocaliber.errors import UserError
from emocaliber.io.parallel import shared_out


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


ALONE = """
import os, threading
from emocaliber.io.parallel import shared_out
assert os.getpid() not in set(shared_out(lambda _: os.getpid(), range(4), processes=2))
found = []
thread = threading.Thread(target=lambda: found.extend(shared_out(lambda _: os.getpid(), range(4), processes=2)))
thread.start()
thread.join()
assert set(found) == {os.getpid()}
list(shared_out(lambda _: os.kill(os.getpid(), 9), range(4), processes=2))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="processes are copied on Linux alone")
def test_several_processes_do_the_work_unless_there_are_threads_and_one_that_is_killed_is_said() -> None:
    """In a process of its own: this one has the threads of other tests."""
    found = subprocess.run([sys.executable, "-c", ALONE], capture_output=True, text=True)
    assert found.returncode == 1 and "was killed, probably for lack of memory" in found.stderr.splitlines()[-1], found.stderr
