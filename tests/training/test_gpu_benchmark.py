"""`benchmarks/gpu.py` measures what it says; here in small on a CPU, with the code that measures on a GPU."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

ROOT = Path(__file__).parents[2]


def measured(*options: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(ROOT / "benchmarks" / "gpu.py"), *options]
    return subprocess.run(command, capture_output=True, text=True, env=environment)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_without_a_gpu_it_says_so_and_how_to_try_it() -> None:
    ran = measured()
    assert ran.returncode == 2 and ran.stdout == ""
    assert "sees no GPU here; --shape miniature --device cpu" in ran.stderr


@pytest.mark.slow
def test_a_stage_and_the_answers_are_measured_in_small(tmp_path: Path) -> None:
    chosen = ["--shape", "miniature", "--device", "cpu", "--parts", "stage3", "respond", "vllm", "--flops", "1e12"]
    ran = measured(*chosen, "--results", str(tmp_path))
    assert ran.returncode == 0, ran.stderr
    found: dict[str, Any] = json.loads(ran.stdout.splitlines()[-1])
    stage3, respond = found["parts"]["stage3"], found["parts"]["respond"]
    assert stage3["shared"] and stage3["steps"] >= 1
    assert stage3["tokens_per_second"] == pytest.approx(stage3["tokens_per_step"] / stage3["seconds_per_step"])
    assert 0 < stage3["seconds_without_rollouts"] < stage3["seconds_per_step"]
    assert 0 < stage3["mfu"] < 1 and stage3["peak_memory"] > 0
    assert respond["answers"] >= 4 and respond["answers_per_second"] > 0
    if "vllm" not in found["parts"]:
        assert "vllm" in found["left_out"]["vllm"].lower(), "the reason is said"
    assert [json.loads(file.read_text()) for file in tmp_path.glob("gpu-cpu-*.json")] == [found]


@pytest.mark.slow
def test_what_does_not_fit_into_the_time_is_left_out_with_the_reason() -> None:
    ran = measured("--shape", "miniature", "--device", "cpu", "--seconds", "3")
    assert ran.returncode == 1
    found = json.loads(ran.stdout.splitlines()[-1])
    assert found["parts"] == {} and "had not ended after" in found["left_out"]["stage1"]
