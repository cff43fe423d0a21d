"""A run of the data factory: adds the samples to the ledger, loads the models, runs the pipeline, and reports the result."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType, TracebackType
from typing import Self

from emocaliber.core.model import Model
from emocaliber.core.samples import Sample, identified_rows
from emocaliber.errors import UserError
from emocaliber.inference.plan import commit_of_model, sampling_key, sha256_of_model
from emocaliber.io.lock import Lock
from emocaliber.io.rows import Row, display_name
from emocaliber.render.progress import Progress
from emocaliber.render.terminal import say
from emocaliber.veccot.budget import CostEstimate
from emocaliber.veccot.ledger import Attempt, Ledger, Totals
from emocaliber.veccot.pipeline import Pipeline
from emocaliber.veccot.recipe import Recipe, RecipeModel
from emocaliber.veccot.teacher import TEMPLATE_TEACHER, TemplateTeacher

_FILES = ("train.jsonl", "samples.jsonl")


@dataclass(frozen=True)
class BuildResult:
    """The result of a run: the ledger's totals after it, why it ended early (None: it did not), and a dry run's cost estimate."""

    ledger: Path
    totals: Totals
    recipe: str
    stopped: str | None = None
    interrupted: bool = False
    estimate: CostEstimate | None = None

    @property
    def complete(self) -> bool:
        """Whether every sample was tried, and none failed."""
        return self.stopped is None and not self.totals.failed

    def sentences(self) -> Iterator[str]:
        """The summary for the user; the last sentence says what to do next."""
        now, name = self.totals, display_name(self.ledger)
        tried = f"{now.accepted:,} accepted, {now.rejected:,} rejected, {now.failed:,} failed"
        used = f"{now.prompt_tokens:,} tokens read and {now.completion_tokens:,} written for ${now.cost:.4f}"
        yield f"{name}: {now.samples:,} samples: {tried}; {used}"
        if now.by_reason:
            yield "rejections by reason: " + ", ".join(f"{check} {count:,}" for check, count in now.by_reason.items())
        if self.estimate:
            yield from self.estimate.sentences()
        elif self.stopped:
            yield f"stopped with {now.samples - now.accepted - now.rejected - now.failed:,} samples not tried: {self.stopped}"
        elif now.failed:
            yield f"{now.failed:,} samples failed; `emocaliber cot stats --ledger {name}` says why, and the same command tries them again"
        if now.accepted and not self.stopped:
            yield f"next: emocaliber cot export --ledger {name} --out DIR"


def build_ledger(
    samples: Sequence[Path],
    ledger: Path,
    recipe: Recipe,
    *,
    attempts: int = 3,
    budget: float | None = None,
    dry_run: int | None = None,
    batches: bool = False,
) -> BuildResult:
    """Adds samples to a ledger and tries all of its samples that are not settled.

    `samples` are files, or folders with train.jsonl or samples.jsonl. `attempts` is the number of rejections after which a sample is given
    up, `budget` in dollars. `dry_run` tries that many samples only, chosen at random. `batches` asks models behind an API through their
    service's batches. After a first interrupt, requests in flight are finished.

    Raises:
        UserError: samples, models or settings are not valid, the weights of a model have changed, or another run builds the ledger.
    """
    if budget is not None:
        recipe.check_budget()
    with _locked(ledger), Ledger(ledger, create=True) as book, _first_interrupt() as interrupted:
        for place in samples:
            book.add_samples(ledger_rows(place))
        notes = book if batches else None
        teacher = _teacher(book, recipe.teacher, budget, notes)
        judge = recipe.judge.load(_journal(ledger, "judge"), budget=budget, batches=notes) if recipe.judge else None
        _check_weights(book, recipe)  # after loading, which may download them
        for notice in {model.notice for model in (teacher, judge) if model and model.notice}:
            say(notice)
        if isinstance(teacher, TemplateTeacher):
            attempts = 1  # its text would be the same again
        name = book.add_recipe(recipe.settings)
        chosen = [row["id"] for row in book.todo(name, attempts)]
        if dry_run is not None:
            chosen = sorted(chosen, key=sampling_key)[:dry_run]
        with FactoryProgress(len(chosen), book.totals()) as progress:
            pipeline = Pipeline(
                book,
                recipe,
                teacher,
                judge,
                attempts=attempts,
                budget=budget,
                batches=batches,
                only=set(chosen),
                stop=interrupted,
                on_attempt=progress.on_attempt,
            )
            stopped = _run(pipeline, progress)
        estimate = CostEstimate.of(book, name, chosen, attempts) if dry_run is not None else None
        return BuildResult(ledger, book.totals(), name, stopped, interrupted(), estimate)


def _run(pipeline: Pipeline, progress: FactoryProgress) -> str | None:
    """Runs the pipeline; returns why it ended early, or None. Raises UserError if a model fails before the first attempt."""
    try:
        pipeline.run()
    except UserError as error:
        if not progress.attempts:
            raise
        return str(error)
    return pipeline.stopped


def ledger_rows(place: Path) -> Iterator[Row]:
    """The rows of a file of samples, all fields kept, with absolute image paths. Raises UserError naming a row that is no sample."""
    file = place
    if place.is_dir():
        found = [place / name for name in _FILES if (place / name).is_file()]
        if not found:
            raise UserError(f"{display_name(place)}: holds neither {' nor '.join(_FILES)}; name the file of samples in it")
        file = found[0]
    for where, row in identified_rows(file):
        sample = Sample.from_row(row, where)
        yield row | sample.to_row() | {"image": str(file.absolute().parent / sample.image)}


def _teacher(book: Ledger, part: RecipeModel, budget: float | None, notes: Ledger | None) -> Model:
    return (
        TemplateTeacher(book.row)
        if part.model == TEMPLATE_TEACHER
        else part.load(_journal(book.path, "teacher"), budget=budget, batches=notes)
    )


def _journal(ledger: Path, role: str) -> Path:
    """The file beside the ledger in which a paid model's answers are kept."""
    return ledger.with_name(f"{ledger.name}.{role}.journal.jsonl")


def _locked(ledger: Path) -> Lock:
    """The lock that keeps out a second run, which would pay for the same samples."""
    try:
        ledger.parent.mkdir(parents=True, exist_ok=True)
        return Lock(ledger, display_name(ledger))
    except OSError as error:
        raise UserError(f"{display_name(ledger)}: cannot be written ({error.strerror})") from error


def _check_weights(book: Ledger, recipe: Recipe) -> None:
    """Raises UserError if the weights of a model have changed since the ledger was started with it; recipes hold only its name.

    Recordings are not checked, as they may grow.
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
    """Yields a function that says whether there was an interrupt. A second interrupt ends the program as usual."""
    signals: list[int] = []
    if threading.current_thread() is not threading.main_thread():  # where Python delivers no signals
        yield lambda: False
        return

    def on_signal(number: int, frame: FrameType | None) -> None:
        if signals:
            raise KeyboardInterrupt
        signals.append(number)
        say("stopping after the requests in flight (interrupt again to leave at once: nothing is lost)")

    before = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(signals)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class FactoryProgress:
    """The progress bar on stderr over the samples to settle: rate, time left, share of accepted attempts, tokens and dollars so far.

    `attempts` counts the attempts of this run.
    """

    def __init__(self, samples: int, before: Totals) -> None:
        self._bar = Progress("writing", "samples", samples)
        self._tokens, self._cost = before.prompt_tokens + before.completion_tokens, before.cost
        self.attempts = self._accepted = self._failed = 0

    def on_attempt(self, attempt: Attempt, settled: bool) -> None:
        """Counts an attempt; `settled` says whether its sample is settled by it."""
        self.attempts += 1
        self._accepted += attempt.verdict == "accepted"
        self._failed += attempt.verdict == "failed"
        self._tokens += attempt.prompt_tokens + attempt.completion_tokens
        self._cost += attempt.cost
        shown = {
            "accepted": f"{100 * self._accepted / self.attempts:.1f} %",
            "failed": f"{self._failed:,}" if self._failed else None,
            "tokens": f"{self._tokens:,}" if self._tokens else None,
            "spent": f"${self._cost:.2f}" if self._cost else None,
        }
        self._bar.note = ", ".join(f"{value} {name}" for name, value in shown.items() if value)
        self._bar.advance(int(settled))

    def __enter__(self) -> Self:
        self._bar.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._bar.__exit__(kind, error, trace)
