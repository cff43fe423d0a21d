"""Batch jobs of a real server: rows in order, one for each picture, through restarts and kills."""

from __future__ import annotations

import json
import signal
import time
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from emocaliber.models import TINY
from emocaliber.serving.engine import TOLERANCE
from emocaliber.serving.keys import KeyFile
from serving_servers import ServerProcess, picture, post, served_by_command

PICTURES = [picture(seed, (96, 64)) for seed in range(5)]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[httpx2.Client, Path]]:
    """A client of a server that takes jobs, and the folder in which they are kept."""
    if not (TINY / "config.json").is_file():
        pytest.skip(f"there is no checkpoint in {TINY}")
    folder = tmp_path_factory.mktemp("jobs")
    config = tmp_path_factory.mktemp("config")
    with served_by_command("--jobs", str(folder), config=config) as server, httpx2.Client(base_url=server.url, timeout=60) as client:
        yield client, folder


def as_form(pictures: list[bytes]) -> list[tuple[str, tuple[str, bytes]]]:
    return [("images", (f"{place}.png", data)) for place, data in enumerate(pictures)]


def as_lines(pictures: list[bytes]) -> bytes:
    rows = ({"data": b64encode(data).decode(), "name": f"{place}.png"} for place, data in enumerate(pictures))
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def make(client: httpx2.Client, pictures: list[bytes], **options: Any) -> dict[str, Any]:
    made = client.post("/v1/jobs", files=as_form(pictures), **options)
    assert made.status_code == 202, made.text
    job: dict[str, Any] = made.json()
    assert made.headers["Location"] == f"/v1/jobs/{job['id']}"
    return job


def finished(client: httpx2.Client, job: dict[str, Any], seconds: float = 120) -> dict[str, Any]:
    """The job once it is done."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        seen = client.get(f"/v1/jobs/{job['id']}")
        assert seen.status_code == 200, seen.text
        if seen.json()["state"] == "done":
            found: dict[str, Any] = seen.json()
            return found
        time.sleep(0.05)
    raise AssertionError(f"not done after {seconds} s: {seen.json()}")


def rows(client: httpx2.Client, job: dict[str, Any]) -> list[dict[str, Any]]:
    result = client.get(f"/v1/jobs/{job['id']}/result")
    assert result.status_code == 200 and result.headers["Content-Type"].startswith("application/x-ndjson")
    return [json.loads(line) for line in result.text.splitlines()]


def left(folder: Path) -> list[Path]:
    """The pictures that are still on the disk."""
    return [path for kind in ("pictures", "incoming") for path in (folder / kind).rglob("*") if path.is_file() and path.name[0] != "."]


def test_a_job_has_the_rows_of_emotions_in_order(served: tuple[httpx2.Client, Path]) -> None:
    client, folder = served
    job = make(client, [*PICTURES, b"no picture"])
    assert (job["state"], job["total"], job["model"]) == ("queued", 6, "tiny")
    done = finished(client, job)
    assert (done["done"], done["failed"]) == (6, 1) and done["ended"]
    found = rows(client, job)
    assert [row["image"] for row in found] == [f"{place}.png" for place in range(6)]
    assert found[-1]["error"]["code"] == "unsupported_format"
    direct = post(str(client.base_url).rstrip("/"), *PICTURES).json()["predictions"]
    for row, other in zip(found, direct, strict=False):
        assert row["emotion"] == other["emotion"] and row.keys() == other.keys()
        assert row["confidence"] == pytest.approx(other["confidence"], abs=TOLERANCE)
    assert left(folder) == [], "pictures are removed when they are answered"


def test_lines_and_forms_are_the_same_job(served: tuple[httpx2.Client, Path]) -> None:
    client, _ = served
    headers = {"Content-Type": "application/jsonl"}
    lines = client.post("/v1/jobs?task=FI-2", content=as_lines(PICTURES[:2]), headers=headers).json()
    form = make(client, PICTURES[:2], data={"task": "FI-2"})
    finished(client, lines), finished(client, form)
    for one, other in zip(rows(client, lines), rows(client, form), strict=True):
        assert one["task"] == "FI-2" and (one["image"], one["emotion"]) == (other["image"], other["emotion"])


def test_the_question_may_be_labels_of_ones_own_with_a_least_confidence(served: tuple[httpx2.Client, Path]) -> None:
    client, _ = served
    job = make(client, PICTURES[:1], data={"labels": "awe,fear", "min_confidence": "0.99"})
    assert job["labels"] == ["awe", "fear"] and job["min_confidence"] == 0.99
    finished(client, job)
    (row,) = rows(client, job)
    assert row["task"] == "custom" and row["accepted"] is False


def test_a_key_makes_one_job_however_often_it_is_sent(served: tuple[httpx2.Client, Path]) -> None:
    client, folder = served
    headers = {"Idempotency-Key": "upload 1"}
    first = make(client, PICTURES[:2], headers=headers)
    again = client.post("/v1/jobs", files=as_form(PICTURES[:2]), headers=headers)
    assert again.status_code == 200 and again.json()["id"] == first["id"]
    other = client.post("/v1/jobs", files=as_form(PICTURES[:1]), headers=headers)
    assert other.status_code == 422 and "another job" in other.json()["error"]["message"]
    finished(client, first)
    assert left(folder) == []


def test_a_job_that_is_not_done_has_no_result_and_can_be_ended(served: tuple[httpx2.Client, Path]) -> None:
    client, folder = served
    job = make(client, PICTURES * 8)
    early = client.get(f"/v1/jobs/{job['id']}/result")
    assert early.status_code == 409 and early.headers["Retry-After"]
    assert client.delete(f"/v1/jobs/{job['id']}").status_code == 204
    assert client.get(f"/v1/jobs/{job['id']}").status_code == 404
    assert client.delete(f"/v1/jobs/{job['id']}").status_code == 404
    assert left(folder) == []
    finished(client, make(client, PICTURES[:1]))  # the others go on


INVALID: dict[str, tuple[dict[str, Any], int]] = {
    "no picture": ({"files": [("task", (None, "FI-2"))]}, 422),
    "an unknown task": ({"files": as_form(PICTURES[:1]), "data": {"task": "FI-9"}}, 422),
    "an unknown field": ({"files": as_form(PICTURES[:1]), "data": {"url": "http://a/b"}}, 422),
    "an unknown parameter": ({"files": as_form(PICTURES[:1]), "params": {"priority": "1"}}, 422),
    "a parameter without a name": ({"files": as_form(PICTURES[:1]), "params": {"": "1"}}, 422),
    "a question given twice": ({"files": as_form(PICTURES[:1]), "data": {"task": "FI-2"}, "params": {"task": "FI-2"}}, 422),
    "no number": ({"files": as_form(PICTURES[:1]), "data": {"min_confidence": "high"}}, 422),
    "another type": ({"content": b"x", "headers": {"Content-Type": "text/plain"}}, 415),
    "a form without its end": ({"content": b"--x\r\n", "headers": {"Content-Type": "multipart/form-data; boundary=x"}}, 400),
    "a form without a boundary": ({"content": b"--x\r\n", "headers": {"Content-Type": "multipart/form-data"}}, 400),
    "a line that is none": ({"content": b'{"data": "%"}\n', "headers": {"Content-Type": "application/jsonl"}}, 422),
    "a list in a line": ({"content": b"[]\n", "headers": {"Content-Type": "application/x-ndjson"}}, 422),
    "an empty key": ({"files": as_form(PICTURES[:1]), "headers": {"Idempotency-Key": ""}}, 422),
}


@pytest.mark.parametrize("sent, status", INVALID.values(), ids=INVALID)
def test_what_makes_no_job_is_refused_and_leaves_nothing(served: tuple[httpx2.Client, Path], sent: dict[str, Any], status: int) -> None:
    client, folder = served
    refused = client.post("/v1/jobs", **sent)
    assert refused.status_code == status, refused.text
    assert refused.json()["error"]["message"]
    assert left(folder) == []


def test_a_name_with_a_path_leads_nowhere(served: tuple[httpx2.Client, Path]) -> None:
    client, folder = served
    job = client.post("/v1/jobs", files=[("images", ("../../../tmp/\x1b[31mevil.png", PICTURES[0]))]).json()
    finished(client, job)
    (row,) = rows(client, job)
    assert row["error"] is None and row["image"].isprintable()
    assert {path.name for path in folder.iterdir()} <= {
        "jobs.sqlite3",
        "jobs.sqlite3-wal",
        "jobs.sqlite3-shm",
        "pictures",
        "incoming",
        ".jobs.sqlite3.lock",
    }


def test_without_a_folder_there_are_no_jobs(tiny_server: ServerProcess) -> None:
    assert httpx2.post(f"{tiny_server.url}/v1/jobs", files=as_form(PICTURES[:1])).status_code == 404
    assert "/v1/jobs" not in httpx2.get(f"{tiny_server.url}/openapi.json").json()["paths"]


def test_the_routes_are_described(served: tuple[httpx2.Client, Path]) -> None:
    paths = served[0].get("/openapi.json").json()["paths"]
    assert {"/v1/jobs", "/v1/jobs/{job}", "/v1/jobs/{job}/result", "/v1/systemone", "/v1/decisions", "/v1/chat/completions"} <= set(paths)


@pytest.mark.slow
def test_kills_in_the_middle_of_a_job_lose_nothing_and_repeat_nothing(tmp_path: Path) -> None:
    pictures = [picture(seed, (64, 48)) for seed in range(40)]
    pictures[7] = b"broken"
    job: dict[str, Any] | None = None
    seen = 0
    for ended in (8, 24, None):
        with served_by_command("--jobs", str(tmp_path / "jobs"), config=tmp_path) as server, httpx2.Client(base_url=server.url) as client:
            if job is None:
                job = make(client, pictures)
            if ended is None:
                done = finished(client, job)
                assert (done["done"], done["failed"]) == (40, 1)
                assert [row["image"] for row in rows(client, job)] == [f"{place}.png" for place in range(40)]
                direct = post(server.url, *pictures[30:]).json()["predictions"]
                assert [row["emotion"] for row in rows(client, job)[30:]] == [row["emotion"] for row in direct]
                assert left(tmp_path / "jobs") == []
                return
            while (now := client.get(f"/v1/jobs/{job['id']}").json())["done"] < ended:
                time.sleep(0.02)
            assert now["done"] >= seen, "nothing that was written is lost"
            seen = now["done"]
            server.process.send_signal(signal.SIGKILL)
            server.process.wait()


@pytest.mark.slow
def test_a_job_belongs_to_its_key_counts_against_its_quota_and_another_server_takes_over(tmp_path: Path) -> None:
    file = KeyFile(tmp_path / "emocaliber" / "keys.json")
    ann, bob = file.make("ann", images_per_minute=60), file.make("bob")
    of_ann, of_bob = {"Authorization": f"Bearer {ann}"}, {"Authorization": f"Bearer {bob}"}
    words = ("--jobs", str(tmp_path / "jobs"))
    with served_by_command(*words, config=tmp_path) as first, served_by_command(*words, config=tmp_path) as second:
        with httpx2.Client(base_url=first.url) as client:
            assert client.post("/v1/jobs", files=as_form(PICTURES)).status_code == 401
            job = make(client, PICTURES * 13, headers=of_ann)  # five more than a minute's worth
            for method, path in (("GET", ""), ("GET", "/result"), ("DELETE", "")):
                assert client.request(method, f"/v1/jobs/{job['id']}{path}", headers=of_bob).status_code == 404
            small = make(client, PICTURES[:1], headers=of_bob)
        with httpx2.Client(base_url=second.url, headers=of_bob) as client:
            finished(client, small), "which waits for no quota of others"
        first.process.send_signal(signal.SIGKILL)
        first.process.wait()
        with httpx2.Client(base_url=second.url, headers=of_ann) as client:
            done = finished(client, job)
            assert (done["done"], done["failed"]) == (65, 0)
            assert len(rows(client, job)) == 65
