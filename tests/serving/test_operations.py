"""What operators see: whether it works, what it counts, what it says of its model, and nothing of what it was sent."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx2
import psutil
import pytest

from emocaliber.__main__ import main
from emocaliber.core.model import Reply, Request
from emocaliber.serving import operations
from emocaliber.serving.settings import CertificateInUse
from emocaliber.trust.certificate_file import Certificate, Certified, CertifiedQuestion, this_moment, voided
from serving_servers import ServerProcess, picture, post, served_by_command, served_model
from stand_ins import ColourModel


@dataclass
class Switched(ColourModel):
    """A model that fails while it is off."""

    on: bool = True

    def answer(self, requests: Iterable[Request]) -> Iterator[Reply]:
        if not self.on:
            raise RuntimeError("the device is gone")
        return super().answer(requests)


def counted(url: str, name: str) -> float:
    """The value of a series in /metrics; 0 if it is not there."""
    found = re.search(rf"^{re.escape(name)} (\S+)$", httpx2.get(f"{url}/metrics").text, re.MULTILINE)
    return float(found[1]) if found else 0.0


def test_ready_is_green_while_the_model_answers_and_red_while_it_does_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operations, "FRESH", 0.0)
    model = Switched()
    with served_model(model, tmp_path) as (url, _):
        assert httpx2.get(f"{url}/ready").status_code == 200
        model.on = False
        red = httpx2.get(f"{url}/ready")
        assert red.status_code == 503 and "retry-after" in red.headers
        assert httpx2.get(f"{url}/health").status_code == 200  # it lives, and can be asked
        assert post(url, picture("red", (1, 1))).json()["predictions"][0]["error"]["code"] == "internal"
        model.on = True
        assert httpx2.get(f"{url}/ready").status_code == 200


def test_many_who_ask_whether_it_is_ready_cost_one_picture(tmp_path: Path) -> None:
    with served_model(ColourModel(seconds_each=0.2), tmp_path) as (url, _):
        threads = [threading.Thread(target=httpx2.get, args=(f"{url}/ready",)) for _ in range(10)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        assert counted(url, "emocaliber_batch_images_count") == 1
        assert counted(url, "emocaliber_image_seconds_count") == 0  # the canary is no answer to anybody


def test_metrics_count_what_happened(tmp_path: Path) -> None:
    with served_model(ColourModel(), tmp_path) as (url, _):
        post(url, picture("orange"), picture("black"), b"no image")
        post(url, picture((255, 0, 0)), picture((100, 0, 0)), min_confidence="0.6")
        assert counted(url, 'emocaliber_requests_total{route="/v1/emotions",status="200"}') == 2
        for outcome, count in (("answered", 1), ("failed", 2), ("accepted", 1), ("abstained", 1)):
            assert counted(url, f'emocaliber_images_total{{outcome="{outcome}"}}') == count, outcome
        assert counted(url, 'emocaliber_image_errors_total{code="malformed"}') == 1
        assert counted(url, "emocaliber_confidence_count") == 3
        assert counted(url, 'emocaliber_confidence_bucket{le="0.9"}') == 1
        assert counted(url, "emocaliber_queue_images") == counted(url, "emocaliber_queue_pixels") == 0


def test_what_clients_send_is_in_no_label_of_a_metric(tmp_path: Path) -> None:
    with served_model(ColourModel(), tmp_path) as (url, _):
        httpx2.get(f"{url}/private-path")
        post(url, picture("red"), labels="secret-one,secret-two")
        text = httpx2.get(f"{url}/metrics").text
        assert "secret" not in text and "private" not in text and 'route="other",status="404"' in text


def test_models_are_listed_in_openais_form_with_their_questions(tiny_server: ServerProcess) -> None:
    found = httpx2.get(f"{tiny_server.url}/v1/models").json()
    (model,) = found["data"]
    assert found["object"] == "list" and model["id"] == "tiny" and model["object"] == "model" and model["created"] > 1.7e9
    tasks = {each["task"]: each for each in model["x_tasks"]}
    assert tasks["EmoSet-8"]["calibrated"] and len(tasks["EmoSet-8"]["labels"]) == 8 and tasks["FI-2"]["kind"] == "sentiment"
    assert "Abstract-8" not in tasks  # which tiny was not taught


def test_calibration_says_which_questions_are_calibrated(tiny_server: ServerProcess) -> None:
    found = httpx2.get(f"{tiny_server.url}/v1/calibration").json()
    assert found["certificate"] is None
    assert {"task": "FI-2", "labels": ["positive", "negative"], "people": True} in found["questions"]


def certificate() -> Certificate:
    """A certificate that accepts ColourModel's answers to EmoSet-8 from 0.6 on."""
    what = Certified(100, 0.8, 0.1, 0.6, 50, 45, None, {})
    labels = ("amusement", "awe", "contentment", "excitement", "anger", "disgust", "fear", "sadness")
    now = this_moment()
    return Certificate(
        terms="right in 80 %",
        source="verb",
        pooled=what,
        per_question=(CertifiedQuestion("EmoSet-8", labels, what),),
        together=True,
        model={"name": "colour", "sha256": None},
        created=now.isoformat(),
        expires=now.replace(year=now.year + 1).isoformat(),
        answers={},
        reference={},
    )


def test_a_certificate_decides_until_it_is_declared_void(tmp_path: Path) -> None:
    file = tmp_path / "certificate.json"
    promise = certificate()
    promise.save(file)
    with served_model(ColourModel(), tmp_path, certificate=CertificateInUse(file)) as (url, _):
        pictures = [picture((255, 0, 0)), picture((100, 0, 0))]
        rows = post(url, *pictures).json()["predictions"]
        assert [row["accepted"] for row in rows] == [True, False] and rows[0]["certificate"] == promise.id
        assert counted(url, "emocaliber_certificate_valid") == 1
        assert httpx2.get(f"{url}/v1/calibration").json()["certificate"]["questions"][0]["threshold"] == 0.6
        assert post(url, *pictures, min_confidence="0.5").status_code == 422

        time.sleep(0.01)
        voided(promise, "row 7", "the mix of answers moved").save(file)
        answer = post(url, *pictures).json()
        assert [row["accepted"] for row in answer["predictions"]] == [None, None] and "void" in answer["predictions"][0]["uncertified"]
        assert any("no answer is accepted" in each for each in answer["warnings"])
        assert counted(url, "emocaliber_certificate_valid") == 0

        file.unlink()
        assert [row["accepted"] for row in post(url, *pictures).json()["predictions"]] == [None, None]


def test_an_unexpected_error_is_logged_by_its_place_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("secret")

    with served_model(ColourModel(), tmp_path) as (url, engine):
        monkeypatch.setattr(engine.predictor, "warnings", broken)
        response = post(url, picture("red"))
        assert response.status_code == 500 and response.json()["error"]["code"] == "internal" and "secret" not in response.text
        assert "RuntimeError" in caplog.text and "secret" not in caplog.text
        monkeypatch.undo()
        assert post(url, picture("red")).status_code == 200


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_server_that_is_stopped_answers_what_it_has_and_has_printed_nothing_that_it_was_sent(tmp_path: Path, number: int) -> None:
    with served_by_command(config=tmp_path) as server:
        children = psutil.Process(server.process.pid).children()
        files = [("images", ("holiday-secret.png", picture("red"))), ("images", ("broken-secret.png", picture("red")[:40]))]
        assert httpx2.post(f"{server.url}/v1/emotions", files=files, data={"labels": "secret,other"}, timeout=60).status_code == 200
        httpx2.get(f"{server.url}/secret?secret=1", headers={"Authorization": "Bearer secret"})
        with socket.create_connection(("127.0.0.1", int(server.url.rpartition(":")[2]))) as connection:
            connection.sendall(b"secret\r\n\r\n")
            assert connection.recv(1000).startswith(b"HTTP/1.1 400")
        answers: list[httpx2.Response] = []
        threads = [threading.Thread(target=lambda: answers.append(post(server.url, *[picture(n) for n in range(8)]))) for _ in range(4)]
        for each in threads:
            each.start()
        while counted(server.url, "emocaliber_queue_images") < 32:
            time.sleep(0.01)
        code, printed = server.stop(number)
        for each in threads:
            each.join()
    assert [each.status_code for each in answers] == [200] * 4
    assert all(row["error"] is None for each in answers for row in each.json()["predictions"])
    assert code == 0 and "stopped" in printed and "secret" not in printed
    assert not any(each.is_running() for each in children)


def test_killed_decoding_processes_of_a_running_server_are_replaced(tiny_server: ServerProcess) -> None:
    for child in psutil.Process(tiny_server.process.pid).children():
        os.kill(child.pid, signal.SIGKILL)
    rows = post(tiny_server.url, *[picture(n) for n in range(4)]).json()["predictions"]
    assert [row["error"] for row in rows] == [None] * 4


def test_a_port_that_is_taken_is_said_before_the_model_is_loaded(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert main(["serve", "--port", str(taken.getsockname()[1])]) == 2
    assert "--port" in capsys.readouterr().err


def test_without_its_packages_the_command_says_what_to_install() -> None:
    code = "import sys; sys.modules['uvicorn'] = None; from emocaliber.__main__ import main; sys.exit(main(['serve']))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ran.returncode == 2 and ran.stderr.count("\n") == 1 and "pip install" in ran.stderr


def test_the_command_line_loads_no_web_library() -> None:
    code = (
        "import sys, emocaliber.__main__ as m; m.build_parser(); "
        "print(sorted({'starlette', 'uvicorn', 'prometheus_client', 'python_multipart'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_two_servers_can_share_a_port(tmp_path: Path) -> None:
    from emocaliber.serving.server import bound_socket

    with bound_socket("127.0.0.1", 0, shared=True) as first, bound_socket("127.0.0.1", first.getsockname()[1], shared=True) as second:
        assert first.getsockname() == second.getsockname()


def test_the_document_names_all_addresses(tiny_server: ServerProcess) -> None:
    found = httpx2.get(f"{tiny_server.url}/openapi.json").json()
    assert found["openapi"] == "3.1.0" and json.dumps(found)
    assert {"/v1/emotions", "/v1/models", "/v1/calibration", "/health", "/ready", "/metrics", "/openapi.json"} <= set(found["paths"])
    row = post(tiny_server.url, picture("red")).json()["predictions"][0]
    assert set(found["components"]["schemas"]["Prediction"]["properties"]) == set(row)
