"""A sample: an image, the emotions to choose from, and the right one."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from emocaliber.emotions import Labels
from emocaliber.vecbench.fields import Fields, identified_rows
from emocaliber.vecbench.tasks import canonical_task, labels_of, taxonomy_of


@dataclass(frozen=True)
class Sample:
    """One question with its answer. `votes` are people's, `posterior` is the truth where it is known (drawn scenes)."""

    id: str
    image: str
    task: str
    candidates: Labels
    ground_truth: str
    source: str
    split: str
    votes: Mapping[str, int] | None = None
    posterior: Mapping[str, float] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "candidates", labels_of(self.task, self.candidates))

    @classmethod
    def from_row(cls, row: Mapping[str, object], where: str) -> Sample:
        """Reads a sample row, or any row that contains one. Raises UserError naming `where` (the row's file and line) and the field."""
        fields = Fields(row, where)
        task = canonical_task(fields.text("task"))
        candidates = fields.labels("candidates", taxonomy_of(task))
        return cls(
            id=fields.text("id"),
            image=fields.text("image"),
            task=task,
            candidates=candidates,
            ground_truth=fields.label("ground_truth", candidates),
            source=fields.text("source"),
            split=fields.text("split"),
            votes=fields.votes("votes", candidates),
            posterior=fields.posterior("posterior", candidates),
        )

    def to_row(self, folder: str | Path | None = None) -> dict[str, object]:
        """The sample as a JSON row; with `folder`, where the file will lie, the image's path is made relative to it."""
        row: dict[str, object] = {
            "id": self.id,
            "image": self.image if folder is None else Path(os.path.relpath(self.image, folder)).as_posix(),
            "task": self.task,
            "candidates": list(self.candidates),
            "ground_truth": self.ground_truth,
            "source": self.source,
            "split": self.split,
        }
        if self.votes is not None:
            row["votes"] = dict(self.votes)
        if self.posterior is not None:
            row["posterior"] = dict(self.posterior)
        return row


def read_samples(path: str | Path) -> Iterator[Sample]:
    """The samples of a JSONL file, in order, with absolute image paths.

    Raises UserError, naming the file, the line and the field, for the first row that is not a sample or repeats an id. Whether the
    images exist is not asked here: opening one gives its own error.
    """
    folder = Path(path).absolute().parent
    for where, row in identified_rows(path):
        sample = Sample.from_row(row, where)
        yield replace(sample, image=str(folder / sample.image))
