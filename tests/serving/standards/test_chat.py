"""`POST /v1/chat/completions` of a real server, asked by OpenAI's own client and by `emocaliber respond`."""

from __future__ import annotations

import os
import subprocess
import sys
from base64 import b64encode
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
from PIL import Image

from emocaliber.core.model import Model, Request
from emocaliber.core.tasks import labels_of
from emocaliber.emotions.taxonomy import taxonomy
from emocaliber.inference.engine import question_for
from emocaliber.io.rows import read_rows
from serving_servers import ServerProcess, picture

PICTURE = picture(7, (96, 64))
QUESTION = question_for("EmoSet-8", labels_of("EmoSet-8", taxonomy("mikels-8").labels))
IMAGE: dict[str, Any] = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{b64encode(PICTURE).decode()}"}}
TEXT: dict[str, Any] = {"type": "text", "text": QUESTION}


@pytest.fixture(scope="module")
def client(tiny_server: ServerProcess) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{tiny_server.url}/v1", api_key="any", max_retries=0) as client:
        yield client


def ask(client: openai.OpenAI, *parts: Any, **fields: Any) -> Any:
    messages = fields.pop("messages", [{"role": "user", "content": list(parts or (IMAGE, TEXT))}])
    return client.chat.completions.create(model=fields.pop("model", "tiny"), messages=messages, **fields)


def directly(model: Model, **fields: Any) -> Any:
    (reply,) = model.answer([Request(Image.open(BytesIO(PICTURE)).convert("RGB"), QUESTION, **fields)])
    return reply


def test_the_text_is_that_of_the_model_asked_directly(client: openai.OpenAI, tiny_model: Model) -> None:
    found, reply = ask(client), directly(tiny_model)
    assert found.choices[0].message.content == reply.text
    assert "<answer>" in reply.text and "<confidence>" in reply.text
    assert found.choices[0].finish_reason == "stop"
    assert (found.usage.prompt_tokens, found.usage.completion_tokens) == (reply.usage.prompt_tokens, reply.usage.completion_tokens)
    assert found.choices[0].logprobs is None


def test_log_probabilities_are_those_of_the_model(client: openai.OpenAI, tiny_model: Model) -> None:
    listed = ask(client, logprobs=True, top_logprobs=3).choices[0].logprobs.content
    tokens = directly(tiny_model).tokens
    assert b"".join(bytes(each.bytes) for each in listed) == b"".join(tokens.pieces)
    assert [each.logprob for each in listed] == pytest.approx(tokens.logprobs, abs=1e-4)
    assert all(len(each.top_logprobs) == 3 for each in listed)
    for each in listed:
        ranked = [other.logprob for other in each.top_logprobs]
        assert ranked == sorted(ranked, reverse=True)


def test_a_stream_is_the_same_text(client: openai.OpenAI) -> None:
    chunks = list(ask(client, stream=True, stream_options={"include_usage": True}))
    assert "".join(each.choices[0].delta.content or "" for each in chunks if each.choices) == ask(client).choices[0].message.content
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert chunks[-1].usage.completion_tokens > 0
    assert {each.object for each in chunks} == {"chat.completion.chunk"}


def test_a_limit_cuts_the_text_and_says_so(client: openai.OpenAI) -> None:
    whole, cut = ask(client), ask(client, max_completion_tokens=5)
    assert cut.choices[0].finish_reason == "length" and cut.usage.completion_tokens == 5
    assert whole.choices[0].message.content.startswith(cut.choices[0].message.content)


def test_samples_depend_on_their_seed_alone(client: openai.OpenAI) -> None:
    first, again, other = (ask(client, temperature=1.5, seed=seed).choices[0].message.content for seed in (1, 1, 2))
    assert first == again != other


def test_texts_of_the_system_and_the_user_are_one_question(client: openai.OpenAI) -> None:
    messages = [{"role": "system", "content": QUESTION}, {"role": "user", "content": [IMAGE]}]
    assert ask(client, messages=messages).choices[0].message.content == ask(client).choices[0].message.content


INVALID: dict[str, tuple[dict[str, Any], str]] = {
    "no picture": ({"messages": [{"role": "user", "content": "hello"}]}, "no pictures"),
    "two pictures": ({"messages": [{"role": "user", "content": [IMAGE, IMAGE, TEXT]}]}, "2 pictures"),
    "no text": ({"messages": [{"role": "user", "content": [IMAGE]}]}, "no text"),
    "an address": (
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://a/b"}}, TEXT]}]},
        "fetched",
    ),
    "an earlier answer": ({"messages": [{"role": "assistant", "content": "awe"}, {"role": "user", "content": [IMAGE, TEXT]}]}, "one turn"),
    "several answers": ({"n": 2}, "n is not supported"),
    "tools": ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "tools"),
    "a format": ({"response_format": {"type": "json_object"}}, "response_format"),
    "a stop": ({"stop": ["</answer>"]}, "stop"),
    "a temperature below 0": ({"temperature": -1}, "temperature must be"),
    "too many alternatives": ({"logprobs": True, "top_logprobs": 21}, "top_logprobs must be"),
}


@pytest.mark.parametrize("fields, said", INVALID.values(), ids=INVALID)
def test_what_is_not_done_is_an_error_of_the_client(client: openai.OpenAI, fields: dict[str, Any], said: str) -> None:
    with pytest.raises(openai.UnprocessableEntityError, match=said):
        ask(client, **fields)


def test_a_broken_picture_is_named_with_its_place(client: openai.OpenAI) -> None:
    broken = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{b64encode(PICTURE[:50]).decode()}"}}
    with pytest.raises(openai.UnprocessableEntityError, match="missing") as refused:
        ask(client, broken, TEXT)
    assert refused.value.param == "messages.0.content.0"


def test_other_errors_are_those_of_the_client_too(client: openai.OpenAI, tiny_server: ServerProcess) -> None:
    with pytest.raises(openai.NotFoundError, match="ask for tiny"):
        ask(client, model="gpt-5")
    with pytest.raises(openai.APIStatusError) as late:
        ask(client, extra_headers={"X-Deadline": "0.001"})
    assert late.value.status_code == 504 and isinstance(late.value, openai.InternalServerError)
    form = httpx2.post(f"{tiny_server.url}/v1/chat/completions", content=b"a", headers={"Content-Type": "text/plain"})
    assert form.status_code == 415 and form.json()["detail"]["error_type"] == form.json()["error"]["code"]


def test_the_models_are_listed(client: openai.OpenAI) -> None:
    assert [each.id for each in client.models.list()] == ["tiny"]


@pytest.mark.slow
def test_respond_gets_the_rows_that_the_model_gives_directly(tiny_server: ServerProcess, tmp_path: Path) -> None:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}

    def emocaliber(*words: str, **more: str) -> None:
        subprocess.run([sys.executable, "-m", "emocaliber", "-q", *words], check=True, env=environment | more)

    emocaliber("scenes", str(tmp_path / "scenes"), "--n", "6", "--seed", "5", "--task", "EmoSet-8")
    samples, served, direct = str(tmp_path / "scenes" / "samples.jsonl"), tmp_path / "served.jsonl", tmp_path / "direct.jsonl"
    emocaliber("respond", samples, "--model", "tiny", "--out", str(direct))
    key = {"OPENAI_BASE_URL": f"{tiny_server.url}/v1", "OPENAI_API_KEY": "any"}
    emocaliber("respond", samples, "--model", "openai:tiny", "--out", str(served), **key)
    for one, other in zip(read_rows(direct), read_rows(served), strict=True):
        for field in ("id", "image", "model", "prompt", "response", "error", "usage"):
            assert one[field] == other[field], field
        sources = other["confidence"]
        assert {name: one["confidence"][name] for name in sources} == pytest.approx(sources, abs=1e-4)
        assert None not in (sources["verb"], sources["ans"], sources["norm"], sources["verb_mean"])
        assert set(one) - set(other) == {"calibrated", "uncalibrated", "people", "people_low", "people_high"}, "known from the card alone"
