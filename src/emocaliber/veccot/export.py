"""Exports the accepted samples of a ledger as VEC-CoT-1, 2 and 3: the three stages' files for several trainers, and the data card."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from emocaliber.core.response import Malformed, parse, render
from emocaliber.core.samples import Sample
from emocaliber.core.tasks import paper_counts, task_order
from emocaliber.errors import UserError
from emocaliber.inference.engine import question_for
from emocaliber.inference.plan import sha256_of
from emocaliber.io.rows import Row, display_name, write_atomically, write_rows
from emocaliber.io.workspace import package_version
from emocaliber.render.table import NONE, Table
from emocaliber.vecbench.splits import STAGE_RATIO, assign_stages
from emocaliber.veccot.ledger import Attempt, Ledger
from emocaliber.veccot.stats import ledger_stats, reason_table, recipe_table, sample_table, used_table

# Rows in the formats of trainers: our own, ms-swift's, and TRL's conversational one. Stage 1 learns the response. Stages 2 and 3 learn from
# the model's own answers, so their rows hold the question and the fields from which confidence targets and rewards are computed.


@dataclass(frozen=True)
class StageExample:
    """A sample, its stage (1 to 3), and the response to learn (stage 1; None in the others)."""

    sample: Sample
    stage: int
    response: str | None

    @property
    def question(self) -> str:
        """The question of this stage. Stage 2 first asks the scaffold model, which states no confidence (section 3.2)."""
        return question_for(self.sample.task, self.sample.candidates, confidence=self.stage == 3)


@dataclass(frozen=True)
class Format:
    """A format's subfolder of the export, and the function that makes a row for a file in a given folder."""

    folder: str
    row: Callable[[StageExample, Path], Row]


def own_row(example: StageExample, folder: Path) -> Row:
    """EmoCaliber's sample row, with `response` in stage 1; the image's path is relative to the folder."""
    row: dict[str, Any] = example.sample.to_row(folder)
    return row if example.response is None else row | {"response": example.response}


def swift_row(example: StageExample, folder: Path) -> Row:
    """ms-swift: `messages` with `<image>` where the image goes, and `images` (absolute, as it looks for relative ones where it runs)."""
    messages = [{"role": "user", "content": f"<image>{example.question}"}]
    if example.response is not None:
        messages.append({"role": "assistant", "content": example.response})
    return {"messages": messages, "images": [example.sample.image], **_truth(example)}


def trl_row(example: StageExample, folder: Path) -> Row:
    """TRL: `prompt` and, in stage 1, `completion` as messages of parts, and `images` (absolute).

    As prompt and completion rather than `messages`, since then TRL's loss is on the response alone (eq. 1). It wants opened images:
    `dataset.cast_column("images", datasets.List(datasets.Image()))`.
    """
    row: Row = {"prompt": [{"role": "user", "content": [{"type": "image"}, _text(example.question)]}]}
    if example.response is not None:
        row["completion"] = [{"role": "assistant", "content": [_text(example.response)]}]
    return {**row, "images": [example.sample.image], **_truth(example)}


FORMATS: Mapping[str, Format] = MappingProxyType(
    {"rows": Format("", own_row), "swift": Format("swift", swift_row), "trl": Format("trl", trl_row)}
)


def _truth(example: StageExample) -> Row:
    """The columns that rewards and confidence targets need; both trainers pass further columns to reward functions."""
    sample = example.sample
    return {"id": sample.id, "task": sample.task, "candidates": list(sample.candidates), "ground_truth": sample.ground_truth}


def _text(text: str) -> Row:
    return {"type": "text", "text": text}


# The data card of an export: its counts beside the paper's Table 1, how it was made, reasons of rejection, and cost.

Counts = Mapping[str, Mapping[str, int]]

_NAMES = {"stage1": "VEC-CoT-1", "stage2": "VEC-CoT-2", "stage3": "VEC-CoT-3"}

_USE = """\
- `stage1.jsonl` teaches five-step reasoning: sample rows with the `response` to learn.
- `stage2.jsonl` teaches to state a confidence: the stage-1 model answers these samples itself, and equation 2 says how sure it should be.
- `stage3.jsonl` is for reinforcement: questions with the right answer.

`emocaliber train stage1|stage2|stage3` takes these files as they are. Image paths are relative to the file; no image is copied.
`swift/` and `trl/` hold the same rows for ms-swift (`messages`, `images`) and TRL (`prompt`, `completion`, `images`), with absolute image
paths, so they are for the machine they were made on."""

_LIMITS = """\
The reasoning is written by a model that was shown the label, and filtered by checks and a model: fluent, and not always true. The images
and labels belong to their data sets and keep their terms. Evoked emotions are judgements of some viewers, not facts about an image, and
none about the people in it. The method is that of Wu, Yang, Ma and Zhou: EmoCaliber: Advancing Reliable Visual Emotion Comprehension via
Confidence Verbalization and Calibration, section 3.1; their data are not in here."""


def card(
    counts: Counts,
    files: Mapping[str, str],
    stats: Mapping[str, Any],
    recipes: Mapping[str, Mapping[str, Any]],
    *,
    seed: int,
    ratio: Sequence[int],
) -> str:
    """The card as Markdown. `files` are SHA-256 by name, `stats` the ledger's numbers, `recipes` the settings behind each recipe."""
    total = sum(sum(tasks.values()) for tasks in counts.values())
    maker = f"EmoCaliber {package_version()}"
    lead = f"{total:,} images with a label and five-step reasoning for it, made by {maker} after the paper's VEC-CoT."
    how = (
        f"- Of each sample the newest accepted attempt.\n- Stages share the samples {':'.join(map(str, ratio))} (seed {seed}), in every "
        "subtask and label; no image is in two stages, be it by path or by content."
    )
    sections = (
        ("", f"# VEC-CoT\n\n{lead}"),
        ("Table 1", stage_table(counts).as_markdown()),
        ("Use", _USE),
        ("How it was split", how),
        ("How it was filtered", _untitled(sample_table(stats)) + "\n\n" + _untitled(reason_table(stats))),
        ("What it cost", _untitled(used_table(stats))),
        ("Recipes", _untitled(recipe_table(stats)) + "\n\n" + _settings(recipes)),
        ("Files", Table(("file", "SHA-256"), [(name, f"`{digest}`") for name, digest in files.items()], words=2).as_markdown()),
        ("Rights and limits", _LIMITS),
    )
    return _header(counts, files) + "\n\n".join(f"## {title}\n\n{body.strip()}" if title else body for title, body in sections) + "\n"


def stage_table(counts: Counts) -> Table:
    """Table 1 of the paper: rows of each stage by subtask, with the paper's under them."""
    paper = {stage: paper_counts()[stage] for stage in counts}
    tasks = sorted({task for held in (*counts.values(), *paper.values()) for task in held}, key=task_order)
    rows = []
    for stage in counts:
        rows.append((_NAMES[stage], *_row(counts[stage], tasks)))
        rows.append(("the paper's", *_row(paper[stage], tasks)))
    rows.append(("total", *_row(_total(counts), tasks)))
    rows.append(("the paper's", *_row(_total(paper), tasks)))
    note = "The paper's as printed; by its own totals (43,033 and 143,446) WebEmo-7 has 7,896 in the second stage, not 7,806."
    return Table(("", *tasks, "total"), rows, note=note)


def _row(held: Mapping[str, int], tasks: Sequence[str]) -> list[str]:
    return [*(f"{held[task]:,}" if held.get(task) else NONE for task in tasks), f"{sum(held.values()):,}"]


def _total(counts: Counts) -> dict[str, int]:
    return {task: sum(held.get(task, 0) for held in counts.values()) for task in {task for held in counts.values() for task in held}}


def _untitled(table: Table) -> str:
    """The table without its title, for use below a heading; empty if it has no rows."""
    return Table(table.header, table.rows, note=table.note, words=table.words).as_markdown() if table.rows else ""


def _settings(recipes: Mapping[str, Mapping[str, Any]]) -> str:
    blocks = (f"`{name}`:\n\n```json\n{json.dumps(settings, indent=1, ensure_ascii=False)}\n```" for name, settings in recipes.items())
    return "\n\n".join(blocks)


def _header(counts: Counts, files: Mapping[str, str]) -> str:
    """The YAML header, which `load_dataset(folder)` reads."""
    named = [stage for stage, held in counts.items() if held and f"{stage}.jsonl" in files]
    configs = "configs:\n" * bool(named) + "".join(f"- config_name: {stage}\n  data_files: {stage}.jsonl\n" for stage in named)
    tags = "tags:\n- emotion\n- chain-of-thought\n"
    return f"---\npretty_name: VEC-CoT\nlicense: other\nlicense_name: those-of-the-data-sets\n{tags}{configs}---\n\n"


# The export.

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


def export_stages(
    ledger: Path,
    out: Path,
    *,
    ratio: Sequence[int] = STAGE_RATIO,
    seed: int = 0,
    formats: Sequence[str] = tuple(FORMATS),
    progress: Callable[[int], object] = lambda count: None,
) -> Exported:
    """Writes `stage1.jsonl` to `stage3.jsonl`, the same for other trainers in `swift/` and `trl/`, and the card `README.md`, to a folder.

    A sample has the response of its newest accepted attempt, in the form of `render`. Every subtask and label is divided over the stages by
    `ratio`, and stages have no image in common, by path or by content. The same ledger, seed and paths give the same bytes. Every file is
    written atomically, the card with their hashes last. `progress` is called with the number of images read.

    Raises UserError for an unknown format, a ledger without accepted samples, a sample of a test split, or an image that cannot be read.
    """
    if unknown := next((name for name in formats if name not in FORMATS), None):
        raise UserError(f"there is no format {unknown!r}; the formats are {', '.join(FORMATS)}")
    with Ledger(ledger) as book:
        accepted = [_accepted(row, attempt, display_name(ledger)) for row, attempt in book.accepted()]
        recipes = book.recipes()
    if not accepted:
        raise UserError(f"{display_name(ledger)} holds no accepted samples yet; `emocaliber cot build` goes on until it does")
    stage_of = assign_stages(list(_stage_rows([sample for sample, _ in accepted], progress)), seed, ratio)
    examples = [StageExample(sample, k, text if k == 1 else None) for (sample, text), k in zip(accepted, stage_of, strict=True)]
    files = {}
    for name in formats:
        place = out / FORMATS[name].folder
        for k in STAGES:
            path = place / f"stage{k}.jsonl"
            write_rows(path, (FORMATS[name].row(example, path.parent.absolute()) for example in examples if example.stage == k))
            files[path.relative_to(out).as_posix()] = sha256_of(path)
    counts = {f"stage{k}": Counter(example.sample.task for example in examples if example.stage == k) for k in STAGES}
    exported = Exported(out, counts, files)
    write_atomically(out / "README.md", card(counts, files, ledger_stats(ledger), recipes, seed=seed, ratio=ratio))
    return exported


def _accepted(row: Row, attempt: Attempt, ledger: str) -> tuple[Sample, str]:
    """The sample, and its response in the form of `render`: without aliases, and without blanks between the tags."""
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


def _stage_rows(samples: Sequence[Sample], progress: Callable[[int], object]) -> Iterator[Row]:
    """The rows that `assign_stages` takes, with the hash of the image's bytes in place of its path."""
    known: dict[str, str] = {}
    for done, sample in enumerate(samples, 1):
        image = known.get(sample.image) or known.setdefault(sample.image, sha256_of(Path(sample.image)))
        yield {"id": sample.id, "task": sample.task, "ground_truth": sample.ground_truth, "image": image}
        progress(done)
