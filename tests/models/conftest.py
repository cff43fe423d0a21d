from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import InternVLConfig, InternVLForConditionalGeneration, Qwen3VLConfig, Qwen3VLForConditionalGeneration
from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import GotOcr2ImageProcessorPil
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

CARD = {"name": "mite", "notice": "It knows nothing.", "tasks": ["EmoSet-8"], "max_new_tokens": 24}
INTERNVL_TOKENS = {
    "start_image_token": "<img>",
    "end_image_token": "</img>",
    "context_image_token": "<IMG_CONTEXT>",
    "video_token": "<video>",
}


@pytest.fixture(scope="session")
def tokenizer() -> Any:
    """The recipe of tiny, trained on a few hundred texts."""
    from emocaliber.training.base.model import build_tokenizer
    from emocaliber.training.base.stage0 import tokenizer_texts

    return build_tokenizer(tokenizer_texts(60, seed=0), vocabulary=512)


@pytest.fixture(scope="session")
def mite(tmp_path_factory: pytest.TempPathFactory, tokenizer: Any) -> Path:
    """The folder of a real checkpoint with random weights and one layer of everything."""
    from emocaliber.training.base.model import build_model, build_processor

    folder = tmp_path_factory.mktemp("mite")
    torch.manual_seed(0)
    _save_lively(build_model(tokenizer, width=64, layers=1, vision_width=64, vision_layers=1), folder)
    build_processor(tokenizer, side=84).save_pretrained(folder)
    (folder / "emocaliber.json").write_text(json.dumps(CARD))
    return folder


@pytest.fixture(scope="session")
def families(tmp_path_factory: pytest.TempPathFactory, tokenizer: Any) -> Mapping[str, Path]:
    """Checkpoints with random weights as the public ones of each family are saved: their own classes, no card, limits of their own."""
    from emocaliber.training.base.model import build_model

    folders = {family: tmp_path_factory.mktemp(family) for family in ("qwen2_5_vl", "qwen3_vl", "internvl")}
    torch.manual_seed(1)
    _save_lively(build_model(tokenizer, width=64, layers=1, vision_width=64, vision_layers=1), folders["qwen2_5_vl"])
    Qwen2VLImageProcessorPil().save_pretrained(folders["qwen2_5_vl"])
    _save_lively(_qwen3_vl(tokenizer), folders["qwen3_vl"])
    Qwen2VLImageProcessorPil(patch_size=16, image_mean=[0.5] * 3, image_std=[0.5] * 3).save_pretrained(folders["qwen3_vl"])
    for family in ("qwen2_5_vl", "qwen3_vl"):
        tokenizer.save_pretrained(folders[family])

    theirs = copy.deepcopy(tokenizer)
    theirs.add_special_tokens({"extra_special_tokens": list(INTERNVL_TOKENS.values())})
    theirs.chat_template = tokenizer.chat_template.replace("<|vision_start|><|image_pad|><|vision_end|>", "<IMG_CONTEXT>\n")
    theirs.save_pretrained(folders["internvl"])
    settings = folders["internvl"] / "tokenizer_config.json"
    settings.write_text(json.dumps(json.loads(settings.read_text()) | {"extra_special_tokens": INTERNVL_TOKENS}))
    _save_lively(_internvl(theirs), folders["internvl"])
    GotOcr2ImageProcessorPil(size={"height": 56, "width": 56}, max_patches=4).save_pretrained(folders["internvl"])
    (folders["internvl"] / "processor_config.json").write_text(json.dumps({"image_seq_length": 4, "processor_class": "InternVLProcessor"}))
    return folders


def _save_lively(model: Any, folder: Path) -> None:
    with torch.no_grad():  # otherwise a tied embedding makes it repeat its last token, whatever it is asked
        for name, weight in model.named_parameters():
            weight.mul_(6 if weight.dim() > 1 and "embed" not in name else 1)
    model.save_pretrained(folder)


def _text(tokenizer: Any) -> dict[str, Any]:
    return dict(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=32,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


def _qwen3_vl(tokenizer: Any) -> Qwen3VLForConditionalGeneration:
    rope = {"rope_type": "default", "rope_theta": 10_000.0, "mrope_section": [4, 6, 6], "mrope_interleaved": True}
    vision = dict(depth=1, hidden_size=64, intermediate_size=128, num_heads=2, out_hidden_size=64, num_position_embeddings=16)
    ids = tokenizer.convert_tokens_to_ids(["<|image_pad|>", "<|video_pad|>", "<|vision_start|>", "<|vision_end|>"])
    names = ("image_token_id", "video_token_id", "vision_start_token_id", "vision_end_token_id")
    config = Qwen3VLConfig(
        text_config=_text(tokenizer) | {"rope_parameters": rope},
        vision_config=vision | {"deepstack_visual_indexes": [0]},
        tie_word_embeddings=True,
        **dict(zip(names, ids, strict=True)),
    )
    return Qwen3VLForConditionalGeneration(config)


def _internvl(tokenizer: Any) -> InternVLForConditionalGeneration:
    """Tiles of 56 x 56 pixels, four image tokens each."""
    config = InternVLConfig(
        text_config=_text(tokenizer) | {"model_type": "qwen3"},
        vision_config=dict(hidden_size=64, num_hidden_layers=1, num_attention_heads=2, intermediate_size=128, image_size=[56, 56]),
        image_token_id=tokenizer.convert_tokens_to_ids("<IMG_CONTEXT>"),
        image_seq_length=4,
        tie_word_embeddings=True,
    )
    return InternVLForConditionalGeneration(config)
