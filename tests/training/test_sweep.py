"""Sweeps: runs that differ in a few settings, and one table of them."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from emocaliber.cli import train
from emocaliber.errors import UserError
from emocaliber.evaluation.tables import AblationRow, ablation_table
from emocaliber.scenes.dataset import draw_samples
from emocaliber.training.config import Stage2Config, load_config
from emocaliber.training.sweep import load_sweep, reuse_scaffold_answers, run_sweep
from microscopic import save_untrained, write_configs

ABLATIONS = Path(__file__).parents[2] / "configs" / "ablations"


@pytest.fixture(scope="module")
def folder(processor: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = write_configs(tmp_path_factory.mktemp("swept"))
    save_untrained(processor, made / "stage0" / "model")
    for _ in draw_samples(made / "test", 6, seed=6, size=56, workers=1):
        pass
    return made


def write_sweep(folder: Path, file: Path, **changes: Any) -> Path:
    """Two learning rates of stage 1, two steps each."""
    values: dict[str, Any] = {
        "title": "Rates",
        "stage": "stage1",
        "config": str(folder),
        "out": str(file.parent / "out"),
        "test": str(folder / "test" / "samples.jsonl"),
        "metrics": ["accuracy", "f1_weighted"],
    }
    values |= changes
    lines = [f"{key} = {json.dumps(value)}" for key, value in values.items()]
    lines += ["[set]", "max_steps = 2", "max_new_tokens = 8", "[before]", 'name = "Base Model"', f'model = "{folder}/stage0/model"']
    for number, rate in ((1, 1e-4), (2, 1e-3)):
        lines += ["[[runs]]", f'name = "Model #{number}"', f"learning_rate = {rate}"]
    file.write_text("\n".join(lines))
    return file


@pytest.fixture(scope="module")
def swept(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    threads = torch.get_num_threads()
    file = write_sweep(folder, tmp_path_factory.mktemp("sweep") / "sweep.toml")
    parser = argparse.ArgumentParser()
    train.add_parser(parser.add_subparsers())
    args = parser.parse_args(["train", "sweep", str(file)])
    assert args.run(args) == 0
    torch.set_num_threads(threads)
    return file


@pytest.mark.slow
def test_every_run_has_a_folder_with_its_model_and_answers(swept: Path) -> None:
    for name, rate in (("model-1", 1e-4), ("model-2", 1e-3)):
        out = swept.parent / "out" / name
        assert (out / "model" / "model.safetensors").is_file()
        assert (out / "responses.jsonl").read_text().count("\n") == 6
        assert json.loads((out / "config.json").read_text())["learning_rate"] == rate


def test_the_table_has_a_row_for_each_run_and_the_model_before(swept: Path) -> None:
    lines = (swept.parent / "out" / "table.md").read_text().splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    assert rows[0] == ["Model", "learning_rate", "ID VER Acc", "ID VER F1", "Malformed"]
    assert [row[:2] for row in rows[2:]] == [["Base Model", "–"], ["Model #1", "0.0001"], ["Model #2", "0.001"]]  # noqa: RUF001
    assert all("[" in row[2] for row in rows[2:]), "with intervals"


def test_finished_runs_are_not_repeated(swept: Path) -> None:
    out = swept.parent / "out"
    before = {file: file.stat().st_mtime_ns for pattern in ("*.safetensors", "responses.jsonl") for file in out.rglob(pattern)}
    table = (out / "table.md").read_text()
    assert run_sweep(swept) == table
    assert {file: file.stat().st_mtime_ns for file in before if file.suffix == ".safetensors"} == {
        file: time for file, time in before.items() if file.suffix == ".safetensors"
    }


def test_a_folder_trained_with_other_settings_is_refused(swept: Path) -> None:
    other = swept.with_name("other.toml")
    other.write_text(swept.read_text().replace("0.001", "0.002"))
    with pytest.raises(UserError, match=r"model-2 was made with other settings: learning_rate was 0\.001, and is 0\.002\. Give"):
        run_sweep(other)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"stage": "stage0"}, "stage must be one of stage1, stage2, stage3, not 'stage0'"),
        ({"metrics": ["luck"]}, "there is no metric 'luck'; there are accuracy"),
        ({"speed": 3}, "there is no setting 'speed' here"),
        ({"test_scenes": "many"}, "test_scenes must be a whole number, not 'many'"),
    ],
)
def test_an_impossible_sweep_is_refused(folder: Path, tmp_path: Path, changes: dict[str, Any], complaint: str) -> None:
    with pytest.raises(UserError, match=complaint):
        load_sweep(write_sweep(folder, tmp_path / "sweep.toml", **changes))


def test_runs_need_names_of_their_own(folder: Path, tmp_path: Path) -> None:
    file = write_sweep(folder, tmp_path / "sweep.toml")
    file.write_text(file.read_text().replace("Model #2", "model 1"))
    with pytest.raises(UserError, match="needs a name of its own"):
        load_sweep(file)


@pytest.mark.parametrize(("table", "stage", "runs"), [("table7", "stage1", 8), ("table8", "stage2", 6), ("table9", "stage3", 4)])
def test_the_papers_ablations_are_sweeps_whose_every_run_is_a_configuration(table: str, stage: str, runs: int) -> None:
    sweep = load_sweep(ABLATIONS / f"{table}.toml")
    assert (sweep.stage, len(sweep.runs)) == (stage, runs)
    for run in sweep.runs:
        values = sweep.set | {key: value for key, value in run.items() if key != "name"}
        load_config(stage, ABLATIONS.parents[1] / sweep.config, [f"{key}={json.dumps(value)}" for key, value in values.items()])


def test_the_average_over_groups_is_the_papers_and_its_interval_that_of_independent_samples() -> None:
    def summary(first: float, second: float) -> dict[str, Any]:
        numbers = {"ID VER": first, "ID VSA": second}
        groups = {group: {"accuracy": value, "accuracy_ci": [value - 0.03, value + 0.04]} for group, value in numbers.items()}
        return {"groups": groups, "overall": {"malformed": {"share": 0.25}}}

    table = ablation_table([AblationRow("a", {}, summary(0.5, 0.8)), AblationRow("b", {"kl": 0.1}, summary(0.6, 0.9))], ["accuracy"], "T")
    assert table.header == ["Model", "kl", "ID VER Acc", "ID VSA Acc", "Average Acc", "Malformed"]
    # (0.5 + 0.8) / 2, less sqrt(2) x 0.03 / 2, plus sqrt(2) x 0.04 / 2.
    assert table.rows[0][-2:] == ["65.00 [62.88, 67.83]", "25.00"]
    assert table.marks[1, 4] == "best"


def test_runs_with_the_same_inference_settings_share_scaffold_answers(folder: Path, tmp_path: Path) -> None:
    def config(name: str, *overrides: str) -> Stage2Config:
        made = load_config("stage2", folder, [f"out={tmp_path / name}", *overrides])
        assert isinstance(made, Stage2Config)
        return made

    done, same, other = config("done"), config("same", "learning_rate=0.5"), config("other", "temperature=0.3")
    (tmp_path / "done" / "model").mkdir(parents=True)
    (tmp_path / "done" / "scaffold.jsonl").write_text("{}\n")
    for each in (same, other):
        reuse_scaffold_answers(each, [done, same, other])
    assert (tmp_path / "same" / "scaffold.jsonl").read_text() == "{}\n"
    assert not (tmp_path / "other" / "scaffold.jsonl").exists()
