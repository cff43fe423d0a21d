"""The job store: nothing twice, nothing lost, nothing left behind."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from emocaliber.errors import UserError
from emocaliber.serving.jobs.store import Job, JobStore


def add(store: JobStore, pictures: list[bytes], owner: str = "", key: str | None = None, content: str = "", model: str = "m") -> Job:
    """A job of these pictures, called after their places."""
    with store.arrive() as arriving:
        for place, data in enumerate(pictures):
            arriving.path(place).write_bytes(data)
            arriving.names.append(f"{place}.png")
        return store.add(arriving, owner, model, {"task": "EmoSet-8"}, content, key)[0]


def row(place: int, **fields: Any) -> dict[str, Any]:
    return {"image": f"{place}.png", "error": None} | fields


def files(store: JobStore) -> list[Path]:
    return [path for path in store.folder.rglob("*") if path.is_file() and not path.name.startswith((".", "jobs."))]


def test_a_job_goes_from_its_pictures_to_its_rows(tmp_path: Path) -> None:
    store = JobStore(tmp_path / "jobs")
    job = add(store, [b"one", b"two", b"three"])
    assert (job.state, job.total, job.done) == ("queued", 3, 0)
    waiting = store.next_pictures("m", 2)
    assert [(each.job, each.place, each.name) for each in waiting] == [(job.id, 0, "0.png"), (job.id, 1, "1.png")]
    assert [store.read(job.id, place) for place in range(3)] == [b"one", b"two", b"three"]
    store.answer([(job.id, 1, row(1)), (job.id, 0, row(0, error={"code": "corrupt"}))])
    seen = store.find(job.id, "")
    assert seen is not None and (seen.state, seen.done, seen.failed) == ("running", 2, 1)
    assert len(files(store)) == 1, "answered pictures are removed"
    store.answer([(job.id, 2, row(2))])
    seen = store.find(job.id, "")
    assert seen is not None and seen.state == "done" and seen.ended is not None
    assert [json.loads(each)["image"] for each in store.rows(job.id)] == ["0.png", "1.png", "2.png"]
    assert files(store) == []
    store.close()


def test_a_picture_is_answered_once(tmp_path: Path) -> None:
    store = JobStore(tmp_path)
    job = add(store, [b"one"])
    store.answer([(job.id, 0, row(0, emotion="awe"))])
    store.answer([(job.id, 0, row(0, emotion="fear"))])
    assert [json.loads(each)["emotion"] for each in store.rows(job.id)] == ["awe"]


def test_jobs_take_turns_and_pictures_at_work_are_not_given_again(tmp_path: Path) -> None:
    store = JobStore(tmp_path)
    large, small = add(store, [b"x"] * 9), add(store, [b"x"])
    first = store.next_pictures("m", 4)
    assert {each.job for each in first} == {large.id}
    at_work = [(each.job, each.place) for each in first]
    assert [each.job for each in store.next_pictures("m", 4, at_work)] == [small.id]
    at_work.append((small.id, 0))
    assert [each.place for each in store.next_pictures("m", 4, at_work)] == [4, 5, 6, 7]


def test_jobs_for_another_model_and_of_owners_that_may_not_run_wait(tmp_path: Path) -> None:
    store = JobStore(tmp_path)
    add(store, [b"x"], owner="ann")
    assert store.next_pictures("another", 1) == []
    assert store.next_pictures("m", 1, may=lambda owner: owner != "ann") == []
    assert [each.owner for each in store.next_pictures("m", 1)] == ["ann"]


def test_a_job_belongs_to_its_owner(tmp_path: Path) -> None:
    store = JobStore(tmp_path)
    job = add(store, [b"x"], owner="ann")
    assert store.find(job.id, "bob") is None and not store.delete(job.id, "bob")
    assert store.open_jobs("ann") == 1 and store.open_jobs("bob") == 0
    assert store.delete(job.id, "ann") and store.find(job.id, "ann") is None
    assert files(store) == [] and store.next_pictures("m", 1) == []
    store.answer([(job.id, 0, row(0))])  # it was being answered
    assert store.rows(job.id) == []


def test_a_key_names_one_job_of_its_owner(tmp_path: Path) -> None:
    store = JobStore(tmp_path)
    job = add(store, [b"x"], owner="ann", key="k", content="1")
    assert add(store, [b"x"], owner="ann", key="k", content="2") == job, "whose content tells whether it is the same"
    assert add(store, [b"x"], owner="bob", key="k").id != job.id
    assert add(store, [b"x"], owner="ann").id != job.id
    assert store.has_key("ann", "k") and not store.has_key("ann", None)
    assert len(files(store)) == 3, "the pictures that came again are not kept"


def test_only_the_user_can_read_the_folder(tmp_path: Path) -> None:
    store = JobStore(tmp_path / "jobs")
    add(store, [b"x"])
    for path in (store.folder, store.folder / "jobs.sqlite3", store.folder / "pictures"):
        assert not stat.S_IMODE(path.stat().st_mode) & 0o077, path


def test_a_folder_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="give a folder"):
        JobStore(tmp_path / "file")


def test_old_jobs_go_and_open_ones_stay(tmp_path: Path) -> None:
    store = JobStore(tmp_path)
    done, unfinished = add(store, [b"x"]), add(store, [b"x"])
    store.answer([(done.id, 0, row(0))])
    store.tidy(keep=3600)
    assert store.find(done.id, "") is not None
    time.sleep(0.01)
    store.tidy(keep=0)
    assert store.find(done.id, "") is None
    assert store.find(unfinished.id, "") is not None and len(files(store)) == 1


KILLED = """
import os, signal, sys
from emocaliber.serving.jobs.store import JobStore
store = JobStore(sys.argv[1])
with store.arrive() as arriving:
    arriving.path(0).write_bytes(b"one"); arriving.path(1).write_bytes(b"two")
    arriving.names += ["0.png", "1.png"]
    job, _ = store.add(arriving, "", "m", {}, "", None)
half = store.arrive()
half.path(0).write_bytes(b"the half of a picture")
store.answer([(job.id, 0, {"image": "0.png", "error": None})])
print(job.id, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_kill_loses_no_row_and_leaves_no_half_job(tmp_path: Path) -> None:
    killed = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], capture_output=True, text=True, env=os.environ)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    job = killed.stdout.strip()
    store = JobStore(tmp_path)
    assert [(each.job, each.place) for each in store.next_pictures("m", 9)] == [(job, 1)]
    assert len(store.rows(job)) == 1
    store.tidy(keep=3600)
    assert files(store) == [tmp_path / "pictures" / job / "1"]


def test_what_another_process_is_receiving_is_not_tidied_away(tmp_path: Path) -> None:
    receiving, store = JobStore(tmp_path), JobStore(tmp_path)
    with receiving.arrive() as arriving:
        arriving.path(0).write_bytes(b"one")
        store.tidy(keep=0)
        assert arriving.path(0).exists()
    assert files(store) == []
