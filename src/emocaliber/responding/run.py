"""A run: asks about the samples of a selection as a plan says, and writes each row down before the next is waited for."""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Generator, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from emocaliber import models
from emocaliber.answering import respond
from emocaliber.errors import UserError
from emocaliber.models import Model
from emocaliber.models.base import Usage
from emocaliber.responding.identity import commit_of_model, identity_of_model, questions
from emocaliber.responding.plan import Plan
from emocaliber.responding.record import Record, loaded_versions
from emocaliber.responding.selection import Selection, Shard
from emocaliber.rows import Row, RowWriter, display_name, read_rows, write_rows
from emocaliber.strategies import apply


@dataclass(frozen=True)
class Outputs:
    """The files of a run: its rows, its record, and for a model that is paid by the reply the journal of what was paid for."""

    rows: Path
    record: Path
    journal: Path

    @classmethod
    def at(cls, out: str, shard: Shard | None = None) -> Self:
        """Beside the file `out`; or in the folder `out`, which is anything without a suffix, as responses.jsonl or by the shard's name."""
        path = Path(out)
        if out.endswith(os.sep) or path.is_dir() or not path.suffix:
            path = path / (f"responses-{shard.name}.jsonl" if shard else "responses.jsonl")
        elif path.suffix.lower() != ".jsonl":
            raise UserError(f"{display_name(path)}: responses are written as .jsonl, not as {path.suffix}; `score` reads that")
        # The journal's suffix keeps it out of what is read where a folder of shards is given.
        return cls(path, path.with_suffix(".run.json"), path.with_suffix(".journal"))


class Run:
    """One model asked about many samples, row by row on the disk.

    Creating one finds everything that can be wrong before the model is asked. It raises UserError for rows that are there already without
    `resume`, for a record with other settings, for another process that writes the same rows, and for what `load_model` complains about.

    The rows are locked until `ask` has ended.

    With `retry_failed`, rows that ended in an error are taken out and asked for again. `done` counts the rows that are there, `failed`
    those of them with an error, and `stopped` says why the model would not go on, if it would not.
    """

    def __init__(
        self,
        plan: Plan,
        selection: Selection,
        out: Outputs,
        *,
        resume: bool = False,
        retry_failed: bool = False,
        command: Sequence[str] = (),
    ) -> None:
        self.plan, self.selection, self.out = plan, selection, out
        self._command = command
        self._settings = _settings(plan, out)
        _refuse_samples(selection, out)
        self.stopped: str | None = None
        self._record = Record(out.rows, self._what())
        self._record.lock()
        try:
            self._open(resume=resume, retry_failed=retry_failed)
        except BaseException:
            self._record.release()
            raise

    def _open(self, *, resume: bool, retry_failed: bool) -> None:
        """Reads the rows that are there, once it is known that they were asked for in the same way, and loads the model."""
        out, plan = self.out, self.plan
        goes_on = out.rows.exists() and out.rows.stat().st_size > 0
        if goes_on:
            if not (resume or retry_failed):
                raise UserError(f"{display_name(out.rows)} holds rows already; give --resume to go on from it, or name another --out")
            self._record.resume()
            RowWriter(out.rows, resume=True).close()  # drops a half-written line
            if retry_failed:
                write_rows(out.rows, [row for row in read_rows(out.rows) if row["error"] is None])
        earlier = list(read_rows(out.rows)) if out.rows.exists() else []
        self.done, self.failed = len(earlier), sum(row["error"] is not None for row in earlier)
        self.model: Model = apply(plan.strategy, models.load_model(plan.model, **self._settings), plan.lenient)
        asked = self._record.settings["model"]
        if asked["sha256"] is None:
            asked["commit"] = commit_of_model(plan.model)  # loading may have fetched another
        if goes_on:
            self._record.check()

    @property
    def spent(self) -> Usage | None:
        """What the model has taken in this session, where it knows."""
        spent: Usage | None = getattr(self.model, "spent", None)
        return spent

    def ask(self) -> Generator[Row]:
        """The rows that are missing, each once it is written. Raises UserError if the model refuses everything it is asked."""
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
                writer.close()  # as the file may now be put in order
                self._end(self.done - before, time.monotonic() - began)

    def _respond(self, done: Collection[str]) -> Iterator[Row]:
        plan = self.plan
        return respond(
            self.selection.samples,
            self.model,
            prompt=plan.prompt,
            lenient=plan.lenient,
            done=done,
            confidence=plan.confidence,
            folder=self.out.rows.parent,
        )

    def _end(self, written: int, seconds: float) -> None:
        """Puts the rows in the order of the samples, as those asked for again came last, and closes the sitting."""
        place = {sample.id: number for number, sample in enumerate(self.selection.samples)}
        rows = list(read_rows(self.out.rows))
        ordered = sorted(rows, key=lambda row: place[row["id"]])
        if rows != ordered:
            write_rows(self.out.rows, ordered)
        spent = {"spent": asdict(self.spent)} if self.spent else {}
        self._record.end(
            {"rows": written, "seconds": round(seconds, 1), "stopped": self.stopped, **spent},
            {"samples": len(place), "rows": self.done, "failed": self.failed, **_used(rows)},
        )

    def _what(self) -> dict[str, Any]:
        plan, chosen = self.plan, self.selection
        asked = questions(chosen.samples, plan.prompt, confidence=plan.confidence)
        return {
            "model": identity_of_model(plan.model),
            "settings": {name: value for name, value in self._settings.items() if name != "journal"},
            "strategy": asdict(plan.strategy),
            "lenient": plan.lenient,
            "confidence": plan.confidence,
            "prompt": {"name": plan.prompt.name, "source": plan.prompt.source, "questions": asked},
            "samples": {str(file.absolute()): digest for file, digest in chosen.files.items()},
            "max_samples": chosen.max_samples,
            "shard": str(chosen.shard) if chosen.shard else None,
        }

    def _versions(self) -> dict[str, str]:
        commit = commit_of_model(self.plan.model)
        return loaded_versions() | ({self.plan.model: commit} if commit else {})


def _settings(plan: Plan, out: Outputs) -> dict[str, Any]:
    """The plan's, and for an API where its journal lies and where the API is, which the environment may say."""
    if not plan.model.startswith("openai:"):
        return dict(plan.settings)
    address = os.environ.get("OPENAI_BASE_URL")
    return {"journal": out.journal, **({"base_url": address} if address else {}), **plan.settings}


def _refuse_samples(selection: Selection, out: Outputs) -> None:
    for file in selection.files:
        if out.rows.exists() and out.rows.samefile(file):
            raise UserError(f"{display_name(out.rows)} is the file of samples itself; write the responses to another")


def _used(rows: Sequence[Row]) -> dict[str, Any]:
    """The tokens that the rows took, and their price, as far as their model said so."""
    used = [row["usage"] for row in rows if row.get("usage")]
    if not used:
        return {}
    costs = [usage["cost"] for usage in used if usage["cost"] is not None]
    tokens = {name: sum(usage[name] for usage in used) for name in ("prompt_tokens", "completion_tokens")}
    return {"usage": tokens | {"cost": sum(costs) if costs else None}}
