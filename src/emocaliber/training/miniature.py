"""A model of the real class, tokenizer and image processor, at reduced depth and width, with random weights: for a rehearsal on a CPU."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch

from emocaliber.errors import UserError
from emocaliber.models.available import why_unavailable
from emocaliber.models.processor import PAPER_PIXELS, load_processor
from emocaliber.models.shipped import TINY
from emocaliber.training.shapes import QWEN, build_on_meta, model_config, published_shape

SMALL = 50_000_000  # weights: a model that has no more is rehearsed as it is

# The miniature: two layers of each kind, heads that share keys as the real ones do, and one windowed and one full block of vision.
_LAYERS, _WIDTH, _HEADS, _INNER = 2, 64, 2, 128
_VISION_WIDTH, _VISION_HEADS, _VISION_INNER = 64, 2, 128
_TOKENS = {"image_token_id": "<|image_pad|>", "video_token_id": "<|video_pad|>", "vision_start_token_id": "<|vision_start|>"}
_FILES = "It needs config.json, tokenizer.json, tokenizer_config.json and preprocessor_config.json of the model; weights are not needed"
_SECTIONS = [4, 6, 6]  # of the rotary positions, for time, height and width: half a head


def processor_of(model: str, tokenizer: str | None, min_pixels: int, max_pixels: int) -> tuple[Any, str]:
    """A model's processor, and whose tokenizer it has: of the folder `tokenizer`, of the model itself, or that of `tiny`, which ships."""
    limits = {"min_pixels": min_pixels or None, "max_pixels": max_pixels or None}
    if tokenizer and not Path(tokenizer).is_dir():
        raise UserError(f"there is no folder {tokenizer} to read a tokenizer from. {_FILES}")
    for place in (tokenizer, model) if tokenizer else (model,):
        try:
            if why_unavailable(place) is None:
                return load_processor(place, **limits), f"the tokenizer of {place}"
        except (OSError, ValueError) as error:
            if place == tokenizer:
                raise UserError(f"cannot read a tokenizer in {place}: {str(error).splitlines()[0]} {_FILES}") from error
        if place == tokenizer:
            raise UserError(f"cannot read a tokenizer in {place}: {why_unavailable(place)}")
    return load_processor(TINY, min_pixels=min_pixels or PAPER_PIXELS[0], max_pixels=max_pixels or PAPER_PIXELS[1]), ""


def make_miniature(model: str, processor: Any, out: Path) -> str:
    """Saves the miniature of `model` in `out`, and says in words what it is; a small model that is there is kept as it is, and named.

    Returns the sentence. The checkpoint to start from is `out`, or `model` where `out` was not written. Raises UserError as `model_config`.
    """
    config = model_config(model)
    real = sum(weight.numel() for weight in build_on_meta(config).parameters())
    if real <= SMALL and published_shape(model) is None:
        return f"{model} itself, {real / 1e6:,.1f} million weights"
    if config.model_type != QWEN:
        raise UserError(f"{model} is a {config.model_type} model of {real / 1e6:,.0f} million weights; rehearsals are made for {QWEN}")
    kind, own = save_random(reduced(config, processor.tokenizer), processor, out)
    return (
        f"a {kind} as in {model}, with {_LAYERS} of {config.text_config.num_hidden_layers} layers, {_LAYERS} of "
        f"{config.vision_config.depth} vision blocks and random weights ({own / 1e6:,.0f} million in place of {real / 1e6:,.0f})"
    )


def save_random(config: Any, processor: Any, out: Path, *, dtype: torch.dtype = torch.float32, device: str = "cpu") -> tuple[str, int]:
    """Saves a Qwen2.5-VL of this configuration with random weights in `out`, and its processor; returns its class and number of weights.

    `config` must go with the processor's tokenizer, as that of `with_tokens_of` does.
    """
    from transformers import Qwen2_5_VLForConditionalGeneration

    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        torch.manual_seed(0)
        with torch.device(device):
            made = Qwen2_5_VLForConditionalGeneration(config)
    finally:
        torch.set_default_dtype(before)
    made.save_pretrained(out)
    processor.save_pretrained(out)
    return type(made).__name__, sum(weight.numel() for weight in made.parameters())


def reduced(config: Any, tokenizer: Any) -> Any:
    """A Qwen2.5-VL configuration at reduced depth and width: vocabulary, patches, windows and tied weights are the real ones."""
    small = with_tokens_of(config, tokenizer)
    text, vision = small.text_config, small.vision_config
    shares_keys = text.num_key_value_heads < text.num_attention_heads
    text.hidden_size, text.intermediate_size, text.num_hidden_layers = _WIDTH, _INNER, _LAYERS
    text.num_attention_heads, text.num_key_value_heads = _HEADS, _HEADS // 2 if shares_keys else _HEADS
    text.layer_types = text.layer_types[:_LAYERS]
    text.max_window_layers = _LAYERS
    text.rope_parameters = {**text.rope_parameters, "mrope_section": _SECTIONS}
    vision.depth, vision.hidden_size, vision.num_heads = _LAYERS, _VISION_WIDTH, _VISION_HEADS
    vision.intermediate_size, vision.out_hidden_size, vision.fullatt_block_indexes = _VISION_INNER, _WIDTH, [_LAYERS - 1]
    return small


def with_tokens_of(config: Any, tokenizer: Any) -> Any:
    """A copy of a Qwen2.5-VL configuration whose special tokens, and if need be vocabulary, are those of a tokenizer."""
    fitted = copy.deepcopy(config)
    fitted.text_config.vocab_size = max(fitted.text_config.vocab_size, len(tokenizer))
    for name, token in _TOKENS.items():
        setattr(fitted, name, tokenizer.convert_tokens_to_ids(token))
    for part in (fitted, fitted.text_config):
        part.eos_token_id, part.pad_token_id, part.bos_token_id, part.dtype = tokenizer.eos_token_id, tokenizer.pad_token_id, None, None
    return fitted
