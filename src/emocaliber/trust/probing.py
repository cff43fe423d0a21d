"""Asks a model what the probes need: first every picture's own question, then the changed ones; one row for each answer, on disk if wanted.

The questions and the source of the confidence are those of `predict`; `inference.engine.ask_all` asks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from emocaliber.core.calibrators import CALIBRATED
from emocaliber.core.model import Model
from emocaliber.core.samples import Sample
from emocaliber.core.scoring import is_correct
from emocaliber.core.sources import SOURCES, Evidence, confidences, evidence, norm, verb_mean
from emocaliber.core.tasks import CUSTOM_TASK, labels_of
from emocaliber.core.tasks import task as task_called
from emocaliber.emotions.labels import Labels
from emocaliber.emotions.taxonomy import taxonomy
from emocaliber.errors import UserError
from emocaliber.inference.engine import MAX_SIDE, ImageQuestion, QuestionResult, ask_all, downscaled, question_for
from emocaliber.inference.plan import identity_of_model, sampling_key, select
from emocaliber.inference.run import FREE_SETTINGS, without_secrets
from emocaliber.io.images import DEFAULT_LIMITS, ImageError, ImageLimits, OpenedImage, open_image
from emocaliber.io.rows import Row, RowWriter, display_name, read_rows, write_rows
from emocaliber.io.workspace import Workspace, record_of
from emocaliber.models.card import is_guess
from emocaliber.models.taught import TaughtQuestions
from emocaliber.trust.probe_scores import Pair, ProbeResult, score_probe
from emocaliber.trust.probes import (
    ORIGINAL,
    REWORDED,
    FirstAnswer,
    Probe,
    ProbedSample,
    Variant,
    partners,
    probes_named,
    seed_of,
    unchanged,
    variant,
)

FEWEST = 10  # pictures, below which nothing has an interval
_TRIED = "the picture's own question has no answer"


@dataclass(frozen=True)
class ProbePlan:
    """The pictures to probe with, the probes, and what identifies both: the `files` of samples (their SHA-256), or the task of pictures."""

    samples: Sequence[ProbedSample]
    probes: Sequence[Probe]
    what: Mapping[str, Any]
    seed: int = 0

    @property
    def labelled(self) -> bool:
        """Whether the true labels are known."""
        return any(sample.truth is not None for sample in self.samples)


def plan_of_samples(places: Sequence[Path], *, n: int, names: str | None = None, seed: int = 0) -> ProbePlan:
    """The plan for `n` of the samples in files or folders that `respond` reads. Raises UserError as `select` and `probes_named` do."""
    probes = probes_named(names, labelled=True)
    chosen = select(places, max_samples=n)
    files = {str(file.absolute()): digest for file, digest in chosen.files.items()}
    return ProbePlan([_of_sample(sample) for sample in chosen.samples], probes, {"samples": files, "n": n}, seed)


def plan_of_pictures(
    pictures: Sequence[str], *, n: int, task: str, labels: Sequence[str] | None = None, names: str | None = None, seed: int = 0
) -> ProbePlan:
    """The plan for `n` of the pictures, which have no true labels, asked the question of a task, or one with `labels` of its own.

    Raises UserError for an unknown task, and as `probes_named` does.
    """
    probes = probes_named(names, labelled=False)
    if labels is None:
        known = task_called(task)
        task, candidates = known.name, labels_of(known.name, taxonomy(known.taxonomy).labels)
    else:
        task, candidates = CUSTOM_TASK, Labels.of(tuple(labels))
    kept = set(sorted(pictures, key=sampling_key)[:n])
    samples = [ProbedSample(display_name(picture), picture, task, candidates) for picture in pictures if picture in kept]
    what = {"pictures": sorted(map(display_name, kept)), "task": task, "candidates": list(candidates), "n": n}
    return ProbePlan(samples, probes, what, seed)


def _of_sample(sample: Sample) -> ProbedSample:
    return ProbedSample(sample.id, sample.image, sample.task, sample.candidates, sample.ground_truth)


class Prober:
    """A model asked the questions of a plan, as `predict` asks them, with its answers as rows by `id`.

    `source` is the source of the confidence. `rows` holds earlier answers, which are not asked for again, and gets the new ones.
    """

    def __init__(
        self, model: Model, plan: ProbePlan, source: str, rows: dict[str, Row] | None = None, *, limits: ImageLimits = DEFAULT_LIMITS
    ) -> None:
        self.model, self.plan, self.source = model, plan, source
        self.rows: dict[str, Row] = {} if rows is None else rows
        self._limits = replace(limits, max_side=limits.max_side or MAX_SIDE)  # as `ask_all` opens files
        self._taught = TaughtQuestions.of(model)
        self._partners = partners(plan.samples, plan.seed)

    def ask(self, progress: Callable[[int], object] = lambda count: None) -> Iterator[Row]:
        """Yields the missing rows as they come: those of the pictures' own questions first.

        Raises UserError after these if no answer has a confidence by the source, as all further questions would be wasted.
        """
        own = [(sample, ORIGINAL, unchanged(sample)) for sample in self.plan.samples]
        yield from self._ask(own, progress)
        self._check_confidence()
        changed = [
            (sample, probe.name, found)
            for probe in self.plan.probes
            for sample in self.plan.samples
            if isinstance(found := self._variant(probe, sample), Variant)
        ]
        yield from self._ask(changed, lambda done: progress(len(own) + done))

    @property
    def most(self) -> int:
        """The most questions that `ask` asks, earlier ones included."""
        return len(self.plan.samples) * (1 + sum(self._unasked(probe) is None for probe in self.plan.probes))

    def results(self) -> list[ProbeResult]:
        """The result of each probe, from the rows."""
        instead = norm.__name__ if self._taught and self._taught.fixed else verb_mean.__name__
        return [self._result(probe, instead) for probe in self.plan.probes]

    def first_row(self, sample: ProbedSample) -> Row | None:
        """The row of a sample's own question."""
        return self.rows.get(_key(sample, ORIGINAL))

    def changed(self, probe: Probe, sample: ProbedSample) -> tuple[Row, OpenedImage | ImageError] | None:
        """The row of a probe's question about a sample, and the picture that it shows; None if it was not asked."""
        row, found = self.rows.get(_key(sample, probe.name)), self._variant(probe, sample)
        return (row, self._picture(found, sample)) if row and isinstance(found, Variant) else None

    def picture(self, sample: ProbedSample) -> OpenedImage | ImageError:
        """The sample's own picture."""
        return self._picture(unchanged(sample), sample)

    def _ask(self, asked: Sequence[tuple[ProbedSample, str, Variant]], progress: Callable[[int], object]) -> Iterator[Row]:
        by_key = {_key(sample, name): (sample, name, found) for sample, name, found in asked}
        asks = [self._question(key, *each) for key, each in by_key.items()]
        for result in ask_all(asks, self.model, done=self.rows.keys(), limits=self._limits, progress=progress):
            row = self._row(result, *by_key[result.ask.key])
            self.rows[row["id"]] = row
            yield row

    def _question(self, key: str, sample: ProbedSample, name: str, found: Variant) -> ImageQuestion:
        image = found.image if found.change is None else lambda: self._picture(found, sample)
        return ImageQuestion(key, image, self._text(sample, found), self._wanted(found))

    def _text(self, sample: ProbedSample, found: Variant) -> str:
        """The text of a question; a model of fixed questions is asked the taught one that is nearest, as by `predict`."""
        if found.reworded:
            return REWORDED.question(sample.task, found.candidates)
        if self._taught and self._taught.fixed:
            return question_for(*self._taught.asked_with(sample.task, found.candidates))
        return question_for(sample.task, found.candidates)

    def _wanted(self, found: Variant) -> Labels:
        return self._taught.spelt(found.candidates) if self._taught and self._taught.fixed else found.candidates

    def _picture(self, found: Variant, sample: ProbedSample) -> OpenedImage | ImageError:
        try:
            opened = open_image(found.image, self._limits)
        except ImageError as error:
            return error
        image = downscaled(opened.image)
        return OpenedImage(found.change(image, seed_of(sample, self.plan.seed)) if found.change else image, opened.notes)

    def _row(self, result: QuestionResult, sample: ProbedSample, name: str, found: Variant) -> Row:
        reply, wanted = result.reply, self._wanted(found)
        understood = evidence(reply, wanted) if reply else None
        own = dict(zip(wanted, found.meaning.values(), strict=True))
        answer = own[understood.response.answer] if understood else None
        truth = sample.truth if found.image == sample.image else None  # another sample's picture has another truth
        choice = understood.at_commitment if understood else None
        likeliest = sorted(choice.distribution.items(), key=lambda item: -item[1]) if choice else []
        return {
            "id": result.ask.key,
            "sample": sample.id,
            "probe": name,
            "image": display_name(found.image),
            "task": sample.task,
            "candidates": list(wanted),
            "ground_truth": truth,
            "answer": answer,
            "correct": None if truth is None else is_correct(answer, truth, sample.candidates),
            "confidence": self._confidences(understood, sample.task, wanted),
            "alternatives": {own[label]: round(probability, 6) for label, probability in likeliest},
            "model": self.model.name,
            "response": reply.text if reply and not reply.error else None,
            "error": {"code": result.error.code, "message": result.error.message} if result.error else None,
            "seconds": round(reply.seconds, 4) if reply else None,
        }

    def _confidences(self, understood: Evidence | None, task: str, wanted: Labels) -> dict[str, float | None]:
        """The confidence by every source; `calibrated` is there where the model's card has a calibrator for the question.

        Of a guess about an unfamiliar picture it is that of chance, as in `predict`.
        """
        stated, calibrators = confidences(understood), getattr(self.model, "calibrators", None)
        if calibrators is None or not calibrators.find(task, wanted):
            return stated
        guessed = understood is not None and is_guess(self.model, understood.response)
        return stated | {CALIBRATED: 1 / len(wanted) if guessed else calibrators.apply(task, wanted, stated)[0]}

    def _check_confidence(self) -> None:
        answered = [row for row in self._own_rows() if row["answer"] is not None]
        if not answered:
            raise UserError(f"{self.model.name}: {self._why_unanswered()}, so nothing can be probed")
        if any(row["confidence"].get(self.source) is not None for row in answered):
            return
        others = [name for name in SOURCES if any(row["confidence"].get(name) is not None for row in answered)]
        remedy = f"give --source with one of {', '.join(others)}" if others else "it can be scored for accuracy only"
        raise UserError(f"{self.model.name} gave no confidence by the source {self.source!r} in {len(answered):,} answers; {remedy}")

    def _own_rows(self) -> list[Row]:
        return [row for sample in self.plan.samples if (row := self.first_row(sample))]

    def _why_unanswered(self) -> str:
        rows = self._own_rows()
        failed = Counter(row["error"]["code"] for row in rows if row["error"])
        of = f"{len(rows):,} of {len(rows):,} pictures have no readable answer"
        first = next((row["error"]["message"] for row in rows if row["error"]), None)
        codes = ", ".join(f"{code} {count:,}" for code, count in failed.items())
        return f"{of} ({codes}; the first: {first})" if failed else of

    def _unasked(self, probe: Probe) -> str | None:
        """Why a probe makes no sense for this model or these samples; None if it does."""
        name = self.model.name
        if probe.needs_truth and not self.plan.labelled:
            return "the true labels are not known"
        if not (self._taught and self._taught.fixed):
            return None
        if probe.name == "wording":
            return f"{name} understands the questions it was taught only, and no other wording"
        if probe.name == "synonyms":
            return f"{name} was not taught other words for its labels"
        return None

    def _variant(self, probe: Probe, sample: ProbedSample) -> Variant | str:
        """The question of a probe about a sample, or why there is none."""
        first = self.first_row(sample)
        if (why := self._unasked(probe)) is not None:
            return why
        if first is None or first["answer"] is None:
            return _TRIED
        answer = FirstAnswer(first["answer"], first["alternatives"])
        found = variant(probe, sample, answer, self._partners.get(sample.id), self.plan.seed)
        if probe.name == "order" and isinstance(found, Variant) and self._text(sample, found) == self._text(sample, unchanged(sample)):
            return f"{self.model.name} is asked the same question in any order of these candidates"
        return found

    def _result(self, probe: Probe, instead: str) -> ProbeResult:
        if (why := self._unasked(probe)) is not None:
            return ProbeResult(probe, why=why)
        pairs: list[Pair] = []
        left_out: Counter[str] = Counter()
        for sample in self.plan.samples:
            found, first = self._variant(probe, sample), self.first_row(sample)
            changed = self.rows.get(_key(sample, probe.name))
            if isinstance(found, str):
                left_out[found] += 1
            elif first is None or changed is None:
                left_out["it has not been asked yet"] += 1
            else:
                pairs.append((first, changed))
        return score_probe(probe, pairs, left_out, self.source, instead=instead, seed=self.plan.seed)


def _key(sample: ProbedSample, name: str) -> str:
    return f"{sample.id}:{name}"


class AnswersFile:
    """The file of a prober's rows, with a record of what was asked beside it, both locked until `close`.

    Existing rows of the same questions are kept: `rows` holds them by id. With `retry_failed`, those with an error are asked for again.
    The probes and the source of the confidence may differ between runs. Raises UserError for rows of other questions.
    """

    def __init__(self, path: Path, model: str, settings: Mapping[str, Any], plan: ProbePlan, *, retry_failed: bool = False) -> None:
        self.path = path
        what = {"model": identity_of_model(model), "settings": without_secrets(settings), "seed": plan.seed, **plan.what}
        what["questions"] = _questions(plan)
        free = [f"settings.{name}" for name in FREE_SETTINGS]
        remedy = "Give the same settings, or another --out"
        with ExitStack() as closing:
            record = Workspace(record_of(path), what, path=path, remedy=remedy, free=free, contents=("model.commit",))
            closing.enter_context(record)
            record.check(needed=path.exists() and path.stat().st_size > 0)
            record.write()
            self._writer = closing.enter_context(RowWriter(path, resume=True))
            earlier = list(read_rows(path))
            if retry_failed and any(row["error"] for row in earlier):
                earlier = [row for row in earlier if not row["error"]]
                self._writer.close()
                write_rows(path, earlier)
                self._writer = closing.enter_context(RowWriter(path, resume=True))
            self.rows: dict[str, Row] = {row["id"]: row for row in earlier}
            self._closing = closing.pop_all()

    def write(self, row: Row) -> None:
        """Appends a row."""
        self._writer.write(row)

    def close(self) -> None:
        """Closes the file, and releases the locks. May be called twice."""
        self._closing.close()


def _questions(plan: ProbePlan) -> dict[str, str]:
    """The question of each task's first sample, and the same in other words, as a later version of this package may ask otherwise."""
    found: dict[str, str] = {}
    for sample in plan.samples:
        if sample.task not in found:
            found[sample.task] = question_for(sample.task, sample.candidates)
            found[f"{sample.task}, reworded"] = REWORDED.question(sample.task, sample.candidates)
    return found
