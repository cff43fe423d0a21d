"""The ML backend connected to the real Label Studio on loopback: `make try-label-studio`. Fails where what happens differs.

Label Studio is started with a data base of its own, given a project with pictures, and connected to `emocaliber label-studio`; it asks for
predictions, people's annotations come back by its webhook, and the training that is started there fits a calibrator.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import emocaliber
from emocaliber.core.samples import read_samples

TOKEN = "0123456789abcdef0123456789abcdef01234567"
TASK = "EmoSet-8"
PATIENCE = 3600  # seconds, on a busy machine


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


@contextlib.contextmanager
def running(words: list[str], log: Path, **environment: str) -> Iterator[None]:
    with log.open("w") as out:
        process = subprocess.Popen(words, stdout=out, stderr=subprocess.STDOUT, env={**os.environ, **environment})
    try:
        yield
    finally:
        process.terminate()
        process.wait(60)


def call(address: str, content: object = None, method: str | None = None) -> Any:
    data = None if content is None else json.dumps(content).encode()
    headers = {"Authorization": f"Token {TOKEN}", "Content-Type": "application/json"}
    with urllib.request.urlopen(urllib.request.Request(address, data, headers, method=method), timeout=PATIENCE) as answer:
        return json.loads(answer.read() or b"null")


def wait_for(address: str) -> None:
    end = time.monotonic() + PATIENCE
    while True:
        try:
            with urllib.request.urlopen(address, timeout=60):
                return
        except (OSError, urllib.error.URLError):
            if time.monotonic() > end:
                raise
            time.sleep(1)


def main(samples: Path, program: str) -> None:
    found = [each for each in read_samples(samples) if each.task == TASK]
    root = samples.parent.resolve()
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        there, ours = (f"http://127.0.0.1:{free_port()}" for _ in range(2))
        settings = {
            "LABEL_STUDIO_BASE_DATA_DIR": str(work / "data"),
            "LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED": "true",
            "LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT": str(root),
            "LABEL_STUDIO_ENABLE_LEGACY_API_TOKEN": "1",
            "ML_BLOCK_LOCAL_IP": "0",  # it is on this machine
            **{"COLLECT_ANALYTICS": "0", "LATEST_VERSION_CHECK": "0", "SENTRY_DSN": "", "FRONTEND_SENTRY_DSN": ""},
        }
        person = ["--username", "ann@example.org", "--password", "wordword1", "--user-token", TOKEN]
        words = [program, "start", "--no-browser", "--internal-host", "127.0.0.1", "-p", there.rpartition(":")[2], *person]
        backend = [sys.executable, "-m", "emocaliber", "label-studio", "tiny", "--port", ours.rpartition(":")[2]]
        backend += ["--out", str(work / "kept"), "--files", str(root), "--label-studio", there]
        with running(words, Path("runs/try/label-studio.log"), **settings), running(backend, Path("runs/try/backend.log")):
            wait_for(f"{there}/health")
            wait_for(f"{ours}/health")
            tried(there, ours, root, found)


def tried(there: str, ours: str, root: Path, found: list[Any]) -> None:
    print("label-studio", call(f"{there}/api/version")["label-studio-os-package"]["version"])
    choices = "".join(f'<Choice value="{label}"/>' for label in found[0].candidates)
    shown = '<Image name="image" value="$image"/><Choices name="emotion" toName="image">'
    configuration = f'<View>{shown}{choices}</Choices><TextArea name="told" toName="image"/></View>'
    project = call(f"{there}/api/projects", {"title": "try", "label_config": configuration})["id"]
    paths = [Path(each.image).resolve().relative_to(root).as_posix() for each in found]
    call(f"{there}/api/projects/{project}/import", [{"image": f"/data/local-files/?d={path}"} for path in paths])
    connected = call(f"{there}/api/ml", {"project": project, "url": ours, "title": "emocaliber"})
    print("connected:", connected["state"], connected["model_version"])
    tasks = call(f"{there}/api/tasks?project={project}&page_size=100")["tasks"]
    call(f"{there}/api/dm/actions?id=retrieve_tasks_predictions&project={project}", {"selectedItems": {"all": True, "excluded": []}})
    predicted = call(f"{there}/api/predictions?project={project}")
    by_task = {each["task"]: each for each in predicted}
    model = emocaliber.load("tiny")
    for task, sample in zip(sorted(tasks, key=lambda each: each["id"]), found, strict=True):
        mine, theirs = model.predict(sample.image, task=TASK), by_task[task["id"]]
        assert theirs["result"][0]["value"]["choices"] == [mine.emotion]
        assert abs(theirs["score"] - (mine.confidence or 0)) < 1e-9, (theirs["score"], mine.confidence)
    first = predicted[0]
    print(
        f"{len(predicted)} predictions, label and score those of emocaliber.predict; the first:",
        first["score"],
        first["result"][1]["value"],
    )
    for task, sample in zip(sorted(tasks, key=lambda each: each["id"]), found, strict=True):
        result = [{"from_name": "emotion", "to_name": "image", "type": "choices", "value": {"choices": [sample.ground_truth]}}]
        call(f"{there}/api/tasks/{task['id']}/annotations", {"result": result})
    health = call(f"{ours}/health")
    print("backend:", health)
    try:
        print("training:", call(f"{there}/api/ml/{connected['id']}/train", {}))
    except urllib.error.HTTPError as error:
        print("training:", error.code, error.read().decode()[:300])


if __name__ == "__main__":
    Path("runs/try").mkdir(parents=True, exist_ok=True)
    main(Path(sys.argv[1]), sys.argv[2])
