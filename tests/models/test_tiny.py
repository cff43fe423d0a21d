"""The recipe of tiny: a tokenizer that keeps what matters in one piece, and transformers' own model class, only small."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from transformers import Qwen2_5_VLForConditionalGeneration

from emocaliber.core.response import STEPS, question
from emocaliber.emotions.taxonomy import taxonomy
from emocaliber.models.processor import ImageTextProcessor, load_processor
from emocaliber.training.base.model import build_model, build_processor, build_tokenizer
from emocaliber.training.base.stage0 import tokenizer_texts

LABELS = taxonomy("mikels-8").labels
TAGS = [f"<{slash}{name}>" for name in ("think", *STEPS, "answer", "confidence") for slash in ("", "/")]


def tokens(tokenizer: Any, text: str) -> list[str]:
    pieces: list[str] = tokenizer.tokenize(text)
    return pieces


@pytest.mark.parametrize("tag", TAGS)
def test_every_tag_is_one_token_wherever_it_stands(tokenizer: Any, tag: str) -> None:
    assert tokens(tokenizer, tag) == [tag]
    assert tokens(tokenizer, f"fear{tag}fear").count(tag) == 1
    assert tag in tokenizer.decode(tokenizer(tag)["input_ids"], skip_special_tokens=True), "a tag is text, not a special token"


def test_every_digit_is_a_token_of_its_own(tokenizer: Any) -> None:
    assert tokens(tokenizer, "<confidence>0.85</confidence>") == ["<confidence>", "0", ".", "8", "5", "</confidence>"]
    assert tokens(tokenizer, "1234567890") == list("1234567890")


@pytest.mark.parametrize("kind", ["emotion", "sentiment"])
@pytest.mark.parametrize("confidence", [False, True])
def test_what_every_question_has_in_common_is_two_tokens(tokenizer: Any, kind: Any, confidence: bool) -> None:
    text = question(LABELS, kind=kind, confidence=confidence)
    listed = ", ".join(f"'{label}'" for label in LABELS)
    before, after = text.split(listed)
    pieces = tokens(tokenizer, text)
    assert (pieces[0], pieces[-1]) == (before, after)
    assert tokens(tokenizer, before) == [before]
    assert tokens(tokenizer, after) == [after]


@given(text=st.text())
def test_any_text_comes_back(tokenizer: Any, text: str) -> None:
    back = tokenizer.decode(tokenizer(text)["input_ids"])
    assert tokenizer.backend_tokenizer.normalizer.normalize_str(text) == back


def test_the_same_texts_give_the_same_tokenizer() -> None:
    texts = tokenizer_texts(20, seed=1)
    first, second, other = (build_tokenizer(each, vocabulary=400) for each in (texts, list(texts), tokenizer_texts(20, seed=2)))
    assert first.backend_tokenizer.to_str() == second.backend_tokenizer.to_str()
    assert first.get_vocab() != other.get_vocab()


SIZES = {(112, 112): 16, (56, 56): 4, (20, 20): 4, (448, 448): 16, (224, 56): 16, (84, 60): 6}


@pytest.mark.parametrize(("size", "cells"), SIZES.items())
def test_an_image_has_one_token_for_each_28_by_28(tokenizer: Any, size: tuple[int, int], cells: int) -> None:
    processor = build_processor(tokenizer, side=112)
    inputs = processor(images=[Image.new("RGB", size, "teal")], text=["<|vision_start|><|image_pad|><|vision_end|>?"], return_tensors="pt")
    held = int((inputs["input_ids"] == processor.image_token_id).sum())
    assert held == int(inputs["image_grid_thw"].prod()) // 4 == cells
    assert ((inputs["mm_token_type_ids"] == 1) == (inputs["input_ids"] == processor.image_token_id)).all()
    assert len(inputs["pixel_values"]) == 4 * held


def test_tiny_is_transformers_own_class_and_has_under_five_million_parameters() -> None:
    tokenizer = build_tokenizer(tokenizer_texts(60, seed=0), vocabulary=1024)
    model = build_model(tokenizer)
    assert type(model) is Qwen2_5_VLForConditionalGeneration
    assert model.num_parameters() < 5_000_000
    assert model.lm_head.weight is model.model.language_model.embed_tokens.weight
    assert model.config.text_config.vocab_size == len(tokenizer)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory, tokenizer: Any) -> Path:
    """The folder of a model with random weights and one layer, and of its processor."""
    folder = tmp_path_factory.mktemp("checkpoint")
    torch.manual_seed(0)
    build_model(tokenizer, width=64, layers=1, vision_width=64, vision_layers=1).save_pretrained(folder)
    build_processor(tokenizer, side=84).save_pretrained(folder)
    return folder


def test_a_saved_model_and_processor_come_back(checkpoint: Path, tmp_path: Path) -> None:
    first = Qwen2_5_VLForConditionalGeneration.from_pretrained(checkpoint)
    first.save_pretrained(tmp_path)
    load_processor(checkpoint).save_pretrained(tmp_path)
    second, processor = Qwen2_5_VLForConditionalGeneration.from_pretrained(tmp_path), load_processor(tmp_path)
    for (name, one), (_, other) in zip(first.state_dict().items(), second.state_dict().items(), strict=True):
        assert torch.equal(one, other), name

    def inputs(processor: Any) -> Any:
        conversation = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": question(LABELS)}]}]
        text = processor.tokenizer.apply_chat_template(conversation, tokenize=False, add_generation_prompt=True)
        return processor(images=[Image.new("RGB", (200, 100), "orange")], text=[text], return_tensors="pt")

    before, after = inputs(load_processor(checkpoint)), inputs(processor)
    assert all(torch.equal(before[key], after[key]) for key in before)
    with torch.inference_mode():
        assert torch.equal(first(**before).logits, second(**after).logits)


def test_a_processor_is_saved_so_that_servers_take_it_and_is_known_again(tokenizer: Any, tmp_path: Path) -> None:
    build_model(tokenizer, width=64, layers=1, vision_width=64, vision_layers=1).config.save_pretrained(tmp_path)
    build_processor(tokenizer, side=84).save_pretrained(tmp_path)
    settings = json.loads((tmp_path / "processor_config.json").read_text())
    assert settings["processor_class"] == "Qwen2_5_VLProcessor"
    assert settings["video_processor"] == {"video_processor_type": "Qwen2VLVideoProcessor"}
    assert type(load_processor(tmp_path)) is ImageTextProcessor, "even where torchvision is installed"
    assert load_processor(tmp_path).image_processor.size.longest_edge == 84 * 84 + 42


def test_a_saved_image_size_can_be_overridden(checkpoint: Path) -> None:
    image = Image.new("RGB", (336, 336))
    small, large = load_processor(checkpoint).image_processor, load_processor(checkpoint, max_pixels=168 * 168).image_processor
    assert [int(processor(image)["image_grid_thw"][0].prod()) // 4 for processor in (small, large)] == [9, 36]
