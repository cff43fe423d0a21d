"""The ML backend for Label Studio: what it reads of a configuration, where it takes images from, what it answers and what it learns."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from emocaliber.core.model import Request
from emocaliber.core.response import Reasoning, Response, render
from emocaliber.errors import UserError
from emocaliber.integrations.label_studio import Interface, Sources, annotated_label, votes_of
from emocaliber.io.images import ImageError
from emocaliber.io.rows import read_rows
from emocaliber.models.card import read_calibrators
from emocaliber.predict.predictor import Predictor
from scripted import Scripted

pytest.importorskip("starlette", reason="the server needs the extra serve")
from emocaliber.integrations.label_studio_backend import Backend, create_backend_app

CONFIGURATION = """<View><Image name="photo" value="$picture"/>
<Choices name="mood" toName="photo"><Choice value="Joy"/><Choice value="Fear"/></Choices>
<TextArea name="told" toName="photo"/></View>"""
STEPS = Reasoning("a dog", "nobody", "a park", "it runs", "this suggests joy")


def say(request: Request) -> str:
    """Joy for bright pictures, fear for dark ones; the surer, the farther from grey."""
    level = request.image.convert("L").getpixel((0, 0)) / 255
    label = next(each for each in request.candidates if each.casefold() == ("joy" if level >= 0.5 else "fear"))
    return render(Response(STEPS, label, round(0.5 + abs(level - 0.5), 2), ()))


def picture(folder: Path, name: str, level: int) -> dict[str, str]:
    Image.new("RGB", (8, 8), (level,) * 3).save(folder / name)
    return {"picture": f"/data/local-files/?d={name}"}


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "files").mkdir()
    return tmp_path / "files"


@pytest.fixture
def backend(tmp_path: Path, files: Path) -> Backend:
    def loaded(calibrator: Path | None) -> Predictor:
        return Predictor(Scripted(say), calibrators=read_calibrators(calibrator) if calibrator else None)

    return Backend(loaded, tmp_path / "kept", Sources(folder=files))


Ask = Callable[..., tuple[int, Any]]


@pytest.fixture
def ask(backend: Backend) -> Iterator[Ask]:
    httpx = pytest.importorskip("httpx2")
    app = create_backend_app(backend)

    def asked(path: str, content: object = None, *, method: str = "POST", **more: Any) -> tuple[int, Any]:
        async def request() -> tuple[int, Any]:
            async with httpx.AsyncClient(transport=httpx.ASGITransport(app=more.pop("app", app)), base_url="http://backend") as client:
                found = await client.request(method, path, content=json.dumps(content), **more)
                return found.status_code, found.json()

        return asyncio.run(request())

    yield asked


def test_a_configuration_says_what_is_asked_about_which_field() -> None:
    assert Interface.of(CONFIGURATION) == Interface("mood", "photo", "picture", ("Joy", "Fear"), "told")


@pytest.mark.parametrize("configuration", ["<View", "<View/>", '<View><Image name="i" value="$i"/></View>'])
def test_a_configuration_without_a_choice_about_an_image_is_refused(configuration: str) -> None:
    with pytest.raises(UserError, match="labelling configuration"):
        Interface.of(configuration)


@pytest.mark.parametrize("address", ["/data/local-files/?d=../secret", "/data/local-files/?d=/etc/hostname", "http://elsewhere/a.png"])
def test_images_come_from_the_folder_and_from_label_studio_alone(address: str, files: Path) -> None:
    (files.parent / "secret").write_text("x")
    with pytest.raises(ImageError):
        Sources(url="http://127.0.0.1:1", folder=files).read(address)


def test_the_score_is_the_confidence_and_the_label_is_spelt_as_configured(ask: Ask, files: Path) -> None:
    tasks = [{"id": 1, "data": picture(files, "a b.png", 230)}, {"id": 2, "data": {"picture": "/data/local-files/?d=missing.png"}}]
    status, answer = ask("/predict", {"tasks": tasks, "label_config": CONFIGURATION, "project": "7.1"})
    assert status == 200
    first, second = answer["results"]
    choice = {"from_name": "mood", "to_name": "photo", "type": "choices", "value": {"choices": ["Joy"]}}
    assert first == {"model_version": "scripted", "score": 0.9, "result": [choice]}
    assert (second["result"], second["score"]) == ([], 0.0)
    assert "missing.png" in second["error"]


def test_setup_keeps_the_configuration_of_a_project(ask: Ask, files: Path) -> None:
    assert ask("/setup", {"project": "7.1", "schema": CONFIGURATION}) == (200, {"model_version": "scripted"})
    assert ask("/predict", {"tasks": [{"id": 1, "data": picture(files, "a.png", 9)}], "project": "7.1"})[0] == 200
    status, answer = ask("/predict", {"tasks": [], "project": "8.1"})
    assert status == 400
    assert "labelling configuration" in answer["error"]


def test_health_is_told_to_everybody_and_the_rest_to_who_has_the_password(ask: Ask, backend: Backend) -> None:
    app = create_backend_app(backend, ("ann", "word"))
    assert ask("/health", method="GET", app=app)[1]["status"] == "UP"
    assert ask("/setup", {"schema": CONFIGURATION}, app=app)[0] == 401
    assert ask("/setup", {"schema": CONFIGURATION}, app=app, auth=("ann", "word"))[0] == 200


def annotated(task: int, data: dict[str, str], label: str, person: int = 1) -> dict[str, Any]:
    result = [{"from_name": "mood", "to_name": "photo", "type": "choices", "value": {"choices": [label]}}]
    annotation = {"id": task, "completed_by": person, "result": result}
    project = {"id": 7, "label_config": CONFIGURATION}
    return {"action": "ANNOTATION_CREATED", "task": {"id": task, "data": data}, "annotation": annotation, "project": project}


def test_a_calibrator_is_fitted_on_what_people_chose_and_used_from_then_on(
    ask: Ask, files: Path, backend: Backend, capsys: pytest.CaptureFixture[str]
) -> None:
    # The model is surer than right: it says 0.9, and people agree with two of three pictures.
    for number in range(60):
        level = 230 if number % 2 else 60 + number
        data = picture(files, f"{number}.png", level)
        right, wrong = ("Joy", "Fear") if level > 127 else ("Fear", "Joy")
        assert ask("/webhook", annotated(number, data, wrong if number % 3 == 0 else right))[0] == 201
    assert ask("/webhook", annotated(59, data, "Fear", person=2))[0] == 201  # a tie, which teaches nothing
    assert ask("/webhook", annotated(60, {"picture": "/data/local-files/?d=gone.png"}, "Joy"))[0] == 201
    (files / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    assert ask("/webhook", annotated(61, {"picture": "/data/local-files/?d=broken.png"}, "Joy"))[0] == 201
    before = ask("/predict", {"tasks": [{"id": 1, "data": data}], "label_config": CONFIGURATION})[1]
    status, told = ask("/webhook", {"action": "START_TRAINING", "project": {"id": 7}})
    assert status == 201, told
    after = ask("/predict", {"tasks": [{"id": 1, "data": data}], "label_config": CONFIGURATION})[1]
    assert before["results"][0]["score"] == 0.9
    assert abs(after["results"][0]["score"] - 2 / 3) < 0.1
    assert after["model_version"] != before["model_version"]
    assert told["calibrator"]["questions"][0]["n"] == told["tasks"] == 59
    assert len(list(read_rows(backend.annotations))) == 63
    tie, gone, broken = told["left_out"]
    assert tie == "task 59: as many people chose one label as another"
    assert gone.startswith("task 60: gone.png: is no file below")
    assert broken.startswith("task 61: /data/local-files/?d=broken.png: the end of the image is missing")
    assert "calibrator of 59 tasks, 3 left out; task 59: " in capsys.readouterr().err


def test_where_no_image_can_be_read_training_says_which(ask: Ask) -> None:
    for number in range(12):
        ask("/webhook", annotated(number, {"picture": f"/data/local-files/?d={number}.png"}, "Joy"))
    status, answer = ask("/train", {})
    assert status == 400
    assert "task 0: 0.png: is no file below" in answer["error"]
    assert answer["error"].endswith("; and 3 more"), "ten sentences are told, and the others counted"


def test_too_few_annotations_fit_nothing_and_say_so(ask: Ask, files: Path) -> None:
    assert "no annotations yet" in ask("/train", {})[1]["error"]
    ask("/webhook", annotated(1, picture(files, "a.png", 9), "Joy"))
    status, answer = ask("/train", {})
    assert status == 400
    assert "at least 50" in answer["error"]


def test_of_one_person_the_last_label_counts_and_a_skip_withdraws_it() -> None:
    rows = [
        {"task": 1, "person": "a", "label": "Joy"},
        {"task": 1, "person": "b", "label": "Joy"},
        {"task": 1, "person": "a", "label": None},
    ]
    assert votes_of(rows) == {"1": {"Joy": 1}}
    interface = Interface.of(CONFIGURATION)
    assert annotated_label({"was_cancelled": True, "result": []}, interface) is None


def test_a_request_that_is_none_gets_a_sentence(ask: Ask) -> None:
    for path, content in {"/predict": {"tasks": 3}, "/setup": {"schema": "<a"}, "/webhook": []}.items():
        status, answer = ask(path, content)
        assert status == 400
        assert answer["error"]


@contextlib.contextmanager
def label_studio(tasks: list[dict[str, Any]], asked: list[tuple[str, str]]) -> Iterator[str]:
    """The address of a server that answers as Label Studio does to its key and to a personal access token."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.answer(tasks)

        def do_POST(self) -> None:
            self.answer({"access": "short"})

        def answer(self, content: object) -> None:
            asked.append((self.path, self.headers.get("Authorization", "")))
            data = json.dumps(content).encode()
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize(("key", "shown"), [("legacy", "Token legacy"), ("a.b.c", "Bearer short")])
def test_with_its_key_training_reads_the_annotations_of_label_studio_itself(
    ask: Ask, files: Path, backend: Backend, key: str, shown: str
) -> None:
    tasks = []
    for number in range(60):
        event = annotated(number, picture(files, f"{number}.png", 230 if number % 2 else 60), "Joy")
        tasks.append({**event["task"], "annotations": [event["annotation"]]})
    asked: list[tuple[str, str]] = []
    with label_studio(tasks, asked) as address:
        backend.sources = Sources(address, key, files)
        status, told = ask("/webhook", {"action": "START_TRAINING", "project": {"id": 7, "label_config": CONFIGURATION}})
    assert (status, told["tasks"]) == (201, 60), told
    assert asked[-1] == ("/api/projects/7/export?exportType=JSON", shown)
