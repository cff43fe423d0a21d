"""Batches: every request ends as one reply, in order; nothing is paid twice, whatever happens on the way."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Callable, Iterator
from multiprocessing import get_context
from multiprocessing.connection import wait
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from batch_client import ask_40
from batch_server import Answer, BatchServer, told
from emocaliber.core.model import Request
from emocaliber.errors import UserError
from emocaliber.models.openai.limits import BudgetReached
from emocaliber.models.openai.model import RemoteModel
from emocaliber.veccot.batch_model import BatchModel
from emocaliber.veccot.ledger import Ledger

KEY = "sk-very-secret-key"
PICTURE = Image.new("RGB", (8, 8), "teal")


def requests(n: int, start: int = 0) -> list[Request]:
    return [Request(PICTURE, f"question {number}", key=str(number)) for number in range(start, start + n)]


@pytest.fixture
def book(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger(tmp_path / "ledger.sqlite", create=True) as ledger:
        yield ledger


@pytest.fixture
def model(book: Ledger, tmp_path: Path) -> Callable[..., BatchModel]:
    """A model of a server; a later one goes on where an earlier one stopped."""

    def make(server: BatchServer, **settings: Any) -> BatchModel:
        defaults = {"api_key": KEY, "poll": 0.0, "backoff": 0.001, "retries": 3, "prices": (2.0, 8.0), "report": lambda line: None}
        journal = tmp_path / "journal.jsonl"
        return BatchModel("gpt", notes=book, journal=journal, base_url=server.url, **{**defaults, **settings})

    return make


def texts(model: BatchModel, n: int) -> list[str]:
    return [reply.text for reply in model.answer(iter(requests(n)))]


def expected(n: int) -> list[str]:
    return [f"answer to question {number}" for number in range(n)]


def test_replies_come_in_order_each_paid_once_at_half_the_price_but_the_first(model: Callable[..., BatchModel]) -> None:
    with BatchServer() as server:
        asked = model(server)
        replies = list(asked.answer(iter(requests(7))))
    assert [reply.text for reply in replies] == expected(7)
    assert server.full == {"question 0": 1} and server.half.total() == 6
    costs = [reply.usage.cost if reply.usage else None for reply in replies]
    assert costs == pytest.approx([0.0028, *[0.0014] * 6])
    assert asked.spent.cost == pytest.approx(server.cost(2.0, 8.0)) == pytest.approx(sum(cost or 0.0 for cost in costs))
    assert asked.spent.prompt_tokens == 7000


def test_files_keep_to_the_limits_of_count_and_size(model: Callable[..., BatchModel]) -> None:
    with BatchServer(most_requests=4) as server:
        assert texts(model(server, most_requests=4), 10) == expected(10)
        assert [batch["request_counts"]["total"] for batch in server.batches.values()] == [4, 4, 1]


def test_files_keep_to_the_limit_of_bytes(model: Callable[..., BatchModel]) -> None:
    with BatchServer(most_bytes=1200) as server:
        assert texts(model(server, most_bytes=1200), 10) == expected(10)
        assert len(server.batches) > 2


def test_the_same_request_is_asked_once(model: Callable[..., BatchModel]) -> None:
    with BatchServer() as server:
        replies = list(model(server).answer(iter([*requests(3), *requests(3)])))
    assert [reply.text for reply in replies] == expected(3) * 2
    assert server.full.total() + server.half.total() == 3


def test_uploaded_files_are_removed_and_answers_are_not_asked_for_again(model: Callable[..., BatchModel]) -> None:
    with BatchServer() as server:
        texts(model(server), 5)
        assert len(server.removed) == 1
        again = model(server)
        assert texts(again, 5) == expected(5)
        assert again.spent.cost == 0 and server.full.total() + server.half.total() == 5


def test_a_remote_model_finds_the_answers_in_the_same_journal(model: Callable[..., BatchModel], tmp_path: Path) -> None:
    with BatchServer() as server:
        texts(model(server), 5)
        live = RemoteModel("gpt", base_url=server.url, api_key=KEY, journal=tmp_path / "journal.jsonl", logprobs=False)
        assert [reply.text for reply in live.answer(iter(requests(5)))] == expected(5)
        assert server.full.total() == 1


def test_what_a_service_refuses_is_learnt_before_a_batch_is_made(model: Callable[..., BatchModel]) -> None:
    def picky(fields: dict[str, Any]) -> Answer:
        for name in ("max_tokens", "temperature"):
            if name in fields:
                return 400, {"error": {"message": f"Unsupported parameter: '{name}'", "param": name}}
        return told(fields)

    said: list[str] = []
    with BatchServer(answer=picky) as server:
        assert texts(model(server, report=said.append), 4) == expected(4)
    assert len(server.batches) == 1 and "refuses max_tokens" in said[0]


def test_requests_that_fail_end_as_replies_with_the_reason(model: Callable[..., BatchModel]) -> None:
    def moody(fields: dict[str, Any]) -> Answer:
        number = int(fields["messages"][0]["content"][-1]["text"].split()[-1])
        replies: dict[int, Answer] = {
            1: (500, {"error": {"message": "overloaded"}}),
            2: (400, {"error": {"message": "your image is odd"}}),
            3: (200, {"choices": []}),
            4: (400, {"error": {"message": "no", "code": "content_filter"}}),
        }
        return replies.get(number, told(fields))

    with BatchServer(answer=moody) as server:
        replies = list(model(server).answer(iter(requests(6))))
    assert [reply.error.code if reply.error else None for reply in replies] == [
        None,
        "server_error",
        "bad_request",
        "bad_reply",
        "refused",
        None,
    ]
    assert replies[2].error and "your image is odd" in replies[2].error.message


def test_an_expired_batch_gives_what_it_has_and_the_next_run_asks_for_the_rest(model: Callable[..., BatchModel]) -> None:
    with BatchServer(ends_as=("expired", 3)) as server:
        replies = list(model(server).answer(iter(requests(9))))
        assert [reply.error is None for reply in replies] == [True, *[False] * 5, *[True] * 3]
        assert {reply.error.code for reply in replies if reply.error} == {"server_error"}
        server.ends_as = ("completed", None)
        assert texts(model(server), 9) == expected(9)
    assert max(server.half.values()) == 1


def test_a_batch_that_the_service_refuses_is_a_sentence_and_may_be_made_again(model: Callable[..., BatchModel]) -> None:
    with BatchServer(most_requests=2) as server:
        with pytest.raises(UserError, match="the service refuses the batch batch_0: the file is too large"):
            texts(model(server), 9)
        assert texts(model(server, most_requests=2), 9) == expected(9)
    assert (server.full + server.half).total() == 9


def test_where_the_queue_has_no_room_batches_wait_for_each_other(model: Callable[..., BatchModel]) -> None:
    with BatchServer(room=1) as server:
        assert texts(model(server, most_requests=2), 9) == expected(9)
    assert max(server.half.values()) == 1


def test_where_the_queue_has_no_room_for_one_batch_the_user_is_told(model: Callable[..., BatchModel]) -> None:
    with BatchServer(room=0) as server, pytest.raises(UserError, match="Enqueued token limit reached; make batches smaller"):
        texts(model(server), 4)


def test_faults_on_the_way_are_asked_again_and_a_batch_is_never_made_twice(model: Callable[..., BatchModel]) -> None:
    def fault(method: str, path: str, nth: int) -> int | str | None:
        if (method, path) == ("POST", "batches"):
            return {1: "drop", 2: 500, 4: 429}.get(nth)
        return {1: 503, 2: "drop"}.get(nth)

    with BatchServer(fault=fault) as server:
        assert texts(model(server, most_requests=3), 10) == expected(10)
    assert len(server.batches) == 3 and max(server.half.values()) == 1


def test_the_key_stands_in_no_message(model: Callable[..., BatchModel]) -> None:
    faults: list[Callable[[str, str, int], int | str | None]] = [
        lambda method, path, nth: 401,
        lambda method, path, nth: 418 if path == "files" else None,
        lambda method, path, nth: 500 if path == "batches" else None,
    ]
    for fault in faults:
        with BatchServer(fault=fault) as server, pytest.raises(UserError) as caught:
            texts(model(server, retries=0), 3)
        assert KEY not in str(caught.value) and server.keys == {f"Bearer {KEY}"}


def test_a_server_without_batches_is_named_as_such(model: Callable[..., BatchModel]) -> None:
    fault: Callable[[str, str, int], int | None] = lambda method, path, nth: 404 if path == "files" else None  # noqa: E731
    with BatchServer(fault=fault) as server, pytest.raises(UserError, match=r"404 to POST files.*is it a service that takes batches"):
        texts(model(server), 3)


def test_a_budget_is_never_exceeded_and_what_it_pays_for_is_answered(model: Callable[..., BatchModel]) -> None:
    with BatchServer() as server:
        small = model(server, budget=0.05)
        replies = []
        with pytest.raises(BudgetReached, match="larger --budget"):
            for reply in small.answer(iter(requests(100))):
                replies.append(reply.text)
        assert 1 < len(replies) < 100 and replies == expected(len(replies))
        assert server.cost(2.0, 8.0) <= 0.05
        for _ in range(6):  # as answers cost less than feared, there is room for more
            try:
                list(model(server, budget=0.05).answer(iter(requests(100))))
            except BudgetReached:
                continue
        assert 0.04 < server.cost(2.0, 8.0) <= 0.05


def test_settings_that_cannot_be_are_sentences(book: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    make: Callable[..., BatchModel] = lambda **more: BatchModel("gpt", notes=book, journal=tmp_path / "j", **more)  # noqa: E731
    with pytest.raises(UserError, match="wants a key"):
        make()
    with pytest.raises(UserError, match="a budget needs prices"):
        make(api_key=KEY, budget=1.0)
    with pytest.raises(UserError, match="one service"):
        make(api_key=KEY, base_url=["http://a/v1", "http://b/v1"])


@pytest.fixture(scope="module")
def clients() -> ForkServerContext:
    """Processes that have everything imported, so that they start at once."""
    context = get_context("forkserver")
    context.set_forkserver_preload(["batch_client"])
    return context


@pytest.mark.slow
@pytest.mark.parametrize("where", ["POST chat", "POST files", "POST batches", "GET batches", "GET files", "DELETE files"])
def test_a_run_killed_at_any_step_goes_on_without_paying_twice(tmp_path: Path, clients: ForkServerContext, where: str) -> None:
    """The client is killed (`kill -9`) while it waits for the answer to the second request of a kind, and run again."""
    killed = threading.Event()

    def fault(method: str, path: str, nth: int) -> int | str | None:
        if not killed.is_set() and f"{method} {path.split('/')[0]}" == where and nth == (1 if where == "POST chat" else 2):
            killed.set()
            assert client.pid is not None
            os.kill(client.pid, signal.SIGKILL)  # not client.kill(), which would take the exit code from the thread that waits for it
            wait([client.sentinel])
            return "drop"
        return None

    with BatchServer(fault=fault, looks=1) as server:
        client = clients.Process(target=ask_40, args=(tmp_path, server.url))
        client.start()
        assert killed.wait(60)
        client.join()
        assert client.exitcode == -signal.SIGKILL
        again = clients.Process(target=ask_40, args=(tmp_path, server.url))
        again.start()
        again.join()
    assert json.loads((tmp_path / "texts.json").read_text("utf-8")) == expected(40)
    paid = server.full + server.half
    assert len(paid) == 40
    # A question sent outside a batch whose answer was lost is asked again, with the same Idempotency-Key; nothing else is.
    assert all(count == 1 for question, count in paid.items() if (where, question) != ("POST chat", "question 0"))
