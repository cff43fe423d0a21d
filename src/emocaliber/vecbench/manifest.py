"""The manifest of a built benchmark (`manifest.json`: counts, hashes, settings, missing subtasks), its sample files and its data card."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from emocaliber.core.tasks import group_of
from emocaliber.errors import UserError
from emocaliber.io.rows import Row, display_name, opened, read_rows, write_atomically
from emocaliber.render.table import Table

SAMPLE_FILES = ("train.jsonl", "test.jsonl", "stage1.jsonl", "stage2.jsonl", "stage3.jsonl")


@dataclass(frozen=True)
class Manifest:
    """`tasks[name][split]` holds `n` and `labels`, counts by label; `stages[file][task]` counts; `sources[name]` holds `items`, `unused`
    (in neither split) and `skipped`, counts by reason; `files[name]` holds `rows` and `sha256`. `drawn` are the subtasks made of synthetic
    scenes, `missing` those without any data."""

    version: str
    seed: int
    settings: Mapping[str, Any]
    sources: Mapping[str, Mapping[str, Any]]
    tasks: Mapping[str, Mapping[str, Mapping[str, Any]]]
    stages: Mapping[str, Mapping[str, int]]
    files: Mapping[str, Mapping[str, Any]]
    drawn: Sequence[str]
    missing: Sequence[str]
    notes: Sequence[str]

    def to_json(self) -> str:
        """The text of `manifest.json`."""
        return json.dumps(asdict(self), indent=2) + "\n"


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a built benchmark. Raises UserError where there is none."""
    file = folder / "manifest.json"
    if not file.is_file():
        raise UserError(f"{display_name(folder)} has no manifest.json; give a folder that `emocaliber bench build ... --out` wrote")
    try:
        with opened(file) as stream:
            return Manifest(**json.load(stream))
    except (ValueError, TypeError) as error:
        raise UserError(f"{display_name(file)}: not a manifest of this version ({error}); build the benchmark anew") from None


def counts(splits: Mapping[str, Iterable[Row]]) -> dict[str, dict[str, dict[str, Any]]]:
    """`counts[task][split]` of the rows of each split: `n`, and `labels`, the count of each candidate."""
    tasks: dict[str, dict[str, dict[str, Any]]] = {}
    for split, rows in splits.items():
        for row in rows:
            count = tasks.setdefault(row["task"], {}).setdefault(split, {"n": 0, "labels": dict.fromkeys(row["candidates"], 0)})
            count["n"] += 1
            count["labels"][row["ground_truth"]] += 1
    return tasks


def by_task(rows: Iterable[Row]) -> dict[str, int]:
    """How many rows each task has."""
    return dict(Counter(row["task"] for row in rows))


# The sample files of a built benchmark.


def sample_files(places: Sequence[Path]) -> list[Path]:
    """Files as they are, folders as the sample files in them. Raises UserError for a folder without any."""
    return [file for place in places for file in (sample_files_in(place) if place.is_dir() else [place])]


def sample_files_in(folder: Path) -> list[Path]:
    """The sample files in a folder. Raises UserError where there is none."""
    found = [folder / name for name in SAMPLE_FILES if (folder / name).is_file()]
    if not found:
        remedy = "give a folder that `emocaliber bench build` wrote"
        raise UserError(f"{display_name(folder)}: holds none of {', '.join(SAMPLE_FILES)}; {remedy}")
    return found


def describe_anew(folder: Path, out: Path, note: str) -> None:
    """Writes manifest and card, with this note, for the sample files in `out` made from those in `folder`, if `folder` has a manifest."""
    if not (folder / "manifest.json").is_file():
        return
    before = read_manifest(folder)
    rows: dict[str, list[Row]] = {path.name: list(read_rows(path)) for path in sample_files_in(out)}
    manifest = replace(
        before,
        tasks=counts({split: rows.get(f"{split}.jsonl", []) for split in ("test", "train")}),
        stages={name: by_task(own) for name, own in rows.items() if name.startswith("stage")},
        files={name: {"rows": len(own), "sha256": hashlib.sha256((out / name).read_bytes()).hexdigest()} for name, own in rows.items()},
        notes=[*before.notes, note],
    )
    write_atomically(out / "README.md", data_card(manifest))
    write_atomically(out / "manifest.json", manifest.to_json())


# What `bench audit` leaves in the folder: the findings, and with --drop the samples without those left out.
AUDIT = "audit.jsonl"
DROPPED = "dropped.jsonl"
CLEAN = "clean"


def remove_audit(folder: Path) -> None:
    """Removes the files that an audit of the benchmark in `folder` wrote; others in its folder `clean` stay."""
    clean = folder / CLEAN
    for file in (folder / AUDIT, *(clean / name for name in (*SAMPLE_FILES, DROPPED, "manifest.json", "README.md"))):
        file.unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # something else lies there
        clean.rmdir()


# The data card: contents, sources, splits and rights.

CITATIONS: Mapping[str, str] = MappingProxyType(
    {
        "fi": "FI: You et al., Building a Large Scale Dataset for Image Emotion Recognition, AAAI 2016",
        "webemo": "WebEmo: Panda et al., Contemplating Visual Emotions: Understanding and Overcoming Dataset Bias, ECCV 2018",
        "emoset": "EmoSet-118K: Yang et al., EmoSet: A Large-scale Visual Emotion Dataset with Rich Attributes, ICCV 2023",
        "abstract": "Abstract: Machajdik and Hanbury, Affective Image Classification Using Features Inspired by Psychology and Art, 2010",
        "artphoto": "ArtPhoto: Machajdik and Hanbury, as Abstract",
        "unbiasedemo": "UnbiasedEmo: Panda et al., as WebEmo",
    }
)

_SPLITS = """\
- **FI** is halved into FI-8 and FI-2 (positive: amusement, awe, contentment, excitement), **WebEmo** dealt 1:1:1 to WebEmo-25,
  WebEmo-7 and WebEmo-2. No image is in two subtasks.
- From each subtask that trains, and from **UnbiasedEmo**, {size:,} images test; of **Abstract** and **ArtPhoto** all do.
  Halves, thirds and samples are stratified by the label the data set gives. Nothing out of domain trains.
- What is not selected trains, but sources that keep their own split ({own}) train on their own training part alone.
- Order is that of a hash of seed and path: the same data sets and seed ({seed}) give the same rows on any machine."""

_DRAWN = """\
- Of each synthetic subtask {scenes:,} scenes test and, in-domain, four times as many train, from seeds of their own."""

_STAGES = """\
- Stages 1, 2 and 3 share the training rows 6:3:1, stratified by task and label; no image is in two stages."""

_FILES = """\
`train.jsonl` and `test.jsonl` hold a JSON object per line: `id, image, task, candidates, ground_truth, source, split`, where known
`votes` (people, by label) or `posterior` (synthetic scenes). Image paths are relative to the file; the images stay where they are.
`skipped.jsonl` says what was left out and why, `manifest.json` holds counts, settings and hashes."""

_RIGHTS = """\
The images and labels belong to their data sets and keep their terms, which mostly allow research only; this folder adds splits and
nothing else. Evoked emotions are judgements of some viewers, not facts about an image, and none about the people in it.
The benchmark is that of Wu, Yang, Ma and Zhou: EmoCaliber: Advancing Reliable Visual Emotion Comprehension via Confidence
Verbalization and Calibration. The paper's own sample of test images is not known here, so scores compare to the paper's only roughly."""


def data_card(manifest: Manifest) -> str:
    """The card as Markdown."""
    sections = (
        ("", f"# VECBench\n\n{_lead(manifest)}"),
        ("Subtasks", task_table(manifest).as_markdown()),
        ("Sources", _sources(manifest)),
        ("How it was split", _splits(manifest)),
        ("Notes", "\n".join(f"- {note}" for note in manifest.notes)),
        ("Files", _FILES + "\n\n" + _files(manifest)),
        ("Rights and limits", _RIGHTS),
    )
    return "\n\n".join(f"## {title}\n\n{body}" if title else body for title, body in sections if body) + "\n"


def task_table(manifest: Manifest) -> Table:
    """Samples of each subtask by split, and where they come from."""
    rows = []
    for task, splits in manifest.tasks.items():
        kind = "synthetic scenes" if task in manifest.drawn else "data set"
        sizes = [f"{splits[split]['n']:,}" if split in splits else "0" for split in ("test", "train")]
        rows.append((task, group_of(task) or "custom", kind, *sizes))
    return Table(("subtask", "group", "made of", "test", "train"), rows, words=3)


def _lead(manifest: Manifest) -> str:
    images = "data sets" if not manifest.drawn else "synthetic scenes" if not manifest.sources else "data sets and synthetic scenes"
    tests, trains = (manifest.files[name]["rows"] for name in ("test.jsonl", "train.jsonl"))
    return (
        f"Which emotion does an image evoke? {tests:,} test and {trains:,} training samples from {images}, built by EmoCaliber "
        f"{manifest.version} with seed {manifest.seed}."
    )


def _splits(manifest: Manifest) -> str:
    settings = manifest.settings
    own = ", ".join(settings["own_split"]) or "none"
    real = _SPLITS.format(size=settings["test_size"], own=own, seed=manifest.seed) if manifest.sources else ""
    drawn = _DRAWN.format(scenes=settings["scenes"]) if manifest.drawn else ""
    return "\n".join(filter(None, (real, drawn, _STAGES)))


def _sources(manifest: Manifest) -> str:
    rows = [
        (CITATIONS.get(name, name), f"{source['items']:,}", f"{source['unused']:,}", _reasons(source["skipped"]))
        for name, source in manifest.sources.items()
    ]
    return Table(("data set", "images", "in neither split", "left out"), rows, words=1).as_markdown() if rows else ""


def _reasons(skipped: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {reason}" for reason, count in skipped.items()) or "0"


def _files(manifest: Manifest) -> str:
    rows = [(name, f"`{file['sha256']}`", f"{file['rows']:,}") for name, file in manifest.files.items()]
    return Table(("file", "SHA-256", "rows"), rows, words=2).as_markdown()
