"""The audit of sample files for leaks, duplicates and contradicting labels, and `drop`, which writes the files again without them."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from emocaliber.core.samples import read_samples
from emocaliber.errors import UserError
from emocaliber.io.images import ImageError
from emocaliber.io.rows import display_name, read_rows, write_rows
from emocaliber.render.table import Table
from emocaliber.vecbench.duplicates import DISTANCE, Fingerprint, fingerprints, hamming_distance, near_duplicate_groups
from emocaliber.vecbench.manifest import DROPPED

__all__ = ["CACHE", "Audit", "Finding", "FindingKind", "Member", "audit", "side_of"]

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

    A file's name says whether it is for training or for the test (train.., stage.., test..); otherwise each row's split does. Two images
    are exact duplicates if their files have the same bytes, and near duplicates if their perceptual hashes differ in at most `distance` of
    64 bits (None: not compared); chains of near duplicates are one finding. `cache` is the file of the fingerprints (default:
    .hashes.jsonl beside the first file); `progress` is called with the number of images done.

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
        findings.extend(finding for group in _near_duplicates(contents, prints, distance) for finding in group.findings())
    kinds = list(FindingKind)
    findings.sort(key=lambda finding: (kinds.index(finding.kind), not finding.exact, [member.rank for member in finding.members]))
    return Audit(len(members), len(paths), distance, tuple(findings))


def side_of(file: str | Path, split: str) -> Side:
    """The side of a sample with this split in this file: 'test', or 'train' for everything that is not for the test."""
    name = Path(file).name
    if name.startswith(("train", "stage")):
        return "train"
    return "test" if name.startswith("test") or split == "test" else "train"


@dataclass(frozen=True)
class _Group:
    """Members whose images are the same picture, grouped by the content of their files: one content, or several near-duplicate ones."""

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
            yield self._finding(FindingKind.LEAK, members)
        for cell in cells.values():
            here = [member for same in cell for member in same]
            # Near duplicates with several labels always include two of different content, so no exact conflict is reported twice.
            if len({member.label for member in here}) > 1 and (self.exact or len(cell) > 1):
                yield self._finding(FindingKind.CONFLICT, here)
        # One file in several tasks is not a duplicate.
        if len({member.image for member in members}) > 1 or any(len(same) > 1 for cell in cells.values() for same in cell):
            yield self._finding(FindingKind.EXACT if self.exact else FindingKind.NEAR, members)

    def _finding(self, kind: FindingKind, members: Iterable[Member]) -> Finding:
        return Finding(kind, tuple(sorted(members, key=lambda member: member.rank)), self.exact, self.distance)


def _members(files: Sequence[str | Path]) -> list[Member]:
    """The samples of all files, each once per side even if several files hold it."""
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
    return (Finding(FindingKind.MISPLACED, (member,)) for member in members if member.misplaced)


def _not_compared(members: Sequence[Member], prints: Mapping[str, Fingerprint | ImageError]) -> Iterator[Finding]:
    """Findings for images without a fingerprint or without a perceptual hash."""
    for image, users in _grouped(members, lambda member: member.image).items():
        found = prints[image]
        sharing = tuple(sorted(users, key=lambda member: member.rank))
        if isinstance(found, ImageError):
            yield Finding(FindingKind.UNREADABLE, sharing, detail=found.message)
        elif found.phash is None:
            yield Finding(FindingKind.PLAIN, sharing, detail="compared by its bytes alone")


def _by_content(members: Iterable[Member], prints: Mapping[str, Fingerprint | ImageError]) -> dict[str, list[Member]]:
    contents: dict[str, list[Member]] = defaultdict(list)
    for member in members:
        if isinstance(found := prints[member.image], Fingerprint):
            contents[found.sha256].append(member)
    return contents


def _near_duplicates(
    contents: Mapping[str, Sequence[Member]], prints: Mapping[str, Fingerprint | ImageError], distance: int
) -> Iterator[_Group]:
    """The groups of two or more contents that are near duplicates."""
    phashes: dict[str, int] = {}
    for found in prints.values():
        if isinstance(found, Fingerprint) and found.phash is not None and found.sha256 in contents:
            phashes[found.sha256] = found.phash
    hashes = np.fromiter(phashes.values(), np.uint64, len(phashes))
    groups = near_duplicate_groups(hashes, distance)
    order = np.argsort(groups, kind="stable")
    shas = list(phashes)
    for places in np.split(order, np.flatnonzero(np.diff(groups[order])) + 1):
        if places.size > 1:
            yield _Group([contents[shas[place]] for place in places], exact=False, distance=_farthest(np.unique(hashes[places])))


def _farthest(hashes: NDArray[np.uint64]) -> int:
    return max(int(hamming_distance(hashes, one).max()) for one in hashes[:, None])


def _grouped(members: Iterable[Member], key: Callable[[Member], _Key]) -> dict[_Key, list[Member]]:
    groups: dict[_Key, list[Member]] = {}
    for member in members:
        groups.setdefault(key(member), []).append(member)
    return groups


# The findings, as data, rows and a table.

Side = Literal["train", "test"]


class FindingKind(StrEnum):
    """The kinds of findings, the worst first."""

    MISPLACED = "test sample in a training file"
    LEAK = "train-test leak"
    CONFLICT = "label conflict"
    EXACT = "exact duplicate"
    NEAR = "near duplicate"
    UNREADABLE = "unreadable image"
    PLAIN = "too plain to compare"


@dataclass(frozen=True, slots=True)
class Member:
    """A sample, its side, and the files of that side that hold it (train.jsonl and a stage's file may both do so).

    `misplaced`: it is on the train side, but its own split or a test file says that it belongs to the test.
    """

    id: str
    task: str
    label: str
    source: str
    image: str
    side: Side
    files: tuple[str, ...]
    misplaced: bool = False

    @property
    def rank(self) -> tuple[str, str, str, str]:
        """The sort key of members; the test comes first."""
        return self.side, self.task, self.id, self.image


@dataclass(frozen=True, slots=True)
class Finding:
    """Samples that share a problem, ordered by side (the test first), task and id.

    `exact`: their files have the same bytes. `distance` is the largest Hamming distance between their hashes, in bits; None: not compared.
    """

    kind: FindingKind
    members: tuple[Member, ...]
    exact: bool = True
    distance: int | None = None
    detail: str = ""

    def to_row(self, folder: str | Path) -> dict[str, object]:
        """The finding as a JSON row for a file in `folder`, to which the images' paths are relative."""
        members = [
            {
                "id": member.id,
                "task": member.task,
                "label": member.label,
                "source": member.source,
                "side": member.side,
                "image": Path(os.path.relpath(member.image, folder)).as_posix(),
                "files": [os.path.basename(file) for file in member.files],
            }
            for member in self.members
        ]
        return {"kind": self.kind, "exact": self.exact, "distance": self.distance, "detail": self.detail, "samples": members}


@dataclass(frozen=True)
class Audit:
    """The numbers of samples and images, and the findings in the order of `FindingKind`. `distance` is None if hashes were not compared."""

    samples: int
    images: int
    distance: int | None
    findings: tuple[Finding, ...]

    @property
    def leaks(self) -> bool:
        """Whether a test image is also trained on."""
        return any(finding.kind in (FindingKind.MISPLACED, FindingKind.LEAK) for finding in self.findings)

    def counts(self) -> dict[FindingKind, int]:
        """How many findings there are of each kind."""
        found = Counter(finding.kind for finding in self.findings)
        return {kind: found[kind] for kind in FindingKind}

    def to_rows(self, folder: str | Path) -> list[dict[str, object]]:
        """The findings as JSON rows for a file in `folder`."""
        return [finding.to_row(folder) for finding in self.findings]

    def as_dict(self) -> dict[str, Any]:
        """For a JSON file: what was compared, and the numbers of findings and samples by kind."""
        kinds = {}
        for kind in FindingKind:
            findings = [finding for finding in self.findings if finding.kind == kind]
            exact, members = sum(finding.exact for finding in findings), sum(len(finding.members) for finding in findings)
            kinds[kind.value] = {"findings": len(findings), "exact": exact, "samples": members}
        return {"samples": self.samples, "images": self.images, "distance": self.distance, "findings": kinds}

    def as_table(self) -> Table:
        """Findings and samples by kind, exact and near ones apart."""
        rows = []
        for kind, counts in self.as_dict()["findings"].items():
            found, exact = counts["findings"], counts["exact"]
            rows.append((kind, f"{found:,}", f"{exact:,}", f"{found - exact:,}", f"{counts['samples']:,}"))
        near = "" if self.distance is None else f", and perceptual hashes that differ in at most {self.distance} of 64 bits"
        return Table(
            header=("finding", "findings", "equal files", "near", "samples"),
            rows=rows,
            title="Audit",
            note=f"{self.samples:,} samples, {self.images:,} images; compared: equal files{near}.",
        )


# `drop`: the same files without the samples that leak, contradict or repeat others.


@dataclass(frozen=True, slots=True)
class Dropped:
    """A sample left out, the reason, and the id of the sample that is kept in its place or contradicts it (None: there is none)."""

    member: Member
    kind: FindingKind
    beside: str | None

    def to_row(self) -> dict[str, object]:
        member = self.member
        files = [os.path.basename(file) for file in member.files]
        return {"id": member.id, "task": member.task, "side": member.side, "files": files, "reason": self.kind, "beside": self.beside}


@dataclass(frozen=True)
class Drop:
    """The samples left out, in the order of the decisions, and the number of rows in each new file."""

    dropped: tuple[Dropped, ...]
    kept: dict[Path, int]

    def as_table(self) -> Table:
        """Rows left out of each file, by reason."""
        kinds = [kind for kind in FindingKind if any(each.kind == kind for each in self.dropped)]
        reasons = Counter((os.path.basename(file), each.kind) for each in self.dropped for file in each.member.files)
        rows = [
            (display_name(path.name), *(f"{reasons[path.name, kind]:,}" for kind in kinds), f"{kept:,}") for path, kept in self.kept.items()
        ]
        return Table(header=("file", *kinds, "rows kept"), rows=rows, title="Left out")


def drop(audit: Audit, files: Sequence[str | Path], out: str | Path) -> Drop:
    """Writes the audited files into the folder `out`, under their names, without the samples that were found; dropped.jsonl has the
    reasons.

    Leaks are removed from the training files, so that test results stay comparable. Then, on each side and in each task, images with
    contradicting labels are all removed, and of duplicates the first id is kept. Images that cannot be read or compared are kept.
    The same audit gives the same files.

    Raises:
        UserError: `out` is a folder that one of the files lies in, two files have one name, or a file cannot be read or written.
    """
    out = Path(out)
    targets = _targets([Path(file) for file in files], out)
    dropped = tuple(_decided(audit.findings))
    unwanted = {(file, each.member.id) for each in dropped for file in each.member.files}
    write_rows(out / DROPPED, (each.to_row() for each in dropped))
    kept = {}
    for file, target in targets:
        rows = [row for row in read_rows(file) if (str(file), row["id"]) not in unwanted]
        for row in rows:
            row["image"] = Path(os.path.relpath(file.parent / row["image"], out)).as_posix()
        write_rows(target, rows)
        kept[target] = len(rows)
    return Drop(dropped, kept)


def _targets(files: Sequence[Path], out: Path) -> list[tuple[Path, Path]]:
    named: dict[str, Path] = {}
    for file in files:
        if file.parent.resolve() == out.resolve():
            raise UserError(f"{display_name(out)}: {display_name(file.name)} lies there and would be overwritten; give another folder.")
        if (name := f"{file.stem}.jsonl") in named:
            raise UserError(f"{display_name(file)}: would be written to {name}, as {display_name(named[name])} is; give them other names.")
        named[name] = file
    return [(file, out / name) for name, file in named.items()]


def _decided(findings: Sequence[Finding]) -> Iterator[Dropped]:
    """Every sample to leave out, once. The worst findings come first, so no leaking sample is kept as the first of its duplicates."""
    gone: set[Member] = set()
    for finding in findings:
        for member, beside in _unwanted(finding, gone):
            if member not in gone:
                gone.add(member)
                yield Dropped(member, finding.kind, beside)


def _unwanted(finding: Finding, gone: set[Member]) -> Iterator[tuple[Member, str | None]]:
    members = finding.members
    if finding.kind == FindingKind.MISPLACED:
        yield from ((member, None) for member in members)
    elif finding.kind == FindingKind.LEAK:
        yield from ((member, members[0].id) for member in members if member.side == "train")
    elif finding.kind == FindingKind.CONFLICT:
        for member in members:
            yield member, next(other.id for other in members if other.label != member.label)
    elif finding.kind in (FindingKind.EXACT, FindingKind.NEAR):
        first: dict[tuple[str, str], str] = {}
        for member in members:
            if member not in gone and (kept := first.setdefault((member.side, member.task), member.id)) != member.id:
                yield member, kept
