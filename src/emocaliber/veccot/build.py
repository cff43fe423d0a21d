"""The assembly line: samples to a teacher, its texts through the checks to a judge, every attempt into the ledger.

It is a stream from end to end: each model draws what it asks about from the one before it, so that both are busy all the time and no more
is in memory than they have under way. An attempt is written down the moment its verdict is known.
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
from emocaliber.veccot.budget import Purse, Tariff
from emocaliber.veccot.checks import Draft, Originals, draft, near_duplicate, objections, reasoning_of
from emocaliber.veccot.ledger import TRANSIENT, UNREADABLE, Attempt, Bill, Ledger, Objection, Tried, Verdict
from emocaliber.veccot.recipe import Part, Recipe
from emocaliber.veccot.teacher import BLANK, CHECKS_ALONE, Judgement, Narrator, Unreadable, objections_of, read_judgement

_LIMITS = replace(DEFAULT_LIMITS, max_side=MAX_SIDE)
_OTHERWISE = 0.7  # the temperature at which a greedy model is asked again, as it would say the same

T = TypeVar("T")


@dataclass(frozen=True)
class Task:
    """A sample whose turn it is, and what was tried with it before."""

    sample: Sample
    tried: Tried
    question: str


@dataclass(frozen=True)
class Text:
    """What the teacher wrote for a task, after the checks."""

    task: Task
    reply: Reply
    bill: Bill | None
    draft: Draft


class Line:
    """Builds a ledger by one recipe. `teacher` and `judge` (None: the checks alone) are its models.

    A sample is tried up to `attempts` times: again after a rejection, with another seed, and after a failure that may pass. `budget` is in
    dollars, over all that the ledger has seen; with `batches`, models are paid as batches are. `only` names the samples it is about. `stop`
    is asked before each sample; once it says so, what is under way ends, and nothing more begins. `progress` hears of every attempt, and
    whether its sample is settled by it.

    After `run`, `stopped` says why it ended early, if it did. UserErrors of the models are raised as they are.
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
        progress: Callable[[Attempt, bool], object] = lambda attempt, settled: None,
    ) -> None:
        self._ledger, self._recipe, self._teacher, self._judge = ledger, recipe, teacher, judge
        self._attempts, self._only = attempts, only
        self._stop, self._progress = stop, progress
        self.recipe = ledger.add_recipe(recipe.settings)
        self.stopped: str | None = None
        tariffs = tuple(Tariff.of(part.settings, batches=batches) for part in (recipe.teacher, recipe.judge) if part)
        self._purse = Purse(budget, ledger.totals().cost, tariffs)
        self._accepted = Originals()
        self._exhausted = False
        for row, attempt in ledger.accepted():
            self._accepted.add(row["id"], reasoning_of(self._draft(_sample(ledger, row), attempt.response or "")))

    def run(self) -> None:
        """Tries every sample that is not settled. In a round each has its turn once, so those to be tried again come after all others."""
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
        for text, reply in self._asked(self._judge, texts, lambda text: text.task, self._judge_request, self._unseen):
            self._settle(text, reply, self._bill(self._recipe.judge, text.task, self._judge_request(text, BLANK), reply, 1))

    def _tasks(self, rows: Iterator[Row]) -> Iterator[Task]:
        """The next samples, for as long as more may be begun."""
        while True:
            if self._stop():
                self.stopped = "it was told to stop"
                return
            if not self._purse.allows:
                if not self._purse.under_way:
                    self.stopped = self._purse.sentence()
                return  # what is under way ends, costs less than feared, and leaves room for more
            row = next(rows, None)
            if row is None:
                self._exhausted = True
                return
            sample = _sample(self._ledger, row)
            self._purse.under_way += 1
            yield Task(sample, self._ledger.tried(sample.id, self.recipe), self._recipe.teacher.prompt.fill(sample))

    def _texts(self, rows: Iterator[Row]) -> Iterator[Text]:
        """The teacher's texts that pass the checks; every other attempt ends here."""
        tasks = self._tasks(rows)
        for task, reply in self._asked(self._teacher, tasks, lambda task: task, self._teacher_request, self._unopened):
            bill = self._bill(self._recipe.teacher, task, self._teacher_request(task, BLANK), reply, 0)
            if reply.error:
                self._record(task, "failed", reply.error, teacher=reply, bills=[bill])
                continue
            text = Text(task, reply, bill, self._draft(task.sample, reply.text))
            if found := objections(text.draft, self._recipe.checks):
                self._record(task, "rejected", reasons=found, teacher=reply, bills=[bill])
            else:
                yield text

    def _settle(self, text: Text, reply: Reply | None, bill: Bill | None) -> None:
        """The verdict on a text that passed the checks."""
        judgement: Judgement | None = None
        error = reply.error if reply else None
        if reply and not error:
            try:
                judgement = read_judgement(reply.text)
            except Unreadable as unreadable:
                error = ModelError(UNREADABLE, str(unreadable))
        found = objections_of(judgement, self._recipe.least) if judgement else ()
        if reply and not error and near_duplicate in self._recipe.checks:
            # Others were accepted while the judge made up its mind.
            found += objections(text.draft, [near_duplicate])
        verdict: Verdict = "failed" if error else "rejected" if found else "accepted"
        if verdict == "accepted":
            self._accepted.add(text.task.sample.id, reasoning_of(text.draft))
        self._record(text.task, verdict, error, found, text.reply, reply, judgement, [text.bill, bill])

    def _asked(
        self,
        model: Model,
        items: Iterable[T],
        task_of: Callable[[T], Task],
        request: Callable[[T, Image.Image], Request],
        unopened: Callable[[T, ImageError], None],
    ) -> Iterator[tuple[T, Reply]]:
        """Each item with the model's reply, in order. An item whose image cannot be opened goes to `unopened` instead."""
        waiting: deque[T] = deque()

        def requests() -> Iterator[Request]:
            for item, opened in _with_images(items, lambda item: task_of(item).sample.image, blind=isinstance(model, Narrator)):
                if isinstance(opened, ImageError):
                    unopened(item, opened)
                else:
                    waiting.append(item)
                    yield request(item, opened.image)

        for reply in model.answer(requests()):
            yield waiting.popleft(), reply

    def _teacher_request(self, task: Task, image: Image.Image) -> Request:
        part, again = self._recipe.teacher, task.tried.rejected
        # The seed changes with each rejection only: what failed, or was cut off, is the same question, and is not paid for again.
        seed = mixed_seed(crc32(task.sample.id.encode("utf-8", "surrogatepass")), again)
        temperature = part.temperature or (_OTHERWISE if again else 0.0)
        return Request(image, task.question, task.sample.candidates, task.sample.id, seed, temperature)

    def _judge_request(self, text: Text, image: Image.Image) -> Request:
        part, again = self._recipe.judge, text.task.tried.unreadable
        assert part is not None, "there is a judge to be asked"
        question = part.prompt.fill(text.task.sample, text.reply.text.strip())
        return Request(image, question, ANY_ANSWER, text.task.sample.id, again, part.temperature or (_OTHERWISE if again else 0.0))

    def _unopened(self, task: Task, error: ImageError) -> None:
        self._record(task, "failed", ModelError(error.code, error.message))

    def _unseen(self, text: Text, error: ImageError) -> None:
        self._record(text.task, "failed", ModelError(error.code, error.message), teacher=text.reply, bills=[text.bill])

    def _draft(self, sample: Sample, text: str) -> Draft:
        return draft(sample, text, self._accepted, self._recipe.limits)

    def _bill(self, part: Part | None, task: Task, request: Request, reply: Reply, place: int) -> Bill | None:
        """What a reply cost, under a name that says which reply it is: a question is asked once, unless its answer got lost."""
        assert part is not None, "a reply has somebody who gave it"
        self._purse.read(place, reply.usage)
        if reply.usage is None:
            return None
        asked = [part.identity, task.sample.id, request.question, request.temperature, request.seed if request.temperature else 0]
        lost = [task.tried.attempts] if reply.error and reply.error.code in TRANSIENT else []
        return Bill(_digest([*asked, *lost]), reply.usage.prompt_tokens, reply.usage.completion_tokens, reply.usage.cost or 0.0)

    def _record(
        self,
        task: Task,
        verdict: Verdict,
        error: ModelError | None = None,
        reasons: tuple[Objection, ...] = (),
        teacher: Reply | None = None,
        judge: Reply | None = None,
        judgement: Judgement | None = None,
        bills: Iterable[Bill | None] = (),
    ) -> None:
        attempt = Attempt(
            sample=task.sample.id,
            number=task.tried.attempts + 1,
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
        written = self._ledger.record(attempt, filter(None, bills))
        self._purse.under_way -= 1
        self._purse.spent += written.cost
        out_of_tries = verdict == "rejected" and task.tried.rejected + 1 >= self._attempts
        final = error is not None and error.code not in TRANSIENT
        self._progress(written, verdict == "accepted" or out_of_tries or final)


def _with_images(items: Iterable[T], path_of: Callable[[T], str], *, blind: bool) -> Iterator[tuple[T, OpenedImage | ImageError]]:
    """Each item with its image, opened a little ahead; with a blank one for a model that is blind."""
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
