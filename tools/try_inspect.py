"""The task run inside the real inspect_ai against `emocaliber serve` on loopback, and scored once more by `score`: `make try-inspect`."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import inspect_ai
from inspect_ai import eval as evaluate

from emocaliber.evaluation.score import score
from emocaliber.integrations.inspect_log import write_inspect_log
from emocaliber.integrations.inspect_task import vec


@contextlib.contextmanager
def serving() -> Iterator[str]:
    """The address of a server with tiny."""
    words = [sys.executable, "-m", "emocaliber", "serve", "--model", "tiny", "--port", "0"]
    running = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    assert running.stdout
    try:
        yield running.stdout.readline().split()[-1]
    finally:
        running.terminate()
        running.wait(60)


def main(samples: Path) -> None:
    print("inspect_ai", inspect_ai.__version__)
    with tempfile.TemporaryDirectory() as name, serving() as address:
        os.environ |= {"EMOCALIBER_BASE_URL": f"{address}/v1", "EMOCALIBER_API_KEY": "any"}
        task = vec(str(samples), task="EmoSet-8")
        (log,) = evaluate(task, model="openai-api/emocaliber/tiny", log_dir=f"{name}/logs", display="plain")
        assert log.status == "success" and log.results, log.error
        there = {key: each.value for key, each in log.results.scores[0].metrics.items()}
        file = Path(log.location.removeprefix("file://"))
        scored = score(file, replicates=200)
        found, stated = scored.summary["overall"], scored.summary["overall"]["confidence"]["verb"]
        here = {"accuracy": found["accuracy"], "f1_macro": found["f1_macro"], "malformed": found["malformed"]["share"]}
        here |= {key: stated[key] for key in ("coverage", "ece", "brier", "auroc")}
        print(f"{'':10} {'inspect_ai':22} score")
        for key, value in there.items():
            print(f"{key:10} {value!r:22} {here[key]!r}")
        assert here == there, "the numbers differ"
        scored.save_numbers(f"{name}/scores")
        written = write_inspect_log(Path(f"{name}/scores/answers.jsonl"), Path(f"{name}/logs/back.eval"))
        viewed(Path(f"{name}/logs"))
        print("Shown: the task, run by inspect_ai, gives the numbers that `emocaliber score`")
        print("gives for its log, to the last digit; the viewer lists that log, and the one")
        print(f"written back from our {written} rows.")


def viewed(logs: Path) -> None:
    """inspect_ai's own viewer lists and reads both logs."""
    words = [str(Path(sys.executable).parent / "inspect"), "view", "start", "--log-dir", str(logs), "--port", "7575"]
    running = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert running.stdout
    try:
        for line in running.stdout:
            if "7575" in line:
                break
        with urllib.request.urlopen("http://127.0.0.1:7575/api/logs", timeout=120) as answer:
            listed = answer.read().decode()
        with urllib.request.urlopen("http://127.0.0.1:7575/", timeout=120) as page:
            assert b"<html" in page.read().lower()
        assert "back.eval" in listed
    finally:
        running.terminate()
        running.wait(60)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
