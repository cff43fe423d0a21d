"""Which image goes to which subtask and split: pure, and decided by the seed and the images' own paths alone.

The paper says: FI is halved into FI-8 and FI-2; WebEmo goes 1:1:1 to WebEmo-25, WebEmo-7 and WebEmo-2; 1,000 images are sampled
for testing from each of these, from EmoSet and from UnbiasedEmo; Abstract and ArtPhoto are for testing alone; unselected images train.

What it leaves open is settled here. Halves, thirds and samples are stratified by label, as finely as the source labels it. Random order
is that of a hash of seed and path, so neither the machine, the folder nor the order of reading plays a part. Nothing of the
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
from emocaliber.vecbench.sources.reader import Item, Reading

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
    """A subtask of one's own: its candidates (None: the labels that occur), and how many images test (None: all; else the rest train).

    Images that say themselves whether they train or test do so.
    """

    candidates: tuple[str, ...] | None = None
    test_size: int | None = None


@dataclass(frozen=True)
class Benchmark:
    """Sample rows with absolute image paths, by task and then by id; how many images of each source are in neither; what to know."""

    train: list[Row]
    test: list[Row]
    unused: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def assign(
    readings: Mapping[str, Reading],
    seed: int,
    test_size: int = 1000,
    *,
    own_split: Iterable[str] = OWN_SPLIT,
    polarity: Mapping[str, str] = MappingProxyType({}),
    custom: Mapping[str, CustomTask] = MappingProxyType({}),
) -> Benchmark:
    """The benchmark that these readings give, each under its source's name, or its task's for a custom one.

    Sources in `own_split` test on part of their own test split and train on their own training split, if they have both.
    `polarity` changes the polarity of WebEmo's seven emotions, by default that of the taxonomy.
    """
    benchmark = Benchmark([], [])
    for source, names in SUBTASKS.items():
        if source in readings:
            images = _images(readings[source])
            size = len(images) if source in _WHOLE else test_size
            keep = source in own_split and {"train", "test"} <= {image.item.split for image in images}
            for name, share in zip(names, _dealt(images, seed, len(names)), strict=True):
                labels = _coarser(name, source, polarity)
                maker = _Maker(name, source, list(taxonomy(TASKS[name].taxonomy).labels), labels)
                _divide(benchmark, maker, share, seed, size, trains=source not in OUT_OF_DOMAIN, keep=keep)
            if keep:
                benchmark.notes.append(f"{source} keeps its own split: test is sampled from its test part, train is its training part.")
    for name, task in custom.items():
        images = _images(readings[name])
        candidates = list(task.candidates or sorted({image.item.label for image in images}))
        maker = _Maker(name, name, candidates, {label: label for label in candidates})
        size = len(images) if task.test_size is None else task.test_size
        keep = {"train", "test"} <= {image.item.split for image in images}
        if keep and task.test_size is None:
            size = sum(image.item.split == "test" for image in images)
        _divide(benchmark, maker, images, seed, size, trains=keep or task.test_size is not None, keep=keep)
    return benchmark


def stages(rows: Sequence[Row], seed: int, ratio: Sequence[int] = STAGE_RATIO) -> list[int]:
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
    """Stages in this ratio, spread so that any run of images comes near it: each place goes to the stage that lacks most by then."""
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
    """What turns the images of a source into rows of a subtask."""

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
        # Votes for finer labels than the task's are no votes for its candidates.
        return row | {"votes": dict(item.votes)} if item.votes and set(item.votes) <= set(self.candidates) else row


def _divide(benchmark: Benchmark, maker: _Maker, images: Sequence[_Image], seed: int, test_size: int, *, trains: bool, keep: bool) -> None:
    """Adds the images of one subtask to the benchmark. Where it also trains, at most half of them test."""
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
    """For each label of the source, as fine as its first subtask's, that of the task."""
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


def _images(reading: Reading) -> list[_Image]:
    root = os.path.join(reading.folder, "")
    paths = (item.image.removeprefix(root) if item.image.startswith(root) else item.image for item in reading.items)
    return [_Image(path.replace(os.sep, "/"), item) for path, item in zip(paths, reading.items, strict=True)]


def _dealt(images: Sequence[_Image], seed: int, hands: int) -> list[list[_Image]]:
    """The images dealt out so that the hands' sizes, and their images of any label, differ by at most one."""
    order = _shuffled(images, seed, "subtask")
    return [order[hand::hands] for hand in range(hands)]


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
    """A name for each path: its end without the suffix, or all of it where that would name two."""
    short = {path: "/".join(os.path.splitext(path)[0].split("/")[-_ID_PARTS.get(source, 0) :]) for path in paths}
    count = Counter(short.values())
    return {path: name if count[name] == 1 else path for path, name in short.items()}
