"""Every image of a stage is opened and decoded before anything heavy is loaded, so that a broken one cannot end hours of training."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path

from tqdm import tqdm

from emocaliber.errors import UserError
from emocaliber.images import ImageError, Limits, open_images
from emocaliber.rows import display_name, write_atomically
from emocaliber.training.config import StageConfig, WatchedConfig
from emocaliber.training.processes import devices, processes
from emocaliber.training.rows import sample_rows

PASSED = "images.sha256"  # the file in OUT that says which images, as they were then, could all be opened
SHOWN = 5  # broken images named one by one

_LIMITS = Limits(max_side=64)  # those under which images are opened later; the hint makes large photographs decode fast


def check_images(config: StageConfig) -> None:
    """Decodes every image of a stage's samples, unless they are scenes still to be drawn, and of its validation samples.

    What passed is noted in `OUT/images.sha256` with each image's size and time of change, so that a run that goes on only looks at those.
    Of several processes the first one checks, and all come to its conclusion. Raises UserError with the number of images that cannot be
    opened and the first `SHOWN` of them: file, line, sample and reason.
    """
    if devices() > 1:
        _check_together(config)
    else:
        _check(config)


def _check_together(config: StageConfig) -> None:
    from accelerate.utils import broadcast_object_list

    verdict: list[str | None] = [None]
    if processes().is_main_process:
        try:
            _check(config)
        except UserError as error:
            verdict = [str(error)]
    broadcast_object_list(verdict)
    if verdict[0] is not None:
        raise UserError(verdict[0])


def _check(config: StageConfig) -> None:
    places = dict(_places(config))
    stamp, passed = _stamp(places), Path(config.out) / PASSED
    if not places or (passed.is_file() and passed.read_text("ascii", "replace").strip() == stamp):
        return
    if broken := _broken(tuple(places), stamp):
        listed = "\n".join(f"  {places[image]}: {message}" for image, message in broken[:SHOWN])
        more = f"\n  and {len(broken) - SHOWN:,} more" if len(broken) > SHOWN else ""
        raise UserError(
            f"{len(broken):,} of {len(places):,} images cannot be opened, and the first of them would end the training:\n{listed}{more}\n"
            "Mend or replace these files, or take their rows out of the samples; then start again."
        )
    write_atomically(passed, f"{stamp}\n")


def _places(config: StageConfig) -> Iterator[tuple[str, str]]:
    """Each image with the file, line and id of the sample that it belongs to."""
    files = [] if config.scenes else [config.samples]
    files += [config.validation] if isinstance(config, WatchedConfig) and config.validation else []
    for file in files:
        for line, row in sample_rows(file):
            yield row["image"], f"{display_name(file)}, line {line}, sample {display_name(str(row['id']))}"


def _stamp(images: Mapping[str, str]) -> str:
    """A hash of all paths, with size and time of the last change where there is a file."""
    stamp = hashlib.sha256()
    for image in images:
        try:
            found = os.stat(image)
            state = f"{found.st_size} {found.st_mtime_ns}"
        except (OSError, ValueError):
            state = "none"
        stamp.update(f"{image}\0{state}\0".encode("utf-8", "surrogatepass"))
    return stamp.hexdigest()


@lru_cache(maxsize=4)  # a sweep's runs learn from the same images
def _broken(images: tuple[str, ...], stamp: str) -> list[tuple[str, str]]:
    """The images that cannot be opened, in order, each with the reason. `stamp` tells the files from others of these names."""
    opened = open_images(images, _LIMITS, workers=os.cpu_count() or 1)
    with tqdm(opened, desc="checking images", total=len(images), unit="image", mininterval=1) as bar:
        return [(image, str(result)) for image, result in zip(images, bar, strict=True) if isinstance(result, ImageError)]
