"""People's votes on pictures: a file that each vote is appended to, and the samples that come of it."""

from __future__ import annotations

import hashlib
import os
import unicodedata
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Self

from emocaliber.core.samples import Fields, Sample
from emocaliber.emotions.labels import Labels
from emocaliber.errors import UserError
from emocaliber.io.row_formats import Place
from emocaliber.io.rows import RowWriter, display_name, numbered_rows, write_rows
from emocaliber.vecbench.sources.reader import majority_label

SKIPPED = None  # the emotion of a vote of somebody who cannot say
LONGEST_NAME = 80  # characters


class Votes:
    """The votes on `images`, among `candidates`, in a JSONL file with a row for each. It is locked until `close`; use as a context manager.

    Rows have `image` (a path from the file's folder), `person`, `task`, `candidates`, `emotion` (null: cannot say), `seconds` (how long
    the picture was looked at, or null) and `at` (ISO time). Of several votes of one person on one picture the last counts. Votes that are
    in the file already count too; those on images that are not among `images` stay as they are.

    Raises UserError if the file cannot be written or another process has it, and for rows that are no votes among these candidates.
    """

    def __init__(self, path: str | Path, images: Sequence[str], task: str, candidates: Labels) -> None:
        self.path = Path(path)
        self.task, self.candidates = task, candidates
        self._images = list(images)
        folder = self.path.absolute().parent
        self._names = [Path(os.path.relpath(image, folder)).as_posix() for image in images]
        self._cast: dict[str, dict[str, str | None]] = {}  # by the image's name and the person's key
        self._people: dict[str, str] = {}  # each person's name as first given
        self._writer = RowWriter(self.path, resume=True, key="image")
        try:
            for number, row in numbered_rows(self.path):
                self._read(Fields(row, str(Place(self.path, number))))
        except BaseException:
            self._writer.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Flushes the file to disk and releases it. May be called twice."""
        self._writer.close()

    @property
    def people(self) -> list[str]:
        """The names of all who voted, in the order in which they came."""
        return list(self._people.values())

    def __len__(self) -> int:
        """The number of votes that count, without those who could not say."""
        return sum(sum(counts.values()) for counts in map(self.counts, range(len(self._images))))

    def order_for(self, person: str) -> list[int]:
        """The places of all images in an order of this person's own, the same each time, so that not all see the same pictures last."""
        key = person_key(person)
        return sorted(range(len(self._names)), key=lambda place: _digest(f"{key}\0{self._names[place]}"))

    def of(self, person: str) -> dict[int, str | None]:
        """This person's votes by the places of the images; None for those skipped."""
        key = person_key(person)
        return {place: cast[key] for place, name in enumerate(self._names) if key in (cast := self._cast.get(name, {}))}

    def cast(self, person: str, place: int, emotion: str | None, seconds: float | None = None) -> None:
        """Appends the vote of a person on the image at a place. Raises UserError for what is no name, and a label that is no candidate."""
        chosen = SKIPPED if emotion is SKIPPED else self.candidates.named(emotion)
        if chosen is SKIPPED and emotion is not SKIPPED:
            raise UserError(f"{emotion!r} is not among the labels {', '.join(self.candidates)}")
        name = self._names[place]
        key = person_key(person)
        now = datetime.now().astimezone().isoformat(timespec="seconds")
        row: dict[str, object] = {"image": name, "person": self._people.get(key, _shown(person)), "task": self.task}
        row |= {"candidates": list(self.candidates), "emotion": chosen, "seconds": seconds, "at": now}
        self._writer.write(row)
        self._count(name, person, chosen)

    def counts(self, place: int) -> dict[str, int]:
        """How many people chose each label for the image at a place, in the order of the candidates."""
        found = Counter(self._cast.get(self._names[place], {}).values())
        return {label: found[label] for label in self.candidates if found[label]}

    def samples(self, split: str = "test") -> tuple[list[Sample], int]:
        """A sample for each image whose votes have a winner, and the number of images with a tie. Images without votes are in neither."""
        made, ties = [], 0
        for place, name in enumerate(self._names):
            if not (counts := self.counts(place)):
                continue
            if (winner := majority_label(counts)) is None:
                ties += 1
                continue
            made.append(
                Sample(
                    id=name,
                    image=self._images[place],
                    task=self.task,
                    candidates=self.candidates,
                    ground_truth=winner,
                    source="label",
                    split=split,
                    votes=counts,
                )
            )
        return made, ties

    def write_samples(self, path: str | Path, split: str = "test") -> str:
        """Writes the samples, and returns a sentence that says how many there are, and which images have none."""
        made, ties = self.samples(split)
        write_rows(path, (sample.to_row(Path(path).absolute().parent) for sample in made))
        none = len(self._images) - len(made) - ties
        left = [f"{count} with {what}" for count, what in ((ties, "a tie"), (none, "no vote")) if count]
        return f"wrote {display_name(path)}: {len(made)} samples" + (f"; without a sample: {', '.join(left)}" if left else "")

    def _read(self, fields: Fields) -> None:
        task, candidates = fields.text("task"), fields.labels("candidates")
        if list(candidates) != list(self.candidates):
            shown = f"the labels {', '.join(candidates)}" + (f" (task {task})" if task != self.task else "")
            raise fields.error("candidates", f"has {shown}", "give the same labels as before, or another file")
        given = fields.optional_text("emotion")
        emotion = fields.label("emotion", self.candidates) if given is not None else SKIPPED
        self._count(fields.text("image"), fields.text("person"), emotion)

    def _count(self, name: str, person: str, emotion: str | None) -> None:
        key = person_key(person)
        self._people.setdefault(key, _shown(person))
        self._cast.setdefault(name, {})[key] = emotion


def person_key(name: str) -> str:
    """What tells people apart: their name in any case and spacing. Raises UserError for a name that is empty, too long or not printable."""
    shown = _shown(name)
    if not shown or len(shown) > LONGEST_NAME or not shown.isprintable():
        raise UserError(f"{shown[:LONGEST_NAME]!r} is no name to keep votes under; give 1 to {LONGEST_NAME} letters")
    return shown.casefold()


def _shown(name: str) -> str:
    return " ".join(unicodedata.normalize("NFC", name).split())


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
