"""What tells a file, or the weights behind a model's name, from others of that name."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from emocaliber.models import TINY
from emocaliber.prompts import Prompt
from emocaliber.rows import opened
from emocaliber.vecbench import Sample


def sha256_of(file: Path) -> str:
    """The SHA-256 of a file's content. Raises UserError if it cannot be read."""
    with opened(file) as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def sha256_of_model(model: str) -> str | None:
    """That of a recording, or of the list of a checkpoint folder's files with theirs; None for a model that does not lie here."""
    place = TINY if model == "tiny" else Path(model.partition(":")[2] if model.startswith(("vllm:", "recorded:")) else model)
    if place.is_dir():
        files = sorted(file for file in place.iterdir() if file.is_file() and not file.name.startswith("."))
        return hashlib.sha256("".join(f"{sha256_of(file)}  {file.name}\n" for file in files).encode()).hexdigest()
    return sha256_of(place) if place.is_file() else None


def commit_of_model(model: str) -> str | None:
    """The commit of a hub id in the cache here; None for a model that is not in it."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        cached = try_to_load_from_cache(model.removeprefix("vllm:"), "config.json")
    except HFValidationError:  # a path, or a model of another kind
        return None
    return Path(cached).parent.name if isinstance(cached, str) else None


def identity_of_model(model: str) -> dict[str, str | None]:
    """What tells a model from others: its `name`, the `sha256` of what lies here, and the `commit` of a hub id. None is not known."""
    digest = sha256_of_model(model)
    return {"name": model, "sha256": digest, "commit": commit_of_model(model) if digest is None else None}


def questions(samples: Iterable[Sample], prompt: Prompt, *, confidence: bool) -> dict[str, str]:
    """The text that each task's first sample is asked: a prompt may change under its name."""
    found: dict[str, str] = {}
    for sample in samples:
        if sample.task not in found:
            found[sample.task] = prompt.question(sample.task, sample.candidates, confidence=confidence)
    return found
