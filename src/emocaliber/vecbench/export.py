"""Exports a built benchmark for Hugging Face's `datasets`: row files, or folders of images (`imagefolder`), with a card."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from emocaliber.core.samples import Sample, read_samples
from emocaliber.errors import UserError
from emocaliber.io.images import ImageError, ImageLimits, open_images
from emocaliber.io.inputs import SUFFIXES
from emocaliber.io.rows import Row, display_name, write_atomically, write_rows
from emocaliber.vecbench.manifest import data_card, read_manifest

SPLITS = ("train", "test")

_LIMITS = ImageLimits(max_side=64)  # `max_side` lets large JPEGs decode fast; the other limits are those of every reader

Images = Literal["leave", "link", "copy"]


def export_hf(folder: Path, out: Path, *, images: Images = "leave", progress: Callable[[int], None] = lambda count: None) -> dict[str, int]:
    """Writes the benchmark in `folder` for `datasets` to `out`; returns the rows of each split.

    `train.jsonl` and `test.jsonl` load with `load_dataset("json", data_files=...)`: flat rows, `votes` and `posterior` as JSON text
    ("null" where there are none), so that every row has the same columns whatever its task. With `images` left where they are,
    `image` is their absolute path, so the export is for this machine; linked (hard links: same disk, no space) or copied, they lie
    below `out`, `image` is relative to it, and `load_dataset(out)` opens them by the `metadata.jsonl` of each split.

    Only images are linked or copied: rows of someone else's benchmark may name any file. Raises UserError where the benchmark was not
    built, where a row names something that is no image, and where an image cannot be linked or copied.
    """
    card = data_card(read_manifest(folder))
    if os.path.realpath(folder) == os.path.realpath(out):
        raise UserError(f"{display_name(out)}: holds the benchmark itself; export it to another folder")
    sizes: dict[str, int] = {}
    taken: set[str] = set()
    done = 0
    for split in SPLITS:
        rows: list[Row] = []
        samples = list(read_samples(folder / f"{split}.jsonl"))
        for sample in samples if images == "leave" else _checked(samples):
            image = sample.image if images == "leave" else _place(sample, out, _inside(sample, split, taken), images)
            rows.append({**flat_row(sample), "image": image})
            done += 1
            progress(done)
        write_rows(out / f"{split}.jsonl", rows)
        if images != "leave" and rows:
            named = [{"file_name": row["image"].removeprefix(f"{split}/"), **row} for row in rows]
            write_rows(out / split / "metadata.jsonl", map(_without_image, named))
        sizes[split] = len(rows)
    write_atomically(out / "README.md", _header(sizes, images) + card)
    return sizes


def flat_row(sample: Sample) -> Row:
    """The sample's row with columns of the same types for every sample: votes and posterior are JSON text."""
    row: dict[str, Any] = sample.to_row()
    return {**row, "votes": json.dumps(row.get("votes")), "posterior": json.dumps(row.get("posterior"))}


def _checked(samples: Sequence[Sample]) -> Iterator[Sample]:
    """The samples, each once its image has been opened."""
    for sample, opened in zip(samples, open_images([sample.image for sample in samples], _LIMITS), strict=True):
        problem = str(opened) if isinstance(opened, ImageError) else None
        if problem is None and Path(sample.image).suffix.lower() not in SUFFIXES:
            problem = f"{display_name(sample.image)}: its suffix is none of an image's ({', '.join(SUFFIXES)})."
        if problem:
            raise UserError(f"the image of sample {display_name(sample.id)} cannot be exported: {problem} Mend it, or leave out its row")
        yield sample


def _inside(sample: Sample, split: str, taken: set[str]) -> str:
    """A path for the image below the export's folder, made of the sample's id; it differs from those in `taken`, to which it is added."""
    # An id may hold anything that a path may, ".." included, so other characters than letters, digits and -_. are replaced.
    parts = ["".join(each if each.isalnum() or each in "-_." else "_" for each in part).lstrip(".") or "_" for part in sample.id.split("/")]
    path, suffix = "/".join([split, *parts]), Path(sample.image).suffix.lower()
    if path + suffix in taken:
        path += "-" + hashlib.sha256(sample.id.encode("utf-8", "backslashreplace")).hexdigest()[:8]
    taken.add(path + suffix)
    return path + suffix


def _place(sample: Sample, out: Path, inside: str, images: Images) -> str:
    """Links or copies the image to `inside` the export's folder, and returns that."""
    source, target = Path(sample.image), out / inside
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)
        if images == "link":
            target.hardlink_to(source.resolve())
        else:
            shutil.copyfile(source, target)
    except OSError as error:
        remedy = "; hard links need one disk, so copy instead" if images == "link" and source.exists() else ""
        raise UserError(f"{display_name(source)}: cannot be put at {display_name(target)} ({error.strerror or error}){remedy}") from error
    return inside


def _without_image(row: Row) -> Row:
    """imagefolder makes a column `image` of `file_name`; there may be no other."""
    return {name: value for name, value in row.items() if name != "image"}


def _header(sizes: dict[str, int], images: Images) -> str:
    """What `load_dataset(folder)` reads before the card: which files are which split."""
    files = {split: f"{split}.jsonl" if images == "leave" else f"{split}/**" for split, count in sizes.items() if count}
    listed = "\n".join(f"  - split: {split}\n    path: {path}" for split, path in files.items())
    return f"""\
---
pretty_name: VECBench
license: other
license_name: those-of-the-data-sets
task_categories:
- image-classification
- visual-question-answering
tags:
- emotion
- calibration
configs:
- config_name: default
  data_files:
{listed}
---

"""
