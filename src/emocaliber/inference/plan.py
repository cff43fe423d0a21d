"""The plan of a run, read and checked before a model is loaded: its configuration, its samples, and the identity of its model.

`missing_from` later says whether the rows of a run are complete.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Self, TypeVar

from emocaliber.core.prompts import EMOCALIBER, Prompt, load_prompt
from emocaliber.core.released import read_test_metadata
from emocaliber.core.samples import Sample, read_samples
from emocaliber.errors import UserError
from emocaliber.io.chunks import chunks
from emocaliber.io.configurations import find_configuration
from emocaliber.io.row_formats import row_files
from emocaliber.io.rows import display_name, numbered_rows, opened
from emocaliber.io.settings import ON_LINE, read_toml, typed
from emocaliber.io.workspace import record_of
from emocaliber.models import checkpoint_of
from emocaliber.models.strategies import STRATEGIES, Strategy

_KEYS = {"model": "str", "prompt": "str", "lenient": "bool", "confidence": "bool", "settings": "dict", "strategy": "dict"}

# Settings that several kinds of models share, with their types and minima. Further settings of a kind are checked by its class.
_SETTINGS: Mapping[str, tuple[str, float]] = {
    "temperature": ("float", 0),
    "seed": ("int", 0),
    "batch_size": ("int", 1),
    "max_new_tokens": ("int", 1),
    "min_pixels": ("int", 1),
    "max_pixels": ("int", 1),
    "concurrency": ("int", 1),
    "threads": ("int", 1),
    "requests_per_minute": ("float", 1),
    "tokens_per_minute": ("float", 1),
    "budget": ("float", 0),
    "base_url": ("str | list", 0),
    "prices": ("list", 0),
}
_STRATEGY = {field.name: str(field.type) for field in dataclasses.fields(Strategy) if field.name != "further"}


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """The configuration of a run: `settings` are those of `load_model`, `strategy` that of `strategies.apply`, the rest of `respond`."""

    model: str
    prompt: Prompt = EMOCALIBER
    lenient: bool = True
    confidence: bool = True
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    strategy: Strategy = dataclasses.field(default_factory=Strategy)


def read_run_config(file: str | Path | None = None, flags: Mapping[str, Any] | None = None) -> RunConfig:
    """The configuration in a run file (TOML), by its path or its name in `configs/baselines`.

    `flags`, with the same keys, override its values.

    Raises UserError, naming the file and the key, for a file that cannot be read, an unknown key, or a value of another type.
    """
    file = find_configuration(file, "respond") if file else None
    values, given = _read(file) if file else {}, flags or {}
    where = display_name(file) if file else ON_LINE
    settings, strategy = ({**values.pop(part, {}), **given.get(part, {})} for part in ("settings", "strategy"))
    values |= {key: value for key, value in given.items() if key not in ("settings", "strategy")}
    if "model" not in values:
        raise UserError("no model is named; give --model, or --config with a run file that names one")
    prompt = load_prompt(values.get("prompt", EMOCALIBER.name))
    return RunConfig(
        model=values["model"],
        prompt=prompt,
        lenient=values.get("lenient", True),
        confidence=values.get("confidence", True),
        settings=_settings(settings, where),
        strategy=_strategy(strategy, f"{where}, [strategy]"),
    )


def with_settings(flags: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """The flags of `read_run_config` with settings by name: keys of a run file, of a strategy or of the model. Settings override flags."""
    joined = {**flags, "settings": dict(flags.get("settings", {})), "strategy": dict(flags.get("strategy", {}))}
    for name, value in settings.items():
        part = joined if name in _KEYS else joined["strategy"] if name in STRATEGIES or name in _STRATEGY else joined["settings"]
        part[name] = value
    return {**joined, **typed({name: joined[name] for name in _KEYS if name in joined}, _KEYS, ON_LINE)}


def model_settings(values: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a model that were given on the command line, checked as those of a run file. Raises UserError as that does."""
    return _settings(values, ON_LINE)


def _strategy(values: Mapping[str, Any], where: str) -> Strategy:
    """Settings of the built-in strategies have their types; one that a plug-in has added checks its own."""
    further = {name: value for name, value in values.items() if name in STRATEGIES and name not in _STRATEGY}
    built_in = typed({name: value for name, value in values.items() if name not in further}, _STRATEGY, where)
    return Strategy(**built_in, further=further)


def _read(file: Path) -> dict[str, Any]:
    where = display_name(file)
    values = read_toml(file, where, f"{where}: cannot be read ({{reason}}); give a run file, such as those in configs/baselines")
    return typed(values, _KEYS, where)


def _settings(values: Mapping[str, Any], where: str) -> dict[str, Any]:
    where = where if where == ON_LINE else f"{where}, [settings]"
    if "api_key" in values:
        raise UserError(f"{where}: a key does not belong in a file; take api_key out, and give it in the environment as OPENAI_API_KEY")
    known = {name: kind for name, (kind, _) in _SETTINGS.items()}
    settings = {**values, **typed({name: value for name, value in values.items() if name in known}, known, where)}
    for name in settings.keys() & _SETTINGS.keys():
        least = _SETTINGS[name][1]
        if isinstance(value := settings[name], int | float) and not value >= least:
            raise UserError(f"{where}: {name} is {value}; it must be at least {least}")
    return settings


# The samples of a run.

# The test samples in a folder made by `bench build` or `scenes`.
_FILES = ("test.jsonl", "samples.jsonl")

T = TypeVar("T")


@dataclass(frozen=True)
class Shard:
    """Part `number` of `of` parts, counted from 1. The parts are contiguous, and their sizes differ by at most one."""

    number: int
    of: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Reads "3/8". Raises UserError for anything else."""
        match = re.fullmatch(r"([0-9]+)/([0-9]+)", text.strip())
        number, of = map(int, match.groups()) if match else (0, 0)
        if not 1 <= number <= of:
            raise UserError(f"--shard {text!r}: give a part and their number, counted from 1, such as 3/8")
        return cls(number, of)

    def of_list(self, items: Sequence[T]) -> Sequence[T]:
        """This part of the list."""
        return items[len(items) * (self.number - 1) // self.of : len(items) * self.number // self.of]

    @property
    def name(self) -> str:
        """The shard in file names, which sort in the order of the shards: "03-of-12"."""
        return f"{self.number:0{len(str(self.of))}}-of-{self.of}"

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"


@dataclass(frozen=True)
class Selection:
    """Samples in order, with absolute image paths, and how they were selected. `files` maps each file read to its SHA-256."""

    samples: Sequence[Sample]
    files: Mapping[Path, str]
    max_samples: int | None = None
    shard: Shard | None = None


def select(places: Sequence[Path], *, max_samples: int | None = None, shard: Shard | None = None) -> Selection:
    """The samples of files (rows, or the released test_metadata.csv), and of folders: their test.jsonl, or samples.jsonl.

    `max_samples` takes that many samples by the hash of their ids: a sample independent of the file's order, reproducible, and nested in
    any larger one. The shard is taken last. Raises UserError for a file or row that is no sample, and for an id that occurs twice.
    """
    files = [_file(place) for place in places]
    samples = list(_read_samples(files))
    if not samples:
        raise UserError(f"{', '.join(map(display_name, files))} holds no samples")
    if max_samples is not None and max_samples < len(samples):
        kept = set(sorted((sample.id for sample in samples), key=sampling_key)[:max_samples])
        samples = [sample for sample in samples if sample.id in kept]
    return Selection(shard.of_list(samples) if shard else samples, {file: sha256_of(file) for file in files}, max_samples, shard)


def _file(place: Path) -> Path:
    if not place.is_dir():
        return place
    for name in _FILES:
        if (place / name).is_file():
            return place / name
    raise UserError(f"{display_name(place)}: holds neither {' nor '.join(_FILES)}; name the file of samples in it")


def _read_samples(files: Sequence[Path]) -> Iterator[Sample]:
    seen: dict[str, Path] = {}
    for file in files:
        for sample in read_test_metadata(file) if file.suffix.lower() == ".csv" else read_samples(file):
            if sample.id in seen:  # in another file; within one file, `read_samples` refuses it
                where = f"{display_name(seen[sample.id])} and {display_name(file)}"
                raise UserError(f"{where} both hold a sample {sample.id!r}; ask about them in runs of their own, or rename it")
            seen[sample.id] = file
            yield sample


def sampling_key(identity: str) -> bytes:
    """The SHA-256 of an id as a sort key: the first N samples in this order are a reproducible random sample."""
    return hashlib.sha256(identity.encode("utf-8", "surrogatepass")).digest()


# The identity of files and models.


def sha256_of(file: Path) -> str:
    """The SHA-256 of a file's content. Raises UserError if it cannot be read."""
    with opened(file) as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def sha256_of_model(model: str) -> str | None:
    """The SHA-256 of a recording, or of the list of a checkpoint folder's files and their hashes; None for a model that is not local."""
    place = Path(model.partition(":")[2] if model.startswith(("vllm:", "recorded:")) else checkpoint_of(model))
    if place.is_dir():
        files = sorted(file for file in place.iterdir() if file.is_file() and not file.name.startswith("."))
        return hashlib.sha256("".join(f"{sha256_of(file)}  {file.name}\n" for file in files).encode()).hexdigest()
    return sha256_of(place) if place.is_file() else None


def commit_of_model(model: str) -> str | None:
    """The commit of a hub id in the local cache; None for a model that is not cached, and where the library of the hub is not installed."""
    try:
        from huggingface_hub import try_to_load_from_cache
        from huggingface_hub.errors import HFValidationError
    except ImportError:
        return None

    try:
        cached = try_to_load_from_cache(model.removeprefix("vllm:"), "config.json")
    except HFValidationError:  # a path, or a model of another kind
        return None
    return Path(cached).parent.name if isinstance(cached, str) else None


def identity_of_model(model: str) -> dict[str, str | None]:
    """The identity of a model: its `name`, the `sha256` of local files, and the `commit` of a hub id; None where not known."""
    digest = sha256_of_model(model)
    return {"name": model, "sha256": digest, "commit": commit_of_model(model) if digest is None else None}


def questions(samples: Iterable[Sample], prompt: Prompt, *, confidence: bool) -> dict[str, str]:
    """The question of each task's first sample, kept in the record as a prompt may change while its name stays."""
    found: dict[str, str] = {}
    for sample in samples:
        if sample.task not in found:
            found[sample.task] = prompt.question(sample.task, sample.candidates, confidence=confidence)
    return found


# The completeness of a run.

_SHOWN = 3  # unfinished files named one by one


def run_record(rows: Path) -> dict[str, Any] | None:
    """The record that `emocaliber respond` keeps beside a file of rows; None where there is none."""
    try:
        record = json.loads(record_of(rows).read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return record if isinstance(record, dict) and {"what", "results"} <= record.keys() else None


def missing_from(source: Path, rows: int) -> str | None:
    """What is missing from a run of which `rows` rows were read from a file or a folder of shards, as text; None for a complete run.

    Shards are recognised by their names (`responses-3-of-8.jsonl`) or their records; the records also give the number of samples. Rows with
    neither count as complete. Raises UserError for shards of different runs, and for a shard that occurs twice.
    """
    files = row_files(source)
    records = {file: record for file in files if (record := run_record(file))}
    shards = {file: shard for file in files if (shard := _shard_of(file, records.get(file)))}
    absent = _absent(source, shards)
    samples = next((found for record in records.values() if (found := _samples_of(record)) is not None), None)
    whole = None if samples is None else len(samples)
    faults = []
    if absent:
        which = f"{_ranges(absent)} of {absent[0].of}"
        faults.append(f"shard {which} is missing" if len(absent) == 1 else f"shards {which} are missing")
    faults += _unfinished(records, shards, whole)
    if not faults:
        return None
    return f"{rows:,}{f' of {whole:,}' if whole is not None else ''} samples: {'; '.join(faults)}"


def images_asked_about(source: Path) -> frozenset[Path]:
    """The images, as resolved paths, of the samples that the records beside the rows name, where the sample files are unchanged.

    A record alone is not trusted, as it may come from the author of the rows; a local sample file with the hash in the record is.
    """
    records = [record for file in row_files(source) if (record := run_record(file))]
    return frozenset(Path(os.path.realpath(sample.image)) for record in records for sample in _samples_of(record) or ())


def _shard_of(file: Path, record: Mapping[str, Any] | None) -> Shard | None:
    if record is not None:
        return Shard.parse(record["what"]["shard"]) if record["what"].get("shard") else None
    match = re.search(r"-(\d+)-of-(\d+)$", file.stem)
    if not match or not 1 <= int(match[1]) <= int(match[2]):
        return None
    shard = Shard(int(match[1]), int(match[2]))
    return shard if match[0] == f"-{shard.name}" else None  # others count their shards from 0, with five digits


def _absent(source: Path, shards: Mapping[Path, Shard]) -> list[Shard]:
    """The missing shards. Raises UserError for shards of different divisions, and for one that occurs twice."""
    sizes = sorted({shard.of for shard in shards.values()})
    if len(sizes) > 1:
        raise UserError(
            f"{display_name(source)}: holds shards of runs that were divided differently (into {' and '.join(map(str, sizes))}); "
            "keep each run in a folder of its own"
        )
    counts = Counter(shard.number for shard in shards.values())
    if twice := next((number for number, count in counts.items() if count > 1), None):
        files = [display_name(file.name) for file, shard in shards.items() if shard.number == twice]
        raise UserError(f"{display_name(source)}: shard {twice} of {sizes[0]} is there twice ({', '.join(files)}); keep one of these files")
    return [Shard(number, sizes[0]) for number in range(1, sizes[0] + 1) if number not in counts] if sizes else []


def _ranges(shards: Sequence[Shard]) -> str:
    """The numbers of the shards, such as "1, 3-5"."""
    numbers = [shard.number for shard in shards]
    starts = [numbers[0], *(after for before, after in pairwise(numbers) if after != before + 1)]
    ends = [*(before for before, after in pairwise(numbers) if after != before + 1), numbers[-1]]
    return ", ".join(str(start) if start == end else f"{start}-{end}" for start, end in zip(starts, ends, strict=True))


def _samples_of(record: Mapping[str, Any]) -> Sequence[Sample] | None:
    """The samples of a run, all its shards together; None if the sample files are missing or have changed."""
    what = record["what"]
    files = {Path(file): digest for file, digest in what["samples"].items()}
    if not all(file.is_file() and sha256_of(file) == digest for file, digest in files.items()):
        return None
    return select(list(files), max_samples=what.get("max_samples")).samples


def _unfinished(records: Mapping[Path, Mapping[str, Any]], shards: Mapping[Path, Shard], whole: int | None) -> list[str]:
    """A phrase for each file with fewer rows than samples; at most `_SHOWN` files are named."""
    found = []
    for file, record in records.items():
        wanted = record["results"].get("samples")
        if wanted is None and whole is not None:  # killed before its record had results
            wanted = len(shards[file].of_list(range(whole))) if file in shards else whole
        lines = file.suffix.lower() == ".jsonl"
        there = sum(chunk.rows_in() for chunk in chunks(file)) if lines else sum(1 for _ in numbered_rows(file))
        if wanted is None:
            found.append(f"{display_name(file.name)} was broken off after {there:,} rows")
        elif there < wanted:
            found.append(f"{display_name(file.name)} has {there:,} of its {wanted:,} rows")
    return found[:_SHOWN] + ([f"{len(found) - _SHOWN:,} more files are unfinished"] if len(found) > _SHOWN else [])
