"""EmoCaliber: which emotion an image evokes, why, and how far to trust the answer.

import emocaliber as ec
ec.load("tiny").predict("photo.jpg", task="EmoSet-8")
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

# OpenMP's threads otherwise spin while they wait for each other: beside another process, models of any size take three to ten times
# longer. Read when torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

if TYPE_CHECKING:
    from emocaliber.errors import UserError
    from emocaliber.evaluation.score import Score, score
    from emocaliber.predict.prediction import Prediction, Predictions
    from emocaliber.predict.predictor import Predictor, load

    __version__: str


_HOMES = {
    "Prediction": "emocaliber.predict.prediction",
    "Predictions": "emocaliber.predict.prediction",
    "Predictor": "emocaliber.predict.predictor",
    "Score": "emocaliber.evaluation.score",
    "UserError": "emocaliber.errors",
    "score": "emocaliber.evaluation.score",
    "load": "emocaliber.predict.predictor",
}

__all__ = ["Prediction", "Predictions", "Predictor", "Score", "UserError", "__version__", "load", "score"]


def __getattr__(name: str) -> Any:
    """Imports what a public name needs only when it is used, so that `import emocaliber` is fast."""
    if name == "__version__":
        from importlib.metadata import version

        return version("emocaliber")
    if name in _HOMES:
        from importlib import import_module

        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'emocaliber' has no attribute {name!r}; it has {', '.join(__all__)}")


def __dir__() -> list[str]:
    return __all__
