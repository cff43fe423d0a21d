"""What a run comes to, in sentences: how many answered, what failed, and what to do next."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from emocaliber.responding.run import Run
from emocaliber.response import Malformed, parse
from emocaliber.rows import display_name, read_rows
from emocaliber.vecbench import labels_of

_MANY = 0.03  # as a share: from here on, answers that cannot be read deserve a word


@dataclass(frozen=True)
class Closing:
    """`errors` counts failed samples by code. Of the `answers`, `unread` cannot be read as the run reads them."""

    run: Run
    errors: Mapping[str, int]
    answers: int
    unread: int

    @property
    def complete(self) -> bool:
        """Whether every sample has a row, and no row an error."""
        return not self.run.stopped and not self.errors

    def sentences(self) -> Iterator[str]:
        """What to tell the user; the last sentence has the remedy where something failed."""
        run, rows = self.run, display_name(self.run.out.rows)
        asked = len(run.selection.samples)
        codes = ", ".join(f"{code} {count:,}" for code, count in sorted(self.errors.items()))
        cost = f", ${run.spent.cost:.4f} spent" if run.spent and run.spent.cost is not None else ""
        yield f"{rows}: {run.done:,} of {asked:,} samples asked, {run.failed:,} failed{f' ({codes})' if codes else ''}{cost}"
        if self.answers and self.unread / self.answers > _MANY:
            why = (
                "do not name exactly one of the candidates in <answer>"
                if run.plan.lenient
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
            command = f"emocaliber score {shlex.quote(str(rows.parent))} --out {shlex.quote(str(rows.parent / 'score'))}"
            return f"{command}  (when all {shard.of} shards are there)"
        return f"emocaliber score {shlex.quote(str(rows))} --out {shlex.quote(str(rows.with_suffix('')))}"


def close(run: Run) -> Closing:
    """Reads the rows of a run that has ended."""
    errors: Counter[str] = Counter()
    answers = unread = 0
    for row in read_rows(run.out.rows):
        if row["error"] is not None:
            errors[row["error"]["code"]] += 1
            continue
        answers += 1
        labels = labels_of(row["task"], row["candidates"])
        unread += isinstance(parse(row["response"], labels, lenient=run.plan.lenient), Malformed)
    return Closing(run, dict(errors), answers, unread)
