"""What would go wrong in training a stage, as far as its settings, rows and images tell: all of it, not the first that `checks` meets.

The rehearsal (`rehearsal`) finds here what needs no training step, and which rows it can be rehearsed with.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from emocaliber.confidence.rewards import PARTS, parse_reward, reward
from emocaliber.confidence.targets import confidence_target
from emocaliber.core.response import Reasoning, Response, render
from emocaliber.core.samples import Fields
from emocaliber.core.scoring import people_shares
from emocaliber.core.tasks import labels_of
from emocaliber.errors import UserError
from emocaliber.inference.engine import question_for
from emocaliber.io.datasets import is_there
from emocaliber.io.rows import display_name
from emocaliber.models.available import why_unavailable
from emocaliber.models.local import chat_prompt
from emocaliber.training.checks import check_batches, check_model, missing_samples, unreadable_images
from emocaliber.training.collate import TrainingExample
from emocaliber.training.config import GIVEN, VOTES, ModelConfig, MonitoredConfig, Stage1Config, Stage2Config, Stage3Config, check_settings
from emocaliber.training.distributed import lora_config
from emocaliber.training.plan import plan_memory
from emocaliber.training.samples import check_truths, judged_sample_rows, validation_samples
from emocaliber.training.shapes import WeightCounts, build_on_meta, count_weights, model_config
from emocaliber.training.stage1 import response_example
from emocaliber.training.stage2 import given_examples
from emocaliber.training.trainer import example_tokens, largest_image
from emocaliber.training.watching import trackers

STOPS, LOSES, NOTE = "would have stopped training", "would have been left out", "worth knowing"
SHOWN = 5  # findings of one kind that are named; the others are counted

_GB = 10**9


@dataclass(frozen=True)
class Finding:
    """One thing that would go wrong in a `stage`. `weight` is STOPS, LOSES or NOTE; `kind` groups findings, for their number."""

    stage: str
    weight: str
    kind: str
    text: str


@dataclass
class Inspection:
    """The findings of a stage, and the rows without one, with their line numbers. `runs`: whether its settings allow a training step."""

    stage: str
    findings: list[Finding] = field(default_factory=list)
    rows: list[tuple[int, dict[str, Any]]] = field(default_factory=list)
    read: int = 0
    runs: bool = True

    def found(self, weight: str, kind: str, text: object) -> None:
        self.findings.append(Finding(self.stage, weight, kind, str(text)))

    def tried(self, kind: str, action: Callable[[], object], weight: str = STOPS) -> bool:
        """Whether `action` raises no UserError; one becomes a finding."""
        try:
            action()
        except UserError as error:
            self.found(weight, kind, error)
            return False
        return True


def inspect_stage(stage: str, config: ModelConfig, processor: Any, devices: int, *, untrained: bool) -> Inspection:
    """All that would go wrong in a stage on `devices` devices, by its settings, rows and images.

    `processor` is the model's own, by whose tokenizer lengths are counted. `untrained`: an earlier stage makes the model that this one
    starts from, so that it is not there yet.
    """
    seen = Inspection(stage)
    seen.runs = seen.tried("settings", lambda: check_settings(config, f"the settings of {stage}"))
    if isinstance(config, Stage3Config):
        seen.runs &= seen.tried("reward", lambda: parse_reward(config.reward))
        _inspect_groups(config, seen)
    seen.tried("tracker", lambda: trackers(config.report_to))
    seen.runs &= seen.tried("adapters", lambda: lora_config(config))
    if not untrained:
        seen.tried("model", lambda: _check_there(config.model))
    if not config.scenes:
        _inspect_rows(config, processor, seen, devices)
    if isinstance(config, MonitoredConfig):
        seen.tried("validation", lambda: validation_samples(config))
    return seen


def inspect_memory(stage: str, config: ModelConfig, devices: int, memory: float) -> list[Finding]:
    """What would go wrong by the memory of a device (0: not judged), for the model that `config` names."""
    if not memory:
        return []
    seen = Inspection(stage)
    try:
        plan = plan_memory(config, devices)
        if plan.total(sharded=True) > memory:
            seen.found(STOPS, "memory", plan.report(memory).rstrip().rpartition("\n")[2])
    except UserError as error:
        seen.found(NOTE, "memory", f"its memory was not planned: {error}")
    return seen.findings


def inspect_disk(stages: Mapping[str, ModelConfig]) -> list[Finding]:
    """What would go wrong by the room on the disks where the stages write; each stage leaves its checkpoints there."""
    needed: dict[int, float] = {}
    places: dict[int, tuple[Path, list[str]]] = {}
    for stage, config in stages.items():
        try:
            shape = model_config(config.model)
        except UserError as error:
            return [Finding(stage, NOTE, "disk", f"its room on disk was not planned: {error}")]
        weights = count_weights(
            build_on_meta(shape), freeze_vision=config.freeze_vision, lora_rank=config.lora_rank, lora_targets=config.lora_targets
        )
        out = Path(config.out).absolute()
        place = next(folder for folder in (out, *out.parents) if folder.is_dir())
        disk = place.stat().st_dev
        needed[disk] = needed.get(disk, 0.0) + disk_bytes(weights)
        places.setdefault(disk, (place, []))[1].append(stage)
    found = []
    for disk, (place, on_it) in places.items():
        if (free := shutil.disk_usage(place).free) < needed[disk]:
            each = "two checkpoints and the model" + (" of each stage" if len(on_it) > 1 else "")
            text = f"{each} take {needed[disk] / _GB:,.0f} GB, and here {display_name(place)} has {free / _GB:,.0f} GB free"
            found.append(Finding(", ".join(on_it), NOTE, "disk", text))
    return found


def disk_bytes(weights: WeightCounts) -> float:
    """Bytes of two checkpoints (weights and two moments of those that learn) and of the finished model, in float32."""
    trained = weights.trained + weights.adapters
    return 2 * (4 * (trained if weights.adapters else weights.all) + 8 * trained) + 4 * weights.all


def _check_there(model: str) -> None:
    check_model(model)
    if reason := why_unavailable(model):
        raise UserError(f"cannot load the model {model}: {reason}")
    if os.path.isdir(model) and not any(file.endswith((".safetensors", ".bin")) for file in os.listdir(model)):
        raise UserError(f"cannot load the model {model}: the folder has no weights (*.safetensors)")


def _inspect_groups(config: Stage3Config, seen: Inspection) -> None:
    if config.shared_prefix and config.batch_size % config.group_size:
        text = (
            f"batch_size = {config.batch_size} does not hold whole groups of {config.group_size} answers, so image and prompt would be "
            "encoded once per answer, not once per group"
        )
        seen.found(NOTE, "groups", text)


# Rows


def _inspect_rows(config: ModelConfig, processor: Any, seen: Inspection, devices: int) -> None:
    if not is_there(config.samples):
        seen.found(STOPS, "samples", missing_samples(Path(config.samples), seen.stage).removeprefix(f"{seen.stage}: "))
        seen.runs = False
        return
    good: list[tuple[int, dict[str, Any]]] = []
    try:
        for line, row in judged_sample_rows(config.samples, config.images):
            seen.read += 1
            if isinstance(row, UserError):
                seen.found(STOPS, "row", row)
            elif not (problems := list(_row_problems(config, row, f"{config.samples}, line {line}", processor))):
                good.append((line, row))
            for weight, kind, text in problems if isinstance(row, dict) else ():
                seen.found(weight, kind, text)
    except UserError as error:  # a line that is no row ends the reading of the file
        seen.found(STOPS, "file", error)
    unreadable = dict(unreadable_images(tuple(dict.fromkeys(row["image"] for _, row in good))))
    for line, row in good:
        if (reason := unreadable.get(row["image"])) is not None:
            seen.found(STOPS, "image", f"{config.samples}, line {line}, sample {display_name(str(row['id']))}: {reason}")
    seen.rows = [(line, row) for line, row in good if row["image"] not in unreadable]
    if seen.tried("batch", lambda: check_batches(config, seen.read, devices)) and seen.runs and isinstance(config, Stage3Config):
        asked = config.batch_size * config.accumulation * config.updates_per_rollout * devices // config.group_size
        if asked and (rest := seen.read % asked):
            text = f"{rest:,} of {seen.read:,} questions are not asked in an epoch, as {asked:,} are asked at once"
            seen.found(LOSES, "batch", text)


def _row_problems(config: ModelConfig, row: Mapping[str, Any], where: str, processor: Any) -> Iterator[tuple[str, str, str]]:
    """What would go wrong with a row, as (weight, kind, sentence)."""
    try:
        check_truths(config, [dict(row)])
        if isinstance(config, Stage2Config) and config.targets == GIVEN:
            (given,) = given_examples([dict(row)])
            yield from _too_long(config, given, where, processor)
            return
        if isinstance(config, Stage1Config):
            yield from _too_long(config, response_example(dict(row), where, config), where, processor)
        else:
            labels = labels_of(row["task"], row["candidates"])
            for label in labels:
                confidence_target(label, row["ground_truth"], 0.5, labels)
            question = question_for(row["task"], row["candidates"], confidence=True)
        if isinstance(config, Stage2Config):
            if config.targets == VOTES:
                fields = Fields(row, where)
                if not people_shares(fields.posterior("posterior", labels), fields.votes("votes", labels)):
                    yield STOPS, "votes", f'{where}: has neither votes nor a posterior, which targets = "{VOTES}" needs'
            ideal = TrainingExample(row["image"], question, "<confidence>0.85</confidence>", ideal_response(row))
            yield from _too_long(config, ideal, where, processor)
        if isinstance(config, Stage3Config):
            settings = parse_reward(config.reward)
            _, parts = reward(ideal_response(row, 0.85), labels, row["ground_truth"], settings)
            if settings.correct_weight > 0 and parts[PARTS[1]] <= 0:
                yield STOPS, "reward", f"{where}: the right answer, {row['ground_truth']!r}, earns nothing; is it among the candidates?"
            prompt = largest_image(processor) + len(processor.tokenizer(chat_prompt(question, processor.tokenizer))["input_ids"])
            longest = getattr(processor.tokenizer, "model_max_length", 0)
            if 0 < longest < prompt + config.max_new_tokens:
                yield NOTE, "length", f"{where}: the prompt and an answer may have more than the {longest:,} tokens that the model reads"
    except UserError as error:
        yield STOPS, "row", str(error)


def _too_long(config: Stage1Config | Stage2Config, example: TrainingExample, where: str, processor: Any) -> Iterator[tuple[str, str, str]]:
    if config.max_length and (length := example_tokens(example, processor)) > config.max_length:
        yield LOSES, "length", f"{where}: has {length:,} tokens, its image at the largest, and max_length is {config.max_length:,}"


def ideal_response(row: Mapping[str, Any], confidence: float | None = None) -> str:
    """A well-formed response to a row with the right answer: the row's own, if it has one."""
    steps = Reasoning(*["something that can be seen"] * 5)
    own = str(row.get("response") or "")
    if confidence is None and own.endswith("</answer>"):
        return own
    return render(Response(steps, row["ground_truth"], confidence))


def listed(findings: Sequence[Finding]) -> list[str]:
    """The findings as lines, the first `SHOWN` of a kind in a stage named and the others counted."""
    lines, kinds = [], dict[tuple[str, str], list[Finding]]()
    for each in findings:
        kinds.setdefault((each.stage, each.kind), []).append(each)
    for (stage, _), alike in kinds.items():
        lines += [f"  {stage}: {each.text}" for each in alike[:SHOWN]]
        if len(alike) > SHOWN:
            lines.append(f"  {stage}: and {len(alike) - SHOWN:,} more like these")
    return lines
