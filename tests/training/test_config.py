"""Configurations are checked before anything heavy is loaded, and every complaint names the file and the key."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from emocaliber.errors import UserError
from emocaliber.training.config import CONFIGS, STAGES, Stage2Config, load_config

GOOD = 'model = "m"\nout = "o"\nsamples = "s.jsonl"\nlearning_rate = 1e-5\nbatch_size = 4\n'
SHIPPED = sorted((Path(__file__).parents[2] / "configs").glob("*/stage*.toml"))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "stage2.toml"
    path.write_text(GOOD)
    return path


def test_a_file_and_its_folder_give_the_same_configuration(file: Path) -> None:
    assert load_config("stage2", file) == load_config("stage2", file.parent)


def test_what_the_file_leaves_out_has_its_default(file: Path) -> None:
    config = load_config("stage2", file)
    assert isinstance(config, Stage2Config)
    assert (config.batch_size, config.anchor, config.schedule, config.bf16) == (4, 0.0, "cosine", False)


def test_overrides_replace_what_the_file_says(file: Path) -> None:
    config = load_config("stage2", file, ["batch_size=8", "anchor = 1", "bf16=true", "out=runs/a=b", 'schedule="linear"'])
    assert isinstance(config, Stage2Config)
    assert (config.batch_size, config.anchor, config.bf16, config.out, config.schedule) == (8, 1.0, True, "runs/a=b", "linear")
    assert type(config.anchor) is float, "a whole number is a number"


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("anchr = 1.0", "there is no setting 'anchr' here; the settings are .*anchor"),
        ("group_size = 8", "there is no setting 'group_size' here"),
        ('anchor = "1"', "anchor must be of type float, not '1'"),
        ("anchor = true", "anchor must be of type float, not True"),
        ("accumulation = 1.5", r"accumulation must be of type int, not 1\.5"),
        ("bf16 = 1", "bf16 must be of type bool, not 1"),
        ("schedule = 3", "schedule must be of type str, not 3"),
        ("accumulation = 0", "accumulation must be positive, not 0"),
        ("save_steps = -1", "save_steps must be positive, not -1"),
    ],
)
def test_a_bad_setting_is_named_with_its_file(file: Path, line: str, complaint: str) -> None:
    with file.open("a") as out:
        out.write(line + "\n")
    with pytest.raises(UserError, match=rf"stage2\.toml: {complaint}"):
        load_config("stage2", file)


@pytest.mark.parametrize(
    ("override", "complaint"),
    [
        ("batch_size", "the override 'batch_size' must look like key=value"),
        ("batchsize=8", "there is no setting 'batchsize' here"),
        ("batch_size=many", "batch_size must be of type int, not 'many'"),
        ("batch_size=", "batch_size must be of type int, not ''"),
        ("learning_rate=0", r"learning_rate must be positive, not 0\.0"),
    ],
)
def test_a_bad_override_is_named_with_the_file_it_would_change(file: Path, override: str, complaint: str) -> None:
    with pytest.raises(UserError, match=rf"stage2\.toml: {complaint}"):
        load_config("stage2", file, [override])


def test_every_missing_setting_is_named(file: Path) -> None:
    file.write_text('out = "o"\nbatch_size = 4\n')
    with pytest.raises(UserError, match=r"stage2\.toml: samples, learning_rate, model must be given"):
        load_config("stage2", file)


def test_a_file_that_is_not_toml_is_named(file: Path) -> None:
    file.write_text("batch_size: 4\n")
    with pytest.raises(UserError, match=r"stage2\.toml is not TOML: .*line 1"):
        load_config("stage2", file)


@pytest.mark.parametrize("missing", ["nowhere.toml", ""])
def test_a_file_that_is_not_there_is_named_with_what_would_do(tmp_path: Path, missing: str) -> None:
    with pytest.raises(UserError, match=r"cannot read the configuration .*; give a folder with stage1\.toml, or a TOML file"):
        load_config("stage1", tmp_path / missing)


def test_every_stage_has_its_configuration() -> None:
    assert tuple(CONFIGS) == STAGES


def test_tiny_ships_with_configurations() -> None:
    assert any(path.parent.name == "tiny" for path in SHIPPED)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_the_shipped_configurations_load(path: Path) -> None:
    config = load_config(path.stem, path)
    assert isinstance(config, CONFIGS[path.stem])
    assert tomllib.loads(path.read_text())["out"] == config.out
