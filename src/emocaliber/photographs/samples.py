"""Sample rows of photographs, with labels that follow from people's ratings: what `lite` is trained, calibrated and measured on.

A picture is known by a belief about its mean ratings: exactly for a rated photograph, with an error where a regression guessed them. Each
row draws the ratings from that belief; the label is then that of one viewer, with the teacher's response (stage 1), or the one that most
people name, as data sets have it (stages 2 and 3, and held-out samples). A rated photograph's polarity is its mean rating's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from emocaliber.core.response import render
from emocaliber.core.samples import Sample
from emocaliber.core.tasks import labels_of
from emocaliber.core.tasks import task as task_called
from emocaliber.emotions.affect import PICTURES, is_polarity, label_distribution, most_named
from emocaliber.emotions.taxonomy import Taxonomy, taxonomy
from emocaliber.photographs.teacher import Look, write_photograph_response

Floats = npt.NDArray[np.float64]
OASIS_SD = (0.4, 0.57)  # of valence and arousal over a photograph's raters, in the mean
_LIMIT = 0.95  # of a drawn mean rating: no photograph is beyond


@dataclass(frozen=True)
class Picture:
    """A picture to ask about: its file, its look, and the belief about its mean valence and arousal (None: it is no photograph).

    `error` is the belief's SD on both axes, zeros for ratings; `people_sd` the SD over a photograph's raters. `told` are the values
    that a model is told in training (see `LiteVision`), empty for those that it reads itself.
    """

    id: str
    file: Path
    look: Look
    mean: tuple[float, float] | None = None
    error: tuple[float, float] = (0.0, 0.0)
    people_sd: tuple[float, float] = OASIS_SD
    told: tuple[float, ...] = ()


def rows_of(
    pictures: Sequence[Picture], tasks: Sequence[str], *, seed: int, split: str, source: str, teacher: bool
) -> Iterator[dict[str, Any]]:
    """One row for each picture, asked the task at its place in `tasks`, in order; ids are `picture/task`, image paths absolute.

    With `teacher` the label is one viewer's, and the row has a `response`, and `told` if the picture has values to tell. Without, the
    label is the one that most name, and `posterior` has the expected share of people for each label.
    """
    for number, (picture, name) in enumerate(zip(pictures, tasks, strict=True)):
        rng = np.random.default_rng([seed, number])
        labels = taxonomy(task_called(name).taxonomy)
        if picture.mean is None:
            felt, shares = (0.0, 0.0), np.full(len(labels.labels), 1 / len(labels.labels))
        else:
            drawn = np.clip(rng.normal(picture.mean, picture.error), -_LIMIT, _LIMIT)
            felt, shares = (float(drawn[0]), float(drawn[1])), _shares(drawn, labels, picture)
        label = str(rng.choice(labels.labels, p=shares if teacher else _named_by_most(felt, shares, labels.labels, picture)))
        sample = Sample(
            id=f"{picture.id}/{name}",
            image=str(picture.file.absolute()),
            task=name,
            candidates=labels_of(name, labels.labels),
            ground_truth=label,
            source=source,
            split=split,
            posterior=None if teacher else dict(zip(labels.labels, np.round(shares, 6).tolist(), strict=True)),
        )
        row = sample.to_row()
        if teacher:
            row["response"] = render(write_photograph_response(picture.look, *felt, float(shares[labels.labels.index(label)]), label))
            if picture.told:
                row["told"] = list(picture.told)
        yield row


def _shares(felt: Floats, labels: Taxonomy, picture: Picture) -> Floats:
    """Of people who see a picture of these mean ratings, the share that names each label.

    Which side of the midpoint is asked as people were asked, so the spread is the raters' own; a name for the emotion spreads as people do
    who name emotions.
    """
    sd = picture.people_sd if is_polarity(labels.labels) else PICTURES.typical_sd[:2]
    return label_distribution(felt, labels, sd)


def _named_by_most(felt: tuple[float, float], shares: Floats, labels: Sequence[str], picture: Picture) -> Floats:
    """P(each label is the one that most people name): for the polarity of a photograph, certainly its mean rating's side."""
    if picture.mean is None or not is_polarity(labels):
        return most_named(shares)
    side = "positive" if felt[0] > 0 else "negative"
    return np.array([float(label.casefold() == side) for label in labels])


def tasks_for(count: int, mixture: dict[str, int], seed: int) -> list[str]:
    """A task for each of `count` rows, in the proportions of `mixture` and a random order."""
    names = [name for name, share in mixture.items() for _ in range(share)]
    repeated = [names[number % len(names)] for number in range(count)]
    order = np.random.default_rng(seed).permutation(count)
    return [repeated[place] for place in order]
