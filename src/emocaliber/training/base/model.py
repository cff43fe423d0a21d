"""The recipe of `tiny`: a Qwen2.5-VL of about three million parameters with a tokenizer of its own.

The class is transformers' own, so tiny and the 7B model differ in configuration only. The tokenizer is a byte-level BPE like Qwen2.5's,
with digits kept single, but small; the response tags and the fixed parts of the questions are single tokens, which halves a prompt.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast, Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from emocaliber.core.response import STEPS, question
from emocaliber.models.processor import IMAGE_TOKEN, ImageTextProcessor

END_OF_TEXT, END_OF_TURN = "<|endoftext|>", "<|im_end|>"
VISION_TOKENS = ("<|vision_start|>", "<|vision_end|>", IMAGE_TOKEN, "<|video_pad|>")
SPECIAL_TOKENS = (END_OF_TEXT, "<|im_start|>", END_OF_TURN, *VISION_TOKENS)

# Qwen2.5's own pattern: letters, single digits, punctuation.
_PATTERN = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"

# Qwen2.5-VL's template for images and text, without its default system turn.
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>{% elif 'text' in part %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endif %}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def _fixed_phrases() -> list[str]:
    """The parts of every question that stand before and after its list of candidates."""
    kinds: tuple[Literal["emotion", "sentiment"], ...] = ("emotion", "sentiment")
    marked = [question(["|"], kind=kind, confidence=confidence) for kind in kinds for confidence in (False, True)]
    parts = {part for text in marked for part in text.split("'|'")}
    return sorted(parts, key=len, reverse=True)


def build_tokenizer(texts: Iterable[str], vocabulary: int = 1024) -> PreTrainedTokenizerFast:
    """Trains the byte-level BPE on `texts`. The same texts in the same order give the same tokenizer."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(_PATTERN), behavior="isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tags = [tag for name in ("think", *STEPS, "answer", "confidence") for tag in (f"<{name}>", f"</{name}>")]
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token=END_OF_TURN, pad_token=END_OF_TEXT, padding_side="left", chat_template=CHAT_TEMPLATE
    )
    fast.add_tokens(_fixed_phrases() + tags)
    return fast


def build_processor(tokenizer: PreTrainedTokenizerFast, side: int = 112) -> ImageTextProcessor:
    """Images of about `side` x `side` pixels at most, one image token for each 28 x 28.

    The limit is a little larger, as a side that comes out at 111.99 for rounding would lose a whole row of tokens.
    """
    return ImageTextProcessor(Qwen2VLImageProcessorPil(min_pixels=56 * 56, max_pixels=side * side + side // 2), tokenizer)


def build_model(
    tokenizer: PreTrainedTokenizerFast, *, width: int = 192, layers: int = 4, vision_width: int = 128, vision_layers: int = 4
) -> Qwen2_5_VLForConditionalGeneration:
    """Random weights in transformers' own class; seed torch first. Widths are multiples of 64."""

    def token(name: str) -> int:
        return int(tokenizer.convert_tokens_to_ids(name))

    text: dict[str, Any] = dict(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=3 * width,
        num_hidden_layers=layers,
        num_attention_heads=width // 32,
        num_key_value_heads=width // 64,
        max_position_embeddings=2048,
        rope_parameters={"rope_type": "default", "rope_theta": 10_000.0, "mrope_section": [4, 6, 6]},
        bos_token_id=None,
        eos_token_id=token(END_OF_TURN),
        pad_token_id=token(END_OF_TEXT),
        initializer_range=0.04,  # as for the encoder: the usual 0.02 is meant for wider layers, and slows narrow ones at the start
    )
    vision: dict[str, Any] = dict(
        depth=vision_layers,
        hidden_size=vision_width,
        intermediate_size=3 * vision_width,
        num_heads=vision_width // 32,
        out_hidden_size=width,
        fullatt_block_indexes=list(range(vision_layers)),
        initializer_range=0.06,
    )
    config = Qwen2_5_VLConfig(
        text_config=text,
        vision_config=vision,
        image_token_id=token(IMAGE_TOKEN),
        video_token_id=token("<|video_pad|>"),
        vision_start_token_id=token("<|vision_start|>"),
        vision_end_token_id=token("<|vision_end|>"),
        tie_word_embeddings=True,
    )
    return Qwen2_5_VLForConditionalGeneration(config)
