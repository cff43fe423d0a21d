"""What a watch sees of a row, and the reference that it is compared with: the rows, or the summary, that a certificate was made from."""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from emocaliber.core.released import filled_in
from emocaliber.core.scoring import VERBALIZED, outcome
from emocaliber.core.tasks import CUSTOM_TASK, canonical_task, taxonomy_of
from emocaliber.errors import UserError
from emocaliber.evaluation.answers.predictions import are_predictions, unflattened
from emocaliber.evaluation.answers.reader import read_answers
from emocaliber.evaluation.calibration import bin_of
from emocaliber.inference.plan import sha256_of
from emocaliber.io.row_formats import located_values
from emocaliber.io.rows import Row, display_name
from emocaliber.trust.certificate_file import REFERENCE_BINS, Certificate
from emocaliber.trust.picture_statistics import CELLS, STATISTICS, picture_cells
from emocaliber.trust.provenance import files_of

FEWEST = 50  # rows of a reference
EMBEDDING_CELLS = 20
ANSWERS, CONFIDENCE, MALFORMED, UNFAMILIAR, EMBEDDING = "answers", "confidence", "malformed", "unfamiliar", "embedding"
_FEWEST_EMBEDDED = 2 * FEWEST  # one half says what is usual, the other is compared with


@dataclass(frozen=True)
class Observation:
    """A row as a watch sees it. `answer` is None where there is none, and `malformed` says why; `labels` are those of its question."""

    id: str
    task: str
    labels: tuple[str, ...]
    answer: str | None
    malformed: str | None
    confidence: float | None
    source: str | None = None
    model: str | None = None
    image: str | None = None
    unfamiliar: bool | None = None
    accepted: bool | None = None
    embedding: tuple[float, ...] | None = None


def observe(row: Mapping[str, Any], where: str, source: str | None = None) -> Observation:
    """What a row of `predict` or of `respond` says; of the latter's confidences, that of `source`.

    Raises UserError, naming `where` (the row's file and line), the field and the remedy, for any other row and for a confidence that is no
    number in [0, 1].
    """
    model, embedding = _text(row.get("model")), _embedding(row.get("embedding"), where)
    if are_predictions([dict(row)]):
        row = unflattened(dict(row))
        error, answer, task = row.get("error"), _text(row["emotion"]), canonical_task(str(row.get("task") or CUSTOM_TASK))
        malformed = str(error.get("code")) if isinstance(error, Mapping) else "no_answer" if answer is None else None
        offered = [each["emotion"] for each in row.get("alternatives") or () if isinstance(each, Mapping) and "emotion" in each]
        known = taxonomy_of(task)
        return Observation(
            id=str(row["image"]),
            task=task,
            labels=tuple(known.labels) if known else tuple(sorted(offered)),
            answer=None if malformed else (known.canonical(answer or "") if known else None) or answer,
            malformed=malformed,
            confidence=None if malformed else _confidence(row["confidence"], where),
            source=None if malformed else _text(row["confidence_source"]),
            image=str(row["image"]),
            unfamiliar=_flag(row.get("unfamiliar")),
            accepted=_flag(row.get("accepted")),
            model=model,
            embedding=embedding,
        )
    if "response" not in row and "plain_answer" not in row:
        problem = "is neither a row of `emocaliber predict` nor one of `emocaliber respond`"
        raise UserError(f"{where}: it {problem}, as it has no field 'response', and not the fields image, emotion and confidence_source.")
    completed = filled_in(dict(row))
    candidates = completed.get("candidates")
    if completed.get("ground_truth") is None and isinstance(candidates, list) and candidates:
        completed["ground_truth"] = candidates[0]  # the scorer wants one; whether the answer equals it is not read
    read = outcome(completed, where=where)
    source = source or VERBALIZED
    labels = tuple(map(str, candidates)) if isinstance(candidates, list) else ()
    known = taxonomy_of(read.task)
    canonical = {label: (known.canonical(label) if known else None) or label for label in labels}
    return Observation(
        id=read.id,
        task=read.task,
        labels=tuple(sorted(canonical.values())),
        answer=None if read.answer is None else canonical.get(read.answer, read.answer),
        malformed=read.malformed,
        confidence=read.confidence.get(source),
        source=source,
        image=read.image,
        model=model,
        embedding=embedding,
    )


@dataclass(frozen=True)
class Usual:
    """What embeddings usually are: mean and spread of each number, and the distances that part the cells."""

    mean: tuple[float, ...]
    spread: tuple[float, ...]
    edges: tuple[float, ...]

    def cell(self, embedding: Sequence[float] | None, where: str) -> int:
        """The cell of an embedding's distance from the mean; the last one without an embedding."""
        if embedding is None:
            return EMBEDDING_CELLS
        if len(embedding) != len(self.mean):
            raise UserError(f"{where}: field 'embedding' has {len(embedding)} numbers, but {len(self.mean)} in the reference.")
        return int(np.searchsorted(self.edges, self.distance(np.array(embedding))))

    def distance(self, embedding: Any) -> Any:
        """The mean squared distance, in spreads; shape (...) for embeddings (..., numbers)."""
        return (((embedding - np.array(self.mean)) / np.array(self.spread)) ** 2).mean(axis=-1)


@dataclass(frozen=True)
class Reference:
    """The rows that a watch compares with, counted: `counts` has for each test the number of them in each of its cells.

    `labels` are those of each task; `model` and `source` are None where the rows do not say. `mark` tells one reference from another.
    """

    n: int
    counts: Mapping[str, tuple[int, ...]]
    labels: Mapping[str, tuple[str, ...]]
    model: str | None
    source: str | None
    mark: str
    usual: Usual | None = field(default=None, repr=False)

    @property
    def all_labels(self) -> tuple[str, ...]:
        """The labels of all tasks, sorted."""
        return tuple(sorted({label for labels in self.labels.values() for label in labels}))

    def cells(self, seen: Observation, where: str, folder: Path) -> dict[str, int | None]:
        """The cell of an observation in each test, None where it takes no part; pictures are looked for in `folder`."""
        found = _cells(seen, self.all_labels)
        if STATISTICS[0] in self.counts:
            found |= picture_cells(_picture(folder, seen.image))
        if self.usual:
            found[EMBEDDING] = self.usual.cell(seen.embedding, where)
        return {name: found[name] for name in self.counts}

    def check(self, seen: Observation, where: str) -> None:
        """Raises UserError, naming `where`, for a row of another model, question or source of confidence than the reference's."""
        remedy = "a watch is for one system: certify that one, and watch it with a state of its own"
        if self.model and seen.model and seen.model != self.model:
            raise UserError(f"{where}: the answer is of the model '{seen.model}', but the reference is of '{self.model}'; {remedy}.")
        if seen.task not in self.labels:
            tasks = ", ".join(map(repr, self.labels))
            raise UserError(f"{where}: the question is '{seen.task}', but the reference has {tasks}; {remedy}.")
        if other := sorted(set(seen.labels) - set(self.labels[seen.task])):
            raise UserError(f"{where}: '{other[0]}' is among the labels, but not among those of the reference; {remedy}.")
        if self.source and seen.source and seen.source != self.source:
            raise UserError(f"{where}: the confidence is '{seen.source}', but the reference has '{self.source}'; {remedy}.")


def reference_from_file(file: Path, *, pictures: bool = False) -> Reference:
    """The reference in a file of answers: any that `emocaliber score` reads, or rows of `predict`; truths are not needed.

    Raises UserError, naming the file or the row, for one that cannot be read or has fewer than `FEWEST` rows.
    """
    values = list(located_values(file)) if file.is_file() or file.is_dir() else _no_reference(file)
    source: str | None = None
    if are_predictions([value for _, value in values]):
        placed: Iterable[tuple[str, Row]] = [(str(place), value) for place, value in values]
    else:
        answers = read_answers(file)
        placed, source = answers.rows, answers.confidence
    seen = [observe(row, where, source) for where, row in placed]
    return reference_of(seen, display_name(file), mark=mark_of(file), folder=_folder(file), pictures=pictures)


def mark_of(reference: Path | Certificate) -> str:
    """What tells a reference from another: of a file's bytes, or of the summary in a certificate."""
    if isinstance(reference, Certificate):
        return _mark(json.dumps(dict(reference.reference), sort_keys=True).encode())
    return _mark(b"".join(bytes.fromhex(sha256_of(file)) for file in files_of(reference)))


def reference_of(seen: Sequence[Observation], name: str, *, mark: str, folder: Path | None = None, pictures: bool = False) -> Reference:
    """The reference made of observations. Raises UserError, naming `name`, for fewer than `FEWEST` or several models or sources."""
    _check_size(len(seen), name)
    labels: dict[str, set[str]] = {}
    for each in seen:
        labels.setdefault(each.task, set()).update(each.labels, [each.answer] if each.answer else [])
    whole = tuple(sorted(set().union(*labels.values())))
    cells = [_cells(each, whole) for each in seen]
    sizes = _sizes(len(whole), pictures=pictures)
    if pictures:
        for each, found in zip(seen, cells, strict=True):
            found |= picture_cells(_picture(folder or Path(), each.image))
    if all(each.unfamiliar is None for each in seen):
        del sizes[UNFAMILIAR]
    if all(each.confidence is None for each in seen):
        del sizes[CONFIDENCE]
    counts = {test: _counted([found[test] for found in cells], size) for test, size in sizes.items()}
    usual = _usual(seen[::2]) if sum(each.embedding is not None for each in seen) >= _FEWEST_EMBEDDED else None
    if usual:
        counts[EMBEDDING] = _counted([usual.cell(each.embedding, name) for each in seen[1::2]], EMBEDDING_CELLS + 1)
    models, sources = ({value for each in seen if (value := getattr(each, field))} for field in ("model", "source"))
    for what, found_names in (("models", models), ("sources of confidence", sources)):
        if len(found_names) > 1:
            raise UserError(f"{name}: its rows are of several {what}, {', '.join(sorted(found_names))}; a watch is for one: keep its rows.")
    one = {task: tuple(sorted(known)) for task, known in labels.items()}
    return Reference(len(seen), counts, one, next(iter(models), None), next(iter(sources), None), mark, usual)


def reference_from_certificate(certificate: Certificate, name: str) -> Reference:
    """The reference in a certificate's summary. Raises UserError, naming the certificate, if it has none that can be read."""
    summary = certificate.reference
    try:
        n, histogram, answers = int(summary["n"]), [int(count) for count in summary["confidence_histogram"]], summary["answers"]
        malformed = int(summary["malformed"])
        if len(histogram) != REFERENCE_BINS:
            raise ValueError(f"its confidence histogram has {len(histogram)} bins, not {REFERENCE_BINS}")
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{name}: no reference can be read from it ({error!r}); give the answers it was made from as --reference FILE."
        ) from None
    _check_size(n, name)
    labels = {canonical_task(each.task): tuple(sorted(each.labels)) for each in certificate.per_question}
    whole = sorted({label for known in labels.values() for label in known})
    counted = [int(answers.get(label, 0)) for label in whole]
    missing = max(n - malformed - sum(histogram), 0)
    counts = {
        CONFIDENCE: (*histogram, missing),
        ANSWERS: (*counted, 0),
        MALFORMED: (n - malformed, malformed),
    }
    return Reference(n, counts, labels, certificate.model.get("name"), certificate.source, mark_of(certificate))


def confidence_bin(confidence: float) -> int:
    """The bin of a confidence among those of a certificate's summary."""
    return int(bin_of([confidence], REFERENCE_BINS)[0])


def _cells(seen: Observation, labels: Sequence[str]) -> dict[str, int | None]:
    """The cells of the tests that need no file: rare things are the highest cells. A row without an answer is `malformed` and no more."""
    confidence = REFERENCE_BINS if seen.confidence is None else confidence_bin(seen.confidence)
    answer = labels.index(seen.answer) if seen.answer in labels else len(labels)
    return {
        CONFIDENCE: None if seen.answer is None else confidence,
        ANSWERS: None if seen.answer is None else answer,
        MALFORMED: int(seen.malformed is not None),
        UNFAMILIAR: int(bool(seen.unfamiliar)),
    }


def _sizes(labels: int, *, pictures: bool) -> dict[str, int]:
    sizes = {CONFIDENCE: REFERENCE_BINS + 1, ANSWERS: labels + 1, MALFORMED: 2, UNFAMILIAR: 2}
    return sizes | (dict(CELLS) if pictures else {})


def _counted(cells: Iterable[int | None], size: int) -> tuple[int, ...]:
    counter = Counter(cells)
    return tuple(counter[cell] for cell in range(size))


def _usual(seen: Sequence[Observation]) -> Usual:
    """What the embeddings of half of a reference are; the other half is counted, so that its distances are those of new rows."""
    given = [each.embedding for each in seen if each.embedding is not None]
    if len({len(embedding) for embedding in given}) != 1:
        raise UserError("the embeddings of the reference do not all have the same length; leave those of other models out.")
    embeddings = np.array(given)
    usual = Usual(tuple(embeddings.mean(axis=0)), tuple(embeddings.std(axis=0) + 1e-9), ())
    edges = np.quantile(usual.distance(embeddings), np.linspace(0, 1, EMBEDDING_CELLS + 1)[1:-1])
    return Usual(usual.mean, usual.spread, tuple(map(float, edges)))


def _check_size(n: int, name: str) -> None:
    if n < FEWEST:
        raise UserError(f"{name}: {n} rows are too few to be a reference; {FEWEST} are needed, and a few hundred see a change sooner.")


def _no_reference(file: Path) -> list[Any]:
    raise UserError(f"{display_name(file)}: there is no such file; --reference is the file of answers that the certificate was made from.")


def _mark(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


def _folder(file: Path) -> Path:
    return file if file.is_dir() else file.parent


def _picture(folder: Path, image: str | None) -> Path | None:
    """The file of a row's image: rows of `respond` name it from their own folder, those of `predict` from where that was run."""
    beside = folder / image if image else None
    return beside if beside is None or beside.is_file() else Path(image or "")


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _flag(value: object) -> bool | None:
    if isinstance(value, str):
        return {"true": True, "false": False}.get(value.casefold())
    return value if isinstance(value, bool) else None


def _confidence(value: object, where: str) -> float | None:
    if value is None or value == "":
        return None
    try:
        number = float(value) if isinstance(value, int | float | str) and not isinstance(value, bool) else math.nan
    except ValueError:
        number = math.nan
    if not 0 <= number <= 1:
        raise UserError(f"{where}: field 'confidence' is {value!r}; it must be a number from 0 to 1, or null where there is none.")
    return number


def _embedding(value: object, where: str) -> tuple[float, ...] | None:
    if value is None:
        return None
    if not isinstance(value, list) or not all(isinstance(each, int | float) and math.isfinite(each) for each in value):
        raise UserError(f"{where}: field 'embedding' must be a list of finite numbers, or null.")
    return tuple(map(float, value))
