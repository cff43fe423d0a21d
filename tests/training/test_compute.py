"""The compute plan counts what torch counts, needs no network for the public shapes, and turns FLOP into hours and money."""

from __future__ import annotations

import dataclasses
import socket
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from emocaliber.__main__ import main
from emocaliber.errors import UserError
from emocaliber.models.local import chat_prompt
from emocaliber.training.base.model import build_model
from emocaliber.training.compute import Arithmetic, ComputePlan, Speed, plan_compute
from emocaliber.training.config import ModelConfig, load_config
from emocaliber.training.plan import plan_memory
from emocaliber.training.shapes import build_on_meta, model_config
from small_lite import small_lite
from stand_ins import photo

CONFIGS = Path(__file__).parents[2] / "configs"


def planned(stage: str, folder: str = "7b", devices: int = 8, **changes: Any) -> ComputePlan:
    config = load_config(stage, CONFIGS / folder)
    assert isinstance(config, ModelConfig)
    return plan_compute(dataclasses.replace(config, **{"model": "Qwen/Qwen2.5-VL-7B-Instruct"} | changes), devices)


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: Any, **__: Any) -> Any:
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket, "create_connection", refused)
    monkeypatch.setattr(socket.socket, "connect", refused)


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize(("size", "weights"), [("3B", 3_754_622_976), ("7B", 8_292_166_656), ("72B", 73_410_777_344)])
def test_the_public_shapes_need_no_network_and_have_the_published_numbers_of_weights(size: str, weights: int) -> None:
    model = build_on_meta(model_config(f"Qwen/Qwen2.5-VL-{size}-Instruct"))
    assert sum(weight.numel() for weight in model.parameters()) == weights


@pytest.mark.parametrize("size", [(112, 112), (84, 56)])
def test_a_forward_pass_has_the_flop_that_torch_counts(processor: Any, tmp_path: Path, size: tuple[int, int]) -> None:
    from PIL import Image

    model = build_model(processor.tokenizer, width=128, layers=3, vision_width=64, vision_layers=2).eval()
    model.set_attn_implementation("eager")  # torch does not count the CPU's fused attention
    image = Image.open(photo(tmp_path / "photo.png", "teal", size))
    inputs = processor(images=[image], text=[chat_prompt("Which emotion?", processor.tokenizer)], return_tensors="pt")
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(**inputs)
    tokens, seen = inputs["input_ids"].shape[1], int(inputs["image_grid_thw"].prod()) // 4
    flop = Arithmetic.of(model.config, seen)
    ours = flop.text(tokens, tokens**2, tokens) + flop.image  # torch counts the pairs that a causal mask leaves out
    assert ours == pytest.approx(counter.get_total_flops(), rel=1e-3)


def test_a_lite_model_is_planned_with_its_eyes(tokenizer: Any, tmp_path: Path) -> None:
    model, processor = small_lite(tokenizer)
    model.save_pretrained(tmp_path / "lite")
    processor.save_pretrained(tmp_path / "lite")
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        cells, grid = torch.randn(4, 3 * 32 * 32), torch.tensor([[1, 2, 2]])
        model.model.visual(cells, grid_thw=grid)
    assert Arithmetic.of(model.config, 4).image == pytest.approx(counter.get_total_flops(), rel=1e-3)
    shut, open_ = (
        plan_memory(
            dataclasses.replace(
                load_config("stage1", CONFIGS / "lite"), model=str(tmp_path / "lite"), freeze_vision=frozen, feature_cache=""
            ),  # type: ignore[arg-type]
            1,
        )
        for frozen in (True, False)
    )
    assert "4 image tokens" in shut.tokens
    eyes = sum(weight.numel() for weight in model.model.visual.eyes.parameters())
    assert open_.parts["gradients"][0] - shut.parts["gradients"][0] == 4 * eyes
    assert open_.parts["activations"][0] > shut.parts["activations"][0]


def test_steps_and_tokens_are_those_of_the_papers_batches() -> None:
    first, third = planned("stage1"), planned("stage3")
    assert (first.samples, first.steps, first.tokens) == (128, 673, 128 * (576 + 175 + 400))
    assert (third.samples, third.steps, third.tokens) == (32, 449, 32 * (576 + 175 + 8 * 400))
    assert "is not there, so the paper's 86,067 samples are taken" in first.counted


def test_training_takes_about_six_flop_for_each_weight_and_token() -> None:
    plan = planned("stage1")
    assert plan.training / plan.steps / plan.tokens == pytest.approx(6 * 6.5e9, rel=0.15)  # the language model has 6.5 thousand million
    assert planned("stage1", lora_rank=8).training == pytest.approx(plan.training * 2 / 3, rel=0.05)


def test_a_shared_prefix_saves_the_prompts_of_a_group() -> None:
    shared, plain = planned("stage3"), planned("stage3", shared_prefix=False)
    assert plain.tokens - shared.tokens == 32 * 7 * (576 + 175)
    assert plain.training > 1.5 * shared.training


def test_hours_and_money_follow_from_the_stated_speed() -> None:
    plan = ComputePlan(rows=100, steps=10, samples=10, tokens=1, training=3.6e18, generation=3.6e17, counted="", lengths="")
    assert plan.hours(2, 1e15, 0.5, 0.1) == pytest.approx((3.6e18 / 0.5 + 3.6e17 / 0.1) / 2e15 / 3600)
    said = Speed(1e15, mfu=0.5, price=2.0).sentence(plan, 2)
    assert said.startswith("2.67 hours on 2 devices of 1,000 TFLOP/s at an MFU of 50 % in training and 3 % (assumed; --generation-mfu)")
    assert said.endswith("5.33 device-hours, 10.67 at 2.00 an hour of one.")


@pytest.mark.parametrize(("values", "name"), [((0.0,), "--flops"), ((1e15, 1.5), "--mfu"), ((1e15, 0.4, 0.1, -1.0), "--price")])
def test_impossible_speeds_are_refused(values: tuple[float, ...], name: str) -> None:
    with pytest.raises(UserError, match=f"{name} must be above 0"):
        Speed(*values)


@pytest.mark.usefixtures("offline")
def test_the_command_plans_72b_without_a_network(capsys: pytest.CaptureFixture[str]) -> None:
    command = ["train", "stage1", "--config", "7b", "--plan", "--memory", "80GB", "--devices", "64", "--flops", "989e12", "--price", "2.5"]
    assert main([*command, "model=Qwen/Qwen2.5-VL-72B-Instruct"]) == 0
    said = capsys.readouterr().out
    assert "73,411 million weights" in said
    assert "tokens" in said and "PFLOP, training" in said and "device-hours" in said and "at 2.50 an hour of one" in said


def test_a_price_needs_a_speed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "stage1", "--config", "7b", "--plan", "--price", "2.5"]) == 2
    assert "need --flops" in capsys.readouterr().err
