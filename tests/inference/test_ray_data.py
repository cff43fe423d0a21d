"""Workers on Ray Data answer as one process does, whatever ends them; without Ray the command says what to install.

What needs Ray runs where it is installed: `make try-ray`.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emocaliber.__main__ import main
from emocaliber.core.samples import Sample
from emocaliber.errors import UserError
from emocaliber.inference.plan import read_run_config
from emocaliber.inference.ray_data import MOST_ATTEMPTS, Attempts, RayEngine, Workers, windows
from emocaliber.io.rows import read_rows, write_rows
from emocaliber.models import load_model
from emocaliber.models.local import LocalModel
from emocaliber.scenes.dataset import draw_samples
from stand_ins import photo

LABELS = ["amusement", "anger", "awe", "contentment", "disgust", "excitement", "fear", "sadness"]
NO_RAY = importlib.util.find_spec("ray") is None
on_ray = pytest.mark.skipif(NO_RAY, reason="Ray is not installed: make try-ray")

# What workers need too: a strategy that ends the process that asks about one picture, as a picture that breaks its decoder would.
POISON = """
import os, signal
from emocaliber.models.strategies import STRATEGIES, Wrapper

class Poisoned(Wrapper):
    def __init__(self, model, key):
        super().__init__(model)
        self.key = key

    def answer(self, requests):
        for request in requests:
            if request.key == self.key:
                os.kill(os.getpid(), signal.SIGKILL)
            yield from self.model.answer([request])

@STRATEGIES.register("poison")
def poison(model, strategy, lenient):
    return Poisoned(model, strategy.further["poison"]) if "poison" in strategy.further else model
"""


def samples(count: int) -> list[Sample]:
    return [Sample(str(n), "i.png", "EmoSet-8", tuple(LABELS), "awe", "test", "test") for n in range(count)]


# Windows


@given(count=st.integers(0, 60), size=st.none() | st.integers(1, 20), done=st.sets(st.integers(0, 60)))
def test_every_sample_without_a_row_is_asked_about_once(count: int, size: int | None, done: set[int]) -> None:
    there = {str(number) for number in done}
    cut = list(windows(samples(count), size, there))
    asked = [sample.id for part, skipped in cut for sample in part if sample.id not in skipped]
    assert asked == [sample.id for sample in samples(count) if sample.id not in there]
    assert all(skipped < {sample.id for sample in part} for part, skipped in cut), "each holds one that is missing"


@given(count=st.integers(1, 60), size=st.integers(1, 20), done=st.sets(st.integers(0, 60)))
def test_a_resumed_run_asks_the_windows_of_an_uninterrupted_one(count: int, size: int, done: set[int]) -> None:
    whole = [[sample.id for sample in part] for part, _ in windows(samples(count), size, ())]
    again = [[sample.id for sample in part] for part, _ in windows(samples(count), size, {str(number) for number in done})]
    assert all(part in whole for part in again)


def test_a_window_is_that_of_the_local_model() -> None:
    assert load_model("tiny", batch_size=3).window == LocalModel.window_of(3)
    assert load_model("tiny").window == LocalModel.window_of()


# Places


@pytest.mark.parametrize(
    ("wanted", "cpus", "gpus", "needed", "sized"),
    [
        ({}, 64, 8, 1, (8, 1, 1)),  # a worker for each GPU
        ({}, 64, 8, 2, (4, 1, 2)),  # a model that two GPUs share
        ({"worker_gpus": 0.5}, 64, 2, 1, (4, 1, 0.5)),
        ({}, 64, 0, 1, (16, 4, 0)),  # four cores for each, as no model is known to need more
        ({}, 2, 0, 1, (1, 2, 0)),
        ({"workers": 2}, 2, 0, 1, (2, 1, 0)),
        ({"workers": 3, "worker_cpus": 2}, 64, 0, 1, (3, 2, 0)),
        ({}, 64, 8, 0, (16, 4, 0)),  # device=cpu
    ],
)
def test_workers_are_sized_by_what_there_is(
    wanted: dict[str, Any], cpus: float, gpus: float, needed: float, sized: tuple[int, float, float]
) -> None:
    assert Workers(**wanted).sized(cpus, gpus, needed_gpus=needed) == sized


def test_attempts_are_counted_by_task() -> None:
    attempts = Attempts()
    assert [attempts.begin(7), attempts.begin(7), attempts.begin(8)] == [1, 2, 1]


# What is refused


def test_a_model_behind_an_api_is_asked_by_one_process() -> None:
    with pytest.raises(UserError, match=r"openai:m is asked by one process.*leave out --engine ray"):
        RayEngine().described(read_run_config(None, {"model": "openai:m"}), {})


def scenes(folder: Path, count: int) -> Path:
    list(draw_samples(folder, count, 0, size=112, workers=1))
    return folder / "samples.jsonl"


def test_workers_without_ray_are_a_mistake(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["respond", str(scenes(tmp_path / "s", 1)), "--model", "tiny", "--out", str(tmp_path / "r"), "--workers", "2"]
    assert main(words) == 2
    assert "--workers is of --engine ray; give that too, or leave it out" in capsys.readouterr().err


@pytest.mark.skipif(not NO_RAY, reason="Ray is installed")
def test_without_ray_it_says_what_to_install(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["respond", str(scenes(tmp_path / "s", 1)), "--model", "tiny", "--out", str(tmp_path / "r"), "--engine", "ray"]
    assert main(words) == 2
    shown = capsys.readouterr().err
    assert "--engine ray needs more packages" in shown and "pip install" in shown
    assert not (tmp_path / "r" / "responses.jsonl").exists()


# On Ray


def emocaliber(where: Path, *words: object) -> subprocess.CompletedProcess[str]:
    own = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OMP_NUM_THREADS": "1", "HOME": str(where)}
    command = [sys.executable, "-m", "emocaliber", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, env=os.environ | own, cwd=where, check=False, timeout=900)


def rows(file: Path) -> list[dict[str, Any]]:
    return [{name: value for name, value in row.items() if name != "seconds"} for row in read_rows(file)]


@on_ray
@pytest.mark.slow
def test_rows_are_those_of_one_process_with_a_picture_that_nobody_can_read(tmp_path: Path) -> None:
    file = scenes(tmp_path / "scenes", 20)
    broken = tmp_path / "scenes" / rows(file)[9]["image"]
    broken.write_bytes(broken.read_bytes()[:100])
    words = ("respond", "scenes", "--model", "tiny", "--batch-size", "2")
    single = emocaliber(tmp_path, *words, "--out", "single")
    spread = emocaliber(tmp_path, *words, "--out", "spread", "--engine", "ray", "--workers", "2")
    assert (single.returncode, spread.returncode) == (3, 3), spread.stderr
    assert spread.stdout == single.stdout.replace("single", "spread")
    assert rows(tmp_path / "spread" / "responses.jsonl") == rows(tmp_path / "single" / "responses.jsonl")
    session = json.loads((tmp_path / "spread" / "responses.run.json").read_text())["sessions"][-1]
    assert sum(session["ray"]["workers"].values()) == 20
    # With some rows gone, the others are kept, and what is missing is asked about again.
    kept = [row for number, row in enumerate(read_rows(tmp_path / "spread" / "responses.jsonl")) if number % 3]
    write_rows(tmp_path / "spread" / "responses.jsonl", kept)
    resumed = emocaliber(tmp_path, *words, "--out", "spread", "--engine", "ray", "--workers", "2", "--resume")
    assert resumed.returncode == 3, resumed.stderr
    assert rows(tmp_path / "spread" / "responses.jsonl") == rows(tmp_path / "single" / "responses.jsonl")
    session = json.loads((tmp_path / "spread" / "responses.run.json").read_text())["sessions"][-1]
    assert session["rows"] == 20 - len(kept)


@on_ray
@pytest.mark.slow
def test_a_picture_that_ends_its_workers_fails_alone(tmp_path: Path) -> None:
    common = {"task": "EmoSet-8", "candidates": LABELS, "ground_truth": "awe", "source": "test", "split": "test"}
    given = [common | {"id": f"s{n}", "image": photo(tmp_path / f"{n}.png").name} for n in range(6)]
    write_rows(tmp_path / "test.jsonl", given)
    write_rows(tmp_path / "answers.jsonl", [{"id": row["id"], "response": "<answer>awe</answer>"} for row in given])
    (tmp_path / "poison.py").write_text(POISON)
    words = ("respond", "test.jsonl", "--model", "recorded:answers.jsonl", "--plugin", "poison.py", "poison=s4", "--out", "run")
    done = emocaliber(tmp_path, *words, "--engine", "ray", "--workers", "1")
    assert done.returncode == 3, done.stderr
    found = rows(tmp_path / "run" / "responses.jsonl")
    assert [row["id"] for row in found] == [row["id"] for row in given]
    assert [row["response"] for row in found] == ["<answer>awe</answer>"] * 4 + [None, "<answer>awe</answer>"]
    assert found[4]["error"]["code"] == "worker_failed" and f"ended {MOST_ATTEMPTS} times" in found[4]["error"]["message"]
    assert set(found[4]) - {"error"} >= {"model", "prompt", "response", "confidence"}
    assert "worker_failed 1" in done.stdout


@on_ray
@pytest.mark.slow
def test_a_model_that_cannot_be_loaded_stops_the_run_with_its_reason(tmp_path: Path) -> None:
    scenes(tmp_path / "scenes", 2)
    done = emocaliber(tmp_path, *("respond", "scenes", "--model", "tiny", "device=cuda:7", "--out", "run", "--engine", "ray"))
    assert done.returncode == 2
    assert "the device cuda:7 is not available" in done.stderr


@on_ray
def test_more_workers_than_this_machine_has_room_for_are_refused(tmp_path: Path) -> None:
    scenes(tmp_path / "scenes", 2)
    done = emocaliber(tmp_path, *("respond", "scenes", "--model", "tiny", "--out", "run", "--engine", "ray", "--workers", "4000"))
    assert done.returncode == 2
    assert "the workers need 4000 x 1 cores" in done.stderr and "give fewer --workers" in done.stderr
