"""What is asked of a server, and what is made of its answers."""

from __future__ import annotations

import base64
import io
import math
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from emocaliber.core.model import Reply, Request
from emocaliber.errors import UserError
from emocaliber.models import load_model
from emocaliber.models.openai.model import RemoteModel
from emocaliber.models.openai.wire import data_url, read_completion, read_counts, read_json
from faulty_server import Answer, Asked, FaultyServer, answering, completion, error

IMAGE = Image.new("RGB", (32, 24), "teal")
KEY = "sk-canary-0123456789abcdef"


def requests(count: int, **more: Any) -> list[Request]:
    return [Request(IMAGE, f"q{number}", **more) for number in range(count)]


def ask(server: FaultyServer, count: int = 1, **settings: Any) -> list[Reply]:
    return list(model_at(server, **settings).answer(requests(count)))


def model_at(server: FaultyServer, **settings: Any) -> RemoteModel:
    return RemoteModel("gpt", **{"base_url": server.url, "api_key": KEY, "backoff": 0.01} | settings)


def test_replies_come_in_the_order_of_the_requests_with_what_they_took() -> None:
    def slow_where_even(asked: Asked) -> Answer:
        return Answer(answering(asked).body, delay=0.05 * (int(asked.question[1:]) % 2 == 0))

    with FaultyServer(slow_where_even) as server:
        replies = ask(server, 40, concurrency=8, prices=(1, 10))
    assert [reply.text for reply in replies] == [f"answer to q{number}" for number in range(40)]
    assert all(reply.usage and (reply.usage.prompt_tokens, reply.usage.completion_tokens) == (100, 10) for reply in replies)
    assert replies[0].usage and replies[0].usage.cost == pytest.approx(100 * 1e-6 + 10 * 10e-6)
    assert replies[0].seconds >= 0.05 and replies[0].attempts == 1 and replies[0].error is None
    assert 1 < server.most_at_once <= 8


def test_the_server_is_asked_in_openai_s_words() -> None:
    with FaultyServer() as server:
        ask(server)
    (asked,) = server.asked
    assert asked.path == "/v1/chat/completions" and asked.headers["authorization"] == f"Bearer {KEY}"
    image, text = asked.fields["messages"][0]["content"]
    assert text == {"type": "text", "text": "q0"} and image["image_url"]["url"].startswith("data:image/png;base64,")
    rest = {name: value for name, value in asked.fields.items() if name != "messages"}
    assert rest == {"model": "gpt", "max_tokens": 1024, "temperature": 0.0, "logprobs": True, "top_logprobs": 20}


def test_a_request_s_own_settings_come_first_and_its_seed_decides() -> None:
    with FaultyServer() as server:
        for seed in (0, 1):
            model = model_at(server, temperature=0.0, seed=seed)
            list(model.answer([Request(IMAGE, "q", seed=own, temperature=0.7, max_new_tokens=7) for own in (3, 4, 3)]))
    assert {(asked.fields["temperature"], asked.fields["max_tokens"]) for asked in server.asked} == {(0.7, 7)}
    seeds = sorted(asked.fields["seed"] for asked in server.asked)
    assert len(set(seeds)) == 4 and all(0 <= seed < 2**31 for seed in seeds)


def test_no_log_probabilities_are_asked_for_where_they_are_not_wanted() -> None:
    with FaultyServer() as server:
        ask(server, logprobs=False)
    assert not {"logprobs", "top_logprobs"} & server.asked[0].fields.keys()


def test_it_is_loaded_by_name_with_key_and_address_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    with FaultyServer() as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url + "/")
        monkeypatch.setenv("OPENAI_API_KEY", KEY + "\n")
        model = load_model("openai:gpt-5", concurrency=2)
        assert [reply.text for reply in model.answer(requests(1))] == ["answer to q0"]
    assert (model.name, model.notice, model.window) == ("gpt-5", None, None)
    assert server.asked[0].headers["authorization"] == f"Bearer {KEY}"


def test_a_server_of_one_s_own_needs_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with FaultyServer() as server:
        assert ask(server, api_key=None)[0].error is None
    assert "authorization" not in server.asked[0].headers


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"base_url": "localhost:8000"}, "no address of an API"),
        ({"base_url": "http://1.2.3.999/v1"}, "no address of an API"),
        ({"base_url": "https://me:hunter2-hunter2@[::1/v1"}, "no address of an API"),
        ({"api_key": f"{KEY} {KEY}"}, "set OPENAI_API_KEY to the key alone"),
        ({"api_key": ""}, "wants a key: set OPENAI_API_KEY"),
        ({"budget": 1.0}, "a budget needs prices"),
        ({"prices": [1.0]}, "prices must be two"),
        ({"concurrency": 0}, "concurrency must be above 0"),
        ({"tokens_per_minute": -1}, "tokens_per_minute must be above 0"),
        ({"image_format": "gif"}, "image_format must be one of auto, png, jpeg"),
    ],
)
def test_settings_that_cannot_be_are_refused_without_a_word_of_secrets(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        RemoteModel("gpt", **{"api_key": KEY, "base_url": "https://api.openai.com/v1"} | settings)
    assert KEY not in str(caught.value) and "hunter2" not in str(caught.value)


# Images


@pytest.mark.parametrize(("size", "chosen", "kind"), [((99, 50), "auto", "png"), ((1200, 900), "auto", "jpeg"), ((99, 50), "jpeg", "jpeg")])
def test_small_images_arrive_pixel_for_pixel_and_large_ones_nearly(size: tuple[int, int], chosen: Any, kind: str) -> None:
    image = Image.radial_gradient("L").resize(size).convert("RGB")
    head, data = data_url(image, chosen).split(",")
    assert head == f"data:image/{kind};base64"
    seen = Image.open(io.BytesIO(base64.b64decode(data)))
    assert seen.size == size and seen.mode == "RGB"
    worst = max(abs(a - b) for a, b in zip(image.tobytes(), seen.tobytes(), strict=True))
    assert worst == 0 if kind == "png" else worst < 12


# Tokens


def test_tokens_come_with_their_alternatives() -> None:
    with FaultyServer(lambda asked: Answer(completion("<a>joy</a>", pieces=["<a>", "joy", "</a>", "<|im_end|>"]))) as server:
        tokens = ask(server)[0].tokens
    assert tokens is not None
    assert tokens.pieces == (b"<a>", b"joy", b"</a>") and tokens.logprobs == (-0.5, -0.5, -0.5)
    assert tokens.likeliest[1] == {b"joy": -0.5, b"x": -1.5}


def tokens_of(text: str, pieces: list[bytes]) -> Any:
    listed = [{"token": "?", "bytes": list(piece), "logprob": -float(place), "top_logprobs": []} for place, piece in enumerate(pieces)]
    return read_completion({"choices": [{"message": {"content": text}, "logprobs": {"content": listed}}]}).tokens


@given(st.text(min_size=1, max_size=30), st.lists(st.integers(1, 60), max_size=6), st.sampled_from(["", "<think>\n"]), st.booleans())
def test_tokens_spell_the_text_wherever_letters_are_split(text: str, cuts: list[int], before: str, ends: bool) -> None:
    spelled = before.encode() + text.encode("utf-8", "replace")
    places = sorted({0, len(spelled), len(before), *(cut for cut in cuts if cut < len(spelled))})
    pieces = [spelled[a:b] for a, b in pairwise(places)] + [b"<|im_end|>"] * ends
    tokens = tokens_of(text, pieces)
    assert b"".join(tokens.pieces).decode() == text.encode("utf-8", "replace").decode()
    places = zip(tokens.pieces, tokens.logprobs, tokens.likeliest, strict=True)
    assert all(piece in likeliest and likeliest[piece] == logprob for piece, logprob, likeliest in places)


def test_tokens_that_the_server_gives_no_bytes_of_are_kept_and_blanks_that_it_cut_off_are_not() -> None:
    tokens = tokens_of("a é", [b" ", b"\na", b" ", b"", "é".encode(), b"\n"])
    assert tokens.pieces == (b"a", b" ", b"", "é".encode()) and tokens.logprobs == (-1, -2, -3, -4)


@pytest.mark.parametrize(
    "content", [[{"token": "no"}], [{"token": "joy", "logprob": math.nan}], [{"token": "j\ufffdy", "logprob": -1}], {}, "joy", [3]]
)
def test_tokens_that_do_not_spell_the_text_are_none(content: Any) -> None:
    assert read_completion({"choices": [{"message": {"content": "joy"}, "logprobs": {"content": content}}]}).tokens is None


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
def test_five_steps_that_a_server_split_off_are_put_back_and_other_thoughts_are_not(field: str) -> None:
    def text(thoughts: str | None) -> str:
        return read_completion({"choices": [{"message": {"content": "<answer>joy</answer>", field: thoughts}}]}).text

    assert text("<element>a dog</element>") == "<think><element>a dog</element></think><answer>joy</answer>"
    assert text("Hm. A dog?") == text(None) == "<answer>joy</answer>"


def test_hidden_thoughts_are_counted() -> None:
    assert read_counts({"usage": {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 30}}) == (5, 25)
    assert read_counts({"usage": {"prompt_tokens": 5, "completion_tokens": 7}}) == (5, 7)
    assert read_counts({"usage": {"prompt_tokens": None}}) is None and read_counts({}) is None


def test_half_a_letter_in_json_is_no_crash() -> None:
    assert read_completion(read_json(completion("a\ud83d"))).text == "a?"


# What a server refuses


def picky(*refused: str) -> Callable[[Asked], Answer]:
    """Refuses parameters as GPT-5 does, one at a time."""

    def behave(asked: Asked) -> Answer:
        for name in refused:
            if name in asked.fields:
                return error(
                    400, f"Unsupported parameter: '{name}' is not supported with this model.", param=name, code="unsupported_parameter"
                )
        return answering(asked)

    return behave


def test_a_server_that_refuses_parameters_is_asked_without_them_from_then_on(capsys: pytest.CaptureFixture[str]) -> None:
    with FaultyServer(picky("max_tokens", "temperature", "logprobs", "seed")) as server:
        model = model_at(server, temperature=1.0, concurrency=1)
        replies = list(model.answer(requests(5)))
    assert [reply.text for reply in replies] == [f"answer to q{number}" for number in range(5)]
    assert all(reply.attempts == 1 for reply in replies)
    assert server.asked[-1].fields.keys() == {"model", "messages", "max_completion_tokens"} and len(server.asked) == 5 + 6
    said = capsys.readouterr().err.splitlines()
    refused = [line.partition(" refuses ")[2].split()[0].rstrip(":,;") for line in said if "top_logprobs" not in line]
    assert refused == ["max_tokens", "temperature", "logprobs", "seed"]


def test_many_requests_refused_at_once_learn_together() -> None:
    with FaultyServer(picky("max_tokens", "temperature", "logprobs")) as server:
        replies = ask(server, 30, concurrency=10)
    assert all(reply.error is None for reply in replies) and len(server.asked) < 30 + 6 * 20


def test_fewer_alternatives_are_better_than_none() -> None:
    def at_most_five(asked: Asked) -> Answer:
        if asked.fields.get("top_logprobs", 0) > 5:
            return error(400, "Requested sample logprobs of 20, which is greater than max allowed: 5")
        return answering(asked)

    with FaultyServer(at_most_five) as server:
        assert ask(server)[0].error is None
    assert server.asked[-1].fields["top_logprobs"] == 5


def test_other_words_get_another_idempotency_key() -> None:
    with FaultyServer(picky("temperature")) as server:
        ask(server, 1)
        ask(server, 1)
    keys = [asked.headers["idempotency-key"] for asked in server.asked]
    assert keys[:2] == keys[2:] and keys[0] != keys[1]


@pytest.mark.parametrize(
    "answer",
    [
        error(400, "'max_tokens' or 'max_completion_tokens' is too large: 1024. This model's maximum context length is 1024 tokens."),
        error(400, "Invalid image: temperature of the sensor is missing in its header", param="messages"),
        Answer(b'{"detail": [{"loc": ["body", "messages"], "msg": "no", "input": {"temperature": 0.0, "seed": 1}}]}', 422),
    ],
)
def test_a_bad_request_is_that_request_s_own_affair(answer: Answer) -> None:
    with FaultyServer(lambda asked: answer if asked.question == "q1" else answering(asked)) as server:
        first, second, third = ask(server, 3, concurrency=1)
    assert second.error and second.error.code == "bad_request" and second.text == "" and second.attempts == 1
    assert first.error is None and third.error is None
    assert server.asked[-1].fields["max_tokens"] == 1024


@pytest.mark.parametrize(
    "answer",
    [
        Answer(b'{"choices": [{"message": {"content": null, "refusal": "I cannot."}, "finish_reason": "stop"}]}'),
        Answer(b'{"choices": [{"message": {"content": ""}, "finish_reason": "content_filter"}]}'),
        error(400, "Flagged.", code="content_filter"),
    ],
)
def test_a_refusal_is_not_asked_again(answer: Answer) -> None:
    with FaultyServer(lambda asked: answer) as server:
        (reply,) = ask(server)
    assert reply.error and reply.error.code == "refused" and reply.text == "" and len(server.asked) == 1


def test_a_model_that_thought_until_the_limit_has_said_nothing() -> None:
    body = b'{"choices": [{"message": {"content": null}, "finish_reason": "length"}]}'
    with FaultyServer(lambda asked: Answer(body)) as server:
        (reply,) = ask(server)
    assert reply.text == "" and reply.error is None


# The stream


@pytest.mark.slow
def test_requests_are_taken_a_bounded_number_ahead_and_a_slow_one_holds_nobody_up() -> None:
    taken = 0

    def counted() -> Iterator[Request]:
        nonlocal taken
        for request in requests(200):
            taken += 1
            yield request

    with FaultyServer(lambda asked: Answer(answering(asked).body, delay=1.0 * (asked.question == "q0"))) as server:
        replies = model_at(server, concurrency=4).answer(counted())
        assert next(replies).text == "answer to q0"
        assert taken == 32, "eight times four"
        assert set(server.delivered) >= {f"q{number}" for number in range(1, 32)}, "all of them were answered behind the slow one"
        assert [reply.text for reply in replies] == [f"answer to q{number}" for number in range(1, 200)]


@pytest.mark.slow
def test_closing_the_stream_stops_the_requests() -> None:
    with FaultyServer(lambda asked: Answer(answering(asked).body, delay=0.0 if asked.question == "q0" else 0.4)) as server:
        replies = model_at(server, concurrency=4).answer(requests(100))
        assert next(replies).text == "answer to q0"
        replies.close()
        time.sleep(1)
        assert len(server.asked) <= 1 + 4 + 1  # four at once, the next of the eight started were never sent


def test_an_error_of_whoever_makes_the_requests_passes_through() -> None:
    def broken() -> Iterator[Request]:
        yield from requests(2)
        raise RuntimeError("no more")

    with FaultyServer() as server, pytest.raises(RuntimeError, match="no more"):
        list(model_at(server).answer(broken()))


def test_a_model_can_be_asked_again_and_by_two_streams_at_once() -> None:
    with FaultyServer() as server:
        model = model_at(server)
        pairs = list(zip(model.answer(requests(20)), model.answer(requests(20)), strict=True))
        assert [first.text for first, _ in pairs] == [second.text for _, second in pairs]
        assert len(list(model.answer(requests(3)))) == 3 and list(model.answer([])) == []
