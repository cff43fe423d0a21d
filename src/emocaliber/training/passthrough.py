"""The table `[trainer]` of a stage: arguments of transformers (`TrainingArguments`) or TRL (stage 3, `GRPOConfig`), as they name them.

Names, types and choices are checked against the installed version before a model is loaded. An argument that a setting of ours stands for
(`per_device_train_batch_size` is `batch_size`) becomes that setting, so that all checks see it. Arguments that would contradict what a
stage is, or that its own loss would ignore, are refused with the reason.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from enum import Enum
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from emocaliber.errors import UserError, did_you_mean
from emocaliber.io.settings import toml_value

A = TypeVar("A")

TABLE = "trainer"
GRPO_STAGE = "stage3"

# Arguments by the setting of ours that stands for them.
_SAME = (
    *("learning_rate", "max_steps", "weight_decay", "adam_beta2", "max_grad_norm", "save_steps", "logging_steps", "seed", "bf16"),
    *("gradient_checkpointing", "report_to"),
)
OURS: Mapping[str, str] = MappingProxyType(
    {
        **{name: name for name in _SAME},
        **{"per_device_train_batch_size": "batch_size", "gradient_accumulation_steps": "accumulation", "num_train_epochs": "epochs"},
        **{"lr_scheduler_type": "schedule", "warmup_ratio": "warmup_ratio", "activation_checkpointing": "gradient_checkpointing"},
    }
)
GRPO_OURS: Mapping[str, str] = MappingProxyType(
    {
        **{"num_generations": "group_size", "max_completion_length": "max_new_tokens", "temperature": "temperature"},
        **{"beta": "kl", "epsilon": "clip"},
    }
)

_VALIDATION = "held-out samples are the setting validation, evaluated every eval_steps steps"
_PUSH = "a finished model is uploaded by `emocaliber train export --push`"
_REFUSED: Mapping[str, str] = MappingProxyType(
    {
        "output_dir": "the folder is the setting out",
        **dict.fromkeys(("eval_strategy", "eval_steps", "do_eval", "eval_on_start", "eval_delay", "load_best_model_at_end"), _VALIDATION),
        **dict.fromkeys(("push_to_hub", "hub_model_id", "hub_token", "hub_strategy", "hub_revision"), _PUSH),
        "resume_from_checkpoint": "the same command resumes an interrupted run by itself",
        "remove_unused_columns": "a row's columns are what its loss and its reward are computed from",
        "label_names": "the labels are made by the stage",
        "auto_find_batch_size": "the batch is part of what a run is; `--plan` says whether it fits",
        "steps_per_generation": "it is accumulation x updates_per_rollout",
        "generation_batch_size": "it is batch_size x accumulation x updates_per_rollout x devices",
        "packing": "it is of SFTConfig, which packs no rows with images; stages 1 and 2 train them as they are",
        "dataset_text_field": "it is of SFTConfig; rows are read in the form that they have",
        "max_length": "it is a setting of its own, outside of [trainer]",
        "use_cpu": "it follows from the machine",
    }
)
_SUPERVISED_REFUSED: Mapping[str, str] = MappingProxyType(
    {"label_smoothing_factor": "the loss of a stage is its own, and would ignore it; stage 2 has the setting smoothing"}
)

# The packages that a choice needs: the argument, what its value holds, the package.
_NEEDS: Sequence[tuple[str, str, str]] = (
    *(("optim", each, "torchao") for each in ("torch_8bit", "torch_4bit")),
    *(("optim", each, "bitsandbytes") for each in ("_8bit", "_32bit", "_bnb")),
    *(("optim", each, f"{each}_torch") for each in ("galore", "apollo")),
    *(("optim", *pair) for pair in (("lomo", "lomo_optim"), ("grokadamw", "grokadamw"), ("schedule_free", "schedulefree"))),
    *(("optim", *pair) for pair in (("stable_adamw", "torch_optimi"), ("anyprecision", "torchdistx"))),
    *(("deepspeed", "", "deepspeed"), ("use_vllm", "", "vllm"), ("use_liger_kernel", "", "liger_kernel")),
)

# Arguments that change no number, so that a run may go on with others.
FREE_ARGUMENTS = (
    *("dataloader_num_workers", "dataloader_pin_memory", "dataloader_persistent_workers", "dataloader_prefetch_factor"),
    *("log_level", "log_level_replica", "log_on_each_node", "logging_first_step", "disable_tqdm", "run_name", "project", "ddp_timeout"),
    *("save_total_limit", "save_on_each_node", "torch_empty_cache_steps", "log_completions", "num_completions_to_print"),
    *("vllm_gpu_memory_utilization", "vllm_server_base_url", "vllm_server_host", "vllm_server_port", "vllm_server_timeout"),
    *("vllm_group_port", "vllm_enable_sleep_mode"),
)


def with_our_settings(values: Mapping[str, Any], stage: str, where: str) -> dict[str, Any]:
    """The values of a stage's file, in which arguments of `[trainer]` that a setting of ours stands for are that setting.

    Raises UserError, naming `where`, for a `[trainer]` that is no table, and where both are given and differ.
    """
    given = values.get(TABLE, {})
    if not isinstance(given, Mapping):
        raise UserError(f"{where}: {TABLE} must be a table, [{TABLE}], not {given!r}")
    ours, kept = _ours(stage), {key: value for key, value in values.items() if key != TABLE}
    rest: dict[str, Any] = {}
    for name, value in given.items():
        setting = ours.get(name)
        if setting is None:
            rest[name] = value
            continue
        value = ",".join(map(str, value)) if isinstance(value, list) else value
        if kept.get(setting, value) != value:
            raise UserError(f"{where}: {setting} is {kept[setting]!r}, and {TABLE}.{name}, which is the same, {value!r}; give one of them")
        kept[setting] = value
    return kept | ({TABLE: rest} if rest else {})


def split_overrides(overrides: Sequence[str], stage: str) -> tuple[list[str], dict[str, Any]]:
    """The overrides KEY=VALUE without those of `[trainer]` (`trainer.NAME=VALUE`), and the values of those by name.

    Those that a setting of ours stands for stay among the overrides, as that setting.
    """
    ours, texts, given = _ours(stage), [], {}
    for text in overrides:
        key, equals, value = text.partition("=")
        table, dot, name = key.strip().partition(".")
        if not (equals and dot and table == TABLE):
            texts.append(text)
        elif name in ours:
            texts.append(f"{ours[name]}={value}")
        else:
            given[name] = toml_value(value.strip())
    return texts, given


def _ours(stage: str) -> Mapping[str, str]:
    return {**OURS, **GRPO_OURS} if stage == GRPO_STAGE else OURS


def check_trainer(given: Mapping[str, Any], stage: str, where: str) -> None:
    """Checks `[trainer]` against the installed version; imports it only if there is something to check.

    Raises UserError, naming `where`, for an unknown argument (with the nearest name), for one that is refused, for a value of another type
    or that is no choice, for a file that is not there, and for a package that is not installed.
    """
    if not given:
        return
    refused = {**_REFUSED, **({} if stage == GRPO_STAGE else _SUPERVISED_REFUSED)}
    for name in given:
        if name in refused:
            raise UserError(f"{where}: {TABLE}.{name} cannot be set: {refused[name]}")
    kind, release = _argument_class(stage)
    hints = get_type_hints(kind)
    known = {field.name for field in dataclasses.fields(kind)}
    for name, value in given.items():
        if name not in known:
            close = did_you_mean(name, [*known, *_ours(stage)])
            raise UserError(f"{where}: {TABLE}.{name}: {kind.__name__} of {release} has no such argument{close}")
        _check_value(value, hints[name], f"{where}: {TABLE}.{name}")
        for argument, part, package in _NEEDS:
            if argument == name and value and part in str(value) and find_spec(package) is None:
                raise UserError(f"{where}: {TABLE}.{name} = {value!r} needs the package {package}, which is not installed")
            if argument == name and part and part in str(value):
                break  # the first that fits is the one that counts
        if name in ("deepspeed", "fsdp_config") and isinstance(value, str) and not Path(value).is_file():
            raise UserError(f"{where}: {TABLE}.{name}: there is no file {value}")
    if given.get("train_sampling_strategy") == "group_by_length":
        raise UserError(f"{where}: {TABLE}.train_sampling_strategy cannot be 'group_by_length': rows are tokenised as they are needed")
    if given.get("vllm_mode", "colocate") not in ("colocate", "server"):
        raise UserError(f"{where}: {TABLE}.vllm_mode must be 'colocate' or 'server', not {given['vllm_mode']!r}")


def _argument_class(stage: str) -> tuple[type[Any], str]:
    """The class whose arguments a stage takes, and the package and release that it is of."""
    if stage == GRPO_STAGE:
        try:
            import trl
        except ImportError as error:
            raise UserError(f"[{TABLE}] of stage 3 needs TRL ({error})") from error
        return trl.GRPOConfig, f"TRL {trl.__version__}"
    import transformers

    return transformers.TrainingArguments, f"transformers {transformers.__version__}"


def _check_value(value: Any, hint: Any, where: str) -> None:
    allowed = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    choices = [str(each.value) for kind in allowed if isinstance(kind, type) and issubclass(kind, Enum) for each in kind]
    if isinstance(value, str) and choices and value not in choices:
        close = did_you_mean(value, choices)
        raise UserError(f"{where} = {value!r} is none of its choices, which are {', '.join(choices)}{close}")
    kinds = [get_origin(kind) or kind for kind in allowed]
    fits = Any in kinds or (Literal in kinds and value in [each for kind in allowed for each in get_args(kind)])
    fits = fits or type(value) in kinds or (type(value) is int and float in kinds) or (isinstance(value, str) and bool(choices))
    if not fits:
        wanted = " or ".join(getattr(kind, "__name__", str(kind)) for kind in kinds if kind is not type(None))
        raise UserError(f"{where} must be {wanted}, not {value!r}")


def arguments(kind: type[A], given: Mapping[str, Any], **values: Any) -> A:
    """An instance of an argument class: the stage's `values`, in which those `given` in `[trainer]` take precedence.

    `generation_kwargs` are joined. Raises UserError if the class refuses what is given.
    """
    joined = {**values, **given}
    if isinstance(values.get("generation_kwargs"), dict) and isinstance(given.get("generation_kwargs"), dict):
        joined["generation_kwargs"] = values["generation_kwargs"] | given["generation_kwargs"]
    try:
        return kind(**joined)
    except (TypeError, ValueError, ImportError, OSError) as error:
        if not given:
            raise
        raise UserError(f"[{TABLE}]: {kind.__name__} refuses these arguments: {str(error).splitlines()[0]}") from error


def forbidden_tokens(tokens: Sequence[int], given: Mapping[str, Any]) -> dict[str, Any]:
    """The `generation_kwargs` under which roll-outs hold none of these tokens: those of vLLM if it samples, else of `generate`."""
    if given.get("use_vllm"):
        return {"logit_bias": dict.fromkeys(tokens, -100.0)}  # vLLM has no suppress_tokens
    return {"suppress_tokens": list(tokens)}
