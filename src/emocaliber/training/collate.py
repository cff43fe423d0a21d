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

IGNORED = -100


@dataclass(frozen=True)
class TrainingExample:
    """The model is asked `question` about `image` and learns to say `tail` and end, after `head`, which it is taken to have said.

    `sample` is the id of the sample that it is made of, for complaints.
    """

    image: str
    question: str
    tail: str
    head: str = ""
    sample: str = ""


def training_image(path: str, sample: str) -> Image.Image:
    """The image of a sample while training runs. Raises UserError naming the sample if it can no longer be opened."""
    try:
        return open_image(path).image
    except ImageError as error:
        raise UserError(
            f"the image of sample {display_name(sample)} cannot be opened any more: {error} When it is back, the same command goes on "
            "from the last checkpoint"
        ) from error


@contextmanager
def plain_worker_errors() -> Iterator[None]:
    """Within it, a UserError of a data loader's worker has its own message: torch puts the worker's traceback before it."""
    try:
        yield
    except UserError as error:
        _, wrapped, message = str(error).rpartition(f"{UserError.__module__}.{UserError.__name__}: ")
        if not wrapped:
            raise
        raise UserError(message.strip()) from error


class ExampleCollator:
    """Makes a batch from lessons, with the usual model inputs (padded right) and, shaped as `input_ids` (B, L):

    `labels`: the tokens of head, tail and the end of the turn, -100 elsewhere; `in_tail`: True on those of the tail and the end;
    `decimals`: True on the digits of the tail but the first, which stands before the decimal point.
    """

    def __init__(self, processor: Any) -> None:
        self._processor = processor
        self._tokenizer = processor.tokenizer
        self._digits = digit_tokens(self._tokenizer)

    def __call__(self, lessons: Sequence[TrainingExample]) -> dict[str, torch.Tensor]:
        prompts = self._processor(
            images=[training_image(lesson.image, lesson.sample) for lesson in lessons],
            text=[chat_prompt(lesson.question, self._tokenizer) for lesson in lessons],
        )
        rows = []
        for lesson, prompt in zip(lessons, prompts["input_ids"], strict=True):
            head, tail = self._tokens(lesson.head), self._tokens(lesson.tail)
            rows.append((list(prompt), head, [*tail, self._tokenizer.eos_token_id]))
        length = max(sum(map(len, row)) for row in rows)
        pad = self._tokenizer.pad_token_id

        def padded(values: list[list[int]], filler: int) -> torch.Tensor:
            return torch.tensor([row + [filler] * (length - len(row)) for row in values])

        types = [list(row) for row in prompts["mm_token_type_ids"]]
        return {
            "input_ids": padded([prompt + head + tail for prompt, head, tail in rows], pad),
            "attention_mask": padded([[1] * sum(map(len, row)) for row in rows], 0),
            "mm_token_type_ids": padded(types, 0),
            "pixel_values": torch.as_tensor(_stacked(prompts["pixel_values"])),
            "image_grid_thw": torch.as_tensor(_stacked(prompts["image_grid_thw"])),
            "labels": padded([[IGNORED] * len(prompt) + head + tail for prompt, head, tail in rows], IGNORED),
            "in_tail": padded([[0] * (len(prompt) + len(head)) + [1] * len(tail) for prompt, head, tail in rows], 0).bool(),
            "decimals": padded([[0] * (len(prompt) + len(head)) + self._decimals(tail) for prompt, head, tail in rows], 0).bool(),
        }

    def _decimals(self, tail: list[int]) -> list[int]:
        places = [place for place, token in enumerate(tail) if token in self._digits][1:]
        return [int(place in places) for place in range(len(tail))]

    def _tokens(self, text: str) -> list[int]:
        return list(self._tokenizer(text, add_special_tokens=False)["input_ids"]) if text else []


def digit_tokens(tokenizer: Any) -> list[int]:
    """The tokens of 0 to 9, which Qwen2.5's tokenizer and tiny's keep single."""
    return [int(tokenizer.convert_tokens_to_ids(digit)) for digit in "0123456789"]


def _stacked(values: Any) -> torch.Tensor:
    """The processor gives one array for all images, or a list with one for each."""
    if isinstance(values, list) and values[0].ndim == 2:
        return torch.cat([torch.as_tensor(value) for value in values])
    return torch.as_tensor(values)


# The rows a stage learns from: read from its file, after drawing them if they are scenes.
