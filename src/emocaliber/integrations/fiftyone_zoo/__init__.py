"""A remote source of models for FiftyOne's zoo: `register_zoo_model_source(...)`, then `load_zoo_model("emocaliber-tiny")`.

FiftyOne copies this folder with its manifest.json into its own zoo and calls the functions below. The package emocaliber, which the
manifest requires, has everything else.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

MODELS = {"emocaliber-tiny": "tiny", "emocaliber": "tiny"}  # what each loads unless it is told otherwise


def download_model(model_name: str, model_path: str) -> None:
    """Notes which model is meant: `tiny` is in the package, and others are loaded from where they are."""
    Path(model_path).write_text(json.dumps({"model": MODELS[model_name]}) + "\n", "utf-8")


def load_model(model_name: str | None = None, model_path: str | None = None, model: str | None = None, **settings: Any) -> Any:
    """The model for `apply_model`: see `emocaliber.integrations.fiftyone_model.EmotionModel` for the settings."""
    from emocaliber.integrations.fiftyone_model import EmotionModel

    return EmotionModel(model or MODELS[model_name or "emocaliber-tiny"], **settings)
