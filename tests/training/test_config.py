"""Configurations are checked before anything heavy is loaded, and every complaint names the file and the key."""

from __future__ import annotations

import dataclasses
import tomllib
from pathlib import Path

import pytest

from emocaliber.errors import UserError
from emocaliber.training.config import CONFIGS, STAGES, Stage1Config, Stage2Config, Stage3Config, load_config

GOOD = 'model = "m"\nout = "o"\nsamples = "s.jsonl"\nlearning_rate = 1e-5\nbatch_size = 4\n'
SHIPPED = sorted((Path(__file__).parents[2] / "configs").rglob("stage*.toml"))


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
        ('anchor = "1"', "anchor must be a number, not '1'"),
        ("anchor = true", "anchor must be a number, not True"),
        ("accumulation = 1.5", r"accumulation must be a whole number, not 1\.5"),
        ("bf16 = 1", "bf16 must be true or false, not 1"),
        ("schedule = 3", "schedule must be a text, not 3"),
        ("accumulation = 0", "accumulation must be positive, not 0"),
        ("save_steps = -1", "save_steps must be positive, not -1"),
        ("scenes_unfamiliar = 1.5", r"scenes_unfamiliar must be between 0 and 1, not 1\.5"),
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
        ("batch_size", "the setting 'batch_size' must look like KEY=VALUE"),
        ("batchsize=8", "there is no setting 'batchsize' here; .*; did you mean batch_size\\?"),
        ("batch_size=many", "batch_size must be a whole number, not 'many'"),
        ("batch_size=", "batch_size must be a whole number, not ''"),
    ],
)
def test_a_bad_override_is_said_to_be_of_the_command_line(file: Path, override: str, complaint: str) -> None:
    with pytest.raises(UserError, match=rf"^on the command line: {complaint}"):
        load_config("stage2", file, [override])


def test_an_impossible_override_is_quoted_with_its_file(file: Path) -> None:
    with pytest.raises(UserError, match=r"stage2\.toml with max_steps=0: max_steps must be positive, or left out \(or -1\)"):
        load_config("stage2", file, ["max_steps=0"])


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


@pytest.mark.parametrize("size", ["7b", "3b"])
def test_full_scale_configurations_are_the_papers(size: str) -> None:
    """Section 4.1 of the paper and the authors' scripts, for eight devices."""
    one, two, three = (load_config(stage, SHIPPED[0].parents[1] / size) for stage in STAGES[1:])
    assert isinstance(one, Stage1Config) and isinstance(two, Stage2Config) and isinstance(three, Stage3Config)
    assert [config.learning_rate for config in (one, two, three)] == [1e-5, 4e-6, 1e-6]
    assert [config.freeze_vision for config in (one, two, three)] == [True, True, False]
    assert [config.batch_size * config.accumulation * 8 for config in (one, two)] == [128, 128]
    assert three.batch_size * three.accumulation * 8 / three.group_size == 32, "prompts of a mini-batch"
    assert three.updates_per_rollout * 32 == 64, "prompts that are answered at once"
    assert (three.group_size, three.kl, three.max_new_tokens, three.normalise_advantages) == (8, 0.01, 2048, False)
    assert (two.anchor, two.smoothing, two.max_new_tokens) == (0, 0, 1024)
    for config in (one, two, three):
        assert (config.min_pixels, config.max_pixels) == (200_704, 451_584)
        assert (config.bf16, config.gradient_checkpointing, config.epochs, config.lora_rank) == (True, True, 1, 0)
    for config in (one, two):
        assert (config.warmup_ratio, config.max_length) == (0.05, 2048)


@pytest.mark.parametrize("size", ["7b", "3b"])
def test_lora_variants_differ_in_adapters_and_learning_rate_alone(size: str) -> None:
    for stage in STAGES[1:]:
        full, lora = (dataclasses.asdict(load_config(stage, SHIPPED[0].parents[1] / name)) for name in (size, f"{size}-lora"))
        differing = {key for key in full if full[key] != lora[key]} - {"model", "out"}
        assert differing <= {"lora_rank", "lora_alpha", "lora_targets", "learning_rate"}
        assert lora["lora_rank"] > 0
        assert lora["learning_rate"] == pytest.approx(10 * full["learning_rate"])


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_the_shipped_configurations_load(path: Path) -> None:
    config = load_config(path.stem, path)
    assert isinstance(config, CONFIGS[path.stem])
    assert tomllib.loads(path.read_text())["out"] == config.out
