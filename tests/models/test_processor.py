"""What a model is given: batches of single prompts, and for the public Qwen2.5-VL what transformers itself gives."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from emocaliber.core.response import question
from emocaliber.errors import UserError
from emocaliber.models.local import chat_prompt
from emocaliber.models.processor import PAPER_PIXELS, ImageTextProcessor, collate, load_processor

SHAPES = [(84, 84), (120, 56), (30, 80), (300, 100)]


@pytest.mark.parametrize("family", ["qwen2_5_vl", "qwen3_vl", "internvl"])
def test_a_batch_of_single_prompts_is_what_the_processor_makes_of_all_at_once(families: Mapping[str, Path], family: str) -> None:
    processor = load_processor(families[family], min_pixels=56 * 56, max_pixels=16_000)
    texts = [chat_prompt("fear? " * (1 + place), processor.tokenizer) for place in range(len(SHAPES))]
    images = [Image.new("RGB", shape, "teal") for shape in SHAPES]
    alone = [processor(images=[image], text=[text], return_tensors="pt") for image, text in zip(images, texts, strict=True)]
    batch = processor(images=images, text=texts, padding=True, return_tensors="pt")
    collated = collate(alone, processor.tokenizer.pad_token_id)
    assert collated.keys() == batch.keys()
    for name, values in batch.items():
        assert torch.equal(collated[name], values), name


@pytest.mark.parametrize(
    ("settings", "limits"),
    [
        ({}, PAPER_PIXELS),
        ({"min_pixels": 3136}, (3136, PAPER_PIXELS[1])),
        ({"max_pixels": 100_000}, (100_000, 100_000)),
        ({"min_pixels": 500_000}, (500_000, 500_000)),
        ({"min_pixels": 1000, "max_pixels": 2000}, (1000, 2000)),
    ],
)
def test_a_limit_that_is_given_moves_the_other_out_of_its_way(
    families: Mapping[str, Path], settings: dict[str, int], limits: tuple[int, int]
) -> None:
    size = load_processor(families["qwen2_5_vl"], **settings).image_processor.size
    assert (size.shortest_edge, size.longest_edge) == limits


def test_limits_that_no_image_can_keep_are_refused(families: Mapping[str, Path]) -> None:
    with pytest.raises(UserError, match=r"min_pixels \(2,000\) must not be above max_pixels \(1,000\)"):
        load_processor(families["qwen2_5_vl"], min_pixels=2000, max_pixels=1000)


def test_a_checkpoint_without_a_chat_template_is_refused(families: Mapping[str, Path], tmp_path: Path) -> None:
    for file in families["qwen2_5_vl"].iterdir():
        if file.name != "chat_template.jinja":
            (tmp_path / file.name).symlink_to(file)
    with pytest.raises(UserError, match="has no chat template; give a checkpoint trained for chat"):
        load_processor(tmp_path)


@pytest.fixture(scope="module")
def public() -> Path:
    """The public Qwen2.5-VL's configuration, tokenizer and template."""
    folder = Path(os.environ.get("EMOCALIBER_DATA", "")) / "qwen2.5-vl"
    if not (folder / "tokenizer.json").is_file():
        pytest.skip("the public Qwen2.5-VL's tokenizer is not there: set EMOCALIBER_DATA to a folder with qwen2.5-vl in it")
    return folder


QUESTION = question(("fear", "awe"))
TURN = (
    "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n<|vision_start|><|image_pad|><|vision_end|>"
    f"{QUESTION}<|im_end|>\n<|im_start|>assistant\n"
)
THEIR_LIMITS = {"min_pixels": 3136, "max_pixels": 12_845_056}
PHOTOS = [(500, 400), (400, 500), (640, 480), (224, 224), (1024, 300), (57, 900)]


@pytest.mark.slow
@pytest.mark.parametrize(("settings", "grid"), [(THEIR_LIMITS, [1, 28, 36]), ({}, [1, 30, 36])])
def test_the_public_qwen_sees_a_photo_of_500_by_400(public: Path, settings: dict[str, int], grid: list[int]) -> None:
    processor = load_processor(public, **settings)
    text = chat_prompt(QUESTION, processor.tokenizer)
    assert text == TURN
    inputs = processor(images=[Image.new("RGB", (500, 400))], text=[text], return_tensors="pt")
    assert inputs["image_grid_thw"].tolist() == [grid]
    tokens = grid[1] * grid[2] // 4
    assert int((inputs["input_ids"] == 151655).sum()) == tokens  # 252 at the checkpoint's own limits
    ids = inputs["input_ids"][0].tolist()
    start = ids.index(151652)
    assert ids[start + 1 : start + 1 + tokens] == [151655] * tokens
    assert [*ids[: start + 1], 151655, *ids[start + 1 + tokens :]] == processor.tokenizer(TURN)["input_ids"]


@pytest.mark.skipif(not importlib.util.find_spec("torchvision"), reason="transformers' own processors of these families need torchvision")
@pytest.mark.parametrize("settings", [THEIR_LIMITS, {}])
@pytest.mark.parametrize("name", ["public", "qwen3_vl", "internvl"])
def test_without_torchvision_a_model_is_given_what_transformers_own_processor_gives(
    families: Mapping[str, Path], request: pytest.FixtureRequest, name: str, settings: dict[str, int]
) -> None:
    folder = request.getfixturevalue("public") if name == "public" else families[name]
    official, ours = load_processor(folder, **settings), _without_torchvision(folder, **settings)
    assert type(official).__module__.startswith("transformers.")
    text = chat_prompt(QUESTION, official.tokenizer)
    for shape in PHOTOS:
        image = Image.radial_gradient("L").resize(shape).convert("RGB")
        first, second = (each(images=[image], text=[text], return_tensors="pt") for each in (official, ours))
        assert first.keys() == second.keys()
        for key in first.keys() - {"pixel_values"}:
            assert torch.equal(first[key], second[key]), key
        difference = (first["pixel_values"] - second["pixel_values"]).abs()
        assert difference.max() < 0.1, "the two resize a little differently"


def _without_torchvision(folder: Path, **settings: int) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(importlib.util, "find_spec", lambda name: None)
        processor = load_processor(folder, **settings)
    assert isinstance(processor, ImageTextProcessor)
    return processor
