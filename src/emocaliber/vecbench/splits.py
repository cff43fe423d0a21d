"""Assigns images to subtasks, splits and stages: pure functions of the seed and the images' own paths.

The paper says: FI is halved into FI-8 and FI-2; WebEmo goes 1:1:1 to WebEmo-25, WebEmo-7 and WebEmo-2; 1,000 images are sampled
for testing from each of these, from EmoSet and from UnbiasedEmo; Abstract and ArtPhoto are for testing alone; unselected images train.

The rest is decided here. Halves, thirds and samples are stratified by label, as finely as the source labels it. Random order
follows a hash of seed and path, so it depends on neither the machine, the folder nor the order of the sources. Nothing of the
out-of-domain sources trains. EmoSet keeps its own split: its training part has 94,481 images, the paper trains on 94,448, and all that
is unselected would be 117,102.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import NamedTuple

from emocaliber.core.tasks import TASKS
from emocaliber.emotions.taxonomy import Taxonomy, taxonomy
from emocaliber.errors import UserError
from emocaliber.io.rows import Row
from emocaliber.vecbench.sources.reader import Item, LoadedSource

SUBTASKS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "fi": ("FI-8", "FI-2"),
        "webemo": ("WebEmo-25", "WebEmo-7", "WebEmo-2"),
        "emoset": ("EmoSet-8",),
        "abstract": ("Abstract-8",),
        "artphoto": ("Artphoto-8",),
        "unbiasedemo": ("UnbiasedEmo-6",),
    }
)

OUT_OF_DOMAIN = ("abstract", "artphoto", "unbiasedemo")
OWN_SPLIT = ("emoset",)

_WHOLE = ("abstract", "artphoto")

# How many folders of a path, from its end, name an image within its source; the whole path where that is not unique.
_ID_PARTS = {"emoset": 1, "abstract": 1, "artphoto": 1, "fi": 2, "webemo": 3, "unbiasedemo": 3}

STAGE_RATIO = (6, 3, 1)  # of VEC-CoT's three stages


@dataclass(frozen=True)
class CustomTask:
    """A user's own subtask: its candidates (None: the labels that occur) and its number of test images (None: all; otherwise the rest
    train).

    Images that have a split of their own keep it.
    """

    candidates: tuple[str, ...] | None = None
    test_size: int | None = None


@dataclass(frozen=True)
class Benchmark:
    """Sample rows with absolute image paths, by task and then by id; by source the number of images in neither split; notes for people."""

    train: list[Row]
    test: list[Row]
    unused: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def assign(
    loaded_sources: Mapping[str, LoadedSource],
    seed: int,
    test_size: int = 1000,
    *,
    own_split: Iterable[str] = OWN_SPLIT,
    polarity: Mapping[str, str] = MappingProxyType({}),
    custom: Mapping[str, CustomTask] = MappingProxyType({}),
) -> Benchmark:
    """The benchmark made of these loaded sources, each under its source's name, or its task's for a custom one.

    Sources in `own_split` test on part of their own test split and train on their own training split, if they have both.
    `polarity` changes the polarity of WebEmo's seven emotions, by default that of the taxonomy.
    """
    benchmark = Benchmark([], [])
    for source, names in SUBTASKS.items():
        if source in loaded_sources:
            images = _images(loaded_sources[source])
            size = len(images) if source in _WHOLE else test_size
            keep = source in own_split and {"train", "test"} <= {image.item.split for image in images}
            for name, share in zip(names, _split_evenly(images, seed, len(names)), strict=True):
                labels = _coarser(name, source, polarity)
                maker = _Maker(name, source, list(taxonomy(TASKS[name].taxonomy).labels), labels)
                _divide(benchmark, maker, share, seed, size, trains=source not in OUT_OF_DOMAIN, keep=keep)
            if keep:
                benchmark.notes.append(f"{source} keeps its own split: test is sampled from its test part, train is its training part.")
    for name, task in custom.items():
        images = _images(loaded_sources[name])
        candidates = list(task.candidates or sorted({image.item.label for image in images}))
        maker = _Maker(name, name, candidates, {label: label for label in candidates})
        size = len(images) if task.test_size is None else task.test_size
        keep = {"train", "test"} <= {image.item.split for image in images}
        if keep and task.test_size is None:
            size = sum(image.item.split == "test" for image in images)
        _divide(benchmark, maker, images, seed, size, trains=keep or task.test_size is not None, keep=keep)
    return benchmark


def assign_stages(rows: Sequence[Row], seed: int, ratio: Sequence[int] = STAGE_RATIO) -> list[int]:
    """The stage, from 1, that each training row belongs to: in the ratio of VEC-CoT, stratified by task and label, disjoint by image.

    Raises UserError for a ratio of negative numbers or of nothing but 0.
    """
    if min(ratio, default=0) < 0 or sum(ratio) == 0:
        raise UserError(f"the ratio of the stages must be numbers from 0 on, such as 6:3:1, not {':'.join(map(str, ratio))}")
    pattern = _spread(ratio)
    first = {row["image"]: row for row in reversed(rows)}
    order = sorted(first.values(), key=lambda row: (row["task"], row["ground_truth"], _rank(seed, "stage", row["id"])))
    stage = {row["image"]: pattern[place % len(pattern)] for place, row in enumerate(order)}
    return [stage[row["image"]] for row in rows]


def _spread(ratio: Sequence[int]) -> list[int]:
    """A sequence of stages in this ratio, spread evenly: each place goes to the stage that is furthest behind its share."""
    pattern: list[int] = []
    lacks = [0] * len(ratio)
    for _ in range(sum(ratio)):
        lacks = [lack + share for lack, share in zip(lacks, ratio, strict=True)]
        stage = lacks.index(max(lacks))
        lacks[stage] -= sum(ratio)
        pattern.append(stage + 1)
    return pattern


class _Image(NamedTuple):
    path: str
    item: Item


class _Maker(NamedTuple):
    """Makes the rows of a subtask from the images of a source."""

    task: str
    source: str
    candidates: list[str]
    labels: Mapping[str, str]

    def rows(self, images: Iterable[_Image], split: str, ids: Mapping[str, str]) -> list[Row]:
        return sorted((self._row(item, split, ids[path]) for path, item in images), key=lambda row: str(row["id"]))

    def _row(self, item: Item, split: str, name: str) -> Row:
        row = {
            "id": f"{self.task}/{name}",
            "image": item.image,
            "task": self.task,
            "candidates": self.candidates,
            "ground_truth": self.labels[item.label],
            "source": item.source,
            "split": split,
        }
        # Votes on labels finer than the task's are left out: they are not votes on its candidates.
        return row | {"votes": dict(item.votes)} if item.votes and set(item.votes) <= set(self.candidates) else row


def _divide(benchmark: Benchmark, maker: _Maker, images: Sequence[_Image], seed: int, test_size: int, *, trains: bool, keep: bool) -> None:
    """Adds the images of one subtask to the benchmark. If it has a training split, at most half of them are for the test."""
    pool = [image for image in images if image.item.split == "test"] if keep else images
    most = len(pool) // 2 if trains and not keep else len(pool)
    chosen = _sampled(pool, seed, min(test_size, most))
    taken = {image.path for image in chosen}
    train = [image for image in images if image.path not in taken and (not keep or image.item.split == "train")] if trains else []
    if len(chosen) < test_size:
        benchmark.notes.append(f"{maker.task}: {len(chosen):,} test samples where {test_size:,} were asked for, of {len(pool):,} images.")
    ids = _ids(maker.source, [image.path for image in images])
    benchmark.test.extend(maker.rows(chosen, "test", ids))
    benchmark.train.extend(maker.rows(train, "train", ids))
    if unused := len(images) - len(chosen) - len(train):
        benchmark.unused[maker.source] = benchmark.unused.get(maker.source, 0) + unused


def _coarser(task: str, source: str, polarity: Mapping[str, str]) -> Mapping[str, str]:
    """The task's label for each label of the source, whose labels are those of its first subtask."""
    fine = taxonomy(TASKS[SUBTASKS[source][0]].taxonomy)
    if task == "WebEmo-2":
        poles = with_polarity(polarity).parents
        return {label: poles[parent] for label, parent in fine.parents.items()}
    return fine.parents if task in ("FI-2", "WebEmo-7") else {label: label for label in fine.labels}


def with_polarity(polarity: Mapping[str, str]) -> Taxonomy:
    """WebEmo's seven emotions with these polarities changed. Raises UserError for another emotion or polarity."""
    seven = taxonomy("webemo-7")
    for label, pole in polarity.items():
        if label not in seven.labels or pole not in taxonomy("polarity-2").labels:
            raise UserError(f"polarity: {label} = {pole!r}; write one of {', '.join(seven.labels)}, and 'positive' or 'negative'")
    return replace(seven, parents={**seven.parents, **polarity})


def _images(loaded: LoadedSource) -> list[_Image]:
    root = os.path.join(loaded.folder, "")
    paths = (item.image.removeprefix(root) if item.image.startswith(root) else item.image for item in loaded.items)
    return [_Image(path.replace(os.sep, "/"), item) for path, item in zip(paths, loaded.items, strict=True)]


def _split_evenly(images: Sequence[_Image], seed: int, parts: int) -> list[list[_Image]]:
    """The images in `parts` parts, whose sizes, and numbers of any label, differ by at most one."""
    order = _shuffled(images, seed, "subtask")
    return [order[part::parts] for part in range(parts)]


def _sampled(images: Sequence[_Image], seed: int, count: int) -> list[_Image]:
    """`count` images in which every label has its share, rounded down or up."""
    order = _shuffled(images, seed, "test")
    return [image for place, image in enumerate(order) if (place + 1) * count // len(order) > place * count // len(order)]


def _shuffled(images: Sequence[_Image], seed: int, purpose: str) -> list[_Image]:
    """In random order within each label, labels one after another."""
    return sorted(images, key=lambda image: (image.item.label, _rank(seed, f"{purpose}/{image.item.source}", image.path)))


def _rank(seed: int, purpose: str, name: str) -> bytes:
    return hashlib.blake2b(os.fsencode(f"{seed}/{purpose}/{name}"), digest_size=16).digest()


def _ids(source: str, paths: Sequence[str]) -> dict[str, str]:
    """A unique name for each path: its end without the suffix, or the whole path where the end is not unique."""
    short = {path: "/".join(os.path.splitext(path)[0].split("/")[-_ID_PARTS.get(source, 0) :]) for path in paths}
    count = Counter(short.values())
    return {path: name if count[name] == 1 else path for path, name in short.items()}
