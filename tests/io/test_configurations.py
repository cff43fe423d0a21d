from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from emocaliber.errors import UserError
from emocaliber.inference.plan import read_run_config
from emocaliber.io.configurations import configs_folder, configurations, find_configuration
from emocaliber.training.config import load_config
from emocaliber.vecbench.build import read_config
from emocaliber.veccot.recipe import read_recipe


def test_every_name_leads_to_a_configuration_that_can_be_read() -> None:
    for name, path in configurations("train").items():
        for file in path.glob("stage?.toml"):
            load_config(file.stem, name)
    for name in configurations("respond"):
        read_run_config(name)
    assert set(read_config("vecbench").sources) == set(read_config(configs_folder() / "vecbench.toml").sources)
    assert read_recipe("vec-cot") == read_recipe(configs_folder() / "vec-cot.toml")
    assert set(configurations("sweep")) == {"table7", "table8", "table9"}


def test_the_wheel_takes_the_configurations_along() -> None:
    settings = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text("utf-8"))
    assert settings["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"] == {"configs": "emocaliber/configs"}


def test_a_name_may_be_written_as_the_path_in_the_source_tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_configuration("configs/7b", "train") == find_configuration("7b", "train") == configs_folder() / "7b"
    assert find_configuration("configs/7b/stage1.toml", "train") == configs_folder() / "7b" / "stage1.toml"
    assert find_configuration("configs/baselines/sov.toml", "respond") == find_configuration("sov", "respond")


def test_a_file_or_folder_that_exists_comes_before_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "7b").mkdir()
    assert find_configuration("7b", "train") == Path("7b")


def test_a_wrong_name_is_answered_with_the_names_there_are() -> None:
    with pytest.raises(UserError, match=r"no file or folder qwen2\.5vl.*affectgpt, .*did you mean qwen2\.5-vl\?"):
        read_run_config("qwen2.5vl")
    with pytest.raises(UserError, match=r"no/such\.toml: cannot be read"):
        read_run_config("no/such.toml")


def test_a_folder_of_the_package_named_as_a_file_is_refused_with_its_name() -> None:
    with pytest.raises(UserError, match=r"^there is no file micro\.toml; .* its name is micro$"):
        find_configuration("micro.toml", "train")
