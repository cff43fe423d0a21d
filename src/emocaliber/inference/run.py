"""Runs on disk: asks a model about the samples of a selection and appends each row before waiting for the next.

A run has three files (`Outputs`): its rows, a record of settings and sessions (`RunRecord`), and for paid models a journal.
"""

from __future__ import annotations

import json
import os
import platform
import re
import shlex
import sys
import time
from collections import Counter
from collections.abc import Collection, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from emocaliber import models
from emocaliber.core.model import Model, Usage
from emocaliber.core.response import Malformed, parse
from emocaliber.core.tasks import labels_of
from emocaliber.errors import UserError
from emocaliber.inference.engine import respond
from emocaliber.inference.order import put_in_order
from emocaliber.inference.plan import RunConfig, Selection, Shard, commit_of_model, identity_of_model, questions, sha256_of
from emocaliber.io.images import DEFAULT_LIMITS, ImageLimits
from emocaliber.io.rows import Row, RowWriter, display_name, read_rows, write_rows
from emocaliber.io.workspace import Workspace, package_version, record_of
from emocaliber.models.card import read_calibrators
from emocaliber.models.openai.journal import Redactor
from emocaliber.models.strategies import apply
from emocaliber.models.unloaded import UnloadedModel

if TYPE_CHECKING:
    from emocaliber.inference.ray_data import RayEngine


@dataclass(frozen=True)
class Outputs:
    """The files of a run: its rows, its record, and for an API the journal of paid answers."""

    rows: Path
    record: Path
    journal: Path

    @classmethod
    def at(cls, out: str, shard: Shard | None = None) -> Self:
        """The files of a run whose rows are written to `out`: a .jsonl file, or a folder (any path without a suffix).

        In a folder the rows are `responses.jsonl`, or `responses-03-of-12.jsonl` for a shard. Raises UserError for another suffix.
        """
        path = Path(out)
        if out.endswith(os.sep) or path.is_dir() or not path.suffix:
            path = path / (f"responses-{shard.name}.jsonl" if shard else "responses.jsonl")
        elif path.suffix.lower() != ".jsonl":
            raise UserError(f"{display_name(path)}: responses are written as .jsonl, not as {path.suffix}; `score` reads that")
        # With this suffix, the journal is not read as a shard of its folder.
        return cls(path, path.with_suffix(".run.json"), path.with_suffix(".journal"))


class Run:
    """One model asked about the samples of a selection, with its rows on disk. The rows are locked until `ask` has ended.

    With `calibrator`, a file of `emocaliber calibrate fit`, its calibrators take the place of those in the model's card. With
    `retry_failed`, rows with an error are removed and asked for again. `done` counts the rows on disk, `failed` those with an error;
    `stopped` is the reason for which the model refused to continue, or None. With `engine`, its workers ask, and not this process; rows
    then come in any order, and are sorted at the end.

    Raises UserError, before the model is asked anything, for existing rows without `resume`, a record with other settings, another
    process that writes the same rows, and whatever `load_model` raises.
    """

    def __init__(
        self,
        config: RunConfig,
        selection: Selection,
        out: Outputs,
        *,
        resume: bool = False,
        retry_failed: bool = False,
        limits: ImageLimits = DEFAULT_LIMITS,
        command: Sequence[str] = (),
        calibrator: Path | None = None,
        engine: RayEngine | None = None,
    ) -> None:
        self.config, self.selection, self.out = config, selection, out
        self._calibrator, self._calibrators = calibrator, read_calibrators(calibrator) if calibrator else None
        self._command, self._limits, self._engine = command, limits, engine
        self._settings = _settings(config, out)
        _refuse_samples(selection, out)
        self.stopped: str | None = None
        self._record = RunRecord(out.rows, self._what())
        self._record.lock()
        try:
            self._open(resume=resume, retry_failed=retry_failed)
        except BaseException:
            self._record.release()
            raise

    def _open(self, *, resume: bool, retry_failed: bool) -> None:
        """Checks the settings of existing rows, reads these, and loads the model if rows are missing."""
        out, config = self.out, self.config
        goes_on = out.rows.exists() and out.rows.stat().st_size > 0
        if goes_on:
            if not (resume or retry_failed):
                raise UserError(f"{display_name(out.rows)} holds rows already; give --resume to go on from it, or name another --out")
            self._record.resume()
            RowWriter(out.rows, resume=True).close()  # drops a half-written line
            if retry_failed:
                write_rows(out.rows, (row for row in read_rows(out.rows) if row["error"] is None))
        earlier = Counter(row["error"] is not None for row in read_rows(out.rows)) if out.rows.exists() else Counter()
        self.done, self.failed = earlier.total(), earlier[True]
        asked = self._record.settings["model"]
        if self.done == len(self.selection.samples) and asked["sha256"] is not None:
            self.model: Model = UnloadedModel(config.model)  # nothing is left to ask, and loading tells nothing new of its weights
        elif self._engine:
            self.model = self._engine.described(config, self._settings)
        else:
            self.model = apply(config.strategy, models.load_model(config.model, **self._settings), config.lenient)
        if asked["sha256"] is None:
            asked["commit"] = commit_of_model(config.model)  # loading may have fetched a newer one
        if goes_on:
            self._record.check()

    @property
    def spent(self) -> Usage | None:
        """The tokens and cost of this session; None for a model that does not count them."""
        spent: Usage | None = getattr(self.model, "spent", None)
        return spent

    def ask(self) -> Generator[Row]:
        """Yields the missing rows, each after it is written. Raises UserError if the model stops before there is any row."""
        began, before = time.monotonic(), self.done
        with ExitStack() as ending:
            ending.callback(self._record.release)
            writer = ending.enter_context(RowWriter(self.out.rows, resume=True))
            self._record.begin(self._command, self._versions())  # before the first row, so that there is none without it
            try:
                for row in self._respond(frozenset(writer.done)):
                    writer.write(row)
                    self.done += 1
                    self.failed += row["error"] is not None
                    yield row
            except UserError as error:
                if not self.done:
                    raise
                self.stopped = str(error)
            finally:
                writer.close()  # as the file may be rewritten below
                self._end(self.done - before, time.monotonic() - began)

    def _respond(self, done: Collection[str]) -> Iterator[Row]:
        config, samples, digest = self.config, self.selection.samples, self._record.settings["model"]["sha256"]
        given: dict[str, Any] = {
            "done": done,
            "folder": self.out.rows.parent,
            "limits": self._limits,
            "calibrators": self._calibrators.for_model(self.model.name, digest) if self._calibrators else None,
        }
        if self._engine:
            return self._engine.respond(config, self._settings, samples, **given)
        return respond(samples, self.model, prompt=config.prompt, lenient=config.lenient, confidence=config.confidence, **given)

    def _end(self, written: int, seconds: float) -> None:
        """Sorts the rows into the order of the samples (repeated ones came last), and ends the session in the record."""
        place = {sample.id: number for number, sample in enumerate(self.selection.samples)}
        put_in_order(self.out.rows, place)
        further = {"spent": asdict(self.spent)} if self.spent else self._engine.report() if self._engine else {}
        self._record.end(
            {"rows": written, "seconds": round(seconds, 1), "stopped": self.stopped, **further},
            {"samples": len(place), "rows": self.done, "failed": self.failed, **_used(read_rows(self.out.rows))},
        )

    def _what(self) -> dict[str, Any]:
        config, chosen = self.config, self.selection
        asked = questions(chosen.samples, config.prompt, confidence=config.confidence)
        return {
            "model": identity_of_model(config.model),
            "settings": {name: value for name, value in self._settings.items() if name != "journal"},
            "strategy": asdict(config.strategy),
            "lenient": config.lenient,
            "confidence": config.confidence,
            "prompt": {"name": config.prompt.name, "source": config.prompt.source, "questions": asked},
            "samples": {str(file.absolute()): digest for file, digest in chosen.files.items()},
            "max_samples": chosen.max_samples,
            "shard": str(chosen.shard) if chosen.shard else None,
            **({"calibrator": sha256_of(self._calibrator)} if self._calibrator else {}),
        }

    def _versions(self) -> dict[str, str]:
        commit = commit_of_model(self.config.model)
        return loaded_versions() | ({self.config.model: commit} if commit else {})


def _settings(config: RunConfig, out: Outputs) -> dict[str, Any]:
    """The settings of the configuration; for an API also its journal, and its address where the environment gives one."""
    if not config.model.startswith("openai:"):
        return dict(config.settings)
    address = os.environ.get("OPENAI_BASE_URL")
    return {"journal": out.journal, **({"base_url": address} if address else {}), **config.settings}


def _refuse_samples(selection: Selection, out: Outputs) -> None:
    for file in selection.files:
        if out.rows.exists() and out.rows.samefile(file):
            raise UserError(f"{display_name(out.rows)} is the file of samples itself; write the responses to another")


def _used(rows: Iterable[Row]) -> dict[str, Any]:
    """The usage of all rows: tokens, and cost where it is known; empty if no row has any."""
    used = [row["usage"] for row in rows if row.get("usage")]
    if not used:
        return {}
    costs = [usage["cost"] for usage in used if usage["cost"] is not None]
    tokens = {name: sum(usage[name] for usage in used) for name in ("prompt_tokens", "completion_tokens")}
    return {"usage": tokens | {"cost": sum(costs) if costs else None}}


# The record of a run.

# Settings that change how fast, where or at what price a model is asked, but not the result: they may change when a run is resumed.
# `retries` is not among them: a local model samples a new answer where one cannot be read.
FREE_SETTINGS = (
    "batch_size",
    "threads",
    "concurrency",
    "requests_per_minute",
    "tokens_per_minute",
    "prices",
    "budget",
    "base_url",
    "backoff",
    "timeout",
)
_PACKAGES = ("torch", "transformers", "tokenizers", "vllm", "httpx2", "PIL", "numpy")


class RunRecord(Workspace):
    """The record beside the file `rows`: `what` was asked, the `results`, and the `sessions` of the run. It never holds a secret.

    A session has its command, the versions of the packages loaded, its times and its results; `ended` is null for a killed session.
    The file is written atomically. Records of earlier versions, which call sessions `sittings`, are read too.
    """

    def __init__(self, rows: Path, what: Mapping[str, Any]) -> None:
        super().__init__(
            record_of(rows),
            without_secrets(what),
            path=rows,
            remedy="Give the same settings, or another --out",
            free=[f"settings.{name}" for name in FREE_SETTINGS],
            contents=("model.commit",),
        )
        self._sessions: list[dict[str, Any]] = []
        self._results: dict[str, Any] = {}

    def resume(self) -> None:
        """Continues the record on disk. Raises UserError if there is none, or if its settings differ, naming each difference."""
        self.check(needed=True)
        self._sessions = self._sessions_on_disk()

    def read(self) -> dict[str, Any] | None:
        """As in `Workspace`. In older records, the commit of the model is among the versions of the sessions."""
        what = super().read()
        if what is not None and "commit" not in what.get("model", {}):
            commits = {session.get("versions", {}).get(what["model"]["name"]) for session in self._sessions_on_disk()}
            what["model"]["commit"] = commits.pop() if len(commits) == 1 else None
        return what

    def _sessions_on_disk(self) -> list[dict[str, Any]]:
        content = json.loads(self.record.read_text(encoding="utf-8"))
        sessions: list[dict[str, Any]] = content.get("sessions", content.get("sittings", []))
        return sessions

    def begin(self, command: Sequence[str], versions: Mapping[str, str]) -> None:
        """Adds a session to the record."""
        session = {"command": without_secrets(command), "versions": dict(versions), "began": _now(), "ended": None}
        self._sessions.append(session)
        self._write()

    def end(self, session: Mapping[str, Any], results: Mapping[str, Any]) -> None:
        """Ends the session, with its results and those of the whole run so far."""
        self._sessions[-1] |= {"ended": _now(), **session}
        self._results = dict(results)
        self._write()

    def _write(self) -> None:
        self.write({"results": self._results, "sessions": self._sessions})


def loaded_versions() -> dict[str, str]:
    """The versions of Python, this package, and the packages loaded for the model."""
    loaded = {name: str(sys.modules[name].__version__) for name in _PACKAGES if hasattr(sys.modules.get(name), "__version__")}
    return {"emocaliber": package_version(), "python": platform.python_version(), **loaded}


def without_secrets(value: Any) -> Any:
    """A JSON value without the API key of the environment, and without the passwords and queries of URLs."""
    if isinstance(value, Mapping):
        return {name: without_secrets(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [without_secrets(part) for part in value]
    if not isinstance(value, str):
        return value
    text = Redactor(os.environ.get("OPENAI_API_KEY", "").strip()).text(value)
    return re.sub(r"(://)[^/@\s]*@", r"\1***@", re.sub(r"(://[^?\s]*)\?\S*", r"\1?***", text))


def _now() -> str:
    return datetime.now().astimezone().isoformat(timespec="seconds")


# The summary of a run.

_MANY = 0.03  # the share of unreadable answers from which on the summary mentions them


@dataclass(frozen=True)
class RunSummary:
    """The summary of a run: `errors` counts failed samples by code; of the `answers`, `unread` cannot be parsed with the run's settings."""

    run: Run
    errors: Mapping[str, int]
    answers: int
    unread: int

    @property
    def complete(self) -> bool:
        """Whether every sample has a row, and no row an error."""
        return not self.run.stopped and not self.errors

    def sentences(self) -> Iterator[str]:
        """The summary in sentences: counts, failures and cost; then the next command, or the remedy where something failed."""
        run, rows = self.run, display_name(self.run.out.rows)
        asked = len(run.selection.samples)
        codes = ", ".join(f"{code} {count:,}" for code, count in sorted(self.errors.items()))
        cost = f", ${run.spent.cost:.4f} spent" if run.spent and run.spent.cost is not None else ""
        yield f"{rows}: {run.done:,} of {asked:,} samples asked, {run.failed:,} failed{f' ({codes})' if codes else ''}{cost}"
        if self.answers and self.unread / self.answers > _MANY:
            why = (
                "do not name exactly one of the candidates in <answer>"
                if run.config.lenient
                else "do not keep to the five steps (--no-lenient)"
            )
            yield f"{self.unread:,} of {self.answers:,} answers cannot be read: they {why}"
        if self.answers:
            yield f"next: {self._score()}"
        if run.stopped:
            yield f"stopped with {asked - run.done:,} samples to go: {run.stopped}"
        elif self.errors:
            yield f"{run.failed:,} of {asked:,} failed; the same command with --retry-failed asks about them again"

    def _score(self) -> str:
        rows, shard = self.run.out.rows, self.run.selection.shard
        if shard and rows.name == f"responses-{shard.name}.jsonl":
            return f"emocaliber score {shlex.quote(str(rows.parent))}  (when all {shard.of} shards are there)"
        return f"emocaliber score {shlex.quote(str(rows))}"


def summarise_run(run: Run) -> RunSummary:
    """The summary of a run that has ended, from its rows."""
    errors: Counter[str] = Counter()
    answers = unread = 0
    for row in read_rows(run.out.rows):
        if row["error"] is not None:
            errors[row["error"]["code"]] += 1
            continue
        answers += 1
        labels = labels_of(row["task"], row["candidates"])
        unread += isinstance(parse(row["response"], labels, lenient=run.config.lenient), Malformed)
    return RunSummary(run, dict(errors), answers, unread)
