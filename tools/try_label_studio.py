"""The ML backend connected to the real Label Studio on loopback: `make try-label-studio`. Fails where what happens differs.

python tools/try_label_studio.py BENCH PROGRAM [--picture FILE.png]

Label Studio (PROGRAM) is started with a data base of its own, or that of LABEL_STUDIO_BASE_DATA_DIR, given a project with pictures and one
that is not there, and connected to `emocaliber label-studio`; it asks for predictions, people's annotations come back by its webhook, and
the training that is started there fits a calibrator, by which it is then asked again. A second project has the tasks that `emocaliber
convert` writes, and hands them out in their order. BENCH is a folder of `bench build`. With `--picture`, a task is drawn in Chromium.
"""

from __future__ import annotations

import argparse
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
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import emocaliber
from emocaliber.__main__ import main as emocaliber_command
from emocaliber.core.samples import Sample, read_samples
from emocaliber.io.rows import read_rows

TOKEN = "0123456789abcdef0123456789abcdef01234567"
TASK = "EmoSet-8"
NAME, WORD = "ann@example.org", "wordword1"
PATIENCE = 3600  # seconds, on a busy machine


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


@contextlib.contextmanager
def running(words: list[str], log: Path, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("w") as out:
        process = subprocess.Popen(words, stdout=out, stderr=subprocess.STDOUT, env={**os.environ, **environment})
    try:
        yield process
    finally:
        process.terminate()
        process.wait(60)


def call(address: str, content: object = None, method: str | None = None) -> Any:
    data = None if content is None else json.dumps(content).encode()
    headers = {"Authorization": f"Token {TOKEN}", "Content-Type": "application/json"}
    with urllib.request.urlopen(urllib.request.Request(address, data, headers, method=method), timeout=PATIENCE) as answer:
        return json.loads(answer.read() or b"null")


def wait_for(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + PATIENCE
    while True:
        try:
            with urllib.request.urlopen(address, timeout=60):
                return
        except (OSError, urllib.error.URLError):
            if process.poll() is not None:
                sys.exit(f"it ended by itself; the end of {log}:\n{log.read_text()[-2000:]}")
            if time.monotonic() > end:
                raise
            time.sleep(1)


def main(bench: Path, program: str, picture: Path | None) -> None:
    found = [each for part in ("test", "train") for each in read_samples(bench.resolve() / f"{part}.jsonl") if each.task == TASK]
    root = bench.resolve()
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        there, ours = (f"http://127.0.0.1:{free_port()}" for _ in range(2))
        settings = {
            "LABEL_STUDIO_BASE_DATA_DIR": os.environ.get("LABEL_STUDIO_BASE_DATA_DIR", str(work / "data")),
            "LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED": "true",
            "LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT": str(root),
            "LABEL_STUDIO_ENABLE_LEGACY_API_TOKEN": "1",
            **{"ML_BLOCK_LOCAL_IP": "0", "SSRF_PROTECTION_ENABLED": "0"},  # the backend is on this machine
            **{f"ML_TIMEOUT_{what}": str(PATIENCE) for what in ("DEFAULT", "PREDICT", "TRAIN", "HEALTH", "SETUP")},
            **{"ML_CONNECTION_TIMEOUT": "60", "WEBHOOK_TIMEOUT": "60"},
            **{"COLLECT_ANALYTICS": "0", "LATEST_VERSION_CHECK": "0", "SENTRY_DSN": "", "FRONTEND_SENTRY_DSN": ""},
        }
        person = ["--username", NAME, "--password", WORD, "--user-token", TOKEN]
        words = [program, "start", "--no-browser", "--internal-host", "127.0.0.1", "-p", there.rpartition(":")[2], *person]
        backend = [sys.executable, "-m", "emocaliber", "label-studio", "tiny", "--port", ours.rpartition(":")[2]]
        backend += ["--out", str(work / "kept"), "--files", str(root), "--label-studio", there]
        theirs, log = Path("runs/try/label-studio.log"), Path("runs/try/backend.log")
        with running(words, theirs, **settings) as server, running(backend, log) as answering:
            wait_for(f"{there}/health", server, theirs)
            wait_for(f"{ours}/health", answering, log)
            print("label-studio", call(f"{there}/api/version")["label-studio-os-package"]["version"])
            project = learnt(there, ours, work / "kept" / "annotations.jsonl", root, found, log)
            queued(there, work, found, root)
            if picture:
                print("the page says:", pictured(there, project, work, picture))


def made_project(there: str, root: Path, title: str, labels: Sequence[str], **settings: object) -> int:
    """The number of a new project that asks about the emotion of images, which lie in the folder `scenes` of what is served."""
    choices = "".join(f'<Choice value="{label}"/>' for label in labels)
    shown = '<Image name="image" value="$image" maxHeight="240px"/><Choices name="emotion" toName="image">'
    configuration = f'<View>{shown}{choices}</Choices><TextArea name="told" toName="image"/></View>'
    project = int(call(f"{there}/api/projects", {"title": title, "label_config": configuration, **settings})["id"])
    storage = {"project": project, "path": str(root / "scenes"), "title": "scenes", "use_blob_urls": True}
    call(f"{there}/api/storages/localfiles", storage)  # without it, Label Studio shows people no local file
    return project


def predictions(there: str, project: int) -> dict[int, dict[str, Any]]:
    """What Label Studio keeps of the backend's predictions for the tasks of a project, the newest of each task."""
    action = f"{there}/api/dm/actions?id=retrieve_tasks_predictions&project={project}"
    call(action, {"selectedItems": {"all": True, "excluded": []}})
    kept = call(f"{there}/api/predictions?project={project}")
    return {each["task"]: each for each in sorted(kept, key=lambda each: each["id"])}


def learnt(there: str, ours: str, annotations: Path, root: Path, found: list[Sample], log: Path) -> int:
    """The project in which the backend predicted, people annotated, and a calibrator was fitted."""
    project = made_project(there, root, "try", found[0].candidates)
    paths = [*(Path(each.image).resolve().relative_to(root).as_posix() for each in found), "gone.png"]
    call(f"{there}/api/projects/{project}/import", [{"image": f"/data/local-files/?d={path}"} for path in paths])
    connected = call(f"{there}/api/ml", {"project": project, "url": ours, "title": "emocaliber"})
    print("connected:", connected["state"], connected["model_version"])
    tasks = sorted(each["id"] for each in call(f"{there}/api/tasks?project={project}&page_size=100")["tasks"])
    before = predictions(there, project)
    mine = emocaliber.load("tiny").predict_many([each.image for each in found], task=TASK, progress=False)
    farthest = 0.0  # batches of other sizes round otherwise
    for task, own in zip(tasks, mine, strict=False):
        assert before[task]["result"][0]["value"]["choices"] == [own.emotion]
        farthest = max(farthest, abs(before[task]["score"] - (own.confidence or 0)))
    assert farthest < 1e-4, farthest
    first = before[tasks[0]]
    told = first["result"][1]["value"]["text"][0]
    print(f"{len(found)} predictions as emocaliber.predict has them, to within {farthest:.1e}; the first: {first['score']:.3f}, {told}")
    gone = before.get(tasks[-1])
    print("of the picture that is not there:", gone and (gone["score"], gone["result"]))
    for task, label in zip(tasks, [*(each.ground_truth for each in found), found[0].ground_truth], strict=True):
        result = [{"from_name": "emotion", "to_name": "image", "type": "choices", "value": {"choices": [label]}}]
        call(f"{there}/api/tasks/{task}/annotations", {"result": result})
    end = time.monotonic() + PATIENCE
    while (rows := len(list(read_rows(annotations))) if annotations.is_file() else 0) < len(tasks) and time.monotonic() < end:
        time.sleep(1)
    print(f"{rows} annotations came by the webhook")
    assert rows == len(tasks)
    print("training:", call(f"{there}/api/ml/{connected['id']}/train", {}))
    print("the backend says:", next(line for line in log.read_text().splitlines() if "calibrator of" in line))
    after = predictions(there, project)[tasks[0]]
    print(
        f"then the first: {after['score']:.3f} by {after['model_version']}, where it was {first['score']:.3f} by {first['model_version']}"
    )
    assert after["model_version"] != first["model_version"]
    return project


def queued(there: str, work: Path, found: list[Sample], root: Path) -> None:
    """Imports what `convert --label-studio` writes, and takes the tasks that are handed out, one after another."""
    rows, file = work / "rows.jsonl", work / "tasks.json"
    with contextlib.chdir(root):  # the folder that Label Studio serves
        images = [str(Path(each.image).relative_to(root)) for each in found[:12]]
        assert emocaliber_command(["-q", "predict", *images, "--model", "tiny", "--task", TASK, "--out", str(rows)]) == 0
        assert emocaliber_command(["-q", "convert", str(rows), "--label-studio", str(file), "--prefix", "/data/local-files/?d="]) == 0
    tasks = json.loads(file.read_text())
    gains = [task["data"]["expected_gain"] for task in tasks]
    assert gains == sorted(gains, reverse=True)
    project = made_project(there, root, "queue", found[0].candidates, sampling="Sequential sampling")
    call(f"{there}/api/projects/{project}/import", tasks)
    handed = []
    for _ in range(4):
        task = call(f"{there}/api/projects/{project}/next")
        handed.append(task["data"]["expected_gain"])
        result = [{"from_name": "emotion", "to_name": "image", "type": "choices", "value": {"choices": [found[0].candidates[0]]}}]
        call(f"{there}/api/tasks/{task['id']}/annotations", {"result": result})
    print("expected gain of the tasks handed out, in bits:", handed)
    assert handed == gains[:4]


def pictured(there: str, project: int, work: Path, out: Path) -> str:
    """Draws the first task as a person sees it who is logged in; returns what the page says of the prediction."""
    from PIL import Image

    sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
    from browser import Browser

    task = min(each["id"] for each in call(f"{there}/api/tasks?project={project}&page_size=100")["tasks"])
    with Browser(work) as browser:
        browser.look(width=1300, height=940)
        browser.call("Page.navigate", url=f"{there}/user/login/")
        until(browser, "document.querySelector('[name=password]')")
        browser.evaluate(f"document.querySelector('[name=email]').value = '{NAME}'")
        browser.evaluate(f"document.querySelector('[name=password]').value = '{WORD}'")
        browser.evaluate("document.querySelector('[name=password]').form.submit()")
        until(browser, "!location.href.includes('login') && document.readyState === 'complete'")
        browser.call("Page.navigate", url=f"{there}/projects/{project}/data?task={task}")
        until(browser, "document.body && /tiny[+]/.test(document.body.innerText)")
        place = "[...document.querySelectorAll('*')].findLast(each => /^tiny[+][0-9a-f]+$/.test(each.textContent.trim()))"
        box = f"(() => {{ const r = {place}.getBoundingClientRect(); return [r.x + r.width / 2, r.y + r.height / 2] }})()"
        shown = "/awe 0[.]/.test(document.body.innerText) && [...document.images].some(each => each.naturalHeight > 40)"
        for _ in range(60):  # until the page has taken a click
            x, y = browser.evaluate(box)
            for kind in ("mousePressed", "mouseReleased"):
                browser.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)
            browser.call("Input.dispatchMouseEvent", type="mouseMoved", x=800, y=850)
            time.sleep(5)
            if browser.evaluate(f"Boolean({shown})"):
                break
        assert browser.evaluate(f"Boolean({shown})"), "the page does not show the prediction"
        time.sleep(5)
        browser.screenshot(out, whole=False)
        told = str(browser.evaluate("document.body.innerText"))
    with Image.open(out) as whole:
        whole.convert("RGB").quantize(256).save(out, optimize=True)
    return next(line for line in told.splitlines() if "tiny" in line)


def until(browser: Any, script: str) -> None:
    """Waits until a script in the page gives what is true."""
    end = time.monotonic() + PATIENCE / 4
    while True:
        with contextlib.suppress(AssertionError):  # as while one page follows another
            if browser.evaluate(f"Boolean({script})"):
                return
        assert time.monotonic() < end, f"waited in vain for {script}"
        time.sleep(0.5)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bench", type=Path)
    parser.add_argument("program")
    parser.add_argument("--picture", type=Path, metavar="FILE.png")
    given = parser.parse_args()
    Path("runs/try").mkdir(parents=True, exist_ok=True)
    main(given.bench, given.program, given.picture)
