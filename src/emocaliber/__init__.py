"""EmoCaliber: which emotion an image evokes, why, and how far to trust the answer.

import emocaliber as ec
ec.load("tiny").predict("photo.jpg", task="EmoSet-8")
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from emocaliber.predict.predictor import Prediction, Predictor, load

    __version__: str


__all__ = ["Prediction", "Predictor", "__version__", "load"]


def __getattr__(name: str) -> Any:
    """Imports what a public name needs only when it is used, so that `import emocaliber` is fast."""
    if name == "__version__":
        from importlib.metadata import version

        return version("emocaliber")
    if name in __all__:
        from emocaliber.predict import predictor as prediction

        return getattr(prediction, name)
    raise AttributeError(f"module 'emocaliber' has no attribute {name!r}")
