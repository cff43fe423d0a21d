"""A model card that says what a reader of confidences has to know: how well they are calibrated, on what, and at which temperature."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from emocaliber.emotions import Labels
from emocaliber.errors import UserError
from emocaliber.evaluation.tables import main_source
from emocaliber.layout import Table, with_interval
from emocaliber.rows import display_name, read_rows
from emocaliber.training.recalibration import Fit
from emocaliber.training.telemetry import TELEMETRY

_PARTS = {
    "stage0": "learnt to see and to describe scenes",
    "stage1": "learnt to reason in five steps; it states no confidence",
    "stage2": "learnt to state its confidence (EmoCaliber's equation 2); it is not calibrated by reinforcement",
    "stage3": "was calibrated by reinforcement (GRPO; EmoCaliber's equations 4 and 5)",
}
# Where a run lay says nothing to others.
_OF_THE_PLACE = ("out", "samples", "validation", "save_steps", "eval_steps", "threads", "report_to", "stop_on_alarm", "stage")
_METRICS = {"ece": "ECE", "brier": "Brier", "auroc": "AUROC"}


def model_card(name: str, settings: Mapping[str, Any], run: Path, scored: Path | None, fits: Mapping[Labels, Fit] | None = None) -> str:
    """The card's Markdown. `settings` are the run's; calibration comes from the folder `scored`, or else from the run's telemetry."""
    stage = settings["stage"]
    head = [
        "---",
        "library_name: transformers",
        "pipeline_tag: image-text-to-text",
        f"base_model: {json.dumps(settings['model'])}" if "/" in str(settings.get("model", "")) and not _here(settings["model"]) else "",
        "tags: [visual-emotion-comprehension, calibration, confidence]",
        "---",
    ]
    drawn = "It learnt from drawn scenes only: on photographs its answers mean nothing." if settings.get("scenes") else ""
    parts = [
        "\n".join(filter(None, head)),
        f"# {name}",
        f"Names the emotion that an image evokes. It {_PARTS[stage]}. {drawn}".strip(),
        "## Calibration",
        _calibration(run, scored),
        "## Decoding",
        _decoding(settings, fits or {}),
        "## Training",
        Table(["setting", "value"], list(_settings(settings)), words=2).as_markdown(),
        "## Use",
        "```sh\nemocaliber predict photos/ --model FOLDER\nvllm serve FOLDER --max-logprobs 20\n```",
    ]
    return "\n\n".join(parts) + "\n"


def _here(model: str) -> bool:
    return Path(model).exists()


def _calibration(run: Path, scored: Path | None) -> str:
    if scored is not None:
        try:
            summary = json.loads((scored / "metrics.json").read_text("utf-8"))
        except (OSError, ValueError) as error:
            raise UserError(f"{display_name(scored)} has no metrics.json to read; give a folder that `emocaliber score` wrote") from error
        source = main_source(summary)
        scopes = summary["tasks"] | summary["groups"] | {"overall": summary["overall"]}
        scopes = {scope: m | m["confidence"].get(source, {}) | {"n": m["n"]} for scope, m in scopes.items()}
        return _table(scopes, f"Of {summary['n']:,} answers; confidence: {source}.")
    file = run / TELEMETRY
    looks = [row for row in read_rows(file) if row["kind"] == "held_out"] if file.is_file() else []
    if not looks:
        return "Not measured: the run was not watched by held-out samples, and no scores were given. Do not rely on its confidence."
    last = looks[-1]
    note = (
        f"Of {last['n']:,} held-out samples, answered at temperature {last['temperature']:g} after step {last['step']:,}; "
        f"confidence: {last['source']}. Choices were made by these samples, so expect a little less on others."
    )
    return _table(last["groups"], note)


def _table(scopes: Mapping[str, Mapping[str, Any]], note: str) -> str:
    rows = [
        [
            display_name(scope),
            f"{m['n']:,}",
            with_interval(m.get("accuracy"), m.get("accuracy_ci")),
            *(with_interval(m.get(key), m.get(f"{key}_ci")) for key in _METRICS),
        ]
        for scope, m in scopes.items()
    ]
    return Table(["", "n", "Acc", *_METRICS.values()], rows, note=f"{note} Percentages, 95 % intervals in brackets.").as_markdown()


def _decoding(settings: Mapping[str, Any], fits: Mapping[Labels, Fit]) -> str:
    if fits:
        questions = "".join(f"- {', '.join(labels)}: {fit}\n" for labels, fit in fits.items())
        return (
            "Greedy. The confidence that `emocaliber` gives is the mean of the stated one over its digits' probabilities, "
            f"with recalibrated by two numbers for each question that they were fitted on:\n\n{questions}\n"
            "For other labels, and in other software, it is not recalibrated."
        )
    if settings["stage"] != "stage3":
        return "Greedy."
    return (
        f"Its confidence was trained on answers sampled at temperature {settings['temperature']:g}. Asked at another one it is right more "
        "or less often than it learnt to expect; `emocaliber` says so when that happens."
    )


def _settings(settings: Mapping[str, Any]) -> Iterator[list[str]]:
    for key, value in settings.items():
        if key not in _OF_THE_PLACE and not (key == "model" and _here(value)):
            yield [key, json.dumps(value)]
