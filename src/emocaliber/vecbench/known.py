"""What a file or folder is (`emocaliber data check`): its kind and form, counts beside the paper's, what is wrong, and what it is for.

It knows the six data sets of VECBench, the authors' released files (the three stages of VEC-CoT, `test_metadata.csv`, `test_8k.jsonl`,
`Std-VECBench.json`), predictions of EmObserver, what this package writes, and rows in any form that training reads.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from emocaliber.core.forms import OWN, states_confidence
from emocaliber.core.released import read_standard_vecbench, read_test_metadata, standard_records
from emocaliber.core.response import Malformed, parse
from emocaliber.core.sample_files import Examined, examined_rows
from emocaliber.core.samples import Sample
from emocaliber.core.tasks import canonical_task, labels_of, paper_counts, task_order
from emocaliber.errors import UserError
from emocaliber.evaluation.answers.reader import read_answers
from emocaliber.io.datasets import HUB
from emocaliber.io.row_formats import SHARDS
from emocaliber.io.rows import Row, display_name
from emocaliber.render.table import NONE, Table
from emocaliber.vecbench.sources import SOURCES

SHOWN = 5  # problems that are listed
_RESPOND = "emocaliber respond {} --model MODEL --out answers.jsonl"
_FILES = (*SHARDS, ".json", ".csv", ".tsv")

# Images of the six data sets: in all, and for Abstract those with a single most frequent vote.
_IMAGES: Mapping[str, tuple[str, int]] = MappingProxyType(
    {
        "fi": ("FI", 23185),
        "emoset": ("EmoSet-118K", 118102),
        "webemo": ("WebEmo", 268000),
        "unbiasedemo": ("UnbiasedEmo", 3045),
        "abstract": ("Abstract", 229),
        "artphoto": ("ArtPhoto", 806),
    }
)


@dataclass(frozen=True)
class Known:
    """What a path is. `counts` are rows by `counts_of` (task, or a data set's label), `paper` the paper's of the split or stage `paper_is`.

    `problems` are sentences, at most `SHOWN` of `wrong`; `missing` images are not there. `uses` are commands.
    """

    path: str
    kind: str
    form: str = ""
    rows: int = 0
    counts: Mapping[str, int] = field(default_factory=dict)
    counts_of: str = "task"
    paper: Mapping[str, int] = field(default_factory=dict)
    paper_is: str = ""
    missing: int = 0
    wrong: int = 0
    problems: Sequence[str] = ()
    notes: Sequence[str] = ()
    uses: Sequence[str] = ()

    @property
    def is_whole(self) -> bool:
        """Whether every row fits and every image is there."""
        return not (self.wrong or self.missing)

    def as_dict(self) -> dict[str, Any]:
        """All fields, for JSON."""
        return asdict(self) | {"is_whole": self.is_whole}

    def as_text(self) -> str:
        """A report for people."""
        lines = [f"{self.path}: {self.kind}", *([f"form: {self.form}"] if self.form else []), *self.notes]
        if self.counts:
            names = sorted({*self.counts, *self.paper}, key=task_order)
            columns = [self.counts, *([self.paper] if self.paper else [])]
            body = [[name, *(f"{part[name]:,}" if name in part else NONE for part in columns)] for name in names]
            totals = ["all", *(f"{sum(part.values()):,}" for part in columns)]
            header = (self.counts_of, "here", self.paper_is)[: 1 + len(columns)]
            lines += ["", Table(header, [*body, totals]).as_text(), ""]
        if self.wrong:
            more = [f"  and {self.wrong - len(self.problems):,} more"] if self.wrong > len(self.problems) else []
            lines += [f"{self.wrong:,} of {self.rows:,} rows do not fit:", *(f"  {each}" for each in self.problems), *more]
        if self.missing:
            lines.append(f"{self.missing:,} of {self.rows:,} images are not there (--images DIR says where they are)")
        if self.uses:
            lines += ["what can be done with it:", *(f"  {use}" for use in self.uses)]
        return "\n".join(lines)


def what_is(source: str, images: str = "") -> list[Known]:
    """What a file, a folder or a data set of Hugging Face is; of a folder that is nothing itself, what the files and folders in it are.

    `images` is the folder of the images, if not that of the file. Raises UserError, saying what is known, for what is not.
    """
    path = Path(source)
    if source.startswith(HUB):
        return [_rows(source, images)]
    if not path.exists():
        raise UserError(f"{display_name(path)}: there is no such file or folder")
    if path.is_file():
        return [_file(path, images)]
    if known := _folder(path, images):
        return known
    found: list[Known] = []
    for inner in sorted(each for each in path.iterdir() if not each.name.startswith(".")):
        if inner.is_dir() or inner.suffix.lower() in _FILES:
            try:
                found += _folder(inner, images) if inner.is_dir() else [_file(inner, images)]
            except UserError as error:
                found.append(Known(display_name(inner), "not known", wrong=1, rows=1, problems=(str(error),)))
    if not found:
        raise UserError(
            f"{display_name(path)}: nothing in it is known: no data set of VECBench ({', '.join(name for name, _ in _IMAGES.values())}), "
            f"and no file of rows ({', '.join(_FILES)})"
        )
    return found


def _folder(path: Path, images: str) -> list[Known]:
    """The data sets in a folder; none for one of files."""
    if (path / "dataset_dict.json").is_file() or (path / "state.json").is_file() or (path / "metadata.jsonl").is_file():
        return [_rows(str(path), images)]
    found = []
    for name, read in SOURCES.items():
        try:
            loaded = read(path, check_images=False)
        except UserError:
            continue
        title, usual = _IMAGES.get(name, (name, 0))
        reasons = Counter(str(each.reason) for each in loaded.skipped)
        notes = [f"{len(loaded.items):,} images" + (f"; the whole data set has about {usual:,}" if usual else "")]
        notes += [f"left out: {count:,}, {reason}" for reason, count in reasons.items()]
        known = Known(
            display_name(path),
            f"the data set {title}",
            rows=len(loaded.items),
            counts=_counted(item.label for item in loaded.items),
            counts_of="label",
            notes=notes,
            uses=[f'emocaliber bench build CONFIG.toml --out DIR   (with {name} = "{display_name(path)}" in [sources])'],
        )
        found.append(known)
    return found


def _file(path: Path, images: str) -> Known:
    if path.suffix.lower() in (".csv", ".tsv"):
        try:
            samples = list(read_test_metadata(path, images=Path(images) if images else None))
        except UserError as error:
            return _answers(path, error)
        return _tested(path, "the released test_metadata.csv of VECBench", samples)
    if path.suffix.lower() == ".json" and (records := standard_records(path)) is not None:
        if any("generations" in record for record in records.values()):
            counts = _counted(canonical_task(str(record["other_info"]["task"])) for record in records.values())
            empty = sum(not record.get("generations") for record in records.values())
            notes = [f"{empty:,} of {len(records):,} have no answer"] if empty else []
            return _beside_paper(
                Known(display_name(path), "predictions of EmObserver", "Std-VECBench with generations", len(records), counts, notes=notes),
                "test",
                uses=[f"emocaliber score {path}"],
            )
        samples = list(read_standard_vecbench(path, images=Path(images) if images else None))
        return _tested(path, "Std-VECBench.json, VECBench as EmObserver's authors released it", samples)
    return _rows(str(path), images)


def _counted(names: Iterable[str]) -> dict[str, int]:
    return dict(Counter(names))


def _tested(path: Path, kind: str, samples: Sequence[Sample]) -> Known:
    known = Known(
        display_name(path),
        kind,
        rows=len(samples),
        counts=_counted(sample.task for sample in samples),
        missing=sum(not Path(sample.image).is_file() for sample in samples),
    )
    return _beside_paper(known, "test", uses=_to_respond(path))


def _to_respond(path: Path) -> list[str]:
    return [f"emocaliber data convert {path} --out test.jsonl", _RESPOND.format("test.jsonl")]


def _answers(path: Path, error: UserError) -> Known:
    """A file of answers, if it can be read as one; raises the `error` of reading it as samples otherwise."""
    try:
        read = read_answers(path)
    except UserError:
        raise error from None
    counts = _counted(str(row.get("task")) for _, row in read.rows)
    uses = [f"emocaliber score {path}"]
    return Known(display_name(path), "answers of a model", rows=len(read.rows), counts=counts, notes=read.notes, uses=uses)


def _rows(source: str, images: str) -> Known:
    try:
        examined = list(examined_rows(source, images))
    except UserError as error:
        return _answers(Path(source), error)
    rows = [each.row for each in examined if not isinstance(each.row, UserError)]
    if any(("seconds" if each.form.name == OWN else "response") in each.raw for each in examined):
        return _answers(Path(source), UserError(f"{display_name(source)}: these answers cannot be read"))
    problems = [*_problems(examined), *_unlearnable(examined)]
    stage, uses = _purpose(source, examined[0].form.name, rows)
    notes = _notes(examined, rows)
    known = Known(
        display_name(source),
        f"{_KINDS[stage]}, {len(examined):,} rows",
        examined[0].form.name,
        len(examined),
        _counted(row["task"] for row in rows),
        missing=sum(not Path(row["image"]).is_file() for row in rows),
        wrong=len(problems),
        problems=problems[:SHOWN],
        notes=notes,
    )
    return _beside_paper(known, _paper_split(source, stage), uses)


_KINDS = {
    "test": "samples to test on",
    "1": "samples for stage 1, with the responses to learn",
    "2": "samples for stage 2, with answers that state the confidence to learn",
    "3": "samples with true labels and without responses, for stages 2 and 3",
    "answered": "answers of a model to samples",
}


def _purpose(source: str, form: str, rows: Sequence[Row]) -> tuple[str, list[str]]:
    """Which of `_KINDS` the rows are, and the commands for them."""
    if any(row["split"] == "test" for row in rows):
        answered = any(row.get("response") for row in rows)
        if answered:
            return "answered", [f"emocaliber score {source}"]
        return "test", _to_respond(Path(source)) if form != OWN else [_RESPOND.format(source)]
    train = "emocaliber train stage{} --config 7b samples=" + source
    if rows and all(states_confidence(row) for row in rows):
        return "2", [train.format(2) + " targets=given"]
    if rows and all(row.get("response") for row in rows):
        return "1", [train.format(1)]
    return "3", [train.format(2), train.format(3)]


def _paper_split(source: str, stage: str) -> str:
    """The column of the paper's counts for these rows: by the file's name, else by what they are."""
    name = Path(source).name
    return next((f"stage{n}" for n in "123" if f"stage{n}" in name), {"test": "test", "answered": "test"}.get(stage, f"stage{stage}"))


def _problems(examined: Iterable[Examined]) -> Iterator[str]:
    return (str(each.row) for each in examined if isinstance(each.row, UserError))


def _unlearnable(examined: Iterable[Examined]) -> Iterator[str]:
    """What is wrong with the responses of training rows: not in the five steps, or of another label than the true one."""
    for each in examined:
        if isinstance(each.row, UserError) or each.row["split"] == "test" or not each.row.get("response"):
            continue
        labels = labels_of(each.row["task"], each.row["candidates"])
        response = parse(each.row["response"], labels)
        if isinstance(response, Malformed):
            yield f"{each.place}: the response cannot be a training target ({response.reason}): {response.detail}"
        elif response.confidence is None and response.answer != each.row["ground_truth"]:
            yield f"{each.place}: the response answers {response.answer!r}, but the true label is {each.row['ground_truth']!r}"


def _notes(examined: Sequence[Examined], rows: Sequence[Row]) -> list[str]:
    notes = []
    if guessed := sum("task" not in each.raw for each in examined):
        notes.append(f"{guessed:,} rows name no task; it is taken from their candidates and the path of the image")
    if unsure := sum(row["ground_truth"] is None for row in rows):
        notes.append(f"{unsure:,} rows have an answer with a confidence, and no true label")
    return notes


def _beside_paper(known: Known, split: str, uses: Sequence[str]) -> Known:
    paper = paper_counts().get(split, {})
    ours = set(known.counts) & set(paper)
    return replace(known, uses=uses, paper=paper if ours else {}, paper_is=f"paper ({split})" if ours else "")


def samples_of(source: str, images: str = "") -> Iterator[Row]:
    """The sample rows of whatever `what_is` knows as samples, for a file of our own. Raises UserError for a row that is none."""
    path = Path(source)
    if path.is_file() and path.suffix.lower() == ".csv":
        yield from (sample.to_row() for sample in read_test_metadata(path, images=Path(images) if images else None))
    elif path.is_file() and path.suffix.lower() == ".json" and standard_records(path) is not None:
        yield from (sample.to_row() for sample in read_standard_vecbench(path, images=Path(images) if images else None))
    else:
        for each in examined_rows(source, images):
            if isinstance(each.row, UserError):
                raise each.row
            yield {key: value for key, value in each.row.items() if _is_plain(value)}


def _is_plain(value: object) -> bool:
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError):
        return False
    return True
