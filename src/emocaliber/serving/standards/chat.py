"""`POST /v1/chat/completions`: one picture and one text, in the form of OpenAI's chat completions; the model's text comes back as it is.

The text is the model's question as it stands, so the reply is in five steps if the text asks for them as `emocaliber respond` does. The
model answers freely: where a decision or a prediction can name nothing but the options, a chat can.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from emocaliber.core.model import Reply, Tokens
from emocaliber.serving.standards.wire import Finding, Invalid, Place, is_whole, json_bytes, kind_of, picture, refuse

MOST_LOGPROBS = 20
_SEEDS = 2**63

# Fields that change what is answered, and the values with which they change nothing. Those that are not here are ignored.
_WITHOUT_EFFECT: Mapping[str, tuple[Any, ...]] = {
    "n": (1,),
    "stop": ([], ""),
    "tools": ([],),
    "functions": ([],),
    "tool_choice": ("none", "auto"),
    "response_format": ({"type": "text"},),
    "logit_bias": ({},),
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
    "top_p": (1,),
    "modalities": (["text"],),
    "audio": (),
    "prediction": (),
    "web_search_options": (),
}


@dataclass(frozen=True)
class ChatRequest:
    """What a chat completion asks for. `top_logprobs` is None where no log-probabilities are wanted; `limit` is in tokens."""

    question: str
    image: bytes
    image_place: Place
    temperature: float | None
    seed: int
    limit: int | None
    top_logprobs: int | None
    stream: bool
    stream_usage: bool


def read_chat(body: Mapping[str, Any], served: Collection[str]) -> ChatRequest:
    """The request in a body. `served` are the names of the model.

    Texts of the system, the developer and the user are joined, as the model knows a single turn. Raises Invalid: with status 404 for
    another model, and for what would be left out (a second picture, an earlier answer, tools, several answers).
    """
    name = body.get("model")
    if name not in served:
        found = Finding(("body", "model"), f"There is no model {name!r} here; ask for {', '.join(served)}.", "model_not_found")
        raise Invalid([found], 404, "model_not_found")
    for field, harmless in _WITHOUT_EFFECT.items():
        if body.get(field) is not None and body[field] not in harmless:
            refuse(("body", field), f"{field} is not supported here; leave it out.", "unsupported")
    texts, pictures = _messages(body.get("messages"))
    if len(pictures) != 1:
        message = f"There are {len(pictures) or 'no'} pictures; the model is asked about exactly one, as an image_url part with a data URI."
        refuse(("body", "messages"), message, "image_count")
    question = "\n".join(texts)
    if not question.strip() or not is_whole(question):
        refuse(("body", "messages"), "There is no text; ask something about the picture.", "text_missing")
    place, image = pictures[0]
    limit = _number(body, "max_completion_tokens", 1, 2**31, whole=True) or _number(body, "max_tokens", 1, 2**31, whole=True)
    top = _number(body, "top_logprobs", 0, MOST_LOGPROBS, whole=True)
    options = body.get("stream_options")
    wanted = _flag(body, "logprobs")
    return ChatRequest(
        question,
        image,
        place,
        _number(body, "temperature", 0, 2),
        int(_number(body, "seed", -_SEEDS, _SEEDS, whole=True) or 0),
        None if limit is None else int(limit),
        int(top or 0) if wanted else None,
        _flag(body, "stream"),
        isinstance(options, dict) and options.get("include_usage") is True,
    )


def completion(reply: Reply, asked: ChatRequest, *, model: str, key: str, created: int) -> dict[str, Any]:
    """The chat completion of a reply; `key` is its id, `created` its time in seconds."""
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": reply.text, "refusal": None},
        "logprobs": _logprobs(reply, asked),
        "finish_reason": _finish(reply),
    }
    head = {"id": key, "object": "chat.completion", "created": created, "model": model}
    return {**head, "choices": [choice], "usage": _usage(reply)}


def chunks(reply: Reply, asked: ChatRequest, *, model: str, key: str, created: int) -> Iterator[bytes]:
    """The completion as server-sent events: the whole text in one chunk, the end, the usage if it is wanted, and [DONE].

    A picture shares its batch with others, so the text is there all at once.
    """
    head = {"id": key, "object": "chat.completion.chunk", "created": created, "model": model}
    said = {"index": 0, "delta": {"role": "assistant", "content": reply.text}, "logprobs": _logprobs(reply, asked), "finish_reason": None}
    last = {"index": 0, "delta": {}, "logprobs": None, "finish_reason": _finish(reply)}
    usage: dict[str, Any] = {"usage": None} if asked.stream_usage else {}
    yield _event({**head, "choices": [said], **usage})
    yield _event({**head, "choices": [last], **usage})
    if asked.stream_usage:
        yield _event({**head, "choices": [], "usage": _usage(reply)})
    yield b"data: [DONE]\n\n"


def _event(content: Mapping[str, Any]) -> bytes:
    return b"data: " + json_bytes(content) + b"\n\n"


def _messages(given: Any) -> tuple[list[str], list[tuple[Place, bytes]]]:
    if not isinstance(given, list) or not given:
        refuse(("body", "messages"), f"messages must be a list of messages, not {kind_of(given)}.", "messages_type")
    texts: list[str] = []
    pictures: list[tuple[Place, bytes]] = []
    for number, message in enumerate(given):
        place: Place = ("body", "messages", number)
        role = message.get("role") if isinstance(message, dict) else None
        if role not in ("user", "system", "developer"):
            refuse((*place, "role"), f"A message is of the user, the system or the developer, not {role!r:.80}; one turn is asked.", "role")
        content = message.get("content")
        if isinstance(content, str):
            texts.append(content)
            continue
        if not isinstance(content, list):
            refuse((*place, "content"), f"The content must be a text or a list of parts, not {kind_of(content)}.", "content_type")
        for at, part in enumerate(content):
            here = (*place, "content", at)
            kind = part.get("type") if isinstance(part, dict) else None
            if kind == "text" and isinstance(part.get("text"), str):
                texts.append(part["text"])
            elif kind == "image_url":
                url = part.get("image_url")
                pictures.append((here, picture((*here, "image_url", "url"), url.get("url") if isinstance(url, dict) else url)))
            else:
                refuse(here, f"A part is a text or an image_url, not {kind!r:.80}.", "part_type")
    return texts, pictures


def _number(body: Mapping[str, Any], name: str, least: float, most: float, *, whole: bool = False) -> float | None:
    value = body.get(name)
    if value is None:
        return None
    right = isinstance(value, int if whole else int | float) and not isinstance(value, bool)
    if not right or not least <= value <= most:
        kind = "a whole number" if whole else "a number"
        refuse(("body", name), f"{name} must be {kind} from {least:g} to {most:g}.", "number_range")
    found: float = value
    return found


def _flag(body: Mapping[str, Any], name: str) -> bool:
    value = body.get(name)
    if not isinstance(value, bool | None):
        refuse(("body", name), f"{name} must be true or false, not {kind_of(value)}.", "bool_type")
    return bool(value)


def _finish(reply: Reply) -> str:
    """ "length" for a text that reached its limit: the end of a turn is counted in the usage, and is none of the tokens."""
    cut = reply.usage and reply.tokens and reply.usage.completion_tokens == len(reply.tokens.pieces)
    return "length" if cut else "stop"


def _usage(reply: Reply) -> dict[str, int] | None:
    if reply.usage is None:
        return None
    read, written = reply.usage.prompt_tokens, reply.usage.completion_tokens
    return {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}


def _logprobs(reply: Reply, asked: ChatRequest) -> dict[str, Any] | None:
    """The log-probabilities of the tokens; None if they are not wanted, or the model does not give them."""
    if asked.top_logprobs is None or reply.tokens is None:
        return None
    return {"content": [_token_at(reply.tokens, place, asked.top_logprobs) for place in range(len(reply.tokens.pieces))], "refusal": None}


def _token_at(tokens: Tokens, place: int, top: int) -> dict[str, Any]:
    ranked = sorted(tokens.likeliest[place].items(), key=lambda item: -item[1])[:top]
    return _token(tokens.pieces[place], tokens.logprobs[place]) | {"top_logprobs": [_token(*each) for each in ranked]}


def _token(piece: bytes, logprob: float) -> dict[str, Any]:
    least = -9999.0  # what OpenAI gives for a token of no probability; infinity is no JSON
    return {"token": piece.decode("utf-8", "replace"), "logprob": max(logprob, least), "bytes": list(piece)}
