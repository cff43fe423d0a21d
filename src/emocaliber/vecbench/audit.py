"""The audit of sample files: pictures that occur twice, that test as well as train, or that are labelled in two ways."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from emocaliber.images import ImageError
from emocaliber.vecbench.findings import Audit, Finding, Kind, Member, Side
from emocaliber.vecbench.fingerprints import Fingerprint, fingerprints
from emocaliber.vecbench.near_duplicates import DISTANCE, bits_apart, look_alikes
from emocaliber.vecbench.sample import read_samples

__all__ = ["CACHE", "Audit", "Finding", "Kind", "Member", "audit", "side_of"]

CACHE = ".hashes.jsonl"

_Key = TypeVar("_Key")


def audit(
    files: Sequence[str | Path],
    *,
    distance: int | None = DISTANCE,
    cache: str | Path | None = None,
    workers: int = 2,
    progress: Callable[[int], object] = lambda count: None,
) -> Audit:
    """Compares every image of the sample files with every other one, within and across files, tasks and data sets.

    A file is for training or for the test by its name (train.., stage.., test..), any other by each row's split. Two images are equal if
    the bytes of their files are, and alike if their looks differ in at most `distance` of 64 bits (None: looks are not compared); chains
    of alike images are one finding. `cache` keeps the fingerprints (default: .hashes.jsonl beside the first file); `progress` hears how
    many images are done.

    Raises:
        UserError: a file cannot be read or has a row that is no sample.
        ValueError: no file is given, or `distance` is not within 0..16.
    """
    if not files:
        raise ValueError("give at least one file of samples to audit")
    members = _members(files)
    paths = sorted({member.image for member in members})
    prints = fingerprints(paths, Path(files[0]).parent / CACHE if cache is None else cache, workers=workers, progress=progress)
    findings = [*_misplaced(members), *_not_compared(members, prints)]
    contents = _by_content((member for member in members if not member.misplaced), prints)
    for members_of_content in contents.values():
        findings.extend(_Group([members_of_content], exact=True, distance=0).findings())
    if distance is not None:
        findings.extend(finding for group in _look_alikes(contents, prints, distance) for finding in group.findings())
    kinds = list(Kind)
    findings.sort(key=lambda finding: (kinds.index(finding.kind), not finding.exact, [member.rank for member in finding.members]))
    return Audit(len(members), len(paths), distance, tuple(findings))


def side_of(file: str | Path, split: str) -> Side:
    """Which side a sample with this split is on in this file. What is not the test's is there to be trained on."""
    name = Path(file).name
    if name.startswith(("train", "stage")):
        return "train"
    return "test" if name.startswith("test") or split == "test" else "train"


@dataclass(frozen=True)
class _Group:
    """Members whose images are the same picture, by the content of their files: one content, or several that look alike."""

    contents: Sequence[Sequence[Member]]
    exact: bool
    distance: int

    def findings(self) -> Iterator[Finding]:
        members = [member for content in self.contents for member in content]
        cells: dict[tuple[Side, str], list[list[Member]]] = defaultdict(list)  # of one side and task, by content
        for content in self.contents:
            for key, same in _grouped(content, lambda member: (member.side, member.task)).items():
                cells[key].append(same)
        if len({side for side, _ in cells}) > 1:
            yield self._finding(Kind.LEAK, members)
        for cell in cells.values():
            here = [member for same in cell for member in same]
            # Several contents with several labels always hold two that differ in both, so nothing exact is told again as merely alike.
            if len({member.label for member in here}) > 1 and (self.exact or len(cell) > 1):
                yield self._finding(Kind.CONFLICT, here)
        # One file may be asked about in several tasks, which makes no duplicate of it.
        if len({member.image for member in members}) > 1 or any(len(same) > 1 for cell in cells.values() for same in cell):
            yield self._finding(Kind.EXACT if self.exact else Kind.NEAR, members)

    def _finding(self, kind: Kind, members: Iterable[Member]) -> Finding:
        return Finding(kind, tuple(sorted(members, key=lambda member: member.rank)), self.exact, self.distance)


def _members(files: Sequence[str | Path]) -> list[Member]:
    """The samples of all files, each once per side however many of its files hold it."""
    places: dict[tuple[Side, str, str, str, str, str], list[str]] = defaultdict(list)
    of_test: set[tuple[str, str, str]] = set()
    says_test: set[tuple[str, str, str]] = set()
    for file in files:
        for sample in read_samples(file):
            side, image = side_of(file, sample.split), os.path.normpath(sample.image)
            places[side, sample.id, sample.task, sample.ground_truth, sample.source, image].append(str(file))
            if side == "test":
                of_test.add((sample.id, sample.task, image))
            elif sample.split == "test":
                says_test.add((sample.id, sample.task, image))
    misplaced = of_test | says_test
    return [
        Member(identity, task, label, source, image, side, tuple(held), side == "train" and (identity, task, image) in misplaced)
        for (side, identity, task, label, source, image), held in places.items()
    ]


def _misplaced(members: Iterable[Member]) -> Iterator[Finding]:
    return (Finding(Kind.MISPLACED, (member,)) for member in members if member.misplaced)


def _not_compared(members: Sequence[Member], prints: Mapping[str, Fingerprint | ImageError]) -> Iterator[Finding]:
    """The images that have no fingerprint, or none of their looks."""
    for image, users in _grouped(members, lambda member: member.image).items():
        found = prints[image]
        sharing = tuple(sorted(users, key=lambda member: member.rank))
        if isinstance(found, ImageError):
            yield Finding(Kind.UNREADABLE, sharing, detail=found.message)
        elif found.look is None:
            yield Finding(Kind.PLAIN, sharing, detail="compared by its bytes alone")


def _by_content(members: Iterable[Member], prints: Mapping[str, Fingerprint | ImageError]) -> dict[str, list[Member]]:
    contents: dict[str, list[Member]] = defaultdict(list)
    for member in members:
        if isinstance(found := prints[member.image], Fingerprint):
            contents[found.sha256].append(member)
    return contents


def _look_alikes(
    contents: Mapping[str, Sequence[Member]], prints: Mapping[str, Fingerprint | ImageError], distance: int
) -> Iterator[_Group]:
    """The groups of two or more contents that look alike."""
    looks: dict[str, int] = {}
    for found in prints.values():
        if isinstance(found, Fingerprint) and found.look is not None and found.sha256 in contents:
            looks[found.sha256] = found.look
    hashes = np.fromiter(looks.values(), np.uint64, len(looks))
    groups = look_alikes(hashes, distance)
    order = np.argsort(groups, kind="stable")
    shas = list(looks)
    for places in np.split(order, np.flatnonzero(np.diff(groups[order])) + 1):
        if places.size > 1:
            yield _Group([contents[shas[place]] for place in places], exact=False, distance=_farthest(np.unique(hashes[places])))


def _farthest(hashes: NDArray[np.uint64]) -> int:
    return max(int(bits_apart(hashes, one).max()) for one in hashes[:, None])


def _grouped(members: Iterable[Member], key: Callable[[Member], _Key]) -> dict[_Key, list[Member]]:
    groups: dict[_Key, list[Member]] = {}
    for member in members:
        groups.setdefault(key(member), []).append(member)
    return groups
