"""A finished run as a folder to hand on: weights, tokenizer and processor as transformers and vLLM load them, and a model card."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

from emocaliber.errors import UserError
from emocaliber.models.local import read_card, write_card
from emocaliber.models.processor import load_processor
from emocaliber.rows import display_name, read_rows
from emocaliber.training.config import FINISHED, SETTINGS
from emocaliber.training.model_card import model_card
from emocaliber.training.processes import say
from emocaliber.training.recalibration import recalibrate
from emocaliber.training.validation import held_out_samples, trained_on

_OF_TRAINING = ("rollouts.json",)


def export(
    run: Path, out: Path, *, name: str | None = None, scored: Path | None = None, dtype: str | None = None, held_out: Path | None = None
) -> Path:
    """Writes the model of the finished stage in `run` to the new folder `out`, and returns that.

    Adapters are merged already when a stage finishes. `dtype` converts the weights; `scored` gives the card its numbers in place of the
    held-out samples. By the samples of the file `held_out`, which no stage behind the model may have learnt from, its confidence is
    recalibrated. Raises UserError for a run that has not finished, for an `out` that is there, and as `held_out_samples`, `trained_on` and
    `recalibrate` do.
    """
    model = run / FINISHED
    try:
        settings: dict[str, Any] = json.loads((run / SETTINGS).read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{display_name(run)} has no {SETTINGS} to read; give the folder that a stage wrote to (its `out`)") from error
    if not model.is_dir():
        raise UserError(
            f"{display_name(run)} has not finished; run `emocaliber train {settings['stage']}` again, it goes on where it stopped"
        )
    if out.exists():
        raise UserError(f"{display_name(out)} is there already; give a new folder, or remove it")
    name = name or out.name
    card = model_card(name, settings, run, scored)
    samples = held_out_samples(held_out, trained_on(run, settings)) if held_out else []
    half = out.with_name(f".{out.name}.half")
    shutil.rmtree(half, ignore_errors=True)
    if dtype:
        _convert(model, half, dtype)
    else:
        shutil.copytree(model, half, ignore=shutil.ignore_patterns(*_OF_TRAINING))
    load_processor(model).save_pretrained(half)  # in today's form, whatever saved it
    write_card(half, _own_card(name, settings, read_card(model)))
    if samples:
        fits = recalibrate(half, samples)
        for labels, fit in fits.items():
            say(f"recalibrated for {', '.join(labels)}: {fit}")
        card = model_card(name, settings, run, scored, fits)
    (half / "README.md").write_text(card, encoding="utf-8")
    os.replace(half, out)
    return out


def push(folder: Path, repository: str) -> str:
    """Uploads an exported folder to the hub, into a private repository that is made if need be; returns its address."""
    from huggingface_hub import HfApi

    api = HfApi()
    address = str(api.create_repo(repository, private=True, exist_ok=True))
    api.upload_folder(repo_id=repository, folder_path=folder)
    return address


def _own_card(name: str, settings: dict[str, Any], held: dict[str, Any]) -> dict[str, Any]:
    """What `emocaliber` reads beside the weights."""
    card = {**held, "name": name, "max_new_tokens": settings.get("max_new_tokens", 1024)}
    if settings.get("scenes"):
        card["notice"] = f"{name} learnt from drawn scenes only: on photographs its answers mean nothing."
        samples = Path(settings["samples"])
        if samples.is_file():
            card["tasks"] = sorted({row["task"] for row in read_rows(samples)})
    return card


def _convert(model: Path, out: Path, dtype: str) -> None:
    import torch

    from emocaliber.training.trainer import load_checkpoint

    load_checkpoint(model, dtype=getattr(torch, dtype))[0].save_pretrained(out)
