"""What work goes on in says what made it, refuses other settings by name, and belongs to one process at a time."""

from __future__ import annotations

import errno
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from emocaliber.errors import UserError
from emocaliber.io.lock import Lock
from emocaliber.io.workspace import Workspace, record_of


def workspace(folder: Path, settings: dict[str, Any], **rules: Any) -> Workspace:
    return Workspace(folder / "r.run.json", settings, path=folder / "r.jsonl", remedy="Give the same settings, or another file", **rules)


def made_with(folder: Path, settings: dict[str, Any], **rules: Any) -> None:
    workspace(folder, settings, **rules).write()


# Settings


def test_the_record_of_rows_lies_beside_them() -> None:
    assert record_of(Path("a/responses.jsonl")) == Path("a/responses.run.json")


def test_settings_are_kept_as_they_are(tmp_path: Path) -> None:
    made_with(tmp_path, {"labels": ("awe", "fear"), "kl": 0.1})
    assert json.loads((tmp_path / "r.run.json").read_text()) == {"what": {"labels": ["awe", "fear"], "kl": 0.1}}
    assert workspace(tmp_path, {"labels": ("awe", "fear"), "kl": 0.1}).check()


def test_what_differs_is_named_with_both_values_and_both_ways_out(tmp_path: Path) -> None:
    made_with(tmp_path, {"model": {"name": "a"}, "kl": 0.1, "reward": "default"})
    with pytest.raises(UserError) as refused:
        workspace(tmp_path, {"model": {"name": "b"}, "kl": 0.1, "seed": 3, "reward": "paper"}).check()
    assert str(refused.value) == (
        f"{tmp_path}/r.jsonl was made with other settings: model.name was 'a', and is 'b'; reward was 'default', and is 'paper'; "
        "seed was not given, and is 3. Give the same settings, or another file."
    )


def test_without_a_record_nothing_differs_unless_one_is_needed(tmp_path: Path) -> None:
    assert not workspace(tmp_path, {"kl": 1}).check()
    with pytest.raises(UserError, match=r"r\.run\.json is missing, so it is not known how .*r\.jsonl was made\. Give the same"):
        workspace(tmp_path, {"kl": 1}).check(needed=True)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"what": 3}', '{"other": {}}'])
def test_a_record_that_cannot_be_read_is_not_taken_for_agreement(tmp_path: Path, content: str) -> None:
    (tmp_path / "r.run.json").write_text(content)
    with pytest.raises(UserError, match=r"r\.run\.json: cannot be read .* not known how .*r\.jsonl was made"):
        workspace(tmp_path, {"kl": 1}).check()


def test_free_settings_may_differ_and_the_record_follows_them(tmp_path: Path) -> None:
    made_with(tmp_path, {"settings": {"batch_size": 4, "seed": 1}})
    again = workspace(tmp_path, {"settings": {"batch_size": 8, "seed": 1}}, free=["settings.batch_size"])
    assert again.check()
    again.write()
    assert workspace(tmp_path, {"settings": {"batch_size": 8, "seed": 1}}).check()


def test_a_content_that_is_not_known_differs_from_nothing_and_stays_unknown(tmp_path: Path) -> None:
    rules = {"contents": ["model.sha256"]}
    made_with(tmp_path, {"model": {"sha256": None}}, **rules)
    now = workspace(tmp_path, {"model": {"sha256": "1"}}, **rules)
    assert now.check()
    now.write()
    assert workspace(tmp_path, {"model": {"sha256": "2"}}, **rules).check(), "nobody knows which it was"
    made_with(tmp_path, {"model": {"sha256": "1"}}, **rules)
    assert workspace(tmp_path, {"model": {"sha256": None}}, **rules).check()
    with pytest.raises(UserError, match=r"model\.sha256 was '1', and is '2'"):
        workspace(tmp_path, {"model": {"sha256": "2"}}, **rules).check()


def test_a_place_may_differ_where_the_content_is_known_to_be_the_same(tmp_path: Path) -> None:
    rules: dict[str, Any] = {"contents": ["sha256"], "places": {"samples": "sha256"}}
    made_with(tmp_path, {"samples": "a.jsonl", "sha256": "1"}, **rules)
    assert workspace(tmp_path, {"samples": "b.jsonl", "sha256": "1"}, **rules).check()
    with pytest.raises(UserError, match=r"samples was 'a\.jsonl', and is 'b\.jsonl'\."):
        workspace(tmp_path, {"samples": "b.jsonl", "sha256": None}, **rules).check()


def test_a_setting_that_is_newer_than_the_record_had_its_usual_value(tmp_path: Path) -> None:
    made_with(tmp_path, {"kl": 1})
    assert workspace(tmp_path, {"kl": 1, "credit": "response"}, usual={"credit": "response"}).check()
    with pytest.raises(UserError, match="credit was 'response', and is 'decoupled'"):
        workspace(tmp_path, {"kl": 1, "credit": "decoupled"}, usual={"credit": "response"}).check()


# Locks

HOLD = "import sys, time; from emocaliber.io.lock import Lock; lock = Lock(sys.argv[1], 'it'); print('held', flush=True); time.sleep(60)"


def holding(path: Path, code: str = HOLD) -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_a_second_process_is_told_who_holds_the_lock(tmp_path: Path) -> None:
    process = holding(tmp_path / "rows.jsonl")
    with pytest.raises(UserError, match=rf"^my rows is in use by process {process.pid} on {socket.gethostname()} since 20\d\d-.*; wait"):
        Lock(tmp_path / "rows.jsonl", "my rows")
    process.kill()
    process.wait()
    with Lock(tmp_path / "rows.jsonl", "my rows") as lock:
        assert lock.path == tmp_path / ".rows.jsonl.lock"
    assert list(tmp_path.iterdir()) == [], "a lock that was released leaves nothing behind"


def test_one_process_has_no_two_locks_of_one_file(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "rows.jsonl")
    with Lock(tmp_path / "rows.jsonl", "rows"), pytest.raises(UserError, match=rf"in use by process {os.getpid()} "):
        Lock(tmp_path / "link", "link")


def test_without_file_locks_a_warning_is_printed_and_nothing_is_locked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fcntl = pytest.importorskip("fcntl")

    def refuse(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with Lock(tmp_path / "rows.jsonl", "my rows"):
        assert "warning: no file locks where my rows lies" in capsys.readouterr().err


FORKING = """
import os, sys, time
from emocaliber.io.lock import Lock
lock = Lock(sys.argv[1], "it")
if os.fork() == 0:
    sys.stdout = sys.stderr
    lock.release()
    time.sleep(30)
print("held", flush=True)
time.sleep(60)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="only where processes fork")
def test_a_forked_child_neither_releases_the_lock_nor_keeps_it_when_its_parent_is_killed(tmp_path: Path) -> None:
    process = holding(tmp_path / "rows.jsonl", FORKING)
    time.sleep(0.3)
    with pytest.raises(UserError, match="in use by"):
        Lock(tmp_path / "rows.jsonl", "rows")
    process.send_signal(signal.SIGKILL)
    process.wait()
    Lock(tmp_path / "rows.jsonl", "rows").release()


COUNTING = """
import sys, time
from pathlib import Path
from emocaliber.errors import UserError
from emocaliber.io.lock import Lock
done, counter = 0, Path(sys.argv[1])
while done < 100:
    try:
        with Lock(counter, "the counter"):
            before = int(counter.read_text())
            time.sleep(0.0005)
            counter.write_text(str(before + 1))
            done += 1
    except UserError:
        pass
"""


def test_processes_that_take_turns_never_hold_it_at_once(tmp_path: Path) -> None:
    (tmp_path / "counter").write_text("0")
    team = [subprocess.Popen([sys.executable, "-c", COUNTING, str(tmp_path / "counter")]) for _ in range(3)]
    assert [process.wait() for process in team] == [0, 0, 0]
    assert (tmp_path / "counter").read_text() == "300"


def test_a_workspace_locks_on_entering(tmp_path: Path) -> None:
    with workspace(tmp_path, {}), pytest.raises(UserError, match=r"r\.jsonl is in use by"):
        workspace(tmp_path, {}).lock()
    workspace(tmp_path, {}).lock()
