"""What is sent: a chat completion of one turn, with the image in it."""

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

_MARK = "<the image>"
_LARGE = 256 * 256  # pixels
_PATCH = 28  # the side of an image token in Qwen's models; GPT's take fewer tokens for all but small images, which ...
_LEAST = 400  # ... cost them a tile of 512 x 512; the turn's own tokens are in it too


@dataclass(frozen=True)
class Payload:
    """A request as JSON fields, with all that is wanted of the server; some servers refuse some (see `Dialect`).

    In the fields a mark stands for the image, a data URL, which is put in last: it needs no escapes, and searching it for some takes long.
    """

    fields: Mapping[str, Any]
    image: str
    prompt_tokens: int  # an estimate, on the large side
    limit: int  # of tokens in the answer

    @cached_property
    def key(self) -> str:
        """The SHA-256 of the fields: the same question about the same image, asked the same way, has the same key."""
        return hashlib.sha256(self.body(dict(sorted(self.fields.items())))).hexdigest()

    def body(self, fields: Mapping[str, Any]) -> bytes:
        """The JSON of its own fields, or of some made from them, with the image in place."""
        return json.dumps(fields).replace(_MARK, self.image, 1).encode()  # the first mark is ours, should the question have one too


@dataclass(frozen=True)
class Wording:
    """How a model turns requests into payloads: its settings. `top_logprobs` None asks for no log-probabilities."""

    model: str
    temperature: float
    seed: int
    max_new_tokens: int
    top_logprobs: int | None
    image_format: ImageFormat

    def payload(self, request: Request) -> Payload:
        """The payload of a request. A seed is in it only where something is sampled: without that, other seeds make no other question."""
        temperature = self.temperature if request.temperature is None else request.temperature
        limit = self.max_new_tokens if request.max_new_tokens is None else request.max_new_tokens
        content = [
            {"type": "image_url", "image_url": {"url": _MARK}},
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

    "auto" is PNG up to 256 x 256 pixels, so that the server sees the very pixels that a local model would, and JPEG above, at quality 95
    with full colour resolution: as PNG, a photo of usual size takes ten times as long (50 ms rather than 4) and three times the bytes.
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
    """At most as many as a text has bytes, and an image patches."""
    patches = ceil(request.image.width / _PATCH) * ceil(request.image.height / _PATCH)
    return len(request.question.encode("utf-8", "replace")) + patches + _LEAST


# What comes back: the text of a chat completion, its tokens, and what it took.

Counts = tuple[int, int]  # tokens read and written


@dataclass(frozen=True)
class Completion:
    """An answer, or why the model would not give one."""

    text: str
    tokens: Tokens | None = None
    refusal: str | None = None


class Unreadable(ValueError):
    """A body that is no chat completion; the message says why."""


def read_json(body: bytes) -> Mapping[str, Any]:
    """The JSON object that a body is. Raises Unreadable."""
    try:
        found = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Unreadable(f"its answer is not JSON: {_start_of(body)}") from error
    if not isinstance(found, dict):
        raise Unreadable(f"its answer is no JSON object: {_start_of(body)}")
    return found


def read_counts(answer: Mapping[str, Any]) -> Counts | None:
    """The tokens that an answer took, if it says."""
    usage = answer.get("usage")
    if not isinstance(usage, dict):
        return None
    read, written, total = (usage.get(f"{name}_tokens") for name in ("prompt", "completion", "total"))
    if not (_is_count(read) and _is_count(written)):
        return None
    # Some services count hidden thoughts, which are paid for, in the total only.
    return read, max(written, total - read if _is_count(total) else 0)


def read_completion(answer: Mapping[str, Any]) -> Completion:
    """The first choice of an answer. Raises Unreadable if it has none, or neither a text nor a reason for that."""
    choices = answer.get("choices")
    if not isinstance(choices, list) or not choices:
        raise Unreadable(f"its answer has no choices: {_start_of(json.dumps(answer).encode())}")
    choice = choices[0] if isinstance(choices[0], dict) else {}
    message = choice.get("message")
    if not isinstance(message, dict):
        raise Unreadable("its answer has no message")
    if isinstance(message.get("refusal"), str) and message["refusal"]:
        return Completion("", refusal=f"it declined: {message['refusal']}")
    if choice.get("finish_reason") == "content_filter":
        return Completion("", refusal="its content filter stopped the answer")
    content = message.get("content")
    if content is None and choice.get("finish_reason") == "length":
        content = ""  # it thought until the limit
    if not isinstance(content, str):
        raise Unreadable("its answer has no text")
    text = _with_steps(message, content).encode("utf-8", "replace").decode("utf-8")  # JSON can hold half a letter
    logprobs = choice.get("logprobs")
    return Completion(text, _tokens(logprobs.get("content"), text.encode()) if isinstance(logprobs, dict) else None)


def _with_steps(message: Mapping[str, Any], content: str) -> str:
    """The content with its `<think>` put back, where a server split the five steps off: `transformers serve` does so to all Qwen models.

    Other thoughts stay out. They are no part of the answer.
    """
    thoughts = message.get("reasoning_content") or message.get("reasoning")
    steps = isinstance(thoughts, str) and f"<{STEPS[0]}>" in thoughts
    return f"<think>{thoughts}</think>{content}" if steps else content


def _tokens(listed: Any, text: bytes) -> Tokens | None:
    """The tokens of the text; None if they are not listed, or do not spell it.

    Servers list tokens that the text does not have: the end of the turn after it, or thoughts before it.
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
    """What of each piece lies between two bytes of their concatenation."""
    ends = accumulate(map(len, pieces))
    spans = [(place, stop - len(piece), stop) for place, (piece, stop) in enumerate(zip(pieces, ends, strict=True))]
    # A piece may be empty: vLLM gives the bytes of a letter that takes several tokens to the last of them.
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


# What a server would not take, learnt from its refusals: each is met once, and avoided from then on.

_ALTERNATIVES = (None, 5, 0)  # top_logprobs: as wanted; the limit of several services; only the chosen token's. Then no logprobs at all.
_UNKNOWN = re.compile(r"unsupported|not support|unrecogni[sz]ed|unknown|unexpected|extra|not permitted|not allowed", re.IGNORECASE)
_CONSEQUENCES = {
    "max_tokens": "it is given max_completion_tokens instead",
    "temperature": "it samples at a temperature of its own, so another run may answer otherwise",
    "seed": "what it samples cannot be repeated",
    "top_logprobs": "fewer alternatives come with each token",
    "logprobs": "no log-probabilities come with its answers, so confidence can be read from its words only",
}


class Dialect:
    """Rewrites payloads for servers that refuse some of their fields. `version` counts what has been learnt."""

    def __init__(self) -> None:
        self.version = 0
        self._dropped: set[str] = set()
        self._renamed = False
        self._step = 0

    def spell(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """The fields as the server takes them, as far as is known."""
        spelt = {name: value for name, value in fields.items() if name not in self._dropped}
        if self._renamed:
            spelt["max_completion_tokens"] = spelt.pop("max_tokens")
        if "logprobs" not in spelt:
            spelt.pop("top_logprobs", None)
        elif (most := _ALTERNATIVES[self._step]) is not None:
            spelt["top_logprobs"] = min(most, spelt["top_logprobs"])
            if not spelt["top_logprobs"]:
                del spelt["top_logprobs"]
        return spelt

    def key_of(self, key: str) -> str:
        """The idempotency key of a payload whose own is `key`: that one until the server had to be asked in other words, as it may remember
        its refusal by the first."""
        return hashlib.sha256(f"{key} {self!r}".encode()).hexdigest() if self.version else key

    def learn(self, complaint: str, fields: Mapping[str, Any]) -> list[str]:
        """What is given up because of a refusal of `fields`, in sentences for the user; empty if the complaint is about something else."""
        spelt = self.spell(fields)
        named = [name for name in _CONSEQUENCES if name in spelt and re.search(rf"\b{name}\b", complaint, re.IGNORECASE)]
        if "max_tokens" in named and not _UNKNOWN.search(complaint):  # too long an answer was asked for, which is this request's affair
            named.remove("max_tokens")
        if "logprobs" in named or "top_logprobs" in named:
            named = [name for name in named if name not in ("logprobs", "top_logprobs")] + [self._fewer_logprobs(fields)]
        self._renamed |= "max_tokens" in named
        self._dropped |= {"temperature", "seed", "logprobs"} & set(named)
        self.version += bool(named)
        return [f"the server refuses {name}: {_CONSEQUENCES[name]}" for name in named]

    def _fewer_logprobs(self, fields: Mapping[str, Any]) -> str:
        """Goes one step down, as the complaint may be about the number of alternatives only."""
        spelt = self.spell(fields)
        while self._step + 1 < len(_ALTERNATIVES):
            self._step += 1
            if self.spell(fields) != spelt:
                return "top_logprobs"
        return "logprobs"

    def __repr__(self) -> str:
        return f"Dialect({sorted(self._dropped)}, {self._renamed}, {self._step})"
