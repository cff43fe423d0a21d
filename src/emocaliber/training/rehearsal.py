"""Rehearsal of training (`emocaliber train rehearse`): what can be checked before a step is checked, then each stage trains for a few
steps on a CPU with a miniature of the model and the user's own rows, and what would have gone wrong is reported.

Settings are those of the configuration, but for those to which a CPU sets limits: answers are sampled up to `ANSWER` tokens, a step of
stages 1 and 2 has at most `PASSES` passes of `PASS` examples, stage 3 answers about `GROUPS` questions at once, steps are few, and held-out
samples are `HELD_OUT`. A miniature has learnt nothing, so its answers cannot be read: responses to the rows stand in for those that are
malformed, in stage 2 as what is trained on, in stage 3 as what is rewarded, so that answers of a group earn different rewards.
"""

from __future__ import annotations

import json
import math
import textwrap
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from emocaliber.core.response import Malformed, parse
from emocaliber.core.samples import Sample, read_samples
from emocaliber.core.tasks import labels_of
from emocaliber.errors import UserError
from emocaliber.io.rows import write_rows
from emocaliber.render.table import Table
from emocaliber.render.terminal import say
from emocaliber.training.checks import check_no_image_is_shared
from emocaliber.training.config import FINISHED, ModelConfig, Stage2Config, Stage3Config, StageConfig
from emocaliber.training.inspection import (
    LOSES,
    NOTE,
    STOPS,
    Finding,
    Inspection,
    ideal_response,
    inspect_disk,
    inspect_memory,
    inspect_stage,
    listed,
)
from emocaliber.training.miniature import make_miniature, processor_of
from emocaliber.training.plan import with_base_model
from emocaliber.training.run import check_workspaces, run_stage
from emocaliber.training.samples import training_rows
from emocaliber.training.stage2 import SCAFFOLD, scaffold_answers, states_confidence
from emocaliber.training.trainer import complete_checkpoints

ANSWER = 32  # tokens of a sampled answer
PASS = 2  # examples of a pass: logits of 2 answers over a vocabulary of 152,064 fit into the memory of a laptop
PASSES = 4  # of a step of stages 1 and 2
GROUPS = 4  # questions answered at once in stage 3
HELD_OUT = 8
_ON_GPUS = ("use_vllm", "vllm_", "deepspeed", "fsdp")  # beginnings of the names of arguments

_SHOWN_AS_0 = 5e-5  # stage 3's loss is 0 but for rounding, as its advantages have a mean of 0
_AVERAGE = 0.8  # E[p] of an answer that stands in


@dataclass
class StageReport:
    """What a stage's rehearsal showed: rows read and fit, steps done with their losses and gradient norms, and seconds."""

    stage: str
    read: int
    fit: int
    used: int = 0
    losses: list[float] = field(default_factory=list)
    gradients: list[float] = field(default_factory=list)
    seconds: float = 0.0
    failed: str = ""

    def row(self) -> list[str]:
        def range_of(values: list[float]) -> str:
            return ", ".join("0" if abs(value) < _SHOWN_AS_0 else f"{value:.3g}" for value in values) or "-"

        seconds = f"{self.seconds:,.0f}" if self.seconds else "-"
        return [self.stage, f"{self.read:,}", f"{self.fit:,}", f"{self.used:,}", range_of(self.losses), range_of(self.gradients), seconds]


@dataclass
class Rehearsal:
    """The report of a rehearsal for `devices` devices: what trained (`model`, `tokenizer`), stage by stage, and all findings."""

    name: str
    devices: int = 1
    model: str = ""
    tokenizer: str = ""
    stages: list[StageReport] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)

    @property
    def stops(self) -> bool:
        """Whether training would have stopped."""
        return any(each.weight == STOPS for each in self.findings)

    def text(self, width: int | None = None) -> str:
        """The report; its sentences are broken at `width` cells, if given."""
        header = ["stage", "rows", "fit", "used", "loss", "gradient norm", "seconds"]
        devices = f"{self.devices:,} {'device' if self.devices == 1 else 'devices'}"
        lines = [f"rehearsal of {self.name} for {devices}: {self.model or 'no stage was run'}", self.tokenizer, ""]
        lines += [*Table(header, [each.row() for each in self.stages]).as_text().splitlines(), ""]
        for weight in (STOPS, LOSES, NOTE):
            if found := [each for each in self.findings if each.weight == weight]:
                lines += [f"{weight} ({len(found):,}):", *listed(found), ""]
        lines += [_NOTHING] if not self.stops else []
        broken = [part for line in [*lines, _NOT_REHEARSED] for part in (_broken(line, width) if width else [line])]
        return "\n".join(broken) + "\n"


def _broken(line: str, width: int) -> list[str]:
    """The line in lines of at most `width` cells, but for what cannot be broken; a line of a table is left as it is."""
    if "  " in line.strip() or len(line) <= width:
        return [line]
    indent = " " * (len(line) - len(line.lstrip()) + 2)
    return textwrap.wrap(line, max(width, 40), subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


_NOTHING = "Nothing would have stopped training, as far as a rehearsal shows."
_NOT_REHEARSED = (
    "Not rehearsed: several devices, GPU memory (--plan), the real weights and what they answer, answers longer than "
    f"{ANSWER} tokens, how long it takes (--plan --flops)."
)


def rehearse(
    name: str,
    configs: Mapping[str, StageConfig],
    folder: Path,
    *,
    devices: int = 1,
    memory: float = 0.0,
    tokenizer: str | None = None,
    steps: int = 2,
) -> Rehearsal:
    """Rehearses the stages 1 to 3 of `configs` in `folder`; `name` is that of the configuration.

    `devices` and `memory` (bytes of each, 0: unknown) are those of the real training. `tokenizer` is a folder with the model's tokenizer,
    where the hub cannot be reached. What goes wrong is in the report. Raises UserError for a model that cannot be rehearsed.
    """
    planned = {stage: config for stage, config in configs.items() if isinstance(config, ModelConfig)}
    if not planned:
        raise UserError(f"{name} has no stage to rehearse; stages 1, 2 and 3 can be")
    report = Rehearsal(name, devices)
    first = with_base_model(next(iter(planned.values())), configs.values())
    processor, report.tokenizer = processor_of(first.model, tokenizer, first.min_pixels, first.max_pixels)
    if not report.tokenizer:
        text = f"the tokenizer of {first.model} is not here, and that of tiny stood in: lengths are not the real ones (--tokenizer FOLDER)"
        report.findings.append(Finding(next(iter(planned)), NOTE, "tokenizer", text))
    base = folder / "base"
    report.model = make_miniature(first.model, processor, base)
    made = {str(Path(config.out) / FINISHED) for config in planned.values()}
    inspections = {}
    for stage, config in planned.items():
        say(f"{stage}: checking settings, rows and images")
        inspections[stage] = inspect_stage(stage, config, processor, devices, untrained=config.model in made)
        report.findings += inspections[stage].findings
        report.findings += inspect_memory(stage, with_base_model(config, planned.values()), devices, memory)
    report.findings += inspect_disk({stage: with_base_model(config, planned.values()) for stage, config in planned.items()})
    report.findings += _between(planned, inspections)
    start = str(base if base.is_dir() else first.model)
    for stage, config in planned.items():
        mine = StageReport(stage, inspections[stage].read, len(inspections[stage].rows))
        report.stages.append(mine)
        if not inspections[stage].runs or not (mine.fit or config.scenes):
            report.findings.append(Finding(stage, NOTE, "run", "was not run: mend the above first"))
            continue
        small = _rehearsed(stage, config, inspections[stage], folder, start, steps)
        started = time.monotonic()
        try:
            mine.used = _prepare(config, small, inspections[stage])
            more = {"reader": _stand_ins(inspections[stage])} if isinstance(config, Stage3Config) else {}
            start = str(run_stage(stage, small, **more))
        except UserError as error:
            report.findings.append(Finding(stage, STOPS, "step", str(error)))
        except Exception as error:  # a rehearsal is there to meet what nobody thought of
            report.findings.append(Finding(stage, STOPS, "step", f"{type(error).__name__}: {error}"))
        mine.seconds = time.monotonic() - started
        _read_log(small, mine)
        report.findings += [
            Finding(stage, STOPS, "step", f"the {what} of step {place} is {value}")
            for what, values in (("loss", mine.losses), ("gradient norm", mine.gradients))
            for place, value in enumerate(values, start=1)
            if not math.isfinite(value)
        ]
    return report


def _between(planned: Mapping[str, ModelConfig], inspections: Mapping[str, Inspection]) -> list[Finding]:
    """What would go wrong between stages: shared images, and folders that hold a run of other settings."""
    found = []
    places = {
        stage: {row["image"]: f"{planned[stage].samples}, line {line}" for line, row in seen.rows} for stage, seen in inspections.items()
    }
    try:
        check_no_image_is_shared(places)
    except UserError as error:
        found.append(Finding("stages", STOPS, "shared", str(error)))
    for stage, config in planned.items():
        try:
            check_workspaces([(stage, config)])
        except UserError as error:
            found.append(Finding(stage, STOPS, "folder", str(error)))
    return found


def _rehearsed(stage: str, config: ModelConfig, seen: Inspection, folder: Path, model: str, steps: int) -> ModelConfig:
    """The configuration of a stage's rehearsal in `folder`, from `model`."""
    out = folder / stage
    passed, accumulation, group, sampled = config.batch_size, config.accumulation, 1, 1
    rows = config.scenes or len(seen.rows)
    if isinstance(config, Stage3Config):
        group, sampled = config.group_size, config.updates_per_rollout
        most = max(min(GROUPS, rows), 1) * group // sampled
    else:
        passed, most = min(passed, PASS), max(min(PASS * PASSES, rows), 1)
    passed = max(min(passed, most) // group, 1) * group if passed % group == 0 else passed
    accumulation = max(min(config.batch_size * accumulation, most) // passed, 1)
    if passed * accumulation % group:
        accumulation = config.accumulation
    needed = max(passed * accumulation * max(steps, sampled) // group, 1)
    changes: dict[str, Any] = {
        "out": str(out),
        "samples": str(folder / f"{stage}.jsonl"),
        "model": model,
        "batch_size": passed,
        "accumulation": accumulation,
        "max_steps": steps,
        "save_steps": 1,
        "logging_steps": 1,
        "report_to": "none",
        "max_new_tokens": min(config.max_new_tokens, ANSWER),
        "validation": str(folder / f"{stage}-held-out.jsonl") if config.validation else "",
        "eval_steps": steps,
    }
    if config.scenes:
        changes |= {"samples": str(folder / f"{stage}-scenes" / Path(config.samples).name), "scenes": min(config.scenes, needed)}
    if isinstance(config, Stage3Config) and passed * accumulation * sampled // group > rows:
        changes["updates_per_rollout"] = 1
    if config.feature_cache:
        changes["feature_cache"] = str(folder / "features")
    if config.trainer:  # without what needs GPUs or another server
        changes["trainer"] = {name: value for name, value in config.trainer.items() if not name.startswith(_ON_GPUS)}
    return replace(config, **changes)


def _prepare(config: ModelConfig, small: ModelConfig, seen: Inspection) -> int:
    """Writes the rows of a rehearsal, evenly spaced among those that fit, and stage 2's scaffold answers; returns the number of rows."""
    if not small.scenes:
        write_rows(small.samples, [row for _, row in _spaced(seen.rows, _rows_needed(small))])
    if small.validation:
        write_rows(small.validation, [sample.to_row() for sample in _spaced(list(read_samples(config.validation)), HELD_OUT)])
    rows = training_rows(small)
    if isinstance(small, Stage2Config):
        _answer(small, rows)
    return len(rows)


def _rows_needed(small: ModelConfig) -> int:
    each = small.batch_size * small.accumulation
    if isinstance(small, Stage3Config):
        return max(small.max_steps, small.updates_per_rollout) * each // small.group_size
    return small.max_steps * each


def _spaced(values: Sequence[Any], count: int) -> list[Any]:
    """`count` of the values, evenly spaced, or all of them if there are no more."""
    return [values[place * len(values) // count] for place in range(count)] if len(values) > count else list(values)


def _answer(small: Stage2Config, rows: Sequence[dict[str, Any]]) -> None:
    """Has the scaffold answer, and puts responses to the rows in place of malformed answers, in `OUT/scaffold.jsonl`."""
    answers = scaffold_answers(small, [Sample.from_row(row, small.samples) for row in rows])
    stated = states_confidence(small.model)
    known = {row["id"]: row for row in rows}
    write_rows(Path(small.out) / SCAFFOLD, [_readable(answer, known[answer["id"]], stated) for answer in answers])


def _readable(answer: dict[str, Any], row: Mapping[str, Any], stated: bool) -> dict[str, Any]:
    labels = labels_of(answer["task"], answer["candidates"])
    if not isinstance(parse(answer["response"] or "", labels, confidence="required" if stated else "forbidden"), Malformed):
        return answer
    spread = (sum(map(ord, str(row["id"]))) % 20) / 100  # so that confidences differ
    given = {name: _AVERAGE - spread if value is None else value for name, value in answer["confidence"].items()}
    return answer | {"response": ideal_response(row, 0.85 if stated else None), "confidence": given | {"avg": _AVERAGE}, "error": None}


def _stand_ins(seen: Inspection) -> Callable[[list[str], list[str]], list[str]]:
    """The `Reader` of a rehearsal's stage 3: a roll-out that cannot be read earns what a right answer would, at a confidence of its own."""
    known = {str(row["id"]): row for _, row in seen.rows}

    def read(texts: list[str], ids: list[str]) -> list[str]:
        stated = [(place + 0.5) / len(texts) for place in range(len(texts))]
        return [
            ideal_response(row, round(confidence, 2))
            if (row := known.get(identity)) and isinstance(parse(text, labels_of(row["task"], row["candidates"])), Malformed)
            else text
            for text, identity, confidence in zip(texts, ids, stated, strict=True)
        ]

    return read


def _read_log(small: ModelConfig, mine: StageReport) -> None:
    """Losses and gradient norms of the steps, from the last checkpoint."""
    if checkpoints := complete_checkpoints(small.out):
        log: Iterable[dict[str, Any]] = json.loads((checkpoints[-1] / "trainer_state.json").read_text("utf-8"))["log_history"]
        steps = [entry for entry in log if "loss" in entry]
        mine.losses = [float(entry["loss"]) for entry in steps]
        mine.gradients = [float(entry["grad_norm"]) for entry in steps if entry.get("grad_norm") is not None]
