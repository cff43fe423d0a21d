"""Servers that fail: every request ends as exactly one reply, no secret is shown, nothing is paid for twice."""

from __future__ import annotations

import base64
import gc
import json
import logging
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from emocaliber.core.model import Reply, Request
from emocaliber.errors import UserError
from emocaliber.models.openai.client import RetryPolicy
from emocaliber.models.openai.failures import retry_after
from emocaliber.models.openai.model import RemoteModel
from faulty_server import HANG, Answer, Asked, FaultyServer, answering, completion, error

IMAGE = Image.new("RGB", (32, 24), "teal")
KEY = "sk-canary/0123456789+abcdef"


def requests(count: int) -> list[Request]:
    return [Request(IMAGE, f"q{number}") for number in range(count)]


def model_at(*servers: FaultyServer, **settings: Any) -> RemoteModel:
    return RemoteModel("gpt", **{"base_url": [each.url for each in servers], "api_key": KEY, "backoff": 0.01, "timeout": 1.0} | settings)


def ask(*servers: FaultyServer, count: int = 1, **settings: Any) -> list[Reply]:
    return list(model_at(*servers, **settings).answer(requests(count)))


FAULTS = {
    "429": error(429, "Slow down."),
    "429 with Retry-After": Answer(b"", 429, {"Retry-After": "0.05"}),
    "500": error(500, "Oh."),
    "503 that is no JSON": Answer(b"<html>busy</html>", 503),
    "hang": HANG,
    "cut body": Answer(completion("half of it"), cut=True),
    "wrong JSON": Answer(b'{"choices": ['),
    "no JSON at all": Answer(b"Welcome to nginx!"),
    "a list": Answer(b"[1, 2]"),
    "nothing": Answer(b""),
    "empty choices": Answer(completion("x", choices=[])),
    "an error that calls itself a success": Answer(b'{"error": {"message": "Overloaded."}}'),
    "no message": Answer(completion("x", choices=[{"index": 0}])),
    "no text": Answer(completion("x", choices=[{"message": {"content": None}, "finish_reason": "tool_calls"}])),
    "slow trickle": Answer(completion("drop by drop"), trickle=0.02),
    "bad gzip": Answer(b"not gzip", headers={"Content-Encoding": "gzip"}),
    "no HTTP": Answer(b"", headers={"Content-Length": "many"}),
}


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_a_fault_that_passes_is_got_over(fault: Answer) -> None:
    with FaultyServer(lambda asked: fault if asked.nth == 0 and asked.question in ("q1", "q2") else answering(asked)) as server:
        replies = ask(server, count=6, concurrency=3, timeout=0.4)
    assert [reply.text for reply in replies] == [f"answer to q{number}" for number in range(6)]
    assert [reply.attempts for reply in replies] == [1, 2, 2, 1, 1, 1]
    assert server.delivered.keys() == {f"q{number}" for number in range(6)}


CODES = {"429": "rate_limited", "500": "server_error", "hang": "timeout", "slow trickle": "timeout"}


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS, ids=FAULTS)
def test_a_fault_that_stays_is_one_reply_with_an_error(fault: str) -> None:
    with FaultyServer(lambda asked: FAULTS[fault] if asked.question == "q1" else answering(asked)) as server:
        first, second, third = ask(server, count=3, retries=1, timeout=0.3)
    assert (first.text, second.text, third.text) == ("answer to q0", "", "answer to q2")
    assert second.error is not None and second.attempts == 2
    assert second.error.code == CODES.get(fault.split(" with")[0].split(" that")[0], second.error.code)
    assert second.error.code in ("bad_reply", "rate_limited", "server_error", "timeout")
    assert server.url in second.error.message and "(attempt 2, the last)" in second.error.message


@pytest.mark.slow
def test_everything_at_once_is_got_over_in_order() -> None:
    faults = [fault for name, fault in FAULTS.items() if name != "slow trickle"]

    def chaos(asked: Asked) -> Answer:
        place = (int(asked.question[1:]) * 7 + asked.nth * 3) % (2 * len(faults))
        return faults[place] if place < len(faults) and asked.nth < 5 else answering(asked)

    with FaultyServer(chaos) as server:
        replies = ask(server, count=80, concurrency=16, timeout=0.5, retries=8)
    assert [reply.text for reply in replies] == [f"answer to q{number}" for number in range(80)]


# Waiting


def test_retry_after_is_seconds_or_a_date() -> None:
    soon = datetime.now(UTC) + timedelta(seconds=30)
    assert retry_after({"retry-after": "7.5"}) == 7.5
    assert retry_after({"retry-after": format_datetime(soon, usegmt=True)}) == pytest.approx(30, abs=2)
    assert retry_after({"retry-after": format_datetime(soon.replace(tzinfo=None))}) == pytest.approx(30, abs=2)
    assert retry_after({"retry-after": "Fri, 31 Dec 1999 23:59:59 GMT"}) == 0
    assert [retry_after({"retry-after": value}) for value in ("", "soon", "nan", "inf")] == [None] * 4
    assert retry_after({}) is None


def test_pauses_are_chosen_by_chance_grow_and_end() -> None:
    policy = RetryPolicy(retries=6, pause=1.0, timeout=20.0)
    for attempt, most in ((1, 1), (2, 2), (4, 8), (6, 20), (500, 20)):
        pauses = [policy.wait(attempt, None) for _ in range(300)]
        assert 0 <= min(pauses) < most / 4 and most * 0.75 < max(pauses) <= most
    assert all(5 <= policy.wait(1, 5.0) <= 6 for _ in range(50))
    assert policy.wait(1, 86_400.0) == 20.0


def test_a_server_that_asks_to_be_left_alone_is_left_alone_by_all() -> None:
    times: list[float] = []

    def behave(asked: Asked) -> Answer:
        times.append(time.monotonic())
        return Answer(b"", 429, {"Retry-After": "0.6"}) if len(times) == 1 else answering(asked)

    with FaultyServer(behave) as server:
        assert all(reply.error is None for reply in ask(server, count=8, concurrency=1))
    assert times[1] - times[0] >= 0.6


# What ends the whole run


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (error(401, "Incorrect API key provided."), "refuses the key .* Set OPENAI_API_KEY"),
        (error(403, "Not for you."), "refuses the key"),
        (error(404, "The model 'gpt' does not exist", code="model_not_found"), "has no model 'gpt' .*Check the model's name"),
        (Answer(b'{"detail": "Not Found"}', 404), r"\(404\): Not Found.*base_url, which often ends in /v1"),
        (error(429, "You exceeded your current quota", code="insufficient_quota"), "no credit left .* --resume"),
        (error(402, "Insufficient Balance"), "no credit left"),
        (Answer(b"", 307, {"Location": "https://elsewhere.test/v1"}), "moved .* to https://elsewhere.test/v1"),
    ],
)
def test_what_concerns_all_requests_ends_the_run_with_its_remedy(answer: Answer, message: str) -> None:
    with FaultyServer(lambda asked: answer) as server:
        with pytest.raises(UserError, match=message):
            ask(server, count=50, concurrency=4)
        assert len(server.asked) <= 4


def test_replies_before_the_end_of_the_run_are_yielded() -> None:
    with FaultyServer(lambda asked: error(401, "Expired.") if asked.question == "q5" else answering(asked)) as server:
        replies = model_at(server, concurrency=2).answer(requests(50))
        assert [next(replies).text for _ in range(5)] == [f"answer to q{number}" for number in range(5)]
        with pytest.raises(UserError, match="Expired"):
            next(replies)


@pytest.mark.slow
def test_the_end_of_a_run_does_not_wait_for_those_who_wait() -> None:
    """One waits for the rate limit, one to be asked again; neither has been sent."""

    def behave(asked: Asked) -> Answer:
        return error(500, "Oh.") if asked.question == "q0" else Answer(error(401, "Expired.").body, 401, delay=0.2)

    with FaultyServer(behave) as server:
        began = time.monotonic()
        with pytest.raises(UserError, match="Expired"):
            ask(server, count=4, backoff=60.0, timeout=60.0, requests_per_minute=100)
        assert time.monotonic() - began < 10 and len(server.asked) <= 3


def closed_port() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}/v1"


def test_a_server_that_is_not_there_ends_the_run() -> None:
    with pytest.raises(UserError, match=r"cannot be reached .*Start the server, or give its address as base_url=URL"):
        list(RemoteModel("gpt", base_url=closed_port(), retries=1, backoff=0.01).answer(requests(3)))


# Several servers


def test_several_servers_share_the_work_evenly() -> None:
    def behave(asked: Asked) -> Answer:
        return Answer(answering(asked).body, delay=0.02)

    with FaultyServer(behave) as one, FaultyServer(behave) as two:
        assert [reply.text for reply in ask(one, two, count=60, concurrency=8)] == [f"answer to q{number}" for number in range(60)]
    assert abs(len(one.asked) - len(two.asked)) <= 20 and len(one.asked) + len(two.asked) == 60


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["500", "hang", "cut body"])
def test_a_server_that_fails_is_rested_and_the_others_go_on(fault: str) -> None:
    with FaultyServer(lambda asked: FAULTS[fault]) as sick, FaultyServer() as well:
        replies = ask(sick, well, count=100, concurrency=4, timeout=0.3, backoff=0.1)
    assert all(reply.error is None for reply in replies)
    assert len(well.delivered) == 100 and len(sick.asked) < 20


@pytest.mark.slow
def test_a_server_that_is_down_is_done_without_and_taken_back_when_it_is_up() -> None:
    with FaultyServer() as well, FaultyServer() as other:
        model = RemoteModel("gpt", base_url=[closed_port(), well.url, other.url], backoff=0.05, concurrency=4)
        assert all(reply.error is None for reply in model.answer(requests(40)))
    assert len(well.delivered) > 5 and len(other.delivered) > 5

    state = {"up": False}
    with FaultyServer(lambda asked: answering(asked) if state["up"] else FAULTS["500"]) as back, FaultyServer() as well:
        model = model_at(back, well, backoff=0.05, concurrency=4)
        list(model.answer(requests(20)))
        state["up"] = True
        time.sleep(0.5)
        list(model.answer(requests(40)))
        assert len(back.delivered) > 5


# Secrets


def echoing(status: int) -> Callable[[Asked], Answer]:
    """Gives everything back, the Authorization header and what JSON makes of it."""

    def behave(asked: Asked) -> Answer:
        said = f"You sent {asked.headers['authorization']}, that is {json.dumps(KEY)} or {KEY.replace('/', chr(92) + '/')}"
        headers = {"Location": f"http://elsewhere.test/?key={KEY}", "X-Echo": KEY, "Retry-After": "0"}
        return Answer(completion(said) if status == 200 else json.dumps({"error": {"message": said}}).encode(), status, headers)

    return behave


@pytest.mark.parametrize("status", [200, 307, 400, 401, 403, 404, 418, 429, 500])
@pytest.mark.parametrize("password", [False, True])
def test_no_secret_is_in_an_error_a_log_a_reply_or_a_file(
    status: int, password: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    journal = tmp_path / "run.journal"
    shown, basic = "", base64.b64encode(b"me:hunter2-hunter2").decode()
    with FaultyServer(echoing(status)) as server:
        address = server.url.replace("//", "//me:hunter2%2Dhunter2@" if password else "//") + "?api-version=canary-2024"
        model = RemoteModel("gpt", base_url=address, api_key=KEY, backoff=0.01, retries=1, journal=journal)
        try:
            shown += "".join(map(repr, model.answer(requests(2))))
        except UserError as caught:
            shown += "".join(map(repr, (caught, caught.__cause__, caught.__context__)))
        again = RemoteModel("gpt", base_url=address, api_key=KEY, retries=0, journal=journal)
        try:
            shown += "".join(map(repr, again.answer(requests(2))))
        except UserError as caught:
            shown += str(caught)
        sent = f"Basic {basic}" if password else f"Bearer {KEY}"
        assert server.asked and all(asked.headers["authorization"] == sent and asked.path.endswith("2024") for asked in server.asked)
    printed = capfd.readouterr()
    shown += repr(model) + repr(vars(model)) + repr(vars(model._client)) + caplog.text + printed.out + printed.err + journal.read_text()
    for secret in (KEY, KEY.replace("/", r"\/"), KEY[:14], "hunter2", basic, "canary-2024"):
        assert secret not in shown
    assert "***" in shown


def test_the_key_is_not_in_what_a_lost_connection_leaves_behind() -> None:
    with FaultyServer(lambda asked: FAULTS["cut body"]) as server:
        (reply,) = ask(server, retries=1)
    assert KEY not in repr(reply)


# Ends


def test_a_model_that_is_let_go_leaves_no_thread_behind() -> None:
    gc.collect()
    before = set(threading.enumerate())
    with FaultyServer() as server:
        model = model_at(server)
        list(model.answer(requests(3)))
        (thread,) = (each for each in set(threading.enumerate()) - before if each.name == "remote model")
        del model
        thread.join(10)
        assert not thread.is_alive()


CLIENT = """
import sys
from PIL import Image
from emocaliber.core.model import Request
from emocaliber.models.openai import RemoteModel
url, journal, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
model = RemoteModel("gpt", base_url=url, api_key="k", journal=journal, concurrency=8, backoff=0.01)
image = Image.new("RGB", (32, 24), "teal")
for reply in model.answer(Request(image, f"q{number}") for number in range(count)):
    print(reply.text, flush=True)
"""


@pytest.mark.slow
def test_nothing_that_was_received_is_paid_for_again_after_a_kill(tmp_path: Path) -> None:
    journal = tmp_path / "run.journal"
    with FaultyServer(lambda asked: Answer(answering(asked).body, delay=0.03)) as server:
        command = [sys.executable, "-c", CLIENT, server.url, str(journal), "120"]
        for _ in range(2):
            client = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
            assert client.stdout is not None
            for _ in range(25):
                client.stdout.readline()
            client.send_signal(signal.SIGKILL)
            client.wait()
            client.stdout.close()
        kept = {json.loads(line)["key"] for line in journal.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")}
        before = len(server.asked)
        shown = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    assert shown.splitlines() == [f"answer to q{number}" for number in range(120)]
    asked_again = {asked.headers["idempotency-key"] for asked in server.asked[before:]}
    assert kept and not kept & asked_again and len(kept) + len(asked_again) == 120
    # Twice eight were under way when the client was killed; everything else was asked for once.
    assert len(server.asked) <= 120 + 2 * 8
