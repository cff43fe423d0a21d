"""The memory plan equals what training takes, for the 7B model without its weights."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.profiler import profile

from emocaliber.__main__ import main
from emocaliber.errors import UserError
from emocaliber.training.base.model import build_model
from emocaliber.training.collate import ExampleCollator, TrainingExample
from emocaliber.training.config import LANGUAGE_LAYERS, ModelConfig, Stage1Config, Stage3Config, load_config
from emocaliber.training.plan import MemoryPlan, parse_memory, plan_memory
from emocaliber.training.shapes import build_on_meta, count_weights
from emocaliber.training.shared_prefix import logits_only_at
from emocaliber.training.trainer import LossSettings, freeze_vision, supervised_loss
from stand_ins import photo

CONFIGS = Path(__file__).parents[2] / "configs"
SEVEN = Path(os.environ.get("EMOCALIBER_DATA", "")) / "qwen2.5-vl"
needs_config = pytest.mark.skipif(
    not (SEVEN / "config.json").is_file() or "EMOCALIBER_DATA" not in os.environ,
    reason="needs the public configuration of Qwen2.5-VL-7B in $EMOCALIBER_DATA/qwen2.5-vl",
)


def planned(stage: str, folder: str = "7b", devices: int = 8, **changes: Any) -> MemoryPlan:
    config = load_config(stage, CONFIGS / folder)
    assert isinstance(config, ModelConfig)
    return plan_memory(dataclasses.replace(config, model=str(SEVEN), **changes), devices)


@needs_config
def test_seven_billion_trained_weights_take_18_bytes_each() -> None:
    parts = {name: pair[0] for name, pair in planned("stage3").parts.items()}
    weights = 8_292_166_656  # as the hub counts them
    assert parts["weights"] == parts["gradients"] == parts["reference model"] == 4 * weights
    assert parts["weights in 16 bits"] == 2 * weights
    assert parts["optimiser (AdamW)"] == 8 * weights


@pytest.mark.slow
@needs_config
def test_the_papers_configuration_fits_eight_cards_of_80_gb_only_sharded() -> None:
    for stage in ("stage1", "stage2", "stage3"):
        made = planned(stage)
        assert made.total(sharded=True) < 80e9 < made.total(sharded=False)
        assert "only sharded over 8 devices" in made.report(80e9)
    assert "It will not fit into 10 GB (mine): " in planned("stage1").report(10e9, "mine")


@needs_config
def test_adapters_fit_one_card() -> None:
    assert planned("stage1", "7b-lora").total(sharded=False) < 48e9
    assert "reference model" not in planned("stage3", "7b-lora").parts


@needs_config
def test_sharding_divides_what_stays_and_leaves_activations() -> None:
    few, many = planned("stage1", devices=8).parts, planned("stage1", devices=16).parts
    assert few["gradients"][1] == 2 * many["gradients"][1]
    assert few["activations"] == many["activations"]


@needs_config
def test_checkpointing_keeps_a_fraction_of_the_activations() -> None:
    parts = planned("stage1").parts
    assert parts["activations"][0] < parts["(activations without checkpointing)"][0] / 5


@needs_config
def test_a_shared_prefix_takes_less_memory_than_separate_answers() -> None:
    shared, plain = (planned("stage3", shared_prefix=shared, max_new_tokens=256).parts for shared in (True, False))
    assert shared["activations"][0] < 0.6 * plain["activations"][0]


@needs_config
def test_adapters_are_counted_as_peft_makes_them() -> None:
    peft = pytest.importorskip("peft", reason="counts PEFT's own adapters")
    from transformers import AutoConfig

    model = build_on_meta(AutoConfig.from_pretrained(SEVEN))
    counted = count_weights(model, freeze_vision=True, lora_rank=16, lora_targets=LANGUAGE_LAYERS)
    with torch.device("meta"):
        made = peft.get_peft_model(model, peft.LoraConfig(r=16, target_modules=LANGUAGE_LAYERS), low_cpu_mem_usage=True)
    assert counted.adapters == sum(weight.numel() for weight in made.parameters() if weight.requires_grad)


@pytest.mark.slow
@pytest.mark.parametrize("checkpointing", [False, True])
def test_a_measured_step_takes_the_planned_memory(processor: Any, tmp_path: Path, checkpointing: bool) -> None:
    torch.manual_seed(0)
    model = build_model(processor.tokenizer, width=256, layers=6, vision_width=64, vision_layers=1)
    freeze_vision(model)
    model.train()
    if checkpointing:
        model.gradient_checkpointing_enable()
    model.save_pretrained(tmp_path)
    image = str(photo(tmp_path / "photo.png", "teal", (112, 112)))
    batch = ExampleCollator(processor)([TrainingExample(image, "Describe this image. " * 4, "The sea is calm. " * 25)] * 4)
    tokens, answer = batch["input_ids"].shape[1], int(batch["in_completion"][0].sum())
    optimiser = torch.optim.AdamW([weight for weight in model.parameters() if weight.requires_grad])

    def step() -> None:
        fields = dict(batch)
        labels, completion, decimals = (fields.pop(name)[:, 1:] for name in ("labels", "in_completion", "decimals"))
        with logits_only_at(model, torch.nn.functional.pad(completion, (0, 1))):
            logits = model(**fields, use_cache=False).logits[0]
        supervised_loss(logits, labels[completion], completion[completion], decimals[completion], LossSettings()).backward()

    step()
    optimiser.step()  # weights, gradients and moments are there now, as in any step but the first
    with profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profiled:
        step()
    now = peak = 0
    for event in sorted(profiled.profiler.kineto_results.events(), key=lambda event: event.start_ns()):
        if event.name() == "[memory]":
            now += event.nbytes()
            peak = max(peak, now)
    standing = sum(each.numel() * 4 for each in model.parameters()) + 3 * sum(
        each.numel() * 4 for each in model.parameters() if each.requires_grad
    )

    config = Stage1Config(
        model=str(tmp_path), out="", samples="", learning_rate=1.0, batch_size=4, max_pixels=112 * 112, gradient_checkpointing=checkpointing
    )
    made = plan_memory(config, 1, answer_tokens=answer, question_tokens=tokens - answer - 16)
    print(f"planned {made.total(sharded=False):,.0f}, measured {standing + peak:,} bytes")
    assert made.total(sharded=False) == pytest.approx(standing + peak, rel=0.15)


@pytest.mark.slow
def test_a_model_without_a_local_configuration_is_refused_with_a_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    config = Stage3Config(model="nobody/nothing", out="o", samples="s", learning_rate=1.0, batch_size=8)
    with pytest.raises(UserError, match=r"cannot read the configuration of the model nobody/nothing: .*weights are not needed"):
        plan_memory(config, 1)


@pytest.mark.parametrize(("text", "size"), [("80GB", 80e9), ("24 GiB", 24 * 2**30), ("80", 80e9), ("141g", 141e9)])
def test_memory_is_read_in_the_usual_units(text: str, size: float) -> None:
    assert parse_memory(text) == size


def test_other_units_are_refused() -> None:
    with pytest.raises(UserError, match=r"--memory must be a number of gigabytes, such as 80GB or 24GiB, not '80TBs'"):
        parse_memory("80TBs")


@needs_config
def test_the_command_prints_the_plan_and_ends_well(capsys: pytest.CaptureFixture[str]) -> None:
    command = ["train", "stage2", "--plan", "--memory", "80GB", "--devices", "4", "--config", str(CONFIGS / "7b"), f"model={SEVEN}"]
    assert main(command) == 0
    said = capsys.readouterr().out
    assert "FSDP2 or ZeRO-3 over 4" in said
    assert "optimiser (AdamW)" in said


@pytest.mark.slow
def test_all_stages_are_planned_by_one_command_that_says_whose_memory_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "all", "--plan", "--config", "micro", "batch_size=8"]) == 0
    said = capsys.readouterr().out
    assert [line for line in said.splitlines() if line.startswith("stage")] == ["stage1", "stage2", "stage3"]
    assert "--memory 80GB is for" in said and "8 devices, the default" in said
    assert "The total is the peak, not the sum" in said.partition("stage3")[2]
