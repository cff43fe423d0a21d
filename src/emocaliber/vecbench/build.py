"""Makes VECBench from the data sets' own folders: rows, splits, stages, manifest and data card, the same bytes whenever it is run.

Every file is written whole or not at all, and readings are kept in `OUT/.readings`, so a build that was broken off goes on where it was.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from emocaliber.emotions import Taxonomy, taxonomy
from emocaliber.errors import UserError
from emocaliber.rows import Row, write_atomically
from emocaliber.vecbench.build_config import BuildConfig, CustomSource
from emocaliber.vecbench.card import data_card
from emocaliber.vecbench.drawn import draw_subtasks
from emocaliber.vecbench.manifest import Manifest, by_task, counts, package_version
from emocaliber.vecbench.readings import fingerprint, remembered
from emocaliber.vecbench.sources import SOURCES, Reading, custom
from emocaliber.vecbench.splits import SUBTASKS, Benchmark, CustomTask, assign, stages
from emocaliber.vecbench.tasks import TASKS

# Told the name of what is being read or drawn, and how many images are done.
Progress = Callable[[str, int], None]


def build(
    config: BuildConfig, out: Path, *, scenes: int = 0, size: int = 224, workers: int | None = None, progress: Progress = lambda *_: None
) -> Manifest:
    """Builds the benchmark in `out` and returns its manifest.

    With `scenes`, every subtask without a data set is drawn instead: so many test samples of `size` pixels, and four times as many for
    training in-domain. Raises UserError where there is nothing to build, or a folder is not the data set it should be.
    """
    if not (config.sources or config.custom or scenes):
        raise UserError(f"nothing to build from; give the folder of at least one of {', '.join(SOURCES)}, or draw scenes instead")
    readings = _readings(config, out / ".readings", progress)
    # Only now, as the folders are what they claim to be, are hours of drawing worth beginning.
    benchmark = assign(
        readings,
        config.seed,
        config.test_size,
        own_split=config.own_split,
        polarity=config.polarity,
        custom={name: CustomTask(_candidates(source), source.test_size) for name, source in config.custom.items()},
    )
    without = [name for source, names in SUBTASKS.items() if source not in readings for name in names]
    missing = [name for name in TASKS if name in without]
    drawn = missing if scenes else []
    train, test = draw_subtasks(out / "scenes", drawn, scenes, config.seed, size=size, workers=workers, progress=progress)
    order = {name: place for place, name in enumerate((*TASKS, *config.custom))}
    train, test = (sorted(rows, key=lambda row: order[row["task"]]) for rows in (benchmark.train + train, benchmark.test + test))
    files = _files(out, train, test, readings, config.seed)
    written = {name: _write(out / name, lines) for name, lines in files.items()}
    manifest = Manifest(
        version=package_version(),
        seed=config.seed,
        settings=_settings(config, scenes if drawn else 0, size),
        sources={name: _described(reading, benchmark.unused.get(name, 0)) for name, reading in readings.items()},
        tasks=counts({"test": test, "train": train}),
        stages={name: by_task(map(json.loads, lines)) for name, lines in files.items() if name.startswith("stage")},
        files=written,
        drawn=drawn,
        missing=[name for name in missing if name not in drawn],
        notes=_notes(benchmark, drawn, [name for name in missing if name not in drawn]),
    )
    write_atomically(out / "README.md", data_card(manifest))
    write_atomically(out / "manifest.json", manifest.to_json())
    return manifest


def _readings(config: BuildConfig, kept: Path, progress: Progress) -> dict[str, Reading]:
    readings = {}
    for name, read in SOURCES.items():
        if name in config.sources:
            folder = config.sources[name]
            key = fingerprint([folder], package_version(), name, config.check_images)
            reader = partial(read, folder, check_images=config.check_images, progress=partial(progress, name))
            readings[name] = remembered(kept / f"{name}.json", key, reader)
    for name, source in config.custom.items():
        labels = taxonomy(source.taxonomy) if source.taxonomy else source.labels
        places = [source.path, source.images or (source.path if source.path.is_dir() else source.path.parent)]
        key = fingerprint(places, package_version(), name, config.check_images, source.midpoint, _labels_key(labels))
        reader = partial(_read_custom, name, source, labels, config.check_images, partial(progress, name))
        readings[name] = remembered(kept / f"custom-{name}.json", key, reader)
    return readings


def _read_custom(
    name: str, source: CustomSource, labels: Taxonomy | tuple[str, ...] | None, check_images: bool, progress: Callable[[int], None]
) -> Reading:
    return custom.read(
        source.path, name, labels, midpoint=source.midpoint, images=source.images, check_images=check_images, progress=progress
    )


def _labels_key(labels: Taxonomy | tuple[str, ...] | None) -> object:
    return (labels.labels, sorted(labels.aliases.items())) if isinstance(labels, Taxonomy) else labels


def _candidates(source: CustomSource) -> tuple[str, ...] | None:
    if source.taxonomy or source.midpoint is not None:
        return taxonomy(source.taxonomy or "polarity-2").labels
    return source.labels


def _files(out: Path, train: list[Row], test: list[Row], readings: Mapping[str, Reading], seed: int) -> dict[str, list[str]]:
    """The lines of each file; image paths relative to it."""
    stage = stages(train, seed)
    trains, tests = ([_line(out, row) for row in rows] for rows in (train, test))
    skipped = [
        json.dumps({"source": name, "path": each.path, "reason": str(each.reason), "detail": each.detail})
        for name, reading in readings.items()
        for each in reading.skipped
    ]
    staged = {f"stage{k}.jsonl": [line for line, own in zip(trains, stage, strict=True) if own == k] for k in (1, 2, 3)}
    return {"train.jsonl": trains, "test.jsonl": tests, **staged, "skipped.jsonl": skipped}


def _line(out: Path, row: Row) -> str:
    return json.dumps({**row, "image": Path(os.path.relpath(row["image"], out)).as_posix()})


def _write(path: Path, lines: Iterable[str]) -> dict[str, Any]:
    data = "".join(f"{line}\n" for line in lines).encode("ascii")
    write_atomically(path, data)
    return {"rows": data.count(b"\n"), "sha256": hashlib.sha256(data).hexdigest()}


def _described(reading: Reading, unused: int) -> dict[str, Any]:
    skipped = Counter(str(each.reason) for each in reading.skipped)
    return {"items": len(reading.items), "unused": unused, "skipped": dict(sorted(skipped.items()))}


def _settings(config: BuildConfig, scenes: int, size: int) -> dict[str, Any]:
    """What decided the rows, without the places on this machine."""
    return {
        "test_size": config.test_size,
        "check_images": config.check_images,
        "own_split": list(config.own_split),
        "polarity": dict(config.polarity),
        "custom": {
            name: {"labels": source.labels, "midpoint": source.midpoint, "test_size": source.test_size}
            for name, source in config.custom.items()
        },
        **({"scenes": scenes, "scene_size": size} if scenes else {}),
    }


def _notes(benchmark: Benchmark, drawn: list[str], missing: list[str]) -> list[str]:
    notes = list(benchmark.notes)
    if drawn:
        notes.append(
            f"Drawn scenes, not VECBench: {', '.join(drawn)}. They test method and software; what a model scores on them says nothing "
            "about photographs, and a group's mean over drawn and real subtasks means nothing."
        )
    if missing:
        sources = [source for source, names in SUBTASKS.items() if set(names) & set(missing)]
        notes.append(f"Without data: {', '.join(missing)}; give the folders of {', '.join(sources)} to have them.")
    return notes
