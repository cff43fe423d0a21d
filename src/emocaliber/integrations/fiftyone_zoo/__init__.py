"""A source of models for FiftyOne's zoo: `install()` once, or `register_zoo_model_source(...)`, then `load_zoo_model("emocaliber-lite")`.

FiftyOne copies this folder with its manifest.json into its own zoo and calls the functions below. The package emocaliber, which the
manifest requires, has everything else. `install` puts this source and the plug-in where FiftyOne looks, without a download.

The manifest names no address: FiftyOne writes the one it came from into its copy. Its name must not be that of a package: FiftyOne
imports the folder under it, in place of the package.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

MODELS = {"emocaliber-lite": "lite", "emocaliber-tiny": "tiny", "emocaliber": "lite"}  # what each loads unless it is told otherwise


def download_model(model_name: str, model_path: str) -> None:
    """Notes which model is meant: `lite` and `tiny` are in the package, and others are loaded from where they are."""
    Path(model_path).write_text(json.dumps({"model": MODELS[model_name]}) + "\n", "utf-8")


def load_model(model_name: str | None = None, model_path: str | None = None, model: str | None = None, **settings: Any) -> Any:
    """The model for `apply_model`: see `emocaliber.integrations.fiftyone_model.EmotionModel` for the settings."""
    from emocaliber.integrations.fiftyone_model import EmotionModel

    return EmotionModel(model or MODELS[model_name or "emocaliber-lite"], **settings)


def install() -> tuple[Path, Path]:
    """Copies this source into FiftyOne's zoo and the plug-in into its folder of plug-ins, over earlier copies; returns both folders.

    Raises UserError without fiftyone.
    """
    from emocaliber.errors import UserError

    try:
        import fiftyone as fo
    except ImportError as error:
        raise UserError("this installs into FiftyOne, which is missing: pip install fiftyone") from error
    here = Path(__file__).parent
    zoo, plugin = Path(fo.config.model_zoo_dir) / "emocaliber-models", Path(fo.config.plugins_dir) / "emocaliber-reliability"
    for source, target in ((here, zoo), (here.parent / "fiftyone_plugin", plugin)):
        shutil.copytree(source, target, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    return zoo, plugin
