"""Whether the rows of a run are all there: no shard missing, no sample unasked."""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from emocaliber.errors import UserError
from emocaliber.responding.identity import sha256_of
from emocaliber.responding.selection import Shard, select
from emocaliber.row_formats import row_files
from emocaliber.rows import display_name, numbered_rows
from emocaliber.vecbench import Sample
from emocaliber.workspace import record_of

_SHOWN = 3  # unfinished files named one by one


def run_record(rows: Path) -> dict[str, Any] | None:
    """The record that `emocaliber respond` keeps beside a file of rows; None where there is none."""
    try:
        record = json.loads(record_of(rows).read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return record if isinstance(record, dict) and {"what", "results"} <= record.keys() else None


def missing_from(source: Path, rows: int) -> str | None:
    """What a run's rows, of which `rows` were read from a file or a folder of shards, lack, in words; None for a complete run.

    Shards are known by their names (`responses-3-of-8.jsonl`) or records; how many samples there should be, by the records. Rows that have
    neither count as complete. Raises UserError for shards of different runs, and for a shard that is there twice.
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
    """The images, as resolved paths, of the samples that the records beside rows name, as far as those files of samples are here unchanged.

    A record alone proves nothing, as it may come from the same hands as the rows; a file that is here and has the record's hash does.
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
    """The shards that are not there."""
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
    """Their numbers, such as "1, 3-5"."""
    numbers = [shard.number for shard in shards]
    starts = [numbers[0], *(after for before, after in pairwise(numbers) if after != before + 1)]
    ends = [*(before for before, after in pairwise(numbers) if after != before + 1), numbers[-1]]
    return ", ".join(str(start) if start == end else f"{start}-{end}" for start, end in zip(starts, ends, strict=True))


def _samples_of(record: Mapping[str, Any]) -> Sequence[Sample] | None:
    """The samples of a run, all its shards together; None if the files of samples are no longer there, or have changed."""
    what = record["what"]
    files = {Path(file): digest for file, digest in what["samples"].items()}
    if not all(file.is_file() and sha256_of(file) == digest for file, digest in files.items()):
        return None
    return select(list(files), max_samples=what.get("max_samples")).samples


def _unfinished(records: Mapping[Path, Mapping[str, Any]], shards: Mapping[Path, Shard], whole: int | None) -> list[str]:
    found = []
    for file, record in records.items():
        wanted = record["results"].get("samples")
        if wanted is None and whole is not None:  # killed before its record had results
            wanted = len(shards[file].of_list(range(whole))) if file in shards else whole
        there = sum(1 for _ in numbered_rows(file))
        if wanted is None:
            found.append(f"{display_name(file.name)} was broken off after {there:,} rows")
        elif there < wanted:
            found.append(f"{display_name(file.name)} has {there:,} of its {wanted:,} rows")
    return found[:_SHOWN] + ([f"{len(found) - _SHOWN:,} more files are unfinished"] if len(found) > _SHOWN else [])
