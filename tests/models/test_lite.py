"""The lite model: its eyes are EfficientNet-Lite, and everything behind them is Qwen2.5-VL's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoConfig, AutoModelForImageTextToText, Qwen2_5_VLForConditionalGeneration

from emocaliber.core.model import Reply, Request
from emocaliber.emotions.taxonomy import taxonomy
from emocaliber.errors import UserError
from emocaliber.inference.engine import question_for
from emocaliber.models.lite import LiteConfig, LiteForConditionalGeneration, LiteVisionConfig
from emocaliber.models.lite.efficientnet import EfficientNetLite
from emocaliber.models.lite.vision import pooled, standardised
from emocaliber.models.local import LocalModel, chat_prompt
from emocaliber.models.processor import load_processor
from emocaliber.training.base.imagenet import load_imagenet
from emocaliber.training.base.lite import build_lite
from small_lite import EYES, imagenet_weights, reference_features, small_lite

SHAPES = ((80, 60), (64, 64), (30, 90), (500, 400))
LABELS = taxonomy("mikels-8").labels
CANDIDATES = (LABELS, LABELS[:3], LABELS, LABELS[:2])


def noise(width: int, height: int, seed: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8))


IMAGES = [noise(*shape, seed) for seed, shape in enumerate(SHAPES)]


@pytest.fixture(scope="module")
def lite(tokenizer: Any) -> tuple[Any, Any]:
    return small_lite(tokenizer)


@pytest.fixture(scope="module")
def affected(tokenizer: Any) -> tuple[Any, Any]:
    return small_lite(tokenizer, readout_row=True)


def prompts(processor: Any, images: list[Image.Image] = IMAGES) -> dict[str, torch.Tensor]:
    texts = [chat_prompt("fear? " * (1 + place), processor.tokenizer) for place in range(len(images))]
    return dict(processor(images=images, text=texts, padding=True, return_tensors="pt"))


# The eyes


def test_lite2_has_the_blocks_and_the_weights_of_the_published_network() -> None:
    with torch.device("meta"):
        eyes = EfficientNetLite()
    published = [16] + [24] * 3 + [48] * 3 + [88] * 4 + [120] * 4 + [208] * 5 + [352]
    assert [block.project.out_channels for block in eyes.blocks] == published
    assert [block.filter.kernel_size[0] for block in eyes.blocks] == [3] * 4 + [5] * 3 + [3] * 4 + [5] * 9 + [3]
    assert sum(weight.numel() for weight in eyes.parameters()) == 4_782_024


@pytest.mark.parametrize("sides", [(64, 64), (65, 65), (96, 64), (84, 75)])
def test_folded_eyes_give_the_features_of_the_network_with_its_batch_norms(sides: tuple[int, int]) -> None:
    weights = imagenet_weights()
    eyes = EfficientNetLite(*(EYES[f"eyes_{name}"] for name in ("width", "depth", "channels")))
    load_imagenet(eyes, weights)
    images = torch.randn(2, 3, *sides)
    features, wanted = eyes(images), reference_features(weights, images)
    assert wanted.std() > 0.1
    assert torch.allclose(features, wanted, atol=1e-4)
    assert torch.allclose(eyes.eval()(images), features), "there is nothing that differs between training and use"


@pytest.mark.parametrize(("side", "cells"), [(224, 7), (256, 8), (260, 9), (288, 9)])
def test_a_cell_is_32_pixels_and_sides_are_rounded_up(side: int, cells: int) -> None:
    with torch.device("meta"):
        assert EfficientNetLite()(torch.empty(1, 3, side, side)).shape == (1, 1280, cells, cells)


# What they are shown


def test_an_image_is_scaled_to_a_square_and_its_pixels_to_about_one(lite: tuple[Any, Any]) -> None:
    model, processor = lite
    inputs = processor.image_processor(IMAGES, return_tensors="pt")
    assert inputs["image_grid_thw"].tolist() == [[1, 2, 2]] * len(IMAGES)
    squares = [np.array(image.resize((64, 64), Image.Resampling.BICUBIC), np.float32) for image in IMAGES]
    pixels = torch.from_numpy((np.stack(squares) - 127) / 128).permute(0, 3, 1, 2)
    shown = model.model.visual.features(inputs["pixel_values"].view(len(IMAGES), 4, -1), 2, 2)
    assert torch.allclose(shown, model.model.visual.eyes(pixels).flatten(2).transpose(1, 2), atol=1e-4)


def test_an_image_in_company_has_the_tokens_that_it_has_alone(lite: tuple[Any, Any]) -> None:
    model, processor = lite
    together = processor.image_processor(IMAGES, return_tensors="pt")
    tokens = model.model.visual(together["pixel_values"], together["image_grid_thw"]).pooler_output
    for image, own in zip(IMAGES, tokens.split(4), strict=True):
        alone = processor.image_processor([image], return_tensors="pt")
        assert torch.allclose(model.model.visual(alone["pixel_values"], alone["image_grid_thw"]).pooler_output, own, atol=1e-5)
    assert tokens.view(len(IMAGES), -1).std(0).min() > 0.01, "the tokens must depend on the image"


def test_images_of_other_shapes_keep_their_order(lite: tuple[Any, Any]) -> None:
    visual = lite[0].model.visual
    grids = torch.tensor([[1, 2, 3], [1, 1, 1], [1, 2, 3], [1, 3, 1]])
    patches = torch.randn(int(grids.prod(-1).sum()), 3 * 32 * 32)
    together = visual(patches, grids).pooler_output
    sizes = grids.prod(-1).tolist()
    alone = [visual(each, grid[None]).pooler_output for each, grid in zip(patches.split(sizes), grids, strict=True)]
    assert torch.allclose(together, torch.cat(alone), atol=1e-5)


def test_features_can_stand_in_for_pixels(lite: tuple[Any, Any]) -> None:
    model, processor = lite
    inputs = prompts(processor)
    features = model.model.visual(inputs["pixel_values"], inputs["image_grid_thw"]).last_hidden_state
    assert torch.allclose(model(**inputs | {"pixel_values": features}).logits, model(**inputs).logits, atol=1e-5)


# The model around them


def test_positions_and_counts_are_qwens_for_the_same_grid(lite: tuple[Any, Any], mite: Path) -> None:
    model, processor = lite
    inputs = prompts(processor)
    assert (inputs["input_ids"] == model.config.image_token_id).sum(1).tolist() == [4] * len(IMAGES)
    qwen = Qwen2_5_VLForConditionalGeneration.from_pretrained(mite)
    read = {name: inputs[name] for name in ("input_ids", "mm_token_type_ids", "attention_mask")}
    theirs = qwen.model.get_rope_index(**read, image_grid_thw=inputs["image_grid_thw"] * torch.tensor([1, 2, 2]))  # they merge 2 x 2
    for ours, wanted in zip(model.model.get_rope_index(**read, image_grid_thw=inputs["image_grid_thw"]), theirs, strict=True):
        assert torch.equal(ours, wanted)


@pytest.mark.parametrize("which", ["lite", "affected"])
def test_a_saved_model_is_loaded_by_transformers_own_names_and_says_the_same(
    which: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    model, processor = request.getfixturevalue(which)
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    assert isinstance(AutoConfig.from_pretrained(tmp_path), LiteConfig)
    assert "auto_map" not in json.loads((tmp_path / "config.json").read_text()), "it needs no remote code"
    loaded, again = AutoModelForImageTextToText.from_pretrained(tmp_path), load_processor(tmp_path)
    assert isinstance(loaded, LiteForConditionalGeneration)
    inputs, same = prompts(processor), prompts(again)
    for name, values in inputs.items():
        assert torch.equal(same[name], values), name
    assert torch.equal(loaded(**inputs).logits, model(**inputs).logits)


def test_a_model_stored_in_half_precision_computes_in_single_precision(lite: tuple[Any, Any], tmp_path: Path, tokenizer: Any) -> None:
    model, processor = lite
    small_lite(tokenizer)[0].half().save_pretrained(tmp_path)
    loaded = AutoModelForImageTextToText.from_pretrained(tmp_path, dtype=torch.float32)
    assert {weight.dtype for weight in loaded.parameters()} == {torch.float32}
    inputs = prompts(processor)
    assert torch.allclose(loaded(**inputs).logits, model(**inputs).logits, atol=0.05)


def test_untrained_tokens_have_the_scale_of_the_settings(tokenizer: Any) -> None:
    model, _ = small_lite(tokenizer, token_scale=0.25)
    tokens = model.model.visual(torch.randn(8, 3 * 32 * 32), torch.tensor([[1, 2, 2]] * 2)).pooler_output
    assert float(tokens.detach().pow(2).mean().sqrt()) == pytest.approx(0.25, abs=0.01)


def test_cells_are_dropped_in_training_alone(tokenizer: Any) -> None:
    model, _ = small_lite(tokenizer)
    model.model.visual.token_dropout = 0.5
    visual, image = model.model.visual, torch.randn(400, 3 * 32 * 32)
    grid = torch.tensor([[1, 20, 20]])
    whole = visual(image, grid).pooler_output
    assert torch.equal(visual(image, grid).pooler_output, whole)
    visual.train()
    torch.manual_seed(0)
    dropped = visual(image, grid).pooler_output
    blank = visual.projector(torch.zeros(48))
    gone = (dropped - blank).abs().amax(-1) < 1e-6
    assert 0.4 < gone.float().mean() < 0.6
    assert torch.allclose(dropped[~gone], whole[~gone], atol=1e-5)


def test_in_training_alone_some_images_get_another_ones_cells_and_keep_their_readout(tokenizer: Any) -> None:
    model, _ = small_lite(tokenizer, readout_row=True)
    visual = model.model.visual
    visual.feature_swap = 0.3
    grid = torch.tensor([[1, 3, 2]] * 200)
    images = torch.randn(200, 6, 3 * 32 * 32)
    images[:, 4:] = 0

    def tokens() -> torch.Tensor:
        return visual(images.flatten(0, 1), grid).pooler_output.unflatten(0, (200, 6)).detach()

    own = tokens()
    visual.train()
    torch.manual_seed(0)
    seen = tokens()
    kept = torch.isclose(seen[:, :4], own[:, :4], atol=1e-4).flatten(1).all(1)
    other = torch.isclose(seen[:, :4], own.roll(1, 0)[:, :4], atol=1e-4).flatten(1).all(1)
    assert (kept ^ other).all()
    assert 0.2 < other.float().mean() < 0.4
    assert torch.allclose(seen[:, 4:], own[:, 4:], atol=1e-4)


@pytest.mark.parametrize(
    ("setting", "reason"),
    [
        ({"image_side": 260}, "image_side must be a multiple of 32, not 260"),
        ({"eyes_channels": 3072}, "by which pixels are told from features"),
    ],
)
def test_settings_that_cannot_work_are_refused(setting: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        LiteVisionConfig(**setting)


# The readout row


def test_the_readout_row_adds_a_row_of_tokens_read_off_the_whole_image(affected: tuple[Any, Any], lite: tuple[Any, Any]) -> None:
    model, processor = affected
    inputs = prompts(processor)
    assert inputs["image_grid_thw"].tolist() == [[1, 3, 2]] * len(IMAGES)
    assert (inputs["input_ids"] == model.config.image_token_id).sum(1).tolist() == [6] * len(IMAGES)
    visual = model.model.visual
    seen = visual(inputs["pixel_values"], inputs["image_grid_thw"])
    features = seen.last_hidden_state.view(len(IMAGES), 4, -1)
    assert torch.allclose(seen.readout, visual.readout.read(pooled(features)), atol=1e-5)
    tokens = seen.pooler_output.view(len(IMAGES), 6, -1)
    assert torch.allclose(tokens[:, 4:].flatten(1), visual.readout.write(standardised(seen.readout)), atol=1e-5)
    assert torch.allclose(tokens[:, :4], visual.projector(features), atol=1e-5)


def test_what_the_model_says_depends_on_the_readout_row(affected: tuple[Any, Any]) -> None:
    model, processor = affected
    inputs = prompts(processor)
    before = model(**inputs).logits[:, -1]
    kept = model.model.visual.readout.read.bias.detach().clone()
    with torch.no_grad():
        model.model.visual.readout.read.bias.add_(3)
        changed = model(**inputs).logits[:, -1]
        model.model.visual.readout.read.bias.copy_(kept)
    assert (changed - before).abs().max() > 0.01


def test_a_readout_row_wants_the_grid_of_the_settings(affected: tuple[Any, Any]) -> None:
    with pytest.raises(ValueError, match=r"an image has the grid \[1, 2, 2\], and with a readout row all have \[1, 3, 2\]"):
        affected[0].model.visual(torch.zeros(4, 3072), torch.tensor([[1, 2, 2]]))


# As a model that answers


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, lite: tuple[Any, Any]) -> Path:
    folder = tmp_path_factory.mktemp("lite")
    for part in lite:
        part.save_pretrained(folder)
    (folder / "emocaliber.json").write_text(json.dumps({"name": "mote", "max_new_tokens": 24}))
    return folder


def answers(folder: Path, **settings: Any) -> list[Reply]:
    asked = enumerate(zip(IMAGES, CANDIDATES, strict=True))
    requests = [Request(image, question_for("EmoSet-8", labels), tuple(labels), seed=seed) for seed, (image, labels) in asked]
    return list(LocalModel(folder, **settings).answer(requests))


def test_it_answers_in_batches_as_it_would_alone(folder: Path) -> None:
    alone, together = answers(folder, batch_size=1), answers(folder, batch_size=4)
    assert len({reply.text for reply in alone}) > 1
    for one, other in zip(alone, together, strict=True):
        assert one.tokens and other.tokens
        assert one.text == other.text
        assert one.tokens.logprobs == pytest.approx(other.tokens.logprobs, abs=1e-4)


def test_constrained_it_names_a_candidate(folder: Path) -> None:
    for reply, labels in zip(answers(folder, free=False, max_new_tokens=60), CANDIDATES, strict=True):
        assert any(f"<answer>{label}</answer>" in reply.text for label in labels)


def test_limits_of_pixels_are_refused(folder: Path) -> None:
    with pytest.raises(UserError, match="min_pixels and max_pixels are not supported"):
        load_processor(folder, max_pixels=100_000)


def test_the_language_model_is_taken_as_it_is(tokenizer: Any, mite: Path) -> None:
    qwen = Qwen2_5_VLForConditionalGeneration.from_pretrained(mite)
    model, _ = build_lite(qwen, tokenizer, **EYES)
    ours = model.model.language_model.state_dict()
    assert all(torch.equal(ours[name], weight) for name, weight in qwen.model.language_model.state_dict().items())
    assert model.lm_head.weight is model.model.language_model.embed_tokens.weight
