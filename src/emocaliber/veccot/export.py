"""VEC-CoT-1, 2 and 3: what the factory accepted, dealt to the three stages and written for trainers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from emocaliber.errors import UserError
from emocaliber.layout import Table
from emocaliber.responding.identity import sha256_of
from emocaliber.response import Malformed, parse, render
from emocaliber.rows import Row, display_name, write_atomically, write_rows
from emocaliber.vecbench import Sample
from emocaliber.vecbench.splits import STAGE_RATIO, stages
from emocaliber.veccot.card import card, stage_table
from emocaliber.veccot.formats import FORMATS, Example
from emocaliber.veccot.ledger import Attempt, Ledger
from emocaliber.veccot.stats import stats

STAGES = (1, 2, 3)


@dataclass(frozen=True)
class Exported:
    """`counts[stage][task]` rows, with stages called "stage1" to "stage3", and the SHA-256 of each file by its name in the folder."""

    folder: Path
    counts: Mapping[str, Mapping[str, int]]
    files: Mapping[str, str]

    def table(self) -> Table:
        """Table 1 of the paper with these numbers beside it."""
        return stage_table(self.counts)


def export(
    ledger: Path,
    out: Path,
    *,
    ratio: Sequence[int] = STAGE_RATIO,
    seed: int = 0,
    formats: Sequence[str] = tuple(FORMATS),
    progress: Callable[[int], object] = lambda count: None,
) -> Exported:
    """Writes `stage1.jsonl` to `stage3.jsonl`, the same for other trainers in `swift/` and `trl/`, and the card `README.md`, to a folder.

    A sample has the response of its newest accepted attempt, in the one form that `render` gives. Stages have the shares of `ratio` in
    every subtask and label, and no image in common, by path or by content. The same ledger, seed and places give the same bytes. Every
    file is written whole or not at all, the card with their hashes last. `progress` hears how many images have been read.

    Raises UserError for an unknown format, a ledger without accepted samples, a sample of a test split, or an image that cannot be read.
    """
    if unknown := next((name for name in formats if name not in FORMATS), None):
        raise UserError(f"there is no format {unknown!r}; the formats are {', '.join(FORMATS)}")
    with Ledger(ledger) as book:
        accepted = [_accepted(row, attempt, display_name(ledger)) for row, attempt in book.accepted()]
        recipes = book.recipes()
    if not accepted:
        raise UserError(f"{display_name(ledger)} holds no accepted samples yet; `emocaliber cot build` goes on until it does")
    stage_of = stages(list(_dealt_rows([sample for sample, _ in accepted], progress)), seed, ratio)
    examples = [Example(sample, k, text if k == 1 else None) for (sample, text), k in zip(accepted, stage_of, strict=True)]
    files = {}
    for name in formats:
        place = out / FORMATS[name].folder
        for k in STAGES:
            path = place / f"stage{k}.jsonl"
            write_rows(path, (FORMATS[name].row(example, path.parent.absolute()) for example in examples if example.stage == k))
            files[path.relative_to(out).as_posix()] = sha256_of(path)
    counts = {f"stage{k}": Counter(example.sample.task for example in examples if example.stage == k) for k in STAGES}
    exported = Exported(out, counts, files)
    write_atomically(out / "README.md", card(counts, files, stats(ledger), recipes, seed=seed, ratio=ratio))
    return exported


def _accepted(row: Row, attempt: Attempt, ledger: str) -> tuple[Sample, str]:
    """The sample, and its response as `emocaliber train` wants it: without aliases, and without blanks between the tags."""
    where = f"{ledger}, sample {attempt.sample!r}"
    sample = Sample.from_row(row, where)
    if sample.split == "test":
        raise UserError(f"{where}: split is 'test'; VEC-CoT trains models, so make it from training samples")
    response = parse(attempt.response or "", sample.candidates, confidence="forbidden")
    if isinstance(response, Malformed):
        raise UserError(f"{where}: was accepted, but its response cannot be learnt ({response.reason}): {response.detail}")
    if response.answer != sample.ground_truth:
        raise UserError(f"{where}: was accepted with the answer {response.answer!r}, but the label is {sample.ground_truth!r}")
    return sample, render(response)


def _dealt_rows(samples: Sequence[Sample], progress: Callable[[int], object]) -> Iterator[Row]:
    """What decides a sample's stage, with the hash of the image's bytes in place of its path."""
    known: dict[str, str] = {}
    for done, sample in enumerate(samples, 1):
        image = known.get(sample.image) or known.setdefault(sample.image, sha256_of(Path(sample.image)))
        yield {"id": sample.id, "task": sample.task, "ground_truth": sample.ground_truth, "image": image}
        progress(done)
