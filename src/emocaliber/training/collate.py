"""Training examples as tensors: an image, a question, and a text of which some tokens are in the loss."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image

from emocaliber.errors import UserError
from emocaliber.io.images import ImageError, open_image
from emocaliber.io.rows import display_name
from emocaliber.models.local import chat_prompt
from emocaliber.training.base.features import FeatureCache

IGNORED = -100


@dataclass(frozen=True)
class TrainingExample:
    """One supervised example: given `image`, `question` and the assistant text `prefix`, the target is `completion` and the end of the
    turn.

    `decimals`, if given, are the distributions over the ten digits that the decimals of `completion` learn in place of the digits that
    stand there. `told` are the values that a lite model with cached features is told in place of those that it reads off the image.
    `sample` is the id of the sample it was made from, for error messages.
    """

    image: str
    question: str
    completion: str
    prefix: str = ""
    decimals: tuple[tuple[float, ...], ...] = ()
    told: tuple[float, ...] = ()
    sample: str = ""


def training_image(path: str, sample: str) -> Image.Image:
    """The image of a sample, opened during training. Raises UserError naming the sample if it can no longer be opened."""
    try:
        return open_image(path).image
    except ImageError as error:
        raise UserError(
            f"the image of sample {display_name(sample)} cannot be opened any more: {error} When it is restored, the same command resumes "
            "from the last checkpoint"
        ) from error


@contextmanager
def plain_worker_errors() -> Iterator[None]:
    """Re-raises a UserError of a data-loader worker with its own message, without the worker's traceback that torch puts before it."""
    try:
        yield
    except UserError as error:
        _, wrapped, message = str(error).rpartition(f"{UserError.__module__}.{UserError.__name__}: ")
        if not wrapped:
            raise
        raise UserError(message.strip()) from error


class ExampleCollator:
    """Collates training examples into model inputs, padded on the right, and three tensors shaped like `input_ids` (B, L):

    - `labels`: the token on prefix, completion and end of the turn, -100 elsewhere;
    - `in_completion`: True on the completion and the end of the turn;
    - `decimals`: True on the digits of the completion after the first one, which stands before the decimal point;

    and, if the examples give them, `digit_targets` (B, L, 10), the distribution over the ten digits on each decimal, 0 elsewhere. With
    `features`, the images of a lite model are their features, which must be in that cache.
    """

    def __init__(self, processor: Any, features: FeatureCache | None = None) -> None:
        self._processor = processor
        self._features = features
        self._tokenizer = processor.tokenizer
        self._digits = digit_tokens(self._tokenizer)

    def __call__(self, examples: Sequence[TrainingExample]) -> dict[str, torch.Tensor]:
        unseen = Image.new("RGB", (1, 1))
        prompts = self._processor(
            images=[unseen if self._features else training_image(example.image, example.sample) for example in examples],
            text=[chat_prompt(example.question, self._tokenizer) for example in examples],
        )
        rows = []
        for example, prompt in zip(examples, prompts["input_ids"], strict=True):
            prefix, completion = self._tokens(example.prefix), self._tokens(example.completion)
            rows.append((list(prompt), prefix, [*completion, self._tokenizer.eos_token_id]))
        length = max(sum(map(len, row)) for row in rows)
        pad = self._tokenizer.pad_token_id

        def padded(values: list[list[int]], filler: int) -> torch.Tensor:
            return torch.tensor([row + [filler] * (length - len(row)) for row in values])

        learnt = {}
        if any(example.decimals for example in examples):
            learnt["digit_targets"] = torch.zeros(len(examples), length, len(self._digits))
            for number, (example, (prompt, prefix, completion)) in enumerate(zip(examples, rows, strict=True)):
                places = [place for place, decimal in enumerate(self._decimals(completion)) if decimal]
                for place, target in zip(places, example.decimals, strict=True):
                    learnt["digit_targets"][number, len(prompt) + len(prefix) + place] = torch.tensor(target)
        types = [list(row) for row in prompts["mm_token_type_ids"]]
        if self._features:
            prompts |= self._features.inputs([(example.image, example.told) for example in examples])
        return {
            "input_ids": padded([prompt + prefix + completion for prompt, prefix, completion in rows], pad),
            "attention_mask": padded([[1] * sum(map(len, row)) for row in rows], 0),
            "mm_token_type_ids": padded(types, 0),
            "pixel_values": torch.as_tensor(_stacked(prompts["pixel_values"])),
            "image_grid_thw": torch.as_tensor(_stacked(prompts["image_grid_thw"])),
            "labels": padded([[IGNORED] * len(prompt) + prefix + completion for prompt, prefix, completion in rows], IGNORED),
            "in_completion": padded(
                [[0] * (len(prompt) + len(prefix)) + [1] * len(completion) for prompt, prefix, completion in rows], 0
            ).bool(),
            "decimals": padded(
                [[0] * (len(prompt) + len(prefix)) + self._decimals(completion) for prompt, prefix, completion in rows], 0
            ).bool(),
            **learnt,
        }

    def _decimals(self, completion: list[int]) -> list[int]:
        places = [place for place, token in enumerate(completion) if token in self._digits][1:]
        return [int(place in places) for place in range(len(completion))]

    def _tokens(self, text: str) -> list[int]:
        return list(self._tokenizer(text, add_special_tokens=False)["input_ids"]) if text else []


def digit_tokens(tokenizer: Any) -> list[int]:
    """The token ids of the digits 0 to 9, which are single tokens in Qwen2.5's tokenizer and in tiny's."""
    return [int(tokenizer.convert_tokens_to_ids(digit)) for digit in "0123456789"]


def _stacked(values: Any) -> torch.Tensor:
    """One tensor for all images, from the processor's array for all of them or its list of one array per image."""
    if isinstance(values, list) and values[0].ndim == 2:
        return torch.cat([torch.as_tensor(value) for value in values])
    return torch.as_tensor(values)
