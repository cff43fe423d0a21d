"""For pipelines of one's own on `ray.data.llm`: from a sample row to what its processor takes, and from what it gives to a recorded answer.

`emocaliber respond --model recorded:FILE` reads recorded answers, by the parser and the sources of every other model. Both functions keep
nothing, can be pickled, and import neither Ray nor torch. `emocaliber respond --engine ray` needs none of this.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from emocaliber.core.model import mixed_seed
from emocaliber.core.prompts import load_prompt
from emocaliber.core.samples import Sample
from emocaliber.errors import UserError
from emocaliber.inference.engine import downscaled
from emocaliber.io.images import ImageError, open_image
from emocaliber.models.openai.wire import data_url

__all__ = ["from_tokens", "is_readable", "to_messages"]

TOP = 20  # alternatives to each token: enough for the ten digits at one place


def is_readable(row: Mapping[str, Any]) -> bool:
    """Whether the image of a sample row can be opened; of one that cannot, `respond` makes a row with the error."""
    try:
        open_image(row["image"])
    except ImageError:
        return False
    return True


def to_messages(
    row: Mapping[str, Any], *, prompt: str = "emocaliber", confidence: bool = True, temperature: float = 0.0, max_new_tokens: int = 1024
) -> dict[str, Any]:
    """What the processor takes for a sample row, whose `image` is an absolute path: `id`, `messages` and `sampling_params`.

    The image is part of the messages, as a data URL, opened within the usual limits. The content is a list, whatever is in it. Raises
    UserError for a row that is no sample, and for an image that cannot be opened (see `is_readable`).
    """
    sample = Sample.from_row(row, f"sample {row.get('id')!r}")
    try:
        opened = open_image(sample.image)
    except ImageError as error:
        raise UserError(f"sample {sample.id!r}: {error.message}") from error
    content = [
        {"type": "image_url", "image_url": {"url": data_url(downscaled(opened.image))}},
        {"type": "text", "text": load_prompt(prompt).question(sample.task, sample.candidates, confidence=confidence)},
    ]
    sampling: dict[str, Any] = {"max_tokens": max_new_tokens, "temperature": temperature, "logprobs": TOP}
    if temperature:
        sampling["seed"] = mixed_seed(0, *sample.id.encode("utf-8", "surrogatepass")) >> 32
    return {"id": sample.id, "messages": [{"role": "user", "content": content}], "sampling_params": sampling}


def from_tokens(
    identity: str, generated_text: str, tokens: Sequence[int] = (), logprobs: Sequence[Mapping[Any, Mapping[str, Any]]] | None = None
) -> dict[str, Any]:
    """The recorded answer of a sample: its `id`, the text, and the log-probabilities in the form of chat completions.

    `tokens` are the ids that were generated, `logprobs` vLLM's: at each place the likeliest ids, each with `logprob` and `decoded_token`.
    Where a place lacks its own token, the answer has no log-probabilities, so that only the stated confidence can be read.
    """
    answer: dict[str, Any] = {"id": identity, "response": generated_text}
    content = []
    for token, place in zip(tokens, logprobs or (), strict=False):
        known = {int(key): value for key, value in place.items() if value is not None}  # a table gives each place the keys of all
        if token not in known:
            return answer
        others = [_said(value) for value in sorted(known.values(), key=lambda value: -float(value["logprob"]))]
        content.append(_said(known[token]) | {"top_logprobs": others})
    return answer | {"logprobs": {"content": content}} if content else answer


def _said(token: Mapping[str, Any]) -> dict[str, Any]:
    return {"token": token["decoded_token"] or "", "logprob": float(token["logprob"])}
