"""How requests are led through vLLM's engine, seen with an engine that answers in an order of its own; tests/models/test_real_servers.py
has the real one."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from emocaliber.core.model import Request
from emocaliber.errors import UserError
from emocaliber.models import load_model
from emocaliber.models import vllm as ours
from emocaliber.models.tokens import TOP
from emocaliber.models.vllm import VllmModel

TEXT = "<answer>fear</answer> 🙂"


class Refused(Exception):
    pass


class Stopped(Exception):
    pass


class Engine:
    """Answers the youngest request first, with its prompt's last word; refuses prompts with "too long" in them."""

    def __init__(self, settings: dict[str, Any], tokenizer: Any) -> None:
        self.settings, self.tokenizer = settings, tokenizer
        self.model_config = SimpleNamespace(hf_config=SimpleNamespace(image_token_id=tokenizer.convert_tokens_to_ids("<|image_pad|>")))
        self.renderer = SimpleNamespace(render_cmpl=lambda prompts: prompts)
        self.open: dict[str, tuple[str, Any]] = {}
        self.asked: list[Any] = []
        self.aborted: list[str] = []

    def add_request(self, number: str, prompt: dict[str, Any], how: Any) -> None:
        if "too long" in prompt["prompt"]:
            raise Refused("the prompt has 900 tokens; 512 are allowed")
        self.asked.append(how)
        self.open[number] = (prompt["prompt"], how)

    def abort_request(self, numbers: list[str]) -> None:
        self.aborted += numbers
        for number in numbers:
            del self.open[number]

    def step(self) -> list[Any]:
        number, (prompt, how) = self.open.popitem()
        word = prompt.split("<|im_end|>")[0].split()[-1]
        ids = [*self.tokenizer(f"{TEXT} {word}")["input_ids"], self.tokenizer.eos_token_id]
        reason = "stop"
        if len(ids) > how.max_tokens:
            ids, reason = ids[: how.max_tokens], "length"
        vision = self.tokenizer.convert_tokens_to_ids("<|image_pad|>")
        flat = [each for token in ids for each in (token, token, vision, *range(50, 50 + TOP - 2))]
        logprobs = SimpleNamespace(token_ids=flat, logprobs=[-0.5, -0.5, -1.0, *[-3.0] * (TOP - 2)] * len(ids))
        said = SimpleNamespace(token_ids=ids, logprobs=logprobs, finish_reason=reason)
        return [SimpleNamespace(request_id=number, finished=True, prompt_token_ids=list(range(30)), outputs=[said])]


@pytest.fixture
def model(mite: Path, monkeypatch: pytest.MonkeyPatch) -> VllmModel:
    package, errors = ModuleType("vllm"), ModuleType("vllm.exceptions")
    vars(package)["SamplingParams"] = SimpleNamespace
    vars(errors).update(VLLMClientError=Refused, VLLMServerError=Stopped)
    monkeypatch.setitem(sys.modules, "vllm", package)
    monkeypatch.setitem(sys.modules, "vllm.exceptions", errors)

    def start(settings: dict[str, Any]) -> Engine:
        from emocaliber.models.processor import load_processor

        return Engine(settings, load_processor(mite).tokenizer)

    monkeypatch.setattr(ours, "_start", start)
    return VllmModel(mite, concurrency=3, seed=5, max_new_tokens=64)


def engine_of(model: VllmModel) -> Engine:
    return model._engine  # type: ignore[no-any-return]


def request(n: int, **settings: Any) -> Request:
    return Request(Image.new("RGB", (56, 56)), f"Which one is number{n}", key=str(n), seed=n, **settings)


def test_replies_come_in_the_order_of_the_requests(model: VllmModel) -> None:
    assert [reply.text for reply in model.answer(map(request, range(20)))] == [f"{TEXT} number{n}" for n in range(20)]


def test_a_few_requests_are_taken_ahead(model: VllmModel) -> None:
    taken: list[int] = []

    def requests() -> Iterator[Request]:
        for n in range(50):
            taken.append(n)
            yield request(n)

    for given, _ in enumerate(model.answer(requests())):
        assert given < len(taken) <= given + 2 * 3


def test_who_stops_listening_stops_the_engine(model: VllmModel) -> None:
    replies = model.answer(map(request, range(50)))
    next(replies)
    replies.close()
    engine = engine_of(model)
    assert engine.open == {} and model._asked == {}
    assert [reply.text for reply in model.answer([request(9)])] == [f"{TEXT} number9"]


def test_two_streams_may_be_read_in_turn(model: VllmModel) -> None:
    both = zip(model.answer(map(request, range(9))), model.answer(map(request, range(9, 18))), strict=True)
    assert [(one.text[-1], other.text[-2:].strip("r")) for one, other in both] == [(str(n), str(n + 9)) for n in range(9)]


def test_a_request_that_the_engine_refuses_is_an_error_of_its_own(model: VllmModel) -> None:
    long = Request(Image.new("RGB", (56, 56)), "too long")
    errors = [reply.error for reply in model.answer([request(1), long, request(2)])]
    assert errors[0] is None and errors[2] is None
    assert errors[1] is not None and errors[1].code == "bad_request" and "512 are allowed" in errors[1].message


def test_an_engine_that_has_stopped_stops_the_run(model: VllmModel, monkeypatch: pytest.MonkeyPatch) -> None:
    def step() -> list[Any]:
        raise Stopped

    monkeypatch.setattr(engine_of(model), "step", step)
    with pytest.raises(UserError, match="engine has stopped"):
        list(model.answer([request(1)]))


def test_tokens_end_before_the_turn_does_and_never_hold_a_vision_token(model: VllmModel) -> None:
    (reply,) = model.answer([request(1)])
    assert reply.tokens is not None and reply.usage is not None
    assert b"".join(reply.tokens.pieces).decode() == reply.text
    assert (reply.usage.prompt_tokens, reply.usage.completion_tokens) == (30, len(reply.tokens.pieces) + 1)
    assert np.allclose(reply.tokens.logprobs, -0.5)
    place = reply.tokens.likeliest[0]
    assert place[reply.tokens.pieces[0]] == -0.5 and b"<|image_pad|>" not in place and len(place) >= TOP - 3


def test_an_answer_cut_at_its_limit_keeps_its_last_token(model: VllmModel) -> None:
    (reply,) = model.answer([request(1, max_new_tokens=2)])
    assert reply.tokens is not None and len(reply.tokens.pieces) == 2 and reply.usage is not None and reply.usage.completion_tokens == 2


def test_a_request_has_its_own_temperature_and_seed(model: VllmModel) -> None:
    list(model.answer([request(1), request(2, temperature=0.7), request(1)]))
    first, second, third = engine_of(model).asked
    assert (first.temperature, second.temperature) == (0.0, 0.7)
    assert first.seed == third.seed != second.seed
    assert set(first.logit_bias.values()) == {-100.0} and len(first.logit_bias) == 4


def test_the_card_and_the_pixel_limits_of_the_checkpoint_hold(model: VllmModel, mite: Path) -> None:
    assert (model.name, model.notice, model.tasks, model.window) == ("mite", "It knows nothing.", ("EmoSet-8",), None)
    settings = engine_of(model).settings
    assert settings["mm_processor_kwargs"] == {"size": {"shortest_edge": 56 * 56, "longest_edge": 84 * 84 + 42}}
    assert settings["max_num_seqs"] == 3 and "max_model_len" not in settings
    assert (
        engine_of(VllmModel(mite, max_pixels=56 * 56, max_model_len=512)).settings["mm_processor_kwargs"]["size"]["longest_edge"] == 56 * 56
    )


@pytest.mark.skipif(importlib.util.find_spec("vllm") is not None, reason="vLLM is installed")
def test_without_vllm_the_remedy_is_said(mite: Path) -> None:
    with pytest.raises(UserError, match=r"pip install 'vllm"):
        load_model(f"vllm:{mite}")
