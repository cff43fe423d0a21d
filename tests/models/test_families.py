"""Qwen2.5-VL, Qwen3-VL and InternVL checkpoints are loaded by path and answer, in batches as alone, as their weights say."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from transformers import AutoModelForImageTextToText

from emocaliber.core.model import Request
from emocaliber.errors import UserError
from emocaliber.models import load_model
from emocaliber.models.local import LocalModel, chat_prompt, vision_tokens
from emocaliber.models.processor import PAPER_PIXELS, load_processor

FAMILIES = ["qwen2_5_vl", "qwen3_vl", "internvl"]
SMALL = {"min_pixels": 56 * 56, "max_pixels": 16_000, "max_new_tokens": 16}
SHAPES = [(84, 84), (120, 56), (30, 80), (300, 100), (56, 200)]
REQUESTS = [
    Request(Image.new("RGB", shape, (50 * place, 91, 150)), f"Which of {place} emotions?" * (1 + place % 3), ("fear", "awe"), seed=place)
    for place, shape in enumerate(SHAPES)
]


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_a_batch_is_answered_as_its_requests_are_alone_token_for_token(families: Mapping[str, Path], family: str) -> None:
    together, alone = (list(LocalModel(families[family], batch_size=size, **SMALL).answer(REQUESTS)) for size in (5, 1))
    assert [reply.tokens and reply.tokens.pieces for reply in together] == [reply.tokens and reply.tokens.pieces for reply in alone]
    assert len({reply.text for reply in alone}) > 1, "it looks at what it is asked"
    assert len({reply.usage and reply.usage.prompt_tokens for reply in alone}) > 1


@pytest.mark.parametrize("family", FAMILIES)
def test_the_probabilities_are_those_of_a_plain_forward_pass(families: Mapping[str, Path], family: str) -> None:
    model = LocalModel(families[family], **SMALL)
    plain = AutoModelForImageTextToText.from_pretrained(families[family]).eval()
    tokenizer = model.processor.tokenizer
    ids_of = {model._token_bytes.piece(token): token for token in range(len(tokenizer))}
    for asked, reply in zip(REQUESTS, model.answer(REQUESTS), strict=True):
        assert reply.tokens is not None
        said = torch.tensor([[ids_of[piece] for piece in reply.tokens.pieces]])
        inputs = model.processor(images=[asked.image], text=[chat_prompt(asked.question, tokenizer)], return_tensors="pt")
        inputs["input_ids"] = torch.cat([inputs["input_ids"], said], 1)
        inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
        if "mm_token_type_ids" in inputs:
            inputs["mm_token_type_ids"] = torch.cat([inputs["mm_token_type_ids"], torch.zeros_like(said)], 1)
        with torch.no_grad():
            logits = plain(**inputs).logits[0, -said.shape[1] - 1 : -1]
        logits[:, vision_tokens(plain.config, tokenizer)] = -torch.inf
        expected = logits.log_softmax(-1).gather(1, said.T)[:, 0]
        assert reply.tokens.logprobs == pytest.approx(expected.tolist(), abs=1e-5)
        assert reply.mean_probability == pytest.approx(float(expected.exp().mean()), abs=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_nothing_that_stands_for_an_image_is_ever_said(families: Mapping[str, Path], family: str) -> None:
    model = LocalModel(families[family], temperature=2.0, **SMALL)
    said = "".join(reply.text for reply in model.answer([Request(REQUESTS[0].image, "?", seed=seed) for seed in range(48)]))
    assert len(said) > 700
    placeholders = ["<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>", "<img>", "</img>", "<IMG_CONTEXT>", "<video>"]
    assert not [token for token in placeholders if token in said]


@pytest.mark.parametrize("family", FAMILIES[:2])
def test_public_qwen_checkpoints_look_at_images_of_the_paper_s_size(families: Mapping[str, Path], family: str) -> None:
    processor = load_processor(families[family])
    side = processor.image_processor.patch_size * processor.image_processor.merge_size
    for shape in ((40, 50), (500, 400), (2048, 1100)):
        inputs = processor(images=[Image.new("RGB", shape)], text=["<|image_pad|>"], return_tensors="pt")
        cells = int((inputs["input_ids"] == processor.image_token_id).sum())
        assert PAPER_PIXELS[0] <= cells * side**2 <= PAPER_PIXELS[1]


@pytest.mark.parametrize(("pixels", "tiles"), [(None, 4), (4 * 3136, 4), (3 * 3136, 3), (2 * 3136, 2), (3136, 1), (10, 1)])
def test_internvl_s_limits_say_into_how_many_tiles_an_image_is_cut(families: Mapping[str, Path], pixels: int | None, tiles: int) -> None:
    processor = load_processor(families["internvl"], max_pixels=pixels)
    inputs = processor(images=[Image.new("RGB", (400, 100))], text=["<IMG_CONTEXT>?"], return_tensors="pt")
    seen = tiles + (tiles > 1)  # and the whole image, reduced to one tile
    assert int((inputs["input_ids"] == processor.image_token_id).sum()) == 4 * seen
    assert inputs["pixel_values"].shape == (seen, 3, 56, 56)


def test_a_checkpoint_with_code_of_its_own_is_refused_with_the_name_of_one_without(tmp_path: Path) -> None:
    config: dict[str, Any] = {"model_type": "internvl_chat", "auto_map": {"AutoConfig": "configuration_internvl_chat.InternVLChatConfig"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match=r"needs remote code, which is never run here; .* ends in -HF"):
        load_model(str(tmp_path))
