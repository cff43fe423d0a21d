"""Builds VECBench from the data sets' own folders: rows, splits, stages, manifest and data card; the same inputs give the same bytes.

Every file is written atomically. Loaded sources are cached in `OUT/.readings`, so an interrupted build resumes without decoding images
again. The configuration is a TOML file (`configs/vecbench.toml` is one).
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from emocaliber.core.tasks import TASKS, canonical_task
from emocaliber.emotions.taxonomy import Taxonomy, taxonomy
from emocaliber.errors import UserError
from emocaliber.io.configurations import find_configuration
from emocaliber.io.rows import Row, display_name, write_atomically
from emocaliber.io.settings import read_toml, typed
from emocaliber.io.workspace import Workspace, package_version
from emocaliber.vecbench.manifest import Manifest, by_task, counts, data_card, read_manifest, remove_audit
from emocaliber.vecbench.sources import READERS, SOURCES
from emocaliber.vecbench.sources.reader import Item, LoadedSource, Skipped, SkipReason, files_below
from emocaliber.vecbench.splits import OWN_SPLIT, SUBTASKS, Benchmark, CustomTask, assign, assign_stages, with_polarity
from emocaliber.vecbench.synthetic import draw_synthetic_subtasks

# Called with the name of the source or subtask, and how many of its images are done.
Progress = Callable[[str, int], None]


def build_benchmark(
    config: BuildConfig,
    out: Path,
    *,
    scenes: int = 0,
    size: int = 224,
    rebuild: bool = False,
    workers: int | None = None,
    progress: Progress = lambda *_: None,
) -> Manifest:
    """Builds the benchmark in `out` and returns its manifest. What an audit left there is removed if the samples change.

    With `scenes`, every subtask without a data set is made of synthetic scenes instead: that many test samples of `size` pixels, and four
    times as many training samples in-domain. Raises UserError if there is nothing to build from, if a folder is not the data set that it
    should be, and, unless `rebuild`, if `out` was built with other settings.
    """
    if not (config.sources or config.custom or scenes):
        raise UserError(f"nothing to build from; give the folder of at least one of {', '.join(SOURCES)}, or draw scenes instead")
    without = [name for source, names in SUBTASKS.items() if source not in config.sources for name in names]
    missing = [name for name in TASKS if name in without]
    drawn = missing if scenes else []
    settings = _settings(config, scenes if drawn else 0, size)
    before = _built_before(out, config, settings, rebuild)
    loaded_sources = _load_sources(config, out / ".readings", progress)
    # Scenes, which may take hours, are drawn only after all folders have been checked.
    benchmark = assign(
        loaded_sources,
        config.seed,
        config.test_size,
        own_split=config.own_split,
        polarity=config.polarity,
        custom={name: CustomTask(_candidates(source), source.test_size) for name, source in config.custom.items()},
    )
    train, test = draw_synthetic_subtasks(out / "scenes", drawn, scenes, config.seed, size=size, workers=workers, progress=progress)
    order = {name: place for place, name in enumerate((*TASKS, *config.custom))}
    train, test = (sorted(rows, key=lambda row: order[row["task"]]) for rows in (benchmark.train + train, benchmark.test + test))
    files = _files(out, train, test, loaded_sources, config.seed)
    written = {name: _write(out / name, lines) for name, lines in files.items()}
    manifest = Manifest(
        version=package_version(),
        seed=config.seed,
        settings=settings,
        sources={name: _described(loaded, benchmark.unused.get(name, 0)) for name, loaded in loaded_sources.items()},
        tasks=counts({"test": test, "train": train}),
        stages={name: by_task(map(json.loads, lines)) for name, lines in files.items() if name.startswith("stage")},
        files=written,
        drawn=drawn,
        missing=[name for name in missing if name not in drawn],
        notes=_notes(benchmark, drawn, [name for name in missing if name not in drawn]),
    )
    if before is not None and before.files != manifest.files:
        remove_audit(out)
    write_atomically(out / "README.md", data_card(manifest))
    write_atomically(out / "manifest.json", manifest.to_json())
    return manifest


def _built_before(out: Path, config: BuildConfig, settings: Mapping[str, Any], rebuild: bool) -> Manifest | None:
    """The manifest of the benchmark in `out`, None without one. Raises UserError, unless `rebuild`, if its settings were others."""
    if not (out / "manifest.json").is_file():
        return None
    before = read_manifest(out)
    if not rebuild:
        now = {"seed": config.seed, "sources": sorted((*config.sources, *config.custom)), **settings}
        remedy = "Give the same settings, another folder (--out DIR), or --rebuild to replace it"
        was = {"seed": before.seed, "sources": sorted(before.sources), **before.settings}
        Workspace(out / "manifest.json", now, path=out, remedy=remedy).compare(was)
    return before


def _load_sources(config: BuildConfig, cache: Path, progress: Progress) -> dict[str, LoadedSource]:
    loaded_sources = {}
    for name, read in SOURCES.items():
        if name in config.sources:
            folder = config.sources[name]
            key = source_fingerprint([folder], package_version(), name, config.check_images)
            reader = partial(read, folder, check_images=config.check_images, progress=partial(progress, name))
            loaded_sources[name] = cached_source(cache / f"{name}.json", key, reader)
    for name, source in config.custom.items():
        labels = taxonomy(source.taxonomy) if source.taxonomy else source.labels
        places = [source.path, source.images or (source.path if source.path.is_dir() else source.path.parent)]
        settings = (name, config.check_images, source.midpoint, _labels_key(labels), source.reader)
        key = source_fingerprint(places, package_version(), *settings)
        reader = partial(_read_custom, name, source, labels, config.check_images, partial(progress, name))
        loaded_sources[name] = cached_source(cache / f"custom-{name}.json", key, reader)
    return loaded_sources


def _read_custom(
    name: str, source: CustomSource, labels: Taxonomy | tuple[str, ...] | None, check_images: bool, progress: Callable[[int], None]
) -> LoadedSource:
    return READERS.named(source.reader)(
        source.path, name, labels, midpoint=source.midpoint, images=source.images, check_images=check_images, progress=progress
    )


def _labels_key(labels: Taxonomy | tuple[str, ...] | None) -> object:
    return (labels.labels, sorted(labels.aliases.items())) if isinstance(labels, Taxonomy) else labels


def _candidates(source: CustomSource) -> tuple[str, ...] | None:
    if source.taxonomy or source.midpoint is not None:
        return taxonomy(source.taxonomy or "polarity-2").labels
    return source.labels


def _files(out: Path, train: list[Row], test: list[Row], loaded_sources: Mapping[str, LoadedSource], seed: int) -> dict[str, list[str]]:
    """The lines of each file; image paths relative to it."""
    stage = assign_stages(train, seed)
    trains, tests = ([_line(out, row) for row in rows] for rows in (train, test))
    skipped = [
        json.dumps({"source": name, "path": each.path, "reason": str(each.reason), "detail": each.detail})
        for name, loaded in loaded_sources.items()
        for each in loaded.skipped
    ]
    staged = {f"stage{k}.jsonl": [line for line, own in zip(trains, stage, strict=True) if own == k] for k in (1, 2, 3)}
    return {"train.jsonl": trains, "test.jsonl": tests, **staged, "skipped.jsonl": skipped}


def _line(out: Path, row: Row) -> str:
    return json.dumps({**row, "image": Path(os.path.relpath(row["image"], out)).as_posix()})


def _write(path: Path, lines: Iterable[str]) -> dict[str, Any]:
    data = "".join(f"{line}\n" for line in lines).encode("ascii")
    write_atomically(path, data)
    return {"rows": data.count(b"\n"), "sha256": hashlib.sha256(data).hexdigest()}


def _described(loaded: LoadedSource, unused: int) -> dict[str, Any]:
    skipped = Counter(str(each.reason) for each in loaded.skipped)
    return {"items": len(loaded.items), "unused": unused, "skipped": dict(sorted(skipped.items()))}


def _settings(config: BuildConfig, scenes: int, size: int) -> dict[str, Any]:
    """The settings that the rows depend on, without paths of this machine."""
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
            f"Synthetic scenes, not VECBench: {', '.join(drawn)}. They test method and software; what a model scores on them says nothing "
            "about photographs, and a group's mean over synthetic and real subtasks means nothing."
        )
    if missing:
        sources = [source for source, names in SUBTASKS.items() if set(names) & set(missing)]
        notes.append(f"Without data: {', '.join(missing)}; give the folders of {', '.join(sources)} to have them.")
    return notes


# The configuration: data sets' folders, seed and settings.


@dataclass(frozen=True)
class CustomSource:
    """A user's own data set, as its `reader` reads it (one of `READERS`). `labels` are the candidates, by default those that occur.

    All samples are for the test, unless `test_size` says how many; then the rest are for training.
    """

    path: Path
    labels: tuple[str, ...] | None = None
    taxonomy: str | None = None
    midpoint: float | None = None
    images: Path | None = None
    test_size: int | None = None
    reader: str = "folder-or-csv"


@dataclass(frozen=True)
class BuildConfig:
    """`sources`: the folder of each data set, by the names of `SOURCES`. `check_images`: decode every image and leave out the broken.
    `own_split`: the sources whose own split is kept. `polarity`: for emotions of WebEmo-7 whose polarity should differ from the
    taxonomy's."""

    sources: Mapping[str, Path] = field(default_factory=dict)
    custom: Mapping[str, CustomSource] = field(default_factory=dict)
    seed: int = 0
    test_size: int = 1000
    check_images: bool = True
    own_split: tuple[str, ...] = OWN_SPLIT
    polarity: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in (*self.sources, *self.own_split):
            if name not in SOURCES:
                raise UserError(f"there is no source {name!r}; the data sets of VECBench are {', '.join(SOURCES)}")
        for name in self.custom:
            if canonical_task(name) in TASKS or name in SOURCES:
                raise UserError(f"custom.{name}: VECBench has that name itself; give the task another")
        with_polarity(self.polarity)


def read_config(path: str | Path) -> BuildConfig:
    """The configuration in a TOML file; paths in it are relative to it. Raises UserError naming file, key and remedy."""
    path = find_configuration(path, "bench")
    name = display_name(path)
    table = read_toml(path, name, f"{name}: cannot be read ({{reason}}); give a TOML file such as configs/vecbench.toml")
    try:
        return _config(table, path.absolute().parent)
    except UserError as error:
        raise UserError(f"{name}: {error}") from None


def _config(table: Mapping[str, Any], folder: Path) -> BuildConfig:
    table = _checked(table, _KEYS, "")
    sources = {name: folder / path for name, path in _each("str", table.pop("sources", {}), "[sources]").items()}
    custom = {name: _custom(value, f"custom.{name}", folder) for name, value in _each("dict", table.pop("custom", {}), "[custom]").items()}
    return BuildConfig(sources=sources, custom=custom, **table)


def _custom(table: Mapping[str, Any], where: str, folder: Path) -> CustomSource:
    table = _checked(table, _CUSTOM_KEYS, f"[{where}]")
    if "path" not in table:
        raise UserError(f"{where}: no path; give that of a folder or a CSV file")
    if "labels" in table and "taxonomy" in table:
        raise UserError(f"{where}: labels and a taxonomy; give one of them")
    if "taxonomy" in table:
        name = table["taxonomy"]
        table["taxonomy"] = str(folder / name) if (folder / name).is_file() else name
        taxonomy(table["taxonomy"])
    READERS.named(table.get("reader", CustomSource.reader))
    return CustomSource(**table | {key: folder / table[key] for key in ("path", "images") if key in table})


_TEXTS = "tuple[str, ...]"
_KEYS = {
    **{"sources": "dict", "custom": "dict", "polarity": "dict", "own_split": _TEXTS},
    **{"seed": "int", "test_size": "int", "check_images": "bool"},
}
_CUSTOM_KEYS = {
    **{"path": "str", "images": "str", "labels": _TEXTS, "taxonomy": "str", "midpoint": "float", "test_size": "int", "reader": "str"},
}


def _checked(table: Mapping[str, Any], kinds: Mapping[str, str], where: str) -> dict[str, Any]:
    checked = typed(table, kinds, where)
    for key, value in checked.items():
        if kinds[key] == "int" and value < 0:
            raise UserError(f"{where}{': ' if where else ''}{key} must not be negative, as {value} is")
    return checked


def _each(kind: str, table: Mapping[str, Any], where: str) -> dict[str, Any]:
    return typed(table, dict.fromkeys(table, kind), where)


# The cache of loaded sources.


def cached_source(file: Path, key: str, read: Callable[[], LoadedSource]) -> LoadedSource:
    """The loaded source in `file` if it was cached under this key; otherwise the result of `read`, which is then cached."""
    if (cached := _cached(file, key)) is not None:
        return cached
    loaded = read()
    write_atomically(file, json.dumps({"key": key, **_to_json(loaded)}))
    return loaded


def source_fingerprint(places: Iterable[Path], *settings: object) -> str:
    """A hash of the settings and of the name, size and modification time of every file in these places. No file is opened."""
    digest = hashlib.sha256(repr(settings).encode())
    for place in places:
        digest.update(b"\0" + os.fsencode(place.absolute()) + b"\0")
        for path, status in _image_files(place):
            digest.update(os.fsencode(path) + f"\0{status.st_size}\0{status.st_mtime_ns}\0".encode())
    return digest.hexdigest()


def _image_files(place: Path) -> Iterator[tuple[str, os.stat_result]]:
    files = [place / path for path in files_below(place)] if place.is_dir() else [place]
    return ((str(file), file.stat()) for file in files if file.exists())


def _cached(file: Path, key: str) -> LoadedSource | None:
    """The loaded source in `file`; None if there is none under this key, or the file is damaged or of an earlier version."""
    try:
        found = json.loads(file.read_text("ascii"))
        return _from_json(found) if found["key"] == key else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _to_json(loaded: LoadedSource) -> dict[str, Any]:
    return {
        "source": loaded.source,
        "folder": str(loaded.folder),
        "items": [[item.image, item.label, item.source, item.split, item.votes] for item in loaded.items],
        "skipped": [[each.path, each.reason, each.detail] for each in loaded.skipped],
    }


def _from_json(found: dict[str, Any]) -> LoadedSource:
    return LoadedSource(
        found["source"],
        Path(found["folder"]),
        tuple(Item(*item) for item in found["items"]),
        tuple(Skipped(path, SkipReason(reason), detail) for path, reason, detail in found["skipped"]),
    )
