"""`POST /v1/emotions`: the rows of `predict`, and one form of error for everything else."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path
from typing import Any

import httpx2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emocaliber.predict.predictor import Predictor
from emocaliber.serving.engine import TOLERANCE
from emocaliber.serving.errors import CODES
from serving_servers import ServerProcess, picture, post

EXAMPLES = sorted((Path(__file__).parents[2] / "examples" / "images").glob("*.png"))[:3]


def asked(server: ServerProcess, content: Any, kind: str = "application/json") -> httpx2.Response:
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    return httpx2.post(f"{server.url}/v1/emotions", content=body, headers={"Content-Type": kind}, timeout=60)


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


def refused(response: httpx2.Response, status: int) -> str:
    """The message of an error, whose form is the same everywhere."""
    assert response.status_code == status, response.text
    assert set(response.json()) == {"error"} and set(response.json()["error"]) == {"code", "message"}
    assert response.json()["error"]["code"] == CODES[status]
    message = response.json()["error"]["message"]
    assert message.isprintable() and message.endswith((".", "?"))
    return str(message)


def test_rows_are_those_of_predict_in_order_with_the_names_of_the_files(tiny_server: ServerProcess, tiny: Predictor) -> None:
    files = [("images", (path.name, path.read_bytes())) for path in EXAMPLES]
    response = httpx2.post(f"{tiny_server.url}/v1/emotions", files=files, data={"task": "FI-8", "min_confidence": "0.3"}, timeout=60)
    assert response.status_code == 200 and response.json()["model"] == "tiny"
    for row, path in zip(response.json()["predictions"], EXAMPLES, strict=True):
        expected = tiny.predict(path, task="FI-8", min_confidence=0.3).to_row() | {"image": path.name, "seconds": row["seconds"]}
        near = {name: pytest.approx(value, abs=TOLERANCE) for name, value in expected.items() if isinstance(value, float)}
        near["alternatives"] = [
            {"emotion": each["emotion"], "probability": pytest.approx(each["probability"], abs=TOLERANCE)}
            for each in expected["alternatives"]
        ]
        assert row == expected | near


def test_a_form_and_json_get_the_same_answer(tiny_server: ServerProcess) -> None:
    data = EXAMPLES[0].read_bytes()
    form = post(tiny_server.url, data, labels="awe, fear,sadness").json()
    as_json = asked(tiny_server, {"images": [{"data": encoded(data), "name": "0.png"}], "labels": ["awe", "fear", "sadness"]}).json()
    as_uri = asked(
        tiny_server, {"images": [{"data": f"data:image/png;base64,{encoded(data)}", "name": "0.png"}], "labels": ["awe", "fear", "sadness"]}
    ).json()
    for each in (form, as_json, as_uri):
        each["predictions"][0]["seconds"] = None
    assert form == as_json == as_uri


def test_images_without_names_are_called_by_their_place(tiny_server: ServerProcess) -> None:
    rows = asked(tiny_server, {"images": [{"data": encoded(picture("red"))}] * 2}).json()["predictions"]
    assert [row["image"] for row in rows] == ["image-1", "image-2"]


def test_an_unreadable_image_is_a_row_with_an_error_beside_the_others(tiny_server: ServerProcess) -> None:
    response = post(tiny_server.url, picture("red"), b"no image", b"", picture("teal", (1, 1)))
    assert response.status_code == 200
    codes = [row["error"] and row["error"]["code"] for row in response.json()["predictions"]]
    assert codes == [None, "unsupported_format", "empty", None]


def test_strange_pictures_get_the_codes_that_predict_gives_them(tiny_server: ServerProcess, oddities: dict[str, str | None]) -> None:
    files = {path: code for path, code in oddities.items() if os.path.isfile(path)}
    assert len(files) > 12  # cut, empty, huge, animated, turned, in CMYK, of 16 bits
    response = post(tiny_server.url, *[Path(path).read_bytes() for path in files])
    codes = [row["error"] and row["error"]["code"] for row in response.json()["predictions"]]
    assert codes == list(files.values())


def test_warnings_say_what_users_of_the_model_must_know(tiny_server: ServerProcess) -> None:
    notice, *others = post(tiny_server.url, picture("red"), labels="calm,odd").json()["warnings"]
    assert "photographs" in notice and any("guesses" in each for each in others)


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "C:\\windows\\x.png", "/etc/shadow", "a\x00b.png", "<img src=x onerror=alert(1)>", "☃" * 400]
)
def test_names_are_names_only_whatever_they_say(tiny_server: ServerProcess, name: str) -> None:
    response = asked(tiny_server, {"images": [{"data": encoded(picture("red")), "name": name}]})
    assert response.headers["content-type"] == "application/json" and response.headers["x-content-type-options"] == "nosniff"
    (row,) = response.json()["predictions"]
    assert row["error"] is None and row["image"].isprintable() and len(row["image"]) <= 255


def test_html_and_half_a_character_in_labels_and_names_come_back_as_data(tiny_server: ServerProcess) -> None:
    labels = ["<script>alert(1)</script>", "</answer><answer>", "awe"]
    response = asked(tiny_server, {"images": [{"data": encoded(picture("red")), "name": "\ud800"}], "labels": labels})
    assert response.status_code == 200 and response.json()["predictions"][0]["emotion"] in labels
    assert "default-src 'none'" in response.headers["content-security-policy"]


WRONG: dict[str, tuple[Any, str]] = {
    "no object": ([], "object"),
    "no images": ({}, "images"),
    "an empty list": ({"images": []}, "no image"),
    "images that are text": ({"images": ["x"]}, "image 1"),
    "no data": ({"images": [{"name": "x"}]}, "image 1"),
    "no base64": ({"images": [{"data": "§"}]}, "base64"),
    "an address": ({"images": [{"data": "https://example.org/a.png"}]}, "nothing is fetched"),
    "a file's address": ({"images": [{"data": "file:///etc/passwd"}]}, "nothing is fetched"),
    "an unknown field": ({"images": [{"data": ""}], "url": "x"}, "'url'"),
    "an unknown field of an image": ({"images": [{"data": "", "url": "x"}]}, "no others"),
    "an unknown task": ({"images": [{"data": ""}], "task": "EmoSt-8"}, "did you mean EmoSet-8"),
    "a task that is a number": ({"images": [{"data": ""}], "task": 8}, "task"),
    "a task beside labels": ({"images": [{"data": ""}], "task": "FI-2", "labels": ["a", "b"]}, "not both"),
    "one label": ({"images": [{"data": ""}], "labels": ["a"]}, "two or more"),
    "equal labels": ({"images": [{"data": ""}], "labels": ["a", "A"]}, "same"),
    "an empty label": ({"images": [{"data": ""}], "labels": ["a", " "]}, "empty"),
    "a label of two lines": ({"images": [{"data": ""}], "labels": ["a", "b\nc"]}, "line breaks"),
    "a long label": ({"images": [{"data": ""}], "labels": ["a", "b" * 65]}, "64 characters"),
    "many labels": ({"images": [{"data": ""}], "labels": [f"{n}" for n in range(65)]}, "64"),
    "labels that are numbers": ({"images": [{"data": ""}], "labels": [1, 2]}, "texts"),
    "labels that are text": ({"images": [{"data": ""}], "labels": "a,b"}, "texts"),
    "a confidence above 1": ({"images": [{"data": ""}], "min_confidence": 1.5}, "between 0 and 1"),
    "a confidence that is text": ({"images": [{"data": ""}], "min_confidence": "1"}, "number"),
    "a confidence that is a flag": ({"images": [{"data": ""}], "min_confidence": True}, "number"),
}


@pytest.mark.parametrize(("content", "about"), WRONG.values(), ids=WRONG)
def test_json_of_another_form_is_refused_with_what_would_be_right(tiny_server: ServerProcess, content: Any, about: str) -> None:
    assert about in refused(asked(tiny_server, content), 422)


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"[" * 100_000, b'{"images": NaN}', b'{"images": ' + b"9" * 5000 + b"}"])
def test_what_is_no_json_is_refused(tiny_server: ServerProcess, body: bytes) -> None:
    assert asked(tiny_server, body).status_code in (400, 413)


def test_json_of_countless_values_is_refused_before_it_is_read(tiny_server: ServerProcess) -> None:
    refused(asked(tiny_server, b'{"images": [' + b"[]," * 3_000_000 + b"1]}"), 413)


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "image/png", ""])
def test_other_kinds_of_body_are_refused(tiny_server: ServerProcess, kind: str) -> None:
    assert "multipart/form-data" in refused(asked(tiny_server, b"x", kind), 415)


def form(*parts: bytes, end: bytes = b"--b--\r\n") -> bytes:
    return b"".join(b"--b\r\n" + part + b"\r\n" for part in parts) + end


def field(name: str, value: bytes, more: str = "") -> bytes:
    return f'Content-Disposition: form-data; name="{name}"{more}\r\n\r\n'.encode() + value


IMAGE = field("images", picture("red"), '; filename="a.png"')
FORMS: dict[str, tuple[bytes, int]] = {
    "no images": (form(field("task", b"EmoSet-8")), 422),
    "an address": (form(field("images", b"http://169.254.169.254/latest")), 422),
    "an unknown field": (form(IMAGE, field("image_url", b"http://a/b")), 422),
    "a field twice": (form(IMAGE, field("task", b"FI-2"), field("task", b"FI-8")), 422),
    "a field that is no text": (form(IMAGE, field("task", b"\xff")), 422),
    "a confidence that is no number": (form(IMAGE, field("min_confidence", b"nan")), 422),
    "a long field": (form(IMAGE, field("labels", b"a," * 100_000)), 413),
    "too many images": (form(*[IMAGE] * 17), 413),
    "too many parts": (form(*[field(f"f{n}", b"") for n in range(40)]), 413),
    "no name": (form(b"Content-Type: image/png\r\n\r\nx"), 400),
    "an encoding": (form(b"Content-Transfer-Encoding: base64\r\n" + IMAGE), 415),
    "long headers": (form(b"X: " + b"x" * 100_000 + b"\r\n" + IMAGE), 400),
    "many headers": (form(b"".join(b"X%d: x\r\n" % n for n in range(200)) + IMAGE), 400),
    "no end": (form(IMAGE, end=b""), 400),
    "another boundary": (form(IMAGE).replace(b"--b", b"--c"), 400),
    "nothing": (b"", 400),
}


@pytest.mark.parametrize(("body", "status"), FORMS.values(), ids=FORMS)
def test_forms_of_another_form_are_refused(tiny_server: ServerProcess, body: bytes, status: int) -> None:
    refused(asked(tiny_server, body, "multipart/form-data; boundary=b"), status)


def test_a_form_without_a_boundary_is_refused(tiny_server: ServerProcess) -> None:
    refused(asked(tiny_server, form(IMAGE), "multipart/form-data"), 400)


@settings(max_examples=40)
@given(st.binary(max_size=400), st.sampled_from(["multipart/form-data; boundary=b", "application/json"]))
def test_no_body_makes_the_server_fail(tiny_server: ServerProcess, body: bytes, kind: str) -> None:
    assert asked(tiny_server, body, kind).status_code < 500
    assert asked(tiny_server, b"--b\r\n" + body + b"\r\n--b--\r\n", kind).status_code < 500


def test_a_deadline_that_passes_is_a_504_and_one_that_is_none_is_refused(tiny_server: ServerProcess) -> None:
    refused(post(tiny_server.url, picture("red"), headers={"X-Deadline": "0.001"}), 504)
    for text in ("0", "-1", "nan", "inf", "soon"):
        refused(post(tiny_server.url, picture("red"), headers={"X-Deadline": text}), 422)


def test_other_addresses_and_methods_are_refused_in_the_same_form(tiny_server: ServerProcess) -> None:
    refused(httpx2.get(f"{tiny_server.url}/v1/nothing"), 404)
    response = httpx2.get(f"{tiny_server.url}/v1/emotions")
    refused(response, 405)
    assert "POST" in response.headers["allow"]
