"""The job store: what was asked, the pictures on disk until they are answered, and the rows, in one folder of SQLite and files.

A picture is answered once: its row is written in a transaction, and only where there is none. What a killed server has not written is
asked again, and nothing else. Several processes may use one folder.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emocaliber.errors import UserError
from emocaliber.io.lock import Lock

_SCHEMA = """
CREATE TABLE IF NOT EXISTS jobs (
    id TEXT PRIMARY KEY, owner TEXT NOT NULL, made REAL NOT NULL, ended REAL, served REAL NOT NULL, model TEXT NOT NULL,
    asked TEXT NOT NULL, total INTEGER NOT NULL, content TEXT NOT NULL, key TEXT, UNIQUE (owner, key)
);
CREATE TABLE IF NOT EXISTS pictures (
    job TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE, place INTEGER NOT NULL, name TEXT NOT NULL, row TEXT, failed INTEGER,
    PRIMARY KEY (job, place)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS waiting ON pictures (job, place) WHERE row IS NULL;
"""


@dataclass(frozen=True)
class Job:
    """A job: who owns it, when it was made and ended (seconds since 1970), the model and the question, and how many pictures are done."""

    id: str
    made: float
    ended: float | None
    model: str
    asked: Mapping[str, Any]
    total: int
    done: int
    failed: int
    content: str

    @property
    def state(self) -> str:
        """ "queued", "running" or "done"."""
        return "done" if self.ended is not None else "running" if self.done else "queued"


@dataclass(frozen=True)
class Waiting:
    """A picture of a job that has no row yet."""

    job: str
    owner: str
    place: int
    name: str
    asked: Mapping[str, Any]


class Arriving:
    """A folder for the pictures of a job that is being received; removed unless the job is added."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.names: list[str] = []
        folder.mkdir(mode=0o700)

    def path(self, place: int) -> Path:
        """The file of a picture. Its name is its number, never the client's."""
        return self.folder / str(place)

    def __enter__(self) -> Arriving:
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)


class JobStore:
    """The jobs in `folder`, which is made if it is missing, readable by this user alone. Raises UserError if it cannot be used."""

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)
        self._pictures, self._incoming = self.folder / "pictures", self.folder / "incoming"
        try:
            for each in (self.folder, self._pictures, self._incoming):
                each.mkdir(mode=0o700, parents=True, exist_ok=True)
            with contextlib.suppress(FileExistsError):
                os.close(os.open(self.folder / "jobs.sqlite3", os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
            self._database = sqlite3.connect(self.folder / "jobs.sqlite3", timeout=30, isolation_level=None, check_same_thread=False)
            self._database.execute("PRAGMA journal_mode = WAL")
            self._database.execute("PRAGMA synchronous = FULL")
            self._database.execute("PRAGMA foreign_keys = ON")
            self._database.execute("PRAGMA secure_delete = ON")  # deleted rows are overwritten
            self._database.executescript(_SCHEMA)
            # Others can tell by its lock whether this process still receives what lies in its folder.
            self._own = self._incoming / secrets.token_hex(8)
            self._own.mkdir(mode=0o700)
            self._lock = Lock(self._own, "the folder of arriving pictures")
        except (OSError, sqlite3.Error) as error:
            raise UserError(f"jobs cannot be kept in {self.folder}: {error}; give a folder that this user can write") from error
        self._mutex = threading.Lock()

    def close(self) -> None:
        """Closes the database, and forgets what was still arriving."""
        with self._mutex:
            self._database.close()
        shutil.rmtree(self._own, ignore_errors=True)
        self._lock.release()

    @property
    def free_bytes(self) -> int:
        """The free space of the disk."""
        return shutil.disk_usage(self.folder).free

    # A job comes and goes.

    def arrive(self) -> Arriving:
        """A folder for the pictures of a new job; a context manager."""
        return Arriving(self._own / secrets.token_hex(16))

    def add(self, arrived: Arriving, owner: str, model: str, asked: Mapping[str, Any], content: str, key: str | None) -> tuple[Job, bool]:
        """The job of the pictures that arrived, and whether it was added: if the owner's `key` is taken, it is the job that has the key.

        `content` is a hash of the question and the pictures, by which the caller can tell whether that is the same job.
        """
        job, now = secrets.token_urlsafe(18), time.time()
        for place in range(len(arrived.names)):
            _sync(arrived.path(place))
        _sync(arrived.folder)
        with self._transaction() as database:
            if key is not None:
                taken = database.execute("SELECT id FROM jobs WHERE owner = ? AND key = ?", (owner, key)).fetchone()
                if taken:
                    return self._job(database, taken[0]), False
            values = (job, owner, now, now, model, json.dumps(asked), len(arrived.names), content, key)
            columns = "id, owner, made, served, model, asked, total, content, key"
            database.execute(f"INSERT INTO jobs ({columns}) VALUES (?,?,?,?,?,?,?,?,?)", values)
            rows = ((job, place, name.encode("utf-8", "replace").decode()) for place, name in enumerate(arrived.names))
            database.executemany("INSERT INTO pictures (job, place, name) VALUES (?,?,?)", rows)
            arrived.folder.rename(self._pictures / job)
            _sync(self._pictures)
            return self._job(database, job), True

    def find(self, job: str, owner: str) -> Job | None:
        """The owner's job with this id; None if there is none."""
        with self._mutex:
            found = self._database.execute("SELECT id FROM jobs WHERE id = ? AND owner = ?", (job, owner)).fetchone()
            return self._job(self._database, job) if found else None

    def open_jobs(self, owner: str) -> int:
        """How many jobs of the owner are not done."""
        with self._mutex:
            count: int = self._database.execute("SELECT count(*) FROM jobs WHERE owner = ? AND ended IS NULL", (owner,)).fetchone()[0]
            return count

    def has_key(self, owner: str, key: str | None) -> bool:
        """Whether the owner has a job that was made with this idempotency key."""
        with self._mutex:
            return self._database.execute("SELECT 1 FROM jobs WHERE owner = ? AND key = ?", (owner, key)).fetchone() is not None

    def delete(self, job: str, owner: str) -> bool:
        """Deletes the owner's job with its pictures and rows; whether there was one. What is being answered is thrown away."""
        with self._transaction() as database:
            gone = database.execute("DELETE FROM jobs WHERE id = ? AND owner = ?", (job, owner)).rowcount > 0
        if gone:
            shutil.rmtree(self._pictures / job, ignore_errors=True)
        return gone

    def rows(self, job: str, start: int = 0, count: int = 1000) -> list[str]:
        """Up to `count` rows of a job as JSON, in the order of its pictures, from the one at place `start`; as far as they are there."""
        with self._mutex:
            query = "SELECT place, row FROM pictures WHERE job = ? AND place >= ? ORDER BY place LIMIT ?"
            found = self._database.execute(query, (job, start, count)).fetchall()
        rows: list[str] = []
        for place, row in found:
            if row is None or place != start + len(rows):
                break
            rows.append(row)
        return rows

    # The work.

    def next_pictures(
        self, model: str, count: int, besides: Iterable[tuple[str, int]] = (), may: Callable[[str], bool] = lambda owner: True
    ) -> list[Waiting]:
        """Up to `count` pictures of one job for this model that have no row, without those (job and place) in `besides`.

        `may` says whether the jobs of an owner run now.

        Jobs take turns, so that a small one does not wait for all of a large one.
        """
        excluded: dict[str, set[int]] = {}
        for job, place in besides:
            excluded.setdefault(job, set()).add(place)
        with self._transaction() as database:
            order = "SELECT id, owner, asked FROM jobs WHERE ended IS NULL AND model = ? ORDER BY served, made, id"
            for job, owner, asked in database.execute(order, (model,)).fetchall():
                if not may(owner):
                    continue
                busy = excluded.get(job, set())
                query = "SELECT place, name FROM pictures WHERE job = ? AND row IS NULL ORDER BY place LIMIT ?"
                waiting = database.execute(query, (job, count + len(busy))).fetchall()
                found = [Waiting(job, owner, place, name, json.loads(asked)) for place, name in waiting if place not in busy][:count]
                if found:
                    database.execute("UPDATE jobs SET served = ? WHERE id = ?", (time.time(), job))
                    return found
        return []

    def read(self, job: str, place: int) -> bytes:
        """The bytes of a picture. Raises OSError if the job was deleted meanwhile, or the disk fails."""
        return (self._pictures / job / str(place)).read_bytes()

    def answer(self, rows: Sequence[tuple[str, int, Mapping[str, Any]]]) -> None:
        """Writes rows, each with its job and place, in one transaction; a picture that has one, or whose job is gone, is left as it is.

        The pictures are removed then, and a job whose last row it was is done.
        """
        with self._transaction() as database:
            for job, place, row in rows:
                values = (json.dumps(row, allow_nan=False), row.get("error") is not None, job, place)
                database.execute("UPDATE pictures SET row = ?, failed = ? WHERE job = ? AND place = ? AND row IS NULL", values)
            for job in {job for job, _, _ in rows}:
                left = database.execute("SELECT 1 FROM pictures WHERE job = ? AND row IS NULL LIMIT 1", (job,)).fetchone()
                if not left:
                    database.execute("UPDATE jobs SET ended = ? WHERE id = ? AND ended IS NULL", (time.time(), job))
        for job, place, _ in rows:
            (self._pictures / job / str(place)).unlink(missing_ok=True)
            with contextlib.suppress(OSError):  # others are still in it
                (self._pictures / job).rmdir()

    def tidy(self, keep: float) -> None:
        """Deletes jobs that ended more than `keep` seconds ago, and pictures that a killed server left behind."""
        with self._transaction() as database:
            database.execute("DELETE FROM jobs WHERE ended < ?", (time.time() - keep,))
            open_jobs = {job for (job,) in database.execute("SELECT id FROM jobs WHERE ended IS NULL")}
            # No job is being added meanwhile, as that takes a transaction as well.
            for folder in self._pictures.iterdir():
                if folder.name not in open_jobs:
                    shutil.rmtree(folder, ignore_errors=True)
            for job in open_jobs:
                done = "SELECT place FROM pictures WHERE job = ? AND row IS NOT NULL"
                for (place,) in database.execute(done, (job,)):
                    (self._pictures / job / str(place)).unlink(missing_ok=True)
        for folder in self._incoming.iterdir():
            if folder.is_dir() and folder != self._own:
                with contextlib.suppress(UserError), Lock(folder, "the folder of arriving pictures"):
                    shutil.rmtree(folder, ignore_errors=True)

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._mutex:
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield self._database
            except BaseException:
                self._database.execute("ROLLBACK")
                raise
            self._database.execute("COMMIT")

    def _job(self, database: sqlite3.Connection, job: str) -> Job:
        found = database.execute("SELECT made, ended, model, asked, total, content FROM jobs WHERE id = ?", (job,)).fetchone()
        counts = database.execute("SELECT count(row), coalesce(sum(failed), 0) FROM pictures WHERE job = ?", (job,)).fetchone()
        made, ended, model, asked, total, content = found
        done, failed = counts
        return Job(job, made, ended, model, json.loads(asked), total, done, failed, content)


def _sync(path: Path) -> None:
    """Waits until a file or folder is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
