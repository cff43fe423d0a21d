"""The wire format of chat completions: payloads sent, completions read, and the fields that a server does not support.

A payload is one turn with one image. Servers differ in the fields they accept and in how they list tokens; both are settled here.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from math import ceil
from typing import Any, Literal, TypeGuard

from PIL import Image

from emocaliber.core.model import Request, Tokens, mixed_seed
from emocaliber.core.response import STEPS

ImageFormat = Literal["auto", "png", "jpeg"]
FORMATS: tuple[ImageFormat, ...] = ("auto", "png", "jpeg")

_IMAGE_PLACEHOLDER = "<the image>"
_LARGE = 256 * 256  # pixels
_PATCH = 28  # the side of an image token in Qwen's models; GPT's take fewer tokens for all but small images, which ...
_LEAST = 400  # ... cost them a tile of 512 x 512; the turn's own tokens are in it too


@dataclass(frozen=True)
class Payload:
    """A request as JSON fields, including those that some servers refuse (see `Compatibility`).

    A placeholder stands for the image's data URL, which is inserted last: it needs no JSON escapes, and searching it for some is slow.
    """

    fields: Mapping[str, Any]
    image: str
    prompt_tokens: int  # an estimate, on the large side
    limit: int  # of tokens in the answer

    @cached_property
    def key(self) -> str:
        """The SHA-256 of the fields. Equal questions about equal images with equal settings have equal keys."""
        return hashlib.sha256(self.body(dict(sorted(self.fields.items())))).hexdigest()

    def body(self, fields: Mapping[str, Any]) -> bytes:
        """The JSON of `fields`, which are the payload's own or adapted from them, with the image in place."""
        return json.dumps(fields).replace(_IMAGE_PLACEHOLDER, self.image, 1).encode()  # the first is the image's


@dataclass(frozen=True)
class PayloadBuilder:
    """Turns requests into payloads by the settings of a model. With `top_logprobs` None, no log-probabilities are requested."""

    model: str
    temperature: float
    seed: int
    max_new_tokens: int
    top_logprobs: int | None
    image_format: ImageFormat

    def payload(self, request: Request) -> Payload:
        """The payload of a request. Greedy requests carry no seed, so that they have the same key whatever the seed."""
        temperature = self.temperature if request.temperature is None else request.temperature
        limit = self.max_new_tokens if request.max_new_tokens is None else request.max_new_tokens
        content = [
            {"type": "image_url", "image_url": {"url": _IMAGE_PLACEHOLDER}},
            {"type": "text", "text": request.question},
        ]
        fields: dict[str, Any] = {
            "messages": [{"role": "user", "content": content}],
            "model": self.model,
            "max_tokens": limit,
            "temperature": temperature,
        }
        if temperature:
            fields["seed"] = mixed_seed(self.seed, request.seed) >> 32  # 31 bits: what every server can take
        if self.top_logprobs is not None:
            fields |= {"logprobs": True, "top_logprobs": self.top_logprobs}
        return Payload(fields, data_url(request.image, self.image_format), _prompt_tokens(request), limit)


def data_url(image: Image.Image, image_format: ImageFormat = "auto") -> str:
    """The image as a data URL.

    "auto" is PNG up to 256 x 256 pixels, so that the server sees the same pixels as a local model, and JPEG above, at quality 95 with full
    colour resolution: a photograph as PNG takes ten times as long (50 ms instead of 4) and three times the bytes.
    """
    png = image_format == "png" or (image_format == "auto" and image.width * image.height <= _LARGE)
    file = io.BytesIO()
    rgb = image if image.mode == "RGB" else image.convert("RGB")
    if png:
        rgb.save(file, "PNG", compress_level=1)  # three times as fast as the default, for a tenth more bytes
    else:
        rgb.save(file, "JPEG", quality=95, subsampling=0)
    return f"data:image/{'png' if png else 'jpeg'};base64,{base64.b64encode(file.getvalue()).decode('ascii')}"


def _prompt_tokens(request: Request) -> int:
    """An upper bound: one token per byte of the question, and one per patch of the image."""
    patches = ceil(request.image.width / _PATCH) * ceil(request.image.height / _PATCH)
    return len(request.question.encode("utf-8", "replace")) + patches + _LEAST


# Reading a chat completion.

Counts = tuple[int, int]  # tokens read and written


@dataclass(frozen=True)
class Completion:
    """The text of an answer with its tokens, or the reason for which the model refused (`refusal`)."""

    text: str
    tokens: Tokens | None = None
    refusal: str | None = None


class UnreadableCompletion(ValueError):
    """A body that is not a chat completion; the message says why."""


def read_json(body: bytes) -> Mapping[str, Any]:
    """The JSON object in a body. Raises UnreadableCompletion for anything else."""
    try:
        found = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise UnreadableCompletion(f"its answer is not JSON: {_start_of(body)}") from error
    if not isinstance(found, dict):
        raise UnreadableCompletion(f"its answer is no JSON object: {_start_of(body)}")
    return found


def read_counts(answer: Mapping[str, Any]) -> Counts | None:
    """The tokens read and written, as the answer reports them; None if it does not."""
    usage = answer.get("usage")
    if not isinstance(usage, dict):
        return None
    read, written, total = (usage.get(f"{name}_tokens") for name in ("prompt", "completion", "total"))
    if not (_is_count(read) and _is_count(written)):
        return None
    # Some services count hidden reasoning tokens, which are paid for, in the total only.
    return read, max(written, total - read if _is_count(total) else 0)


def read_completion(answer: Mapping[str, Any]) -> Completion:
    """The first choice of an answer. Raises UnreadableCompletion if it has none, or one without a text or a refusal."""
    choices = answer.get("choices")
    if not isinstance(choices, list) or not choices:
        raise UnreadableCompletion(f"its answer has no choices: {_start_of(json.dumps(answer).encode())}")
    choice = choices[0] if isinstance(choices[0], dict) else {}
    message = choice.get("message")
    if not isinstance(message, dict):
        raise UnreadableCompletion("its answer has no message")
    if isinstance(message.get("refusal"), str) and message["refusal"]:
        return Completion("", refusal=f"it declined: {message['refusal']}")
    if choice.get("finish_reason") == "content_filter":
        return Completion("", refusal="its content filter stopped the answer")
    content = message.get("content")
    if content is None and choice.get("finish_reason") == "length":
        content = ""  # all tokens went into hidden reasoning
    if not isinstance(content, str):
        raise UnreadableCompletion("its answer has no text")
    text = _with_steps(message, content).encode("utf-8", "replace").decode("utf-8")  # JSON can hold half a surrogate pair
    logprobs = choice.get("logprobs")
    return Completion(text, _tokens(logprobs.get("content"), text.encode()) if isinstance(logprobs, dict) else None)


def _with_steps(message: Mapping[str, Any], content: str) -> str:
    """The content with its `<think>` restored where a server split the five steps off, as `transformers serve` does for all Qwen models.

    Any other hidden reasoning is left out, as it is not part of the answer.
    """
    thoughts = message.get("reasoning_content") or message.get("reasoning")
    steps = isinstance(thoughts, str) and f"<{STEPS[0]}>" in thoughts
    return f"<think>{thoughts}</think>{content}" if steps else content


def _tokens(listed: Any, text: bytes) -> Tokens | None:
    """The tokens of the text; None if they are not listed, or do not join to it.

    Servers may list further tokens: the end of the turn after the text, or hidden reasoning before it.
    """
    try:
        pieces = [_piece(each) for each in listed]
        logprobs = [_logprob(each) for each in listed]
        alternatives = [{_piece(other): _logprob(other) for other in reversed(each.get("top_logprobs") or ())} for each in listed]
    except (TypeError, KeyError, ValueError, AttributeError, OverflowError):
        return None
    spelled = b"".join(pieces)
    begin = 0 if spelled.startswith(text) else spelled.rfind(text)
    if begin < 0:
        return None
    kept = _within(pieces, begin, begin + len(text))
    places = [place for place, _ in kept]
    return Tokens(
        tuple(piece for _, piece in kept),
        tuple(logprobs[place] for place in places),
        [alternatives[place] | {piece: logprobs[place]} for place, piece in kept],
    )


def _within(pieces: Sequence[bytes], begin: int, end: int) -> list[tuple[int, bytes]]:
    """The parts of the pieces between two byte offsets of their concatenation, each with the index of its piece."""
    ends = accumulate(map(len, pieces))
    spans = [(place, stop - len(piece), stop) for place, (piece, stop) in enumerate(zip(pieces, ends, strict=True))]
    # A piece may be empty: vLLM gives the bytes of a character that takes several tokens to the last of them.
    inside = [(place, start) for place, start, stop in spans if start < end and (stop > begin or start == stop == begin)]
    return [(place, pieces[place][max(begin - start, 0) : end - start]) for place, start in inside]


def _piece(token: Mapping[str, Any]) -> bytes:
    spelled = token.get("bytes")
    return bytes(spelled) if isinstance(spelled, list) else str(token["token"]).encode()


def _logprob(token: Mapping[str, Any]) -> float:
    value = float(token["logprob"])
    if not math.isfinite(value):
        raise ValueError("a log-probability is a finite number")
    return value


def _is_count(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and value >= 0


def _start_of(body: bytes) -> str:
    return " ".join(body[:120].decode("utf-8", "replace").split()) or "it is empty"


# Fields that a server refuses.

_ALTERNATIVES = (None, 5, 0)  # top_logprobs: as wanted; the limit of several services; only the chosen token's. Then no logprobs at all.
_UNKNOWN = re.compile(r"unsupported|not support|unrecogni[sz]ed|unknown|unexpected|extra|not permitted|not allowed", re.IGNORECASE)
_CONSEQUENCES = {
    "max_tokens": "it is given max_completion_tokens instead",
    "temperature": "it samples at its own temperature, so another run may give other answers",
    "seed": "its samples cannot be reproduced",
    "top_logprobs": "fewer alternatives come with each token",
    "logprobs": "its answers have no log-probabilities, so only the stated confidence can be read",
}


class Compatibility:
    """Adapts payloads to a server that refuses some of their fields, as learnt from its refusals. `version` counts the changes so far."""

    def __init__(self) -> None:
        self.version = 0
        self._dropped: set[str] = set()
        self._renamed = False
        self._step = 0

    def adapt(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """The fields without those known to be refused."""
        adapted = {name: value for name, value in fields.items() if name not in self._dropped}
        if self._renamed:
            adapted["max_completion_tokens"] = adapted.pop("max_tokens")
        if "logprobs" not in adapted:
            adapted.pop("top_logprobs", None)
        elif (most := _ALTERNATIVES[self._step]) is not None:
            adapted["top_logprobs"] = min(most, adapted["top_logprobs"])
            if not adapted["top_logprobs"]:
                del adapted["top_logprobs"]
        return adapted

    def key_of(self, key: str) -> str:
        """The idempotency key of a payload with this key; another one once fields have changed, as a server may store its refusal."""
        return hashlib.sha256(f"{key} {self!r}".encode()).hexdigest() if self.version else key

    def learn(self, message: str, fields: Mapping[str, Any]) -> list[str]:
        """Changes what is sent after the refusal of `fields`. Returns a sentence for the user on each change, if any."""
        adapted = self.adapt(fields)
        named = [name for name in _CONSEQUENCES if name in adapted and re.search(rf"\b{name}\b", message, re.IGNORECASE)]
        if "max_tokens" in named and not _UNKNOWN.search(message):  # the limit is too high for this request alone
            named.remove("max_tokens")
        if "logprobs" in named or "top_logprobs" in named:
            named = [name for name in named if name not in ("logprobs", "top_logprobs")] + [self._fewer_logprobs(fields)]
        self._renamed |= "max_tokens" in named
        self._dropped |= {"temperature", "seed", "logprobs"} & set(named)
        self.version += bool(named)
        return [f"the server refuses {name}: {_CONSEQUENCES[name]}" for name in named]

    def _fewer_logprobs(self, fields: Mapping[str, Any]) -> str:
        """Asks for fewer alternatives before none at all, as the message may be about their number only."""
        adapted = self.adapt(fields)
        while self._step + 1 < len(_ALTERNATIVES):
            self._step += 1
            if self.adapt(fields) != adapted:
                return "top_logprobs"
        return "logprobs"

    def __repr__(self) -> str:
        return f"Compatibility({sorted(self._dropped)}, {self._renamed}, {self._step})"
