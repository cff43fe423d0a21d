"""The files with which a run is spread over machines: the Slurm script runs as its tasks would, and the others hold commands that parse."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from emocaliber.__main__ import build_parser, main
from emocaliber.io.rows import read_rows, write_rows
from stand_ins import photo

DEPLOY = Path(__file__).parents[2] / "deploy"
LABELS = ["amusement", "anger", "awe", "contentment", "disgust", "excitement", "fear", "sadness"]


def read_yaml(name: str) -> Any:
    yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")
    return yaml.safe_load((DEPLOY / name).read_text())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Five samples, their recorded answers, and an `emocaliber` to be found on the path."""
    common = {"task": "EmoSet-8", "candidates": LABELS, "ground_truth": "awe", "source": "test", "split": "test"}
    write_rows(tmp_path / "test.jsonl", [common | {"id": f"s{n}", "image": photo(tmp_path / f"{n}.png").name} for n in range(5)])
    write_rows(tmp_path / "answers.jsonl", [{"id": f"s{n}", "response": "<answer>awe</answer>"} for n in range(5)])
    command = tmp_path / "bin" / "emocaliber"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m emocaliber "$@"\n')
    command.chmod(0o755)
    return tmp_path


def as_task(folder: Path, number: int, *more: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Runs the script as task `number` of an array of two."""
    slurm = {"SLURM_ARRAY_TASK_ID": str(number), "SLURM_ARRAY_TASK_MAX": "2"} | variables
    paths = {"PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    words = ["bash", str(DEPLOY / "respond.slurm.sh"), "test.jsonl", "recorded:answers.jsonl", "run", *more]
    return subprocess.run(words, capture_output=True, text=True, env=os.environ | paths | slurm, cwd=folder, check=False, timeout=300)


def test_the_tasks_of_a_slurm_array_are_the_shards_of_one_run(folder: Path) -> None:
    for number in (1, 2, 1):  # the last is a task that is given again
        done = as_task(folder, number)
        assert done.returncode == 0, done.stderr
    found = [row["id"] for file in sorted((folder / "run").glob("responses-*.jsonl")) for row in read_rows(file)]
    assert found == [f"s{n}" for n in range(5)]
    assert main(["score", str(folder / "run"), "--out", str(folder / "scores"), "--numbers-only", "--replicates", "200"]) == 0


def test_one_task_alone_is_still_a_shard_of_all(folder: Path) -> None:
    assert as_task(folder, 2, SLURM_ARRAY_TASK_MAX="2", SHARDS="5").returncode == 0
    assert [row["id"] for row in read_rows(folder / "run" / "responses-2-of-5.jsonl")] == ["s1"]


def test_the_job_of_kuberay_has_a_gpu_for_each_worker_of_its_command() -> None:
    spec = read_yaml("respond.rayjob.yaml")["spec"]
    args = build_parser().parse_args(shlex.split(spec["entrypoint"])[1:])
    (group,) = spec["rayClusterSpec"]["workerGroupSpecs"]
    assert (args.engine, args.resume) == ("ray", True)
    assert args.workers == group["replicas"]
    pods = [part["template"]["spec"] for part in (spec["rayClusterSpec"]["headGroupSpec"], group)]
    mounted = {mount["mountPath"] for pod in pods for container in pod["containers"] for mount in container["volumeMounts"]}
    assert mounted == {"/data"} and all(place.startswith("/data/") for place in (args.samples[0], args.model, args.out))
    assert group["template"]["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == 1


def test_the_machines_of_skypilot_share_all_shards(tmp_path: Path) -> None:
    task = read_yaml("respond.sky.yaml")
    (tmp_path / "emocaliber").write_text('#!/bin/sh\necho "$@"\nexit 3\n')
    (tmp_path / "emocaliber").chmod(0o755)
    asked = []
    for rank in range(task["num_nodes"]):
        machine = {"SKYPILOT_NODE_RANK": str(rank), "SKYPILOT_NUM_NODES": str(task["num_nodes"]), "SHARDS": "10", "MODEL": "m"}
        path = {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
        done = subprocess.run(["bash", "-c", task["run"]], capture_output=True, text=True, env=os.environ | machine | path, check=True)
        for line in done.stdout.splitlines():
            args = build_parser().parse_args(shlex.split(line))
            assert args.resume and args.out.startswith("/runs/")
            asked.append(args.shard)
    assert sorted(asked) == sorted(f"{number}/10" for number in range(1, 11))
