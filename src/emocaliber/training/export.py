"""Export of a finished run: weights, tokenizer and processor as transformers and vLLM load them, a model card, and a fitted
calibrators."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from emocaliber.core.calibrators import CALIBRATED
from emocaliber.core.samples import Sample
from emocaliber.errors import UserError
from emocaliber.evaluation.tables import main_source
from emocaliber.inference.engine import respond
from emocaliber.inference.plan import sha256_of
from emocaliber.io.rows import display_name, read_rows
from emocaliber.models.card import CALIBRATION, EARLIER, read_card, write_card
from emocaliber.models.local import LocalModel
from emocaliber.models.processor import load_processor
from emocaliber.render.progress import Progress
from emocaliber.render.table import Table, with_interval
from emocaliber.training.config import FINISHED, SETTINGS
from emocaliber.training.decision import Decided, decisions_section, write_decision
from emocaliber.training.distributed import print_once
from emocaliber.training.samples import held_out_samples, lineage_sample_files
from emocaliber.training.stage_card import DRAWN_ONLY
from emocaliber.training.telemetry import TELEMETRY
from emocaliber.trust.calibrate import Calibration, calibrate_answers
from emocaliber.trust.calibration_table import provenance

_OF_TRAINING = ("rollouts.json",)


def export_model(
    run: Path, out: Path, *, name: str | None = None, scored: Path | None = None, dtype: str | None = None, held_out: Path | None = None
) -> Path:
    """Writes the model of the finished stage in `run` to the new folder `out`, and returns `out`.

    Adapters are already merged. `dtype` converts the weights; the card's metrics come from `scored`, a folder of `emocaliber score`, or
    else from the run's held-out samples. With the sample file `held_out`, on which no stage of the model's lineage was trained, the
    confidence is calibrated, and `decision.json` written (see `write_decision`). Raises UserError for an unfinished run, for an existing
    `out`, and as `held_out_samples`, `lineage_sample_files` and `calibrate_checkpoint` do.
    """
    model = run / FINISHED
    try:
        settings: dict[str, Any] = json.loads((run / SETTINGS).read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{display_name(run)} has no {SETTINGS} to read; give the folder that a stage wrote to (its `out`)") from error
    if not model.is_dir():
        raise UserError(f"{display_name(run)} has not finished; run `emocaliber train {settings['stage']}` again to resume it")
    if out.exists():
        raise UserError(f"{display_name(out)} already exists; give a new folder, or remove it")
    name = name or out.name
    card = model_card(name, settings, run, scored)
    samples = held_out_samples(held_out, lineage_sample_files(run, settings)) if held_out else []
    half = out.with_name(f".{out.name}.half")
    shutil.rmtree(half, ignore_errors=True)
    if dtype:
        _convert(model, half, dtype)
    else:
        shutil.copytree(model, half, ignore=shutil.ignore_patterns(*_OF_TRAINING))
    load_processor(model).save_pretrained(half)  # in the current format
    write_card(half, _own_card(name, settings, read_card(model)))
    if samples:
        found = calibrate_checkpoint(half, samples, {"path": held_out.name, "sha256": sha256_of(held_out)} if held_out else None)
        for sentence in (*map(provenance, found.content["questions"]), *found.notes):
            print_once(sentence)
        decided = write_decision(half, samples)
        if isinstance(decided, str):
            print_once(f"no decision.json: {decided}")
        card = model_card(name, settings, run, scored, found.content["questions"], decided)
    (half / "README.md").write_text(card, encoding="utf-8")
    os.replace(half, out)
    return out


def push_to_hub(folder: Path, repository: str) -> str:
    """Uploads an exported folder to a private repository of the hub, created if missing; returns its URL."""
    from huggingface_hub import HfApi

    api = HfApi()
    address = str(api.create_repo(repository, private=True, exist_ok=True))
    api.upload_folder(repo_id=repository, folder_path=folder)
    return address


def _own_card(name: str, settings: dict[str, Any], kept: dict[str, Any]) -> dict[str, Any]:
    """The fields of `emocaliber.json` beside the weights: those of the stage (`kept`), name, token limit, and notice for synthetic
    training."""
    card = {**kept, "name": name, "max_new_tokens": settings.get("max_new_tokens", 1024)}
    if settings.get("scenes"):
        card["notice"] = f"{name} was trained on synthetic scenes only: its answers on photographs are meaningless."
        card |= DRAWN_ONLY
        samples = Path(settings["samples"])
        if samples.is_file():
            card["tasks"] = sorted({row["task"] for row in read_rows(samples)})
    return card


def _convert(model: Path, out: Path, dtype: str) -> None:
    import torch

    from emocaliber.training.trainer import load_checkpoint

    load_checkpoint(model, dtype=getattr(torch, dtype))[0].save_pretrained(out)


# The model card

_PARTS = {
    "stage0": "was trained to describe synthetic scenes",
    "stage1": "was trained to reason in five steps; it states no confidence",
    "stage2": "was trained to state its confidence (EmoCaliber's equation 2); it is not calibrated by reinforcement learning",
    "stage3": "was calibrated by reinforcement learning (GRPO; EmoCaliber's equations 4 and 5)",
}
# Settings of the machine and its folders, which the card leaves out.
_LOCAL_SETTINGS = ("out", "samples", "validation", "save_steps", "eval_steps", "threads", "report_to", "stop_on_alarm", "stage")
_METRICS = {"ece": "ECE", "brier": "Brier", "auroc": "AUROC"}


def model_card(
    name: str,
    settings: Mapping[str, Any],
    run: Path,
    scored: Path | None,
    calibrated: Sequence[Mapping[str, Any]] = (),
    decided: Sequence[Decided] | str | None = None,
) -> str:
    """The model card in Markdown. `settings` are the run's; metrics come from the folder `scored`, or else from the run's telemetry.

    `calibrated` are the entries of the calibrators in the card, `decided` is what `write_decision` returned, if it was called.
    """
    stage = settings["stage"]
    head = [
        "---",
        "library_name: transformers",
        "pipeline_tag: image-text-to-text",
        f"base_model: {json.dumps(settings['model'])}"
        if "/" in str(settings.get("model", "")) and not _is_local(settings["model"])
        else "",
        "tags: [visual-emotion-comprehension, calibration, confidence]",
        "---",
    ]
    notice = "It was trained on synthetic scenes only: its answers on photographs are meaningless." if settings.get("scenes") else ""
    parts = [
        "\n".join(filter(None, head)),
        f"# {name}",
        f"Names the emotion that an image evokes. It {_PARTS[stage]}. {notice}".strip(),
        "## Calibration",
        _calibration(run, scored),
        "## Decoding",
        _decoding(settings, calibrated),
        *(() if decided is None else ("## Decisions without reasoning", decisions_section(decided))),
        "## Training",
        Table(["setting", "value"], list(_settings(settings)), words=2).as_markdown(),
        "## Use",
        "```sh\nemocaliber predict photos/ --model FOLDER\nvllm serve FOLDER --max-logprobs 20\n```",
        "```python\nfrom emocaliber.integrations.visual_emotion import pipeline\n\n"
        'pipeline("visual-emotion", model="FOLDER")("photo.jpg")\n```',
    ]
    return "\n\n".join(parts) + "\n"


def _is_local(model: str) -> bool:
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
    evaluations = [row for row in read_rows(file) if row["kind"] == "held_out"] if file.is_file() else []
    if not evaluations:
        return "Not measured: the run had no held-out samples, and no scores were given. Do not rely on its confidence."
    last = evaluations[-1]
    note = (
        f"Of {last['n']:,} held-out samples, answered at temperature {last['temperature']:g} after step {last['step']:,}; "
        f"confidence: {last['source']}. Choices were made on these samples, so expect slightly worse results on others."
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


def _decoding(settings: Mapping[str, Any], calibrated: Sequence[Mapping[str, Any]]) -> str:
    if calibrated:
        questions = "".join(f"- {provenance(each)}\n" for each in calibrated)
        return (
            "Greedy. The confidence that `emocaliber` returns is calibrated, for each question by a map fitted on held-out answers:\n\n"
            f"{questions}\nFor other questions, and in other software, it is not calibrated."
        )
    if settings["stage"] != "stage3":
        return "Greedy."
    return (
        f"Its confidence was trained on answers sampled at temperature {settings['temperature']:g}. At another temperature its "
        "accuracy differs from what the confidence was trained for; `emocaliber` warns about that."
    )


def _settings(settings: Mapping[str, Any]) -> Iterator[list[str]]:
    for key, value in settings.items():
        if key not in _LOCAL_SETTINGS and not (key == "model" and _is_local(value)):
            yield [key, json.dumps(value)]


# Calibration: the same mechanism as `emocaliber calibrate`, with the calibrators in the card


def calibrate_checkpoint(folder: Path, samples: Sequence[Sample], data: Mapping[str, str] | None = None) -> Calibration:
    """Fits a calibrator for each question among `samples`, on the greedy answers of the checkpoint in `folder`, and returns them.

    They are also written into the checkpoint's card, which names the calibrated confidence as its source from then on. The weights' hash is
    not recorded, as the calibrators lie beside the weights. `data`, the `path` and `sha256` of the samples, takes the place of those of the
    answers, which are not kept. Raises UserError where no question can have a calibrator (see `emocaliber.trust.calibrate`).
    """
    card = {key: value for key, value in read_card(folder).items() if key not in (CALIBRATION, EARLIER)}
    write_card(folder, card)  # the model must not be asked with calibrators of earlier answers
    model = LocalModel(folder)
    with Progress("asking about held-out samples", "answers", len(samples)) as bar:
        rows = list(respond(samples, model, progress=bar.to))
    found = calibrate_answers(rows, model={"name": model.name, "sha256": None, "commit": None})
    questions = [each | {"answers": each["answers"] | (data or {})} for each in found.content["questions"]]
    found = replace(found, content={**found.content, "answers": found.content["answers"] | (data or {}), "questions": questions})
    write_card(folder, card | {"confidence_source": CALIBRATED, CALIBRATION: found.content})
    return found
