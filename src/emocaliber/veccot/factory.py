"""A run of the factory: samples into the ledger, models loaded, the line started, and what came of it in sentences."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Self

from tqdm import tqdm

from emocaliber.core.model import Model
from emocaliber.core.samples import Sample, identified_rows
from emocaliber.errors import UserError
from emocaliber.inference.plan import commit_of_model, sampling_key, sha256_of_model
from emocaliber.io.lock import Lock
from emocaliber.io.rows import Row, display_name
from emocaliber.veccot.build import Line
from emocaliber.veccot.ledger import Attempt, Ledger, Totals
from emocaliber.veccot.recipe import Part, Recipe
from emocaliber.veccot.teacher import NARRATOR, Narrator

if TYPE_CHECKING:
    from emocaliber.veccot.budget import Estimate


_FILES = ("train.jsonl", "samples.jsonl")


@dataclass(frozen=True)
class Built:
    """What a run came to: the ledger's totals after it, why it ended early (if it did), and after a dry run its estimate."""

    ledger: Path
    totals: Totals
    recipe: str
    stopped: str | None = None
    interrupted: bool = False
    estimate: Estimate | None = None

    @property
    def complete(self) -> bool:
        """Whether every sample was tried, and none failed."""
        return self.stopped is None and not self.totals.failed

    def sentences(self) -> Iterator[str]:
        """What to tell the user; the last one says what to do next."""
        now, name = self.totals, display_name(self.ledger)
        tried = f"{now.accepted:,} accepted, {now.rejected:,} rejected, {now.failed:,} failed"
        used = f"{now.prompt_tokens:,} tokens read and {now.completion_tokens:,} written for ${now.cost:.4f}"
        yield f"{name}: {now.samples:,} samples: {tried}; {used}"
        if now.by_reason:
            yield "objections: " + ", ".join(f"{check} {count:,}" for check, count in now.by_reason.items())
        if self.estimate:
            yield from self.estimate.sentences()
        elif self.stopped:
            yield f"stopped with {now.samples - now.accepted - now.rejected - now.failed:,} samples not tried: {self.stopped}"
        elif now.failed:
            yield f"{now.failed:,} samples failed; `emocaliber cot stats --ledger {name}` says why, and the same command tries them again"
        if now.accepted and not self.stopped:
            yield f"next: emocaliber cot export --ledger {name} --out DIR"


def build(
    samples: Sequence[Path],
    ledger: Path,
    recipe: Recipe,
    *,
    attempts: int = 3,
    budget: float | None = None,
    dry_run: int | None = None,
    batches: bool = False,
) -> Built:
    """Adds the samples of files (or of folders, their train.jsonl or samples.jsonl) to a ledger, and tries all in it that are not settled.

    `dry_run` tries that many only, chosen without regard to order. `batches` asks models behind an API through their service's batches.
    A first interrupt lets what is under way end. Raises UserError for samples, models and settings that cannot be, for a model
    whose weights have changed since, and while another run builds the ledger.
    """
    if budget is not None:
        recipe.check_budget()
    with _alone(ledger), Ledger(ledger, create=True) as book, _first_interrupt() as told:
        for place in samples:
            book.add_samples(sample_rows(place))
        notes = book if batches else None
        teacher = _teacher(book, recipe.teacher, budget, notes)
        judge = recipe.judge.load(_journal(ledger, "judge"), budget=budget, batches=notes) if recipe.judge else None
        _check_weights(book, recipe)  # now that loading has fetched what it wants
        for notice in {model.notice for model in (teacher, judge) if model and model.notice}:
            print(notice, file=sys.stderr)
        if isinstance(teacher, Narrator):
            attempts = 1  # it would say the same again
        name = book.add_recipe(recipe.settings)
        chosen = [row["id"] for row in book.todo(name, attempts)]
        if dry_run is not None:
            chosen = sorted(chosen, key=sampling_key)[:dry_run]
        with Progress(len(chosen), book.totals()) as progress:
            line = Line(
                book,
                recipe,
                teacher,
                judge,
                attempts=attempts,
                budget=budget,
                batches=batches,
                only=set(chosen),
                stop=told,
                progress=progress.hear,
            )
            stopped = _run(line, progress)
        estimate = _estimate(book, name, chosen, attempts) if dry_run is not None else None
        return Built(ledger, book.totals(), name, stopped, told(), estimate)


def _run(line: Line, progress: Progress) -> str | None:
    """Runs the line, and returns why it ended early, if it did. A model that refuses everything from the start raises UserError."""
    try:
        line.run()
    except UserError as error:
        if not progress.attempts:
            raise
        return str(error)
    return line.stopped


def sample_rows(place: Path) -> Iterator[Row]:
    """The rows of a file of samples, whole, with absolute image paths. Raises UserError naming what is not a sample."""
    file = place
    if place.is_dir():
        found = [place / name for name in _FILES if (place / name).is_file()]
        if not found:
            raise UserError(f"{display_name(place)}: holds neither {' nor '.join(_FILES)}; name the file of samples in it")
        file = found[0]
    for where, row in identified_rows(file):
        sample = Sample.from_row(row, where)
        yield row | sample.to_row() | {"image": str(file.absolute().parent / sample.image)}


def _teacher(book: Ledger, part: Part, budget: float | None, notes: Ledger | None) -> Model:
    return Narrator(book.row) if part.model == NARRATOR else part.load(_journal(book.path, "teacher"), budget=budget, batches=notes)


def _estimate(book: Ledger, recipe: str, chosen: Sequence[str], attempts: int) -> Estimate:
    from emocaliber.veccot.budget import Estimate

    return Estimate.of(book, recipe, chosen, attempts)


def _journal(ledger: Path, role: str) -> Path:
    """Where the answers that a model was paid for are kept, beside the ledger."""
    return ledger.with_name(f"{ledger.name}.{role}.journal.jsonl")


def _alone(ledger: Path) -> Lock:
    """Keeps a second run away, which would ask and pay for the same samples."""
    try:
        ledger.parent.mkdir(parents=True, exist_ok=True)
        return Lock(ledger, display_name(ledger))
    except OSError as error:
        raise UserError(f"{display_name(ledger)}: cannot be written ({error.strerror})") from error


def _check_weights(book: Ledger, recipe: Recipe) -> None:
    """Raises UserError if a model of the recipe has other weights than when this ledger was begun with it: a recipe knows it by name alone.

    A recording is left out, as it may grow.
    """
    for name in dict.fromkeys(part.model for part in (recipe.teacher, recipe.judge) if part and not part.model.startswith("recorded:")):
        weights = sha256_of_model(name) or commit_of_model(name)
        before = book.noted(f"weights of {name}")
        if weights and before and weights != before:
            raise UserError(
                f"{display_name(book.path)} was made with other weights of {name}: they were {before}, and are {weights}. "
                "Give the same model, or another --ledger."
            )
        if weights and not before:
            book.note(f"weights of {name}", weights)


@contextlib.contextmanager
def _first_interrupt() -> Iterator[Callable[[], bool]]:
    """Whether there was an interrupt. A second one ends the program as usual."""
    told: list[int] = []
    if threading.current_thread() is not threading.main_thread():  # where Python lets nobody hear of signals
        yield lambda: False
        return

    def hear(number: int, frame: FrameType | None) -> None:
        if told:
            raise KeyboardInterrupt
        told.append(number)
        print("\nemocaliber: stopping; what is under way ends first (interrupt again to leave at once: nothing is lost)", file=sys.stderr)

    before = {number: signal.signal(number, hear) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(told)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


# What a person sees while the factory runs: how many samples are settled, how fast, and what it costs.


class Progress:
    """A bar on stderr over the samples to settle: rate and time left, the share of attempts accepted, tokens and dollars so far.

    `attempts` counts those of this run.
    """

    def __init__(self, samples: int, before: Totals) -> None:
        every = 0.2 if sys.stderr.isatty() else 10.0  # seconds; a log wants few lines
        self._bar = tqdm(total=samples, desc="cot", unit="sample", mininterval=every)
        self._tokens, self._cost = before.prompt_tokens + before.completion_tokens, before.cost
        self.attempts = self._accepted = self._failed = 0

    def hear(self, attempt: Attempt, settled: bool) -> None:
        """Takes in an attempt, and whether its sample is settled by it."""
        self.attempts += 1
        self._accepted += attempt.verdict == "accepted"
        self._failed += attempt.verdict == "failed"
        self._tokens += attempt.prompt_tokens + attempt.completion_tokens
        self._cost += attempt.cost
        shown = {
            "accepted": f"{self._accepted / self.attempts:.1%}",
            "failed": f"{self._failed:,}" if self._failed else None,
            "tokens": f"{self._tokens:,}" if self._tokens else None,
            "cost": f"${self._cost:.2f}" if self._cost else None,
        }
        self._bar.set_postfix({name: value for name, value in shown.items() if value}, refresh=False)
        self._bar.update(int(settled))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._bar.close()
