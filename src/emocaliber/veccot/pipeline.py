"""The pipeline: samples go to the teacher, its texts through the checks to the judge, and every attempt into the ledger.

It is a chain of generators: each model pulls its requests from the step before, so both are always busy and memory holds only what is in
flight. An attempt is recorded the moment its verdict is known.
"""

from __future__ import annotations

import hashlib
import json
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, TypeVar
from zlib import crc32

from PIL import Image

from emocaliber.core.model import Model, ModelError, Reply, Request, mixed_seed
from emocaliber.core.samples import Sample
from emocaliber.emotions.labels import ANY_ANSWER
from emocaliber.inference.engine import MAX_SIDE, downscaled
from emocaliber.io.images import DEFAULT_LIMITS, ImageError, OpenedImage, open_images
from emocaliber.io.rows import Row, display_name
from emocaliber.veccot.budget import FactoryBudget, ModelPrice
from emocaliber.veccot.checks import Draft, NearDuplicateIndex, draft, near_duplicate, reasoning_of, rejection_reasons
from emocaliber.veccot.ledger import TRANSIENT, UNREADABLE, Attempt, AttemptCounts, Ledger, RejectionReason, ReplyCost, Verdict
from emocaliber.veccot.recipe import Recipe, RecipeModel
from emocaliber.veccot.teacher import BLANK, CHECKS_ALONE, Judgement, TemplateTeacher, UnreadableJudgement, low_ratings, read_judgement

_LIMITS = replace(DEFAULT_LIMITS, max_side=MAX_SIDE)
_RETRY_TEMPERATURE = 0.7  # of a retry with a greedy model, which would give the same text again

T = TypeVar("T")


@dataclass(frozen=True)
class PendingSample:
    """A sample to try, the counts of its earlier attempts, and the teacher's prompt for it."""

    sample: Sample
    counts: AttemptCounts
    question: str


@dataclass(frozen=True)
class TeacherText:
    """The teacher's text for a sample, after the checks."""

    task: PendingSample
    reply: Reply
    cost: ReplyCost | None
    draft: Draft


class Pipeline:
    """Fills a ledger by one recipe. `teacher` and `judge` (None: the checks alone) are its models.

    A sample is tried up to `attempts` times: again after a rejection, with another seed, and after a transient failure. `budget` is in
    dollars, over all attempts in the ledger; with `batches`, prices are those of the service's batches. `only` restricts the run to these
    sample ids. `stop` is called before each sample; once it returns True, requests in flight are finished and no other begins.
    `on_attempt` is called with every attempt and whether its sample is settled by it.

    After `run`, `stopped` says why it ended early, or is None. The models' UserErrors are passed on.
    """

    def __init__(
        self,
        ledger: Ledger,
        recipe: Recipe,
        teacher: Model,
        judge: Model | None,
        *,
        attempts: int = 3,
        budget: float | None = None,
        batches: bool = False,
        only: Collection[str] | None = None,
        stop: Callable[[], bool] = lambda: False,
        on_attempt: Callable[[Attempt, bool], object] = lambda attempt, settled: None,
    ) -> None:
        self._ledger, self._recipe, self._teacher, self._judge = ledger, recipe, teacher, judge
        self._attempts, self._only = attempts, only
        self._stop, self._on_attempt = stop, on_attempt
        self.recipe = ledger.add_recipe(recipe.settings)
        self.stopped: str | None = None
        prices = tuple(ModelPrice.of(part.settings, batches=batches) for part in (recipe.teacher, recipe.judge) if part)
        self._budget = FactoryBudget(budget, ledger.totals().cost, prices)
        self._accepted = NearDuplicateIndex()
        self._exhausted = False
        for row, attempt in ledger.accepted():
            self._accepted.add(row["id"], reasoning_of(self._draft(_sample(ledger, row), attempt.response or "")))

    def run(self) -> None:
        """Tries every sample that is not settled, in rounds of one attempt each, so retries come after all first attempts."""
        for _ in range(self._attempts):
            rows = (row for row in self._ledger.todo(self.recipe, self._attempts) if self._only is None or row["id"] in self._only)
            self._exhausted = False
            while not self._exhausted and self.stopped is None:
                self._stream(rows)
            if self.stopped is not None:
                return

    def _stream(self, rows: Iterator[Row]) -> None:
        texts = self._texts(rows)
        if self._judge is None:
            for text in texts:
                self._settle(text, None, None)
            return
        for text, reply in self._answered(self._judge, texts, lambda text: text.task, self._judge_request, self._unseen):
            self._settle(text, reply, self._reply_cost(self._recipe.judge, text.task, self._judge_request(text, BLANK), reply, 1))

    def _pending(self, rows: Iterator[Row]) -> Iterator[PendingSample]:
        """The next samples, until the budget, `stop` or their end allows no more."""
        while True:
            if self._stop():
                self.stopped = "it was told to stop"
                return
            if not self._budget.allows:
                if not self._budget.in_flight:
                    self.stopped = self._budget.sentence()
                return  # requests in flight may cost less than reserved and so leave room for more
            row = next(rows, None)
            if row is None:
                self._exhausted = True
                return
            sample = _sample(self._ledger, row)
            self._budget.in_flight += 1
            yield PendingSample(sample, self._ledger.attempt_counts(sample.id, self.recipe), self._recipe.teacher.prompt.fill(sample))

    def _texts(self, rows: Iterator[Row]) -> Iterator[TeacherText]:
        """The teacher's texts that pass the checks; the other attempts are recorded here."""
        tasks = self._pending(rows)
        for task, reply in self._answered(self._teacher, tasks, lambda task: task, self._teacher_request, self._unopened):
            cost = self._reply_cost(self._recipe.teacher, task, self._teacher_request(task, BLANK), reply, 0)
            if reply.error:
                self._record(task, "failed", reply.error, teacher=reply, costs=[cost])
                continue
            text = TeacherText(task, reply, cost, self._draft(task.sample, reply.text))
            if found := rejection_reasons(text.draft, self._recipe.checks):
                self._record(task, "rejected", reasons=found, teacher=reply, costs=[cost])
            else:
                yield text

    def _settle(self, text: TeacherText, reply: Reply | None, cost: ReplyCost | None) -> None:
        """Records the verdict on a text that passed the checks."""
        judgement: Judgement | None = None
        error = reply.error if reply else None
        if reply and not error:
            try:
                judgement = read_judgement(reply.text)
            except UnreadableJudgement as unreadable:
                error = ModelError(UNREADABLE, str(unreadable))
        found = low_ratings(judgement, self._recipe.min_ratings) if judgement else ()
        if reply and not error and near_duplicate in self._recipe.checks:
            # Other texts may have been accepted while the judge was answering.
            found += rejection_reasons(text.draft, [near_duplicate])
        verdict: Verdict = "failed" if error else "rejected" if found else "accepted"
        if verdict == "accepted":
            self._accepted.add(text.task.sample.id, reasoning_of(text.draft))
        self._record(text.task, verdict, error, found, text.reply, reply, judgement, [text.cost, cost])

    def _answered(
        self,
        model: Model,
        items: Iterable[T],
        task_of: Callable[[T], PendingSample],
        request: Callable[[T, Image.Image], Request],
        unopened: Callable[[T, ImageError], None],
    ) -> Iterator[tuple[T, Reply]]:
        """Each item with the model's reply, in order. `unopened` is called with an item whose image cannot be opened."""
        waiting: deque[T] = deque()

        def requests() -> Iterator[Request]:
            for item, opened in _with_images(items, lambda item: task_of(item).sample.image, blind=isinstance(model, TemplateTeacher)):
                if isinstance(opened, ImageError):
                    unopened(item, opened)
                else:
                    waiting.append(item)
                    yield request(item, opened.image)

        for reply in model.answer(requests()):
            yield waiting.popleft(), reply

    def _teacher_request(self, task: PendingSample, image: Image.Image) -> Request:
        part, again = self._recipe.teacher, task.counts.rejected
        # The seed changes with rejections only: after a failure or an interruption the request is the same, and is not paid for twice.
        seed = mixed_seed(crc32(task.sample.id.encode("utf-8", "surrogatepass")), again)
        temperature = part.temperature or (_RETRY_TEMPERATURE if again else 0.0)
        return Request(image, task.question, task.sample.candidates, task.sample.id, seed, temperature)

    def _judge_request(self, text: TeacherText, image: Image.Image) -> Request:
        part, again = self._recipe.judge, text.task.counts.unreadable
        assert part is not None, "there is a judge to be asked"
        question = part.prompt.fill(text.task.sample, text.reply.text.strip())
        return Request(image, question, ANY_ANSWER, text.task.sample.id, again, part.temperature or (_RETRY_TEMPERATURE if again else 0.0))

    def _unopened(self, task: PendingSample, error: ImageError) -> None:
        self._record(task, "failed", ModelError(error.code, error.message))

    def _unseen(self, text: TeacherText, error: ImageError) -> None:
        self._record(text.task, "failed", ModelError(error.code, error.message), teacher=text.reply, costs=[text.cost])

    def _draft(self, sample: Sample, text: str) -> Draft:
        return draft(sample, text, self._accepted, self._recipe.limits)

    def _reply_cost(self, part: RecipeModel | None, task: PendingSample, request: Request, reply: Reply, place: int) -> ReplyCost | None:
        """The cost of a reply, named by the request, so that a repeated request is paid for once, unless its answer was lost."""
        assert part is not None, "every reply is from a model"
        self._budget.observe(place, reply.usage)
        if reply.usage is None:
            return None
        asked = [part.identity, task.sample.id, request.question, request.temperature, request.seed if request.temperature else 0]
        lost = [task.counts.attempts] if reply.error and reply.error.code in TRANSIENT else []
        return ReplyCost(_digest([*asked, *lost]), reply.usage.prompt_tokens, reply.usage.completion_tokens, reply.usage.cost or 0.0)

    def _record(
        self,
        task: PendingSample,
        verdict: Verdict,
        error: ModelError | None = None,
        reasons: tuple[RejectionReason, ...] = (),
        teacher: Reply | None = None,
        judge: Reply | None = None,
        judgement: Judgement | None = None,
        costs: Iterable[ReplyCost | None] = (),
    ) -> None:
        attempt = Attempt(
            sample=task.sample.id,
            number=task.counts.attempts + 1,
            recipe=self.recipe,
            teacher=self._recipe.teacher.model,
            prompt_hash=_digest(task.question)[:16],
            response=teacher.text if teacher and not teacher.error else None,
            error=error,
            judge=self._recipe.judge.model if self._recipe.judge else CHECKS_ALONE,
            judgement=judgement,
            verdict=verdict,
            reasons=reasons,
            seconds=round(sum(reply.seconds for reply in (teacher, judge) if reply), 4),
            at=datetime.now(UTC).isoformat(timespec="seconds"),
        )
        written = self._ledger.record(attempt, filter(None, costs))
        self._budget.in_flight -= 1
        self._budget.spent += written.cost
        out_of_tries = verdict == "rejected" and task.counts.rejected + 1 >= self._attempts
        final = error is not None and error.code not in TRANSIENT
        self._on_attempt(written, verdict == "accepted" or out_of_tries or final)


def _with_images(items: Iterable[T], path_of: Callable[[T], str], *, blind: bool) -> Iterator[tuple[T, OpenedImage | ImageError]]:
    """Each item with its image, opened a little ahead; with a blank image if `blind`."""
    if blind:
        yield from ((item, OpenedImage(BLANK)) for item in items)
        return
    ahead: deque[T] = deque()

    def paths() -> Iterator[str]:
        for item in items:
            ahead.append(item)
            yield path_of(item)

    for opened in open_images(paths(), _LIMITS):
        if isinstance(opened, OpenedImage):
            downscaled(opened.image)
        yield ahead.popleft(), opened


def _sample(ledger: Ledger, row: Row) -> Sample:
    return Sample.from_row(row, f"{display_name(ledger.path)}, sample {row['id']!r}")


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
