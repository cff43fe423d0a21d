"""The recipe of two minutes, at an even smaller size, as a user starts it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import emocaliber
from emocaliber.io.configurations import find_configuration
from emocaliber.training.config import load_config

SMALL = {
    "stage1": ("scenes=128", "batch_size=16", "scenes_size=56"),
    "stage2": ("scenes=16", "batch_size=8", "scenes_size=56"),
    "stage3": ("scenes=16", "batch_size=8", "scenes_size=56", "max_steps=1"),
}


def test_the_recipe_starts_from_the_model_that_ships() -> None:
    config = load_config("stage1", find_configuration("micro", "train"))
    assert (Path(vars(config)["model"]) / "config.json").is_file()


@pytest.mark.slow
def test_all_stages_train_by_the_commands_that_each_stage_prints(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(emocaliber.__file__).parents[1])}
    for stage, small in SMALL.items():
        command = [sys.executable, "-m", "emocaliber", "train", stage, "--config", "micro", *small]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert f"{stage}: finished, runs/micro/{stage}/model" in done.stdout
        assert "Warning" not in done.stderr
        assert "{" not in done.stdout
        if stage != "stage3":
            following = f"stage{int(stage[-1]) + 1}"
            assert f"next: emocaliber train {following} --config micro model=runs/micro/{stage}/model" in done.stdout
    assert json.loads((tmp_path / "runs" / "micro" / "stage3" / "config.json").read_text())["model"] == "runs/micro/stage2/model"
