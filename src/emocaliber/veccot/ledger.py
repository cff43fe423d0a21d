"""The ledger: one SQLite file with every sample, every attempt at it, its cost and its verdict.

Nothing is ever deleted. An attempt is written in one transaction, so a killed run leaves complete attempts only. A change of prompt, model
or threshold makes another recipe, whose attempts are kept beside the old ones.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from hashlib import sha256
from pathlib import Path
from threading import RLock
from typing import Any, Literal, NamedTuple, Self

from emocaliber.core.model import ModelError
from emocaliber.errors import UserError
from emocaliber.io.rows import Row, display_name

Verdict = Literal["accepted", "rejected", "failed"]

UNREADABLE = "unreadable_judgement"

# Codes of transient failures, which are tried again (a missing image may be put back); any other failure is final.
TRANSIENT = ("bad_reply", "rate_limited", "server_error", "unreachable", "timeout", "not_found", "internal", UNREADABLE)


@dataclass(frozen=True)
class RejectionReason:
    """Why a text was rejected: the name of the check or of the judge's criterion, and a sentence."""

    check: str
    detail: str


@dataclass(frozen=True)
class ReplyCost:
    """The tokens and dollars of one reply. `reply` identifies it: several attempts may use a reply, and it is paid for once."""

    reply: str
    prompt_tokens: int
    completion_tokens: int
    cost: float


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One try at a sample. `number` counts from 1 per sample and recipe; `at` is UTC in ISO 8601.

    `error` says why the verdict is 'failed', which is no judgement of the text. Tokens, cost (dollars) and seconds are those of teacher and
    judge together.
    """

    sample: str
    number: int
    recipe: str
    teacher: str
    prompt_hash: str
    response: str | None
    error: ModelError | None
    judge: str
    judgement: Mapping[str, Any] | None
    verdict: Verdict
    reasons: tuple[RejectionReason, ...] = ()
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float = 0.0
    seconds: float = 0.0
    at: str = ""


class AttemptCounts(NamedTuple):
    """Counts of a recipe's attempts at a sample: all, the rejected ones, and those with an unreadable judgement."""

    attempts: int
    rejected: int
    unreadable: int


@dataclass(frozen=True)
class Totals:
    """Samples by the best verdict of their attempts under any recipe (accepted, rejected, failed; the rest were not tried), and usage.

    `by_reason` counts attempts, each under every check that rejected it.
    """

    samples: int
    accepted: int
    rejected: int
    failed: int
    attempts: int
    prompt_tokens: int
    completion_tokens: int
    cost: float
    by_reason: Mapping[str, int]


__all__ = ["Attempt", "AttemptCounts", "Ledger", "RejectionReason", "ReplyCost", "Totals", "Verdict"]

_MARK = 0x45434C31  # SQLite's application_id: says that the file is a ledger, and of this form
_SCHEMA = """
CREATE TABLE samples (id TEXT PRIMARY KEY, row TEXT NOT NULL);
CREATE TABLE recipes (hash TEXT PRIMARY KEY, settings TEXT NOT NULL);
CREATE TABLE attempts (
    id INTEGER PRIMARY KEY, sample TEXT NOT NULL REFERENCES samples, number INTEGER NOT NULL, recipe TEXT NOT NULL REFERENCES recipes,
    teacher TEXT NOT NULL, prompt_hash TEXT NOT NULL, response TEXT, error TEXT, judge TEXT NOT NULL, judgement TEXT,
    verdict TEXT NOT NULL CHECK (verdict IN ('accepted', 'rejected', 'failed')), reasons TEXT NOT NULL,
    prompt_tokens INTEGER NOT NULL, completion_tokens INTEGER NOT NULL, cost REAL NOT NULL, seconds REAL NOT NULL, at TEXT NOT NULL,
    UNIQUE (sample, recipe, number));
CREATE TABLE bills (reply TEXT PRIMARY KEY, attempt INTEGER NOT NULL REFERENCES attempts);
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
"""
_TODO = """
SELECT id, rejected FROM (
    SELECT samples.rowid AS place, samples.id AS id, coalesce(sum(verdict = 'rejected'), 0) AS rejected,
        coalesce(max(verdict = 'accepted' OR json_extract(error, '$.code') NOT IN (SELECT value FROM json_each(?))), 0) AS settled
    FROM samples LEFT JOIN attempts ON attempts.sample = samples.id AND attempts.recipe = ? GROUP BY samples.id)
WHERE NOT settled AND rejected < ? ORDER BY rejected, place
"""
_ATTEMPT_COUNTS = """
SELECT count(*), coalesce(sum(verdict = 'rejected'), 0), coalesce(sum(json_extract(error, '$.code') = ?), 0)
FROM attempts WHERE sample = ? AND recipe = ?
"""
_NEWEST_ACCEPTED = (
    "JOIN samples ON samples.id = sample WHERE attempts.id IN (SELECT max(id) FROM attempts WHERE verdict = 'accepted' GROUP BY sample) "
    "ORDER BY samples.rowid"
)
_STANDING = """
SELECT standing, count(*) FROM (
    SELECT CASE WHEN max(verdict = 'accepted') THEN 'accepted' WHEN max(verdict = 'rejected') THEN 'rejected' ELSE 'failed' END AS standing
    FROM attempts GROUP BY sample) GROUP BY standing
"""
_USED = "SELECT count(*), coalesce(sum(prompt_tokens), 0), coalesce(sum(completion_tokens), 0), coalesce(sum(cost), 0.0) FROM attempts"
_REASONS = "SELECT json_extract(value, '$.check') AS name, count(*) FROM attempts, json_each(reasons) GROUP BY name ORDER BY 2 DESC, 1"
_PAY = "UPDATE attempts SET prompt_tokens = prompt_tokens + ?, completion_tokens = completion_tokens + ?, cost = cost + ? WHERE id = ?"
_COLUMNS = tuple(field.name for field in fields(Attempt))


class Ledger:
    """The ledger in the file `path`, which must be there unless `create` is given. Use as a context manager; threads may share one.

    Raises UserError for a file that is missing, cannot be opened, or is something else.
    """

    def __init__(self, path: str | Path, *, create: bool = False) -> None:
        self.path = Path(path)
        self._lock = RLock()
        if not create and not self.path.is_file():
            raise UserError(f"{display_name(path)}: there is no such ledger; `emocaliber cot build` makes one")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            # Requests may be pulled in a thread of the model's own. Transactions begin and end in this class only.
            self._db = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False, timeout=60.0)
            self._open()
        except (OSError, sqlite3.Error) as error:
            raise UserError(f"{display_name(path)}: cannot be opened as a ledger ({error})") from error

    def _open(self) -> None:
        # With a write-ahead log a killed process loses nothing that was committed, and readers do not wait for the writer.
        with self._transaction():
            if self._one("PRAGMA application_id") != (_MARK,):
                if self._one("SELECT count(*) FROM sqlite_master") != (0,):
                    raise sqlite3.DatabaseError("it is a database of another kind")
                for statement in (*_SCHEMA.split(";"), f"PRAGMA application_id = {_MARK}"):
                    self._db.execute(statement)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = NORMAL")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the file. May be called twice."""
        with self._lock:
            self._db.close()

    def add_samples(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Adds sample rows with absolute image paths: all, or none. A known sample may have another image path, as files move.

        Raises UserError if a known sample of the same id differs in anything else.
        """
        with self._transaction():
            for row in rows:
                known = self._one("SELECT row FROM samples WHERE id = ?", row["id"])
                if known is None:
                    self._db.execute("INSERT INTO samples VALUES (?, ?)", (row["id"], _json(row)))
                elif json.loads(known[0]) | {"image": None} != json.loads(_json(row)) | {"image": None}:
                    name = display_name(self.path)
                    raise UserError(f"{name} holds another sample {row['id']!r}; give these samples other ids, or a ledger of their own")
                else:
                    self._db.execute("UPDATE samples SET row = ? WHERE id = ?", (_json(row), row["id"]))

    def row(self, sample: str) -> Row:
        """The row of the sample with that id, which must exist."""
        [(text,)] = self._all("SELECT row FROM samples WHERE id = ?", sample)
        row: Row = json.loads(text)
        return row

    def samples(self) -> Iterator[Row]:
        """Every sample's row, in the order in which they were added."""
        return self._rows(self._all("SELECT id FROM samples ORDER BY rowid"))

    def add_recipe(self, settings: Mapping[str, Any]) -> str:
        """Stores a recipe's settings; returns the hash that identifies them in attempts."""
        text = json.dumps(settings, sort_keys=True, allow_nan=False)
        name = sha256(text.encode()).hexdigest()[:16]
        with self._transaction():
            self._db.execute("INSERT OR IGNORE INTO recipes VALUES (?, ?)", (name, text))
        return name

    def recipes(self) -> dict[str, dict[str, Any]]:
        """The settings of every recipe by its hash, in the order in which they were first used."""
        return {name: json.loads(text) for name, text in self._all("SELECT hash, settings FROM recipes ORDER BY rowid")}

    def record(self, attempt: Attempt, costs: Iterable[ReplyCost] = ()) -> Attempt:
        """Stores an attempt and returns it as stored: with those of `costs` added that no earlier attempt has paid."""
        values = asdict(attempt) | {"reasons": _json([asdict(each) for each in attempt.reasons])}
        for name in ("error", "judgement"):
            values[name] = None if values[name] is None else _json(values[name])
        with self._transaction():
            names, places = ", ".join(_COLUMNS), ", ".join(f":{name}" for name in _COLUMNS)
            own = self._db.execute(f"INSERT INTO attempts ({names}) VALUES ({places})", values).lastrowid
            for cost in costs:
                if self._db.execute("INSERT OR IGNORE INTO bills VALUES (?, ?)", (cost.reply, own)).rowcount:
                    self._db.execute(_PAY, (cost.prompt_tokens, cost.completion_tokens, cost.cost, own))
        return next(self._attempts("WHERE id = ?", own))

    def attempts(self, recipe: str | None = None) -> Iterator[Attempt]:
        """Every attempt, or those under one recipe, in the order in which they were recorded."""
        return self._attempts("WHERE recipe = ? ORDER BY id", recipe) if recipe else self._attempts("ORDER BY id")

    def accepted(self) -> Iterator[tuple[Row, Attempt]]:
        """Each accepted sample's row with its newest accepted attempt, in the order of the samples."""
        for attempt in self._attempts(_NEWEST_ACCEPTED):
            yield self.row(attempt.sample), attempt

    def todo(self, recipe: str, max_attempts: int) -> Iterator[Row]:
        """Rows of samples that this recipe has not settled: not accepted, no final failure, and fewer than `max_attempts` rejections.

        They are ordered by their number of rejections, then as they were added, so an interrupted run resumes in the order of an
        uninterrupted one. Attempts recorded meanwhile do not change them.
        """
        return self._rows(self._all(_TODO, _json(TRANSIENT), recipe, max_attempts))

    def attempt_counts(self, sample: str, recipe: str) -> AttemptCounts:
        """The counts of a recipe's attempts at a sample so far."""
        [found] = self._all(_ATTEMPT_COUNTS, UNREADABLE, sample, recipe)
        return AttemptCounts(*found)

    def totals(self) -> Totals:
        """The totals over the whole ledger."""
        with self._lock:
            standing, by_reason = dict(self._all(_STANDING)), dict(self._all(_REASONS))
            [(samples,)] = self._all("SELECT count(*) FROM samples")
            [(attempts, prompt_tokens, completion_tokens, cost)] = self._all(_USED)
        accepted, rejected, failed = (standing.get(verdict, 0) for verdict in ("accepted", "rejected", "failed"))
        return Totals(samples, accepted, rejected, failed, attempts, prompt_tokens, completion_tokens, cost, by_reason)

    def note(self, key: str, value: str) -> None:
        """Stores a text under a key, replacing an earlier one."""
        with self._transaction():
            self._db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))

    def noted(self, key: str) -> str | None:
        """The text under a key, if there is one."""
        found = self._one("SELECT value FROM meta WHERE key = ?", key)
        return None if found is None else str(found[0])

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException as error:
                if self._db.in_transaction:  # SQLite may have rolled back already, as on a full disk
                    self._db.execute("ROLLBACK")
                if isinstance(error, sqlite3.OperationalError):
                    raise UserError(f"{display_name(self.path)}: cannot be written ({error})") from error
                raise

    def _all(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        with self._lock:
            return self._db.execute(query, values).fetchall()

    def _one(self, query: str, *values: Any) -> tuple[Any, ...] | None:
        found = self._all(query, *values)
        return found[0] if found else None

    def _rows(self, found: list[tuple[Any, ...]]) -> Iterator[Row]:
        """The rows of samples by their ids, fetched one by one, as no cursor may be open while others write."""
        return (self.row(sample) for sample, *_ in found)

    def _attempts(self, which: str, *values: Any) -> Iterator[Attempt]:
        columns = ", ".join(_COLUMNS)
        for (own,) in self._all(f"SELECT attempts.id FROM attempts {which}", *values):
            [found] = self._all(f"SELECT {columns} FROM attempts WHERE id = ?", own)
            read = dict(zip(_COLUMNS, found, strict=True))
            read["error"] = None if read["error"] is None else ModelError(**json.loads(read["error"]))
            read["judgement"] = None if read["judgement"] is None else json.loads(read["judgement"])
            read["reasons"] = tuple(RejectionReason(**each) for each in json.loads(read["reasons"]))
            yield Attempt(**read)


def _json(value: Any) -> str:
    return json.dumps(value, allow_nan=False)  # ASCII, as a file name may hold what UTF-8 cannot
