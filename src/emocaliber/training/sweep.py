"""A stage trained with several settings, every run scored on the same samples: the ablations of Tables 7 to 9."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from emocaliber.core.prompts import EMOCALIBER, Prompt
from emocaliber.core.samples import Sample, read_samples
from emocaliber.core.scoring import read_outcomes
from emocaliber.errors import UserError
from emocaliber.evaluation.summary import summarise
from emocaliber.evaluation.tables import AblationRow, ablation_table, check_metrics
from emocaliber.inference.engine import respond_into
from emocaliber.inference.plan import identity_of_model, questions
from emocaliber.io.configurations import find_configuration
from emocaliber.io.rows import display_name, write_atomically
from emocaliber.io.settings import read_toml, settings_of
from emocaliber.io.workspace import Workspace, record_of
from emocaliber.models.local import LocalModel
from emocaliber.training.checks import check_stage
from emocaliber.training.config import FINISHED, STAGES, ModelConfig, Stage2Config, load_config
from emocaliber.training.run import check_workspaces, run_stage
from emocaliber.training.stage2 import SCAFFOLD
from emocaliber.training.watching import prompt_of_stage

# The settings that scaffold responses depend on.
_INFERENCE_SETTINGS = (
    *("model", "samples", "scenes", "scenes_seed", "scenes_size", "scenes_tasks", "scenes_unfamiliar", "seed"),
    *("temperature", "max_new_tokens", "min_pixels", "max_pixels"),
)


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """A sweep's TOML file. `stage` is trained once for each of `runs`, in `OUT/NAME`, with the configuration `config` (a folder or a file),
    the overrides `set`, and the run's own overrides (all its keys but `name`).

    All models, and the untrained model `before` (`name` and `model`) if given, are evaluated on the samples of `test`; with `test_scenes` >
    0, that many synthetic scenes are drawn there from `test_seed`. `metrics` are the table's columns, `title` its title.
    """

    title: str
    stage: str
    config: str
    out: str
    test: str
    metrics: list[str]
    runs: list[dict[str, Any]]
    set: dict[str, Any] = field(default_factory=dict)
    before: dict[str, str] = field(default_factory=dict)
    test_scenes: int = 0
    test_seed: int = 7
    batch_size: int = 32


def load_sweep(path: str | Path, overrides: Sequence[str] = ()) -> Sweep:
    """Reads a sweep's TOML file, with `key=value` overrides. Raises UserError naming the file, the key and what would be right."""
    remedy = "give a TOML file such as configs/ablations/table7.toml"
    values = read_toml(find_configuration(path, "sweep"), str(path), f"cannot read the sweep {path}: {{reason}}; {remedy}")
    sweep = settings_of(Sweep, values, str(path), overrides)
    if sweep.stage not in STAGES[1:]:
        raise UserError(f"{path}: stage must be one of {', '.join(STAGES[1:])}, not {sweep.stage!r}")
    names = [_slug(run.get("name")) for run in sweep.runs]
    if not names or "" in names or len(set(names)) < len(names):
        raise UserError(f"{path}: every run of [[runs]] needs a name of its own, which is also the name of its folder")
    if sweep.before and sweep.before.keys() != {"name", "model"}:
        raise UserError(f"{path}: [before] must have a name and a model, and nothing else")
    check_metrics(sweep.metrics, str(path))
    return sweep


def run_sweep(path: str | Path, overrides: Sequence[str] = ()) -> str:
    """Trains and evaluates the runs that are not done yet; returns the table, also in `OUT/table.md` (`OUT/results.json` has all numbers).

    All configurations are checked before the first run starts. Raises UserError if a run's folder was trained with other settings.
    """
    sweep = load_sweep(path, overrides)
    configs = [_config(sweep, run) for run in sweep.runs]
    check_workspaces((sweep.stage, config) for config in configs)
    samples = _test_samples(sweep)
    rows = []
    if sweep.before:
        answers = Path(sweep.out) / "before.jsonl"
        limit = configs[0].max_new_tokens
        summary = respond_and_score(sweep.before["model"], samples, answers, sweep.batch_size, limit, EMOCALIBER, sweep.stage == "stage3")
        rows.append(AblationRow(sweep.before["name"], {}, summary))
    for run, config in zip(sweep.runs, configs, strict=True):
        print(f"{display_name(run['name'])}: {config.out}")
        reuse_scaffold_answers(config, configs)
        model = run_stage(sweep.stage, config)
        answers = Path(config.out) / "responses.jsonl"
        summary = respond_and_score(model, samples, answers, sweep.batch_size, config.max_new_tokens, *prompt_of_stage(config))
        rows.append(AblationRow(run["name"], {key: value for key, value in run.items() if key != "name"}, summary))
    table = ablation_table(rows, sweep.metrics, sweep.title).as_markdown() + "\n"
    write_atomically(Path(sweep.out) / "table.md", table)
    write_atomically(Path(sweep.out) / "results.json", json.dumps([dataclasses.asdict(row) for row in rows], indent=1) + "\n")
    return table


def respond_and_score(
    model: str | Path, samples: Sequence[Sample], answers: Path, batch_size: int, max_new_tokens: int, prompt: Prompt, confidence: bool
) -> Mapping[str, Any]:
    """The summary of a model's greedy answers to `samples`. They are kept in the file `answers`, and existing ones are reused.

    Raises UserError if the file's answers were made with other settings or other weights.
    """
    settings = {
        "model": identity_of_model(str(model)),
        "settings": {"max_new_tokens": max_new_tokens},
        "confidence": confidence,
        "prompt": {"name": prompt.name, "questions": questions(samples, prompt, confidence=confidence)},
    }
    remedy = f"Give the same settings, or remove {display_name(answers)} to ask again"
    places = {"model.name": "model.sha256"}
    with Workspace(record_of(answers), settings, path=answers, remedy=remedy, contents=("model.commit",), places=places) as workspace:
        if answers.is_file() and answers.stat().st_size:
            workspace.check(needed=True)
        workspace.write()
        respond_into(
            answers,
            samples,
            lambda: LocalModel(model, batch_size=batch_size, max_new_tokens=max_new_tokens),
            label=str(answers.parent),
            prompt=prompt,
            confidence=confidence,
            folder=answers.parent,
        )
    wanted = {sample.id for sample in samples}
    return summarise(outcome for outcome in read_outcomes(answers) if outcome.id in wanted)


def _config(sweep: Sweep, run: Mapping[str, Any]) -> ModelConfig:
    """A run's configuration, checked."""
    out = Path(sweep.out) / _slug(run["name"])
    values = sweep.set | {key: value for key, value in run.items() if key != "name"} | {"out": str(out)}
    config = load_config(
        sweep.stage,
        sweep.config,
        [f"{key}={json.dumps(value)}" for key, value in values.items()],
        f"run {display_name(run['name'])} of the sweep",
    )
    assert isinstance(config, ModelConfig), "a sweep's stage is never stage 0"
    check_stage(config, f"run {run['name']!r}")
    return config


def reuse_scaffold_answers(config: ModelConfig, others: Sequence[ModelConfig]) -> None:
    """Copies the scaffold responses of a finished run with the same inference settings to a stage 2 run that has none."""
    answers = Path(config.out) / SCAFFOLD
    if not isinstance(config, Stage2Config) or answers.exists():
        return
    for other in others:
        same = all(getattr(config, name) == getattr(other, name) for name in _INFERENCE_SETTINGS)
        if same and other.out != config.out and (Path(other.out) / FINISHED).is_dir():
            for file in (
                record_of(Path(other.out) / SCAFFOLD),
                Path(other.out) / SCAFFOLD,
            ):  # the record first, so that answers always have one
                if file.is_file():
                    write_atomically(Path(config.out) / file.name, file.read_bytes())
            return


def _test_samples(sweep: Sweep) -> list[Sample]:
    file = Path(sweep.test)
    if sweep.test_scenes:
        from emocaliber.scenes.dataset import draw_samples, read_scene_rows

        for _ in draw_samples(file.parent, sweep.test_scenes, sweep.test_seed, other_seeds=True):
            pass
        drawn = {row["id"] for row in read_scene_rows(file.parent, sweep.test_scenes, sweep.test_seed)}
        return [sample for sample in read_samples(file) if sample.id in drawn]
    samples = list(read_samples(file))
    if not samples:
        raise UserError(f"{display_name(file)} has no samples to score the runs on")
    return samples


def _slug(name: object) -> str:
    """A run's name as a folder name: "Scaffold Model #1" becomes scaffold-model-1."""
    return re.sub(r"[^a-z0-9.]+", "-", name.casefold()).strip("-.") if isinstance(name, str) else ""
