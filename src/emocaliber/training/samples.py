"""The samples of a stage: those it learns from, and held-out ones, which are of no test split and in no stage of the model's lineage.

They may be in any form that `core.forms` reads, in a file, in a folder, or on the hub (`io.datasets`).

Samples are compared by image file: the same file under two paths (relative, absolute, symbolic or hard links) and byte-identical copies
count as one. Rescaled or re-encoded images do not; `emocaliber bench audit` finds such near-duplicates. The lineage ends at a model that no
stage made (from the hub, or exported): its training data is unknown.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from emocaliber.core.prompts import EMOCALIBER
from emocaliber.core.sample_files import examined_rows, placed_rows
from emocaliber.core.samples import Sample
from emocaliber.errors import UserError
from emocaliber.inference.plan import sha256_of
from emocaliber.io.datasets import is_there
from emocaliber.io.rows import Row, display_name
from emocaliber.render.progress import Progress
from emocaliber.training.config import FINISHED, GIVEN, SETTINGS, STAGES, ModelConfig, MonitoredConfig, Stage2Config, StageConfig
from emocaliber.training.distributed import on_main_process, print_once


class SampleFile(NamedTuple):
    """A file of samples, and the folder from which its relative image paths start (empty: that of the file)."""

    path: Path
    images: str = ""


def training_rows(config: StageConfig) -> list[dict[str, Any]]:
    """The sample rows of a stage, with absolute image paths. Raises UserError as `numbered_sample_rows` does, and for a file without rows.

    Scenes are drawn first. Those of another `scenes_seed`, of another number or of other subtasks may lie in the same file: ids choose.
    """
    path = Path(config.samples)
    if not config.scenes:
        rows = [row for _, row in numbered_sample_rows(config.samples, config.images)]
        check_truths(config, rows)
        if note := _other_questions(rows):
            print_once(f"{display_name(config.samples)}: {note}")
        return rows
    from emocaliber.scenes.dataset import draw_mixture, mixture_ids, parse_mixture

    shares = parse_mixture(config.scenes_tasks)

    def draw() -> None:
        drawn = draw_mixture(
            path.parent,
            shares,
            config.scenes,
            config.scenes_seed,
            size=config.scenes_size,
            split="train",
            ood_share=config.scenes_unfamiliar,
        )
        with Progress(f"drawing {path.parent}", "scenes", config.scenes) as progress:
            for done in drawn:
                progress.to(done)

    on_main_process(draw)
    known = {row["id"]: row for _, row in numbered_sample_rows(path)}
    return [known[identity] for identity in mixture_ids(shares, config.scenes, config.scenes_seed)]


def check_truths(config: StageConfig, rows: Iterable[Row]) -> None:
    """Raises UserError for the first row without a true label, unless the stage learns confidences that the rows state."""
    if isinstance(config, Stage2Config) and config.targets == GIVEN:
        return
    if row := next((row for row in rows if row["ground_truth"] is None), None):
        raise UserError(
            f"{display_name(config.samples)}: sample {display_name(row['id'])} has an answer with a confidence, which may be wrong, and no "
            f'true label; add ground_truth, or train stage 2 on the confidences that are stated, with targets = "{GIVEN}"'
        )


def _other_questions(rows: Sequence[Row]) -> str:
    """What is to be said of rows that come with a question in other words than the one that is asked; empty if there are none."""
    ours = cache(lambda task, labels: {EMOCALIBER.question(task, labels, confidence=stated) for stated in (False, True)})
    asked = [row for row in rows if "question" in row]
    other = sum(row["question"] not in ours(row["task"], tuple(row["candidates"])) for row in asked)
    if not other:
        return ""
    return (
        f"{other:,} of {len(rows):,} rows ask in other words; they are trained with the question that `predict` and `respond` ask, about "
        "the same candidates"
    )


def numbered_sample_rows(path: str | Path, images: str = "") -> Iterator[tuple[int, dict[str, Any]]]:
    """Line numbers and rows of a file of samples in any form, with absolute image paths; `images` is as in `StageConfig`.

    Raises UserError for a file that is not there or has no rows, for a row that is no sample, and for rows of a test split, which may be
    neither trained on nor validated on.
    """
    for line, row in judged_sample_rows(path, images):
        if isinstance(row, UserError):
            raise row
        yield line, row


def judged_sample_rows(path: str | Path, images: str = "") -> Iterator[tuple[int, dict[str, Any] | UserError]]:
    """As `numbered_sample_rows`, with the error in place of a row that may not be trained on."""
    for place, _, _, row in examined_rows(path, images):
        if isinstance(row, dict) and row["split"] == "test":
            row = UserError(f"{place}: split is 'test'; training and validation must not see the test split")
        yield place.number, row if isinstance(row, UserError) else dict(row)


def validation_samples(config: MonitoredConfig, before: Sequence[SampleFile] = ()) -> list[Sample]:
    """The validation samples of a stage; none without `config.validation`.

    `before` are the sample files of the lineage of a model that is still to be trained. Raises UserError as `held_out_samples` and
    `lineage_sample_files` do.
    """
    if not config.validation:
        return []
    trained = [*own_sample_files(config), *(before or upstream_sample_files(config))]
    return held_out_samples(Path(config.validation), trained, "validation: ", images=config.images)


def own_sample_files(config: StageConfig) -> list[SampleFile]:
    """The sample file of a stage, in a list; empty while its scenes are still to be drawn."""
    samples = Path(config.samples)
    return [] if config.scenes and not samples.is_file() else [SampleFile(samples, config.images)]


def upstream_sample_files(config: StageConfig) -> list[SampleFile]:
    """The sample files of the stages that made a stage's starting model. Raises UserError as `lineage_sample_files` does."""
    run = _run_of(Path(config.model)) if isinstance(config, ModelConfig) else None
    return list(lineage_sample_files(*run)) if run else []


def lineage_sample_files(run: Path, settings: Mapping[str, Any]) -> Iterator[SampleFile]:
    """The sample files that the stage in the folder `run`, with these `settings` (its config.json), and all stages of its lineage were
    trained on, the latest stage first.

    Raises UserError if a file or a stage's folder no longer exists, as the training data is then unknown.
    """
    seen = {run.resolve()}
    while True:
        where = f"the settings of {settings['stage']} in {display_name(run / SETTINGS)}"
        samples = _located(settings["samples"], run, settings)
        if not is_there(str(samples)):
            raise _unknown(f"{display_name(samples)}, the samples that {where} name")
        images = settings.get("images") or ""
        yield SampleFile(samples, str(_located(images, run, settings)) if images else "")
        if "model" not in settings:  # a base model, trained from random weights
            return
        model = _located(settings["model"], run, settings)
        following = _run_of(model)
        if following is None:
            if not model.exists() and (model.is_absolute() or model.name == FINISHED):  # otherwise a hub id
                raise _unknown(f"{display_name(model)}, the model that {where} name")
            return
        run, settings = following
        if run.resolve() in seen:
            return
        seen.add(run.resolve())


def held_out_samples(file: Path, trained: Iterable[SampleFile], where: str = "", *, images: str = "") -> list[Sample]:
    """The samples of a file; `images` is as in `StageConfig`.

    Raises UserError, beginning with `where`, for a file without samples, for a sample of a test split, and for an image that also occurs in
    one of the files `trained`.
    """
    samples = [Sample.from_row(row, str(place)) for place, row in placed_rows(file, images)]
    if tested := next((sample for sample in samples if sample.split == "test"), None):
        raise UserError(
            f"{where}sample {display_name(tested.id)} of {display_name(file)} is of the split 'test'; "
            "choices made by looking at the test split make its numbers worthless, so give samples of another split"
        )
    by_file, by_size = {}, dict[int, list[Sample]]()
    for sample in samples:
        identity, size = _file_of(sample.image)
        by_file[identity] = sample
        by_size.setdefault(size, []).append(sample)
    digest = cache(sha256_of)
    for other, root in trained:
        for _, row in placed_rows(other, root):
            identity, size = _file_of(row["image"])
            copies = (each for each in by_size.get(size, ()) if size and digest(Path(each.image)) == digest(Path(row["image"])))
            if seen := by_file.get(identity) or next(copies, None):
                raise UserError(
                    f"{where}the image of sample {display_name(seen.id)} of {display_name(file)} is also in {display_name(other)} "
                    f"(sample {display_name(row['id'])}); held-out samples must not be trained on"
                )
    return samples


def _file_of(image: str) -> tuple[object, int]:
    """The identity (device and inode) and size in bytes of an image's file; for a missing file its absolute path and 0."""
    try:
        found = os.stat(image)
    except OSError:
        return os.path.abspath(image), 0
    return (found.st_dev, found.st_ino), found.st_size


def _run_of(model: Path) -> tuple[Path, dict[str, Any]] | None:
    """The folder and settings of the stage that made a model (OUT/model, or one of its checkpoints); None where no stage did."""
    for place in dict.fromkeys((model.absolute(), model.resolve())):
        for folder in place.parents[:2]:
            try:
                settings = json.loads((folder / SETTINGS).read_text("utf-8"))
            except OSError:
                continue
            except ValueError as error:
                raise UserError(f"{display_name(folder / SETTINGS)} cannot be read, so the training data of {model} is unknown") from error
            if isinstance(settings, dict) and settings.get("stage") in STAGES:
                return folder, settings
    return None


def _located(path: str, run: Path, settings: Mapping[str, Any]) -> Path:
    """A path of a run's settings, resolved from the folder where the stage was started if the run's location tells it, else unchanged."""
    out, place = Path(os.path.normpath(settings["out"])), run.absolute()
    if not out.is_absolute() and place.parts[-len(out.parts) :] == out.parts:
        started = Path(*place.parts[: -len(out.parts)])
        if (started / path).exists():
            return started / path
    return Path(path)


def _unknown(what: str) -> UserError:
    return UserError(
        f"{what}, is not there, so held-out samples cannot be checked against what was trained on; "
        "put it back, or start from the folder where training was started"
    )
