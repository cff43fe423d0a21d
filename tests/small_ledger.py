"""A small ledger for tests of what is made from one: drawn pictures, with attempts and verdicts as given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from PIL import Image

from emocaliber.core.model import ModelError
from emocaliber.core.response import Reasoning, Response, render
from emocaliber.core.samples import Sample
from emocaliber.core.tasks import taxonomy_of
from emocaliber.veccot.ledger import Attempt, Ledger, RejectionReason, Verdict

SETTINGS = {"teacher": {"model": "seed", "prompt": "Describe"}, "judge": {"model": "checks"}}


def sample(folder: Path, number: int, task: str = "EmoSet-8", label: str | None = None, *, image: str = "", split: str = "train") -> Sample:
    """A sample with a picture of its own, unless it shares the `image` of that name."""
    path = folder / (image or f"{task}-{number}.png")
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (24, 16), (number % 256, number // 256, len(task))).save(path)
    known = taxonomy_of(task)
    assert known is not None
    labels = known.labels
    return Sample(f"{task}/{number}", str(path), task, labels, label or labels[number % len(labels)], "drawn", split)


def told(label: str, number: int = 0) -> str:
    """A good reasoning for a label."""
    steps = Reasoning(f"A red kite number {number}.", "There is nobody.", "A wide, clear sky.", "The kite rises.", f"It evokes {label}.")
    return render(Response(steps, label))


def record(
    book: Ledger, sample: Sample, verdicts: Sequence[Verdict], *, recipe: str, checks: Sequence[str] = ("length",), **more: Any
) -> None:
    """Records one attempt per verdict, the rejected ones with all of `checks` as reasons; `more` are other fields of the attempts."""
    for number, verdict in enumerate(verdicts, 1):
        failed = verdict == "failed"
        attempt = Attempt(
            sample=sample.id,
            number=number,
            recipe=recipe,
            teacher="seed",
            prompt_hash="0" * 16,
            response=None if failed else told(sample.ground_truth, number),
            error=ModelError("timeout", "no answer within 120 s") if failed else None,
            judge="checks",
            judgement=None,
            verdict=verdict,
            reasons=tuple(RejectionReason(check, f"{check} is wrong") for check in checks) if verdict == "rejected" else (),
            prompt_tokens=900,
            completion_tokens=100,
            cost=0.25,
            seconds=2.0,
            at=f"2025-01-01T00:00:{number:02d}Z",
        )
        book.record(replace(attempt, **more))


def ledger_of(path: Path, attempts: Sequence[tuple[Sample, Sequence[Verdict]]]) -> Path:
    """A ledger with these samples and verdicts, under one recipe."""
    with Ledger(path, create=True) as book:
        recipe = book.add_recipe(SETTINGS)
        book.add_samples(each.to_row() for each, _ in attempts)
        for each, verdicts in attempts:
            record(book, each, verdicts, recipe=recipe)
    return path
