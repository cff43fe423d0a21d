"""`[trainer]`: arguments of transformers and TRL under their own names, checked against the installed versions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from emocaliber.errors import UserError
from emocaliber.training.config import Stage1Config, Stage3Config, load_config
from emocaliber.training.passthrough import arguments, check_trainer, forbidden_tokens, split_overrides, with_our_settings
from emocaliber.training.run import stage_workspace

BASE = 'model = "tiny"\nout = "out"\nsamples = "s.jsonl"\nlearning_rate = 1e-3\n'


def toml(folder: Path, stage: str, text: str, base: str = f"{BASE}batch_size = 8\n") -> Path:
    (folder / f"{stage}.toml").write_text(base + text)
    return folder


def test_arguments_that_ours_stand_for_become_those_settings(tmp_path: Path) -> None:
    text = """
    [trainer]
    per_device_train_batch_size = 8
    gradient_accumulation_steps = 2
    lr_scheduler_type = "linear"
    num_generations = 4
    beta = 0.0
    epsilon = 0.1
    max_completion_length = 64
    report_to = ["tensorboard", "wandb"]
    top_p = 0.9
    """
    config = load_config("stage3", toml(tmp_path, "stage3", text, BASE))
    assert isinstance(config, Stage3Config)
    assert (config.batch_size, config.accumulation, config.schedule, config.group_size) == (8, 2, "linear", 4)
    assert (config.kl, config.clip, config.max_new_tokens, config.report_to) == (0.0, 0.1, 64, "tensorboard,wandb")
    assert config.trainer == {"top_p": 0.9}


def test_overrides_reach_the_table_and_our_settings(tmp_path: Path) -> None:
    folder = toml(tmp_path, "stage1", '[trainer]\noptim = "sgd"\nadam_epsilon = 1e-7\n')
    config = load_config("stage1", folder, ["trainer.optim=adafactor", "trainer.per_device_train_batch_size=2", "epochs=3"])
    assert isinstance(config, Stage1Config)
    assert (config.trainer, config.batch_size, config.epochs) == ({"optim": "adafactor", "adam_epsilon": 1e-7}, 2, 3.0)
    assert split_overrides(["trainer.a=1", "b=2", "trainer.max_grad_norm=5"], "stage1") == (["b=2", "max_grad_norm=5"], {"a": 1})


def test_both_names_with_different_values_are_refused() -> None:
    values = {"batch_size": 8, "trainer": {"per_device_train_batch_size": 4}}
    with pytest.raises(UserError, match=r"f: batch_size is 8, and trainer\.per_device_train_batch_size, which is the same, 4"):
        with_our_settings(values, "stage1", "f")
    assert with_our_settings(values | {"batch_size": 4}, "stage1", "f") == {"batch_size": 4}
    with pytest.raises(UserError, match=r"f: trainer must be a table, \[trainer\], not 3"):
        with_our_settings({"trainer": 3}, "stage1", "f")


@pytest.mark.parametrize(
    ("stage", "given", "complaint"),
    [
        ("stage1", {"optimm": "sgd"}, r"f: trainer\.optimm: TrainingArguments of transformers [\d.]+ has no such .*; did you mean optim\?"),
        ("stage3", {"use_vlm": True}, r"trainer\.use_vlm: GRPOConfig of TRL [\d.]+ has no such argument; did you mean use_vllm\?"),
        ("stage1", {"use_vllm": True}, r"TrainingArguments of transformers [\d.]+ has no such argument"),
        ("stage1", {"optim": "adamw_torh"}, r"optim = 'adamw_torh' is none of its choices, which are .*did you mean adamw_torch\?"),
        ("stage1", {"torch_compile": 1}, "torch_compile must be bool, not 1"),
        ("stage3", {"top_p": "high"}, "top_p must be float, not 'high'"),
        ("stage1", {"output_dir": "x"}, "output_dir cannot be set: the folder is the setting out"),
        ("stage1", {"eval_strategy": "steps"}, "eval_strategy cannot be set: held-out samples are the setting validation"),
        ("stage1", {"label_smoothing_factor": 0.1}, "label_smoothing_factor cannot be set: the loss of a stage is its own"),
        ("stage1", {"packing": True}, "packing cannot be set: it is of SFTConfig, which packs no rows with images"),
        ("stage1", {"train_sampling_strategy": "group_by_length"}, "cannot be 'group_by_length'"),
        ("stage1", {"fsdp_config": "nowhere.json"}, "there is no file nowhere.json"),
        ("stage3", {"vllm_mode": "colocated"}, "vllm_mode must be 'colocate' or 'server', not 'colocated'"),
    ],
)  # fmt: skip
def test_what_does_not_fit_gets_a_sentence(stage: str, given: dict[str, Any], complaint: str) -> None:
    with pytest.raises(UserError, match=complaint):
        check_trainer(given, stage, "f")


def test_a_choice_names_the_package_that_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("emocaliber.training.passthrough.find_spec", lambda name: None)
    for stage, name, value, package in (
        ("stage1", "optim", "adamw_8bit", "bitsandbytes"),
        ("stage1", "optim", "adamw_torch_8bit", "torchao"),
        ("stage1", "optim", "galore_adamw", "galore_torch"),
        ("stage3", "use_vllm", True, "vllm"),
        ("stage1", "deepspeed", "ds.json", "deepspeed"),
    ):
        with pytest.raises(UserError, match=f"needs the package {package}, which is not installed"):
            check_trainer({name: value}, stage, "f")
    check_trainer({"use_vllm": False, "optim": "adamw_torch"}, "stage3", "f")


def test_a_schedule_with_arguments_is_any_of_transformers(tmp_path: Path) -> None:
    scheduled = '[trainer]\nlr_scheduler_type = "cosine_with_min_lr"\nlr_scheduler_kwargs = {min_lr = 1e-7}\n'
    assert load_config("stage1", toml(tmp_path, "stage1", scheduled)).schedule == "cosine_with_min_lr"
    with pytest.raises(UserError, match=r"with trainer\.lr_scheduler_kwargs all others"):
        load_config("stage1", toml(tmp_path, "stage1", 'schedule = "cosine_with_min_lr"\n'))


def test_what_is_given_takes_precedence_over_what_a_stage_sets() -> None:
    made = arguments(dict, {"lr": 2, "generation_kwargs": {"b": 1}}, lr=1, seed=3, generation_kwargs={"a": 1})
    assert made == {"lr": 2, "seed": 3, "generation_kwargs": {"a": 1, "b": 1}}


def test_the_class_s_own_refusal_is_a_sentence() -> None:
    from transformers import TrainingArguments

    with pytest.raises(UserError, match=r"\[trainer\]: TrainingArguments refuses these arguments: .*save_strategy|steps"):
        arguments(TrainingArguments, {"save_strategy": "sometimes"}, output_dir="x")


def test_no_image_token_is_sampled_whoever_samples() -> None:
    assert forbidden_tokens([7, 8], {}) == {"suppress_tokens": [7, 8]}
    assert forbidden_tokens([7, 8], {"use_vllm": True}) == {"logit_bias": {7: -100.0, 8: -100.0}}


def test_vllm_roll_outs_reach_trl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from emocaliber.training.stage3 import grpo_arguments

    monkeypatch.setattr("emocaliber.training.passthrough.find_spec", lambda name: object())
    text = 'group_size = 4\n[trainer]\nuse_vllm = true\nvllm_mode = "server"\nvllm_server_port = 9000\nloss_type = "dapo"\n'
    config = load_config("stage3", toml(tmp_path, "stage3", text), ["trainer.vllm_gpu_memory_utilization=0.5"])
    assert isinstance(config, Stage3Config)

    class Model:
        class config:
            image_token_id, video_token_id = 5, 6

    made = grpo_arguments(config, Model)
    assert (made.use_vllm, made.vllm_mode, made.vllm_server_port, made.vllm_gpu_memory_utilization) == (True, "server", 9000, 0.5)
    assert (made.loss_type, made.num_generations) == ("dapo", 4)
    assert made.generation_kwargs == {"logit_bias": {5: -100.0, 6: -100.0}}


def test_a_run_notices_other_arguments_but_those_that_change_no_number(tmp_path: Path) -> None:
    def settings(*overrides: str) -> Any:
        return stage_workspace("stage1", load_config("stage1", toml(tmp_path, "stage1", ""), [f"out={tmp_path}", *overrides]))

    settings().write()
    settings("trainer.dataloader_num_workers=3", "trainer.log_level=info", "images=elsewhere").check()
    with pytest.raises(UserError, match=r"trainer\.optim was not given, and is 'sgd'"):
        settings("trainer.optim=sgd").check()


def test_stage_0_takes_none(tmp_path: Path) -> None:
    base = 'out = "o"\nsamples = "s"\nlearning_rate = 1e-3\nbatch_size = 4\n[trainer]\noptim = "sgd"\n'
    with pytest.raises(UserError, match=r"\[trainer\] is for stages 1 to 3"):
        load_config("stage0", toml(tmp_path, "stage0", "", base))
