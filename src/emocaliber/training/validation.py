"""The samples that a run is watched by, and a model recalibrated by: none that it learns from, and none of a test split."""

from __future__ import annotations

from pathlib import Path

from emocaliber.errors import UserError
from emocaliber.rows import display_name
from emocaliber.training.config import WatchedConfig
from emocaliber.vecbench import Sample, read_samples


def validation_samples(config: WatchedConfig) -> list[Sample]:
    """The samples to watch by; none without `config.validation`. Raises UserError as `held_out_samples` does."""
    return held_out_samples(Path(config.validation), Path(config.samples), "validation: ") if config.validation else []


def held_out_samples(file: Path, trained: Path, where: str = "") -> list[Sample]:
    """The samples of a file.

    Raises UserError, beginning with `where`, for a file without samples, for one of a test split, and for an image that is also one of the
    file `trained`, if that is there.
    """
    samples = list(read_samples(file))
    if not samples:
        raise UserError(f"{where}{display_name(file)} has no samples")
    if tested := next((sample for sample in samples if sample.split == "test"), None):
        raise UserError(
            f"{where}sample {display_name(tested.id)} of {display_name(file)} is of the split 'test'; "
            "choices made by looking at the test split make its numbers worthless, so give samples of another split"
        )
    images = {_place(sample) for sample in read_samples(trained)} if trained.is_file() else set()
    if seen := next((sample for sample in samples if _place(sample) in images), None):
        raise UserError(
            f"{where}the image of sample {display_name(seen.id)} of {display_name(file)} is also in {display_name(trained)}; "
            "held-out samples must not be trained on"
        )
    return samples


def _place(sample: Sample) -> Path:
    return Path(sample.image).absolute()
