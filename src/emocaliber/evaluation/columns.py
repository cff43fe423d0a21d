"""The outcomes of one system by column: what a comparison needs of a million of them, in little memory."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from emocaliber.errors import UserError
from emocaliber.evaluation.tally import Floats
from emocaliber.scoring import Outcome

Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Columns:
    """Outcomes sorted by task and id, each column (n,). `confidence` holds NaN where a source gave none."""

    tasks: Sequence[str]
    ids: Sequence[str]
    truths: Sequence[str]
    answers: Sequence[str | None]
    images: Sequence[str | None]
    right: Bools
    confidence: dict[str, Floats]

    @classmethod
    def of(cls, outcomes: Iterable[Outcome]) -> Columns:
        """Reads each outcome once. Raises ValueError where there are none."""
        same: dict[str | None, str | None] = {}  # equal labels and names become one object
        texts: list[tuple[str, str, str, str | None, str | None]] = []
        right: list[bool] = []
        confidence: dict[str, list[float]] = {}
        for outcome in outcomes:
            task, truth, answer = (same.setdefault(each, each) for each in (outcome.task, outcome.ground_truth, outcome.answer))
            texts.append((task or "", outcome.id, truth or "", answer, outcome.image))
            right.append(outcome.correct)
            for source, value in outcome.confidence.items():
                if value is not None:
                    known = confidence.setdefault(source, [])
                    known.extend([np.nan] * (len(right) - 1 - len(known)))
                    known.append(value)
        if not texts:
            raise ValueError("there are no outcomes to compare")
        order = np.array(sorted(range(len(texts)), key=lambda row: texts[row][:2]))
        tasks, ids, truths, answers, images = zip(*(texts[row] for row in order.tolist()), strict=True)
        stated = {s: np.array(v + [np.nan] * (len(right) - len(v)))[order] for s, v in sorted(confidence.items())}
        return cls(tasks, ids, truths, answers, images, np.array(right, dtype=bool)[order], stated)


def check_same_samples(a: Columns, b: Columns) -> None:
    """Raises UserError where two systems did not answer the same samples."""
    if a.tasks != b.tasks or a.ids != b.ids:
        keys = [set(zip(columns.tasks, columns.ids, strict=True)) for columns in (a, b)]
        for name, mine, other in (("the second", keys[0], keys[1]), ("the first", keys[1], keys[0])):
            if missing := sorted(mine - other):
                task, sample = missing[0]
                raise UserError(
                    f"{len(missing)} samples are not in {name}, among them {sample!r} of {task}; a comparison needs the same samples in "
                    "both: let both systems answer one file"
                )
        raise UserError("a sample is more often in one of the two than in the other; let both systems answer one file")
    for task, sample, first, second in zip(a.tasks, a.ids, a.truths, b.truths, strict=True):
        if first != second:
            raise UserError(
                f"sample {sample!r} of {task} has the truth {first!r} in the first and {second!r} in the second; let both systems answer "
                "one file"
            )


def images_of(a: Columns, b: Columns) -> list[str]:
    """(n,): a name for the image of each sample, the same where samples share one, from what two systems say of the same samples.

    What counts is which samples share an image, not what a file calls it; where one system does not say, the other does. Raises UserError
    where they say different things.
    """
    found = []
    in_b: dict[str, str] = {}  # the second's names of images by the first's
    in_a: dict[str, str] = {}
    for row, (first, second) in enumerate(zip(a.images, b.images, strict=True)):
        if first is not None and second is not None:
            for names, one, other, where in ((in_b, first, second, "the first"), (in_a, second, first, "the second")):
                if names.setdefault(one, other) != other:
                    raise UserError(
                        f"sample {a.ids[row]!r} of {a.tasks[row]} shares its image with another sample in {where} of the two alone; "
                        "answers to one image are not independent, so both must agree on it: let both systems answer one file, or take the "
                        "field 'image' out of one of them"
                    )
    for first, second, sample in zip(a.images, b.images, a.ids, strict=True):
        image = in_a.get(second, second) if first is None and second is not None else first
        found.append(sample if image is None else image)
    return found
