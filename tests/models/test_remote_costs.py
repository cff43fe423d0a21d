"""What a run may cost: prices, budgets, the journal, and how fast it may go."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from emocaliber.core.model import Reply, Request, Usage
from emocaliber.errors import UserError
from emocaliber.models.openai.journal import Entry, Journal
from emocaliber.models.openai.limits import BudgetReached, RateLimiter
from emocaliber.models.openai.model import RemoteModel
from faulty_server import Answer, Asked, FaultyServer, answering, completion, error

IMAGE = Image.new("RGB", (32, 24), "teal")
PRICES = (1.0, 10.0)  # dollars per million tokens
LIMIT = 1000
EACH = (100 * PRICES[0] + 500 * PRICES[1]) / 1e6  # what the server below takes for an answer


def requests(count: int, **more: Any) -> list[Request]:
    return [Request(IMAGE, f"q{number}", **more) for number in range(count)]


def model_at(server: FaultyServer, **more: Any) -> RemoteModel:
    return RemoteModel("gpt", **{"base_url": server.url, "backoff": 0.01, "timeout": 1.0, "prices": PRICES, "max_new_tokens": LIMIT} | more)


def costly(asked: Asked) -> Answer:
    return Answer(completion(f"answer to {asked.question}", written=500))


def until_stopped(model: RemoteModel, count: int = 100) -> tuple[list[Reply], BudgetReached]:
    replies: list[Reply] = []
    with pytest.raises(BudgetReached) as caught:
        for reply in model.answer(requests(count)):
            replies.append(reply)
    return replies, caught.value


def test_what_is_spent_is_known_as_it_is() -> None:
    with FaultyServer(costly) as server:
        model = model_at(server)
        assert model.spent == Usage(0, 0, 0.0)
        list(model.answer(requests(4)))
        assert model.spent == Usage(400, 2000, pytest.approx(4 * EACH))
        free = model_at(server, prices=None)
        list(free.answer(requests(4)))
        assert free.spent == Usage(400, 2000, None)


@settings(max_examples=8)
@given(st.floats(0.02, 0.3), st.integers(1, 20))
def test_a_budget_stops_before_it_is_exceeded_and_is_used(budget: float, concurrency: int) -> None:
    with FaultyServer(costly) as server:
        model = model_at(server, budget=budget, concurrency=concurrency)
        replies, stop = until_stopped(model)
        paid = len(server.delivered) * EACH
    worst = (1000 + LIMIT * PRICES[1]) / 1e6
    assert budget - worst < paid <= budget
    assert [reply.text for reply in replies] == [f"answer to q{number}" for number in range(len(server.delivered))]
    assert model.spent.cost == pytest.approx(paid)
    assert f"${paid:.4f} spent" in str(stop) and "larger --budget with --resume" in str(stop)


def test_a_budget_holds_where_images_cost_far_more_than_was_thought() -> None:
    dear = completion("dear", read=50_000, written=1)
    with FaultyServer(lambda asked: Answer(dear, delay=0.01)) as server:
        replies, _ = until_stopped(model_at(server, budget=0.32, concurrency=16))
    assert len(replies) == len(server.delivered) == 6 and len(replies) * 0.05 < 0.32


def test_answers_that_never_came_are_counted_at_their_worst() -> None:
    with FaultyServer(lambda asked: Answer(completion("half"), cut=True)) as server:
        replies, stop = until_stopped(model_at(server, budget=0.05, concurrency=2, retries=1))
    assert len(server.asked) * LIMIT * PRICES[1] / 1e6 <= 0.05
    assert all(reply.error for reply in replies) and "for requests whose usage was not reported" in str(stop)


def test_bad_answers_with_a_bill_are_paid_and_refusals_to_serve_are_not() -> None:
    def behave(asked: Asked) -> Answer:
        return [error(429, "Slow."), Answer(completion("", choices=[], written=500)), costly(asked)][min(asked.nth, 2)]

    with FaultyServer(behave) as server:
        model = model_at(server, budget=1.0)
        list(model.answer(requests(3)))
    assert model.spent == Usage(600, 3000, pytest.approx(6 * EACH))


def test_a_run_resumes_with_a_larger_budget_and_pays_for_nothing_twice(tmp_path: Path) -> None:
    journal = tmp_path / "run.journal"
    with FaultyServer(costly) as server:
        first, _ = until_stopped(model_at(server, budget=0.05, journal=journal))
        again, stop = until_stopped(model_at(server, budget=0.05, journal=journal))
        assert [reply.text for reply in again] == [reply.text for reply in first] and len(server.asked) == len(first)
        assert f"$0.0000 spent now, ${len(first) * EACH:.4f} earlier" in str(stop)
        model = model_at(server, budget=1.0, journal=journal)
        assert len(list(model.answer(requests(30)))) == len(server.asked) == 30
    assert model.spent.completion_tokens == 500 * (30 - len(first))


# The journal


def test_replies_from_the_journal_are_those_that_came(tmp_path: Path) -> None:
    def behave(asked: Asked) -> Answer:
        if asked.question == "q1":
            return Answer(b'{"choices": [{"message": {"refusal": "No."}}], "usage": {"prompt_tokens": 5, "completion_tokens": 1}}')
        return Answer(completion("<a>joie é</a>", pieces=["<a>", "joie", " é", "</a>", "<|im_end|>"])) if asked.nth else error(500, "Oh.")

    with FaultyServer(behave) as server:
        fresh = list(model_at(server, journal=tmp_path / "j").answer(requests(3)))
        asked = len(server.asked)
        kept = list(model_at(server, journal=tmp_path / "j").answer(requests(3)))
    assert [vars(reply) | {"seconds": 0} for reply in kept] == [vars(reply) | {"seconds": 0} for reply in fresh]
    assert [reply.seconds for reply in kept] == pytest.approx([reply.seconds for reply in fresh], abs=1e-4)
    assert fresh[0].attempts == 2 and fresh[1].error is not None and len(server.asked) == asked


def test_another_question_image_seed_or_setting_is_another_answer(tmp_path: Path) -> None:
    journal = tmp_path / "j"
    other = Image.new("RGB", (32, 24), "orange")
    with FaultyServer() as server:
        for temperature in (0.5, 0.6, 0.5):
            model = model_at(server, journal=journal, temperature=temperature, concurrency=1)
            asks = ((IMAGE, "q", 1), (IMAGE, "q", 2), (IMAGE, "p", 1), (other, "q", 1))
            list(model.answer([Request(image, question, seed=seed) for image, question, seed in asks]))
        assert len(server.asked) == 8
        for seed in range(5):
            list(model_at(server, journal=journal).answer([Request(IMAGE, "q", seed=seed)]))
        assert len(server.asked) == 9  # nothing is sampled at temperature 0


def test_errors_are_not_kept(tmp_path: Path) -> None:
    with FaultyServer(lambda asked: error(500, "Oh.") if asked.nth == 0 else answering(asked)) as server:
        assert next(model_at(server, journal=tmp_path / "j", retries=0).answer(requests(1))).error is not None
        assert next(model_at(server, journal=tmp_path / "j", retries=0).answer(requests(1))).text == "answer to q0"


def test_a_journal_survives_a_half_written_line(tmp_path: Path) -> None:
    path = tmp_path / "j"
    journal = Journal(path)
    journal.add("a", Entry(b"{}", 1.0, 2, (3, 4)))
    journal.add("b", Entry(b'{"b": 1}', 0.25, 1, None))
    journal.close()
    path.write_bytes(path.read_bytes() + b'{"key": "c", "coun')
    journal = Journal(path)
    journal.add("d", Entry(b"dd", 0.0, 1, (1, 1)))
    assert journal.find("a") == Entry(b"{}", 1.0, 2, (3, 4)) and journal.find("b") == Entry(b'{"b": 1}', 0.25, 1, None)
    assert journal.find("c") is None and journal.find("d") == Entry(b"dd", 0.0, 1, (1, 1))
    assert journal.counts == (3, 4)


@pytest.mark.parametrize("line", ['{"id": "1"}', '{"key": "1", "response": "joy"}', "joy"])
def test_a_file_that_is_no_journal_is_refused_and_left_alone(tmp_path: Path, line: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(line + "\n")
    with pytest.raises(UserError, match=r"rows\.jsonl"):
        RemoteModel("gpt", base_url="http://127.0.0.1:1/v1", journal=path)
    assert path.read_text() == line + "\n"


# The rate limit


@pytest.mark.slow
def test_requests_go_out_evenly_at_the_rate_allowed() -> None:
    times: list[float] = []

    def behave(asked: Asked) -> Answer:
        times.append(time.monotonic())
        return answering(asked)

    with FaultyServer(behave) as server:
        list(model_at(server, requests_per_minute=1200, concurrency=8).answer(requests(21)))
    assert times[-1] - times[0] >= 20 * 0.05 - 0.05


def test_a_rate_limit_holds_in_every_window_and_is_corrected_by_the_tokens_used(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    limiter = RateLimiter(60)
    assert [limiter.acquire() for _ in range(4)] == [0, 1, 2, 3]
    tokens = RateLimiter(6000)
    assert [tokens.acquire(500), tokens.acquire(500)] == [0, 5]
    tokens.correct(-400)
    assert tokens.acquire(500) == 6
    now += 100
    assert tokens.acquire(500) == 0 and RateLimiter(None).acquire(1e9) == 0
