"""EmoCaliber: which emotion an image evokes, why, and how far to trust the answer.

import emocaliber as ec
ec.load().predict("photo.jpg", task="EmoSet-8")
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

# By default, OpenMP's threads spin for milliseconds while they wait for each other, so that beside another process everything takes three
# to ten times longer. Here (GNU's and LLVM's OpenMP) they spin for microseconds, unless the user says otherwise. Read when torch is
# imported.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "600")
    os.environ.setdefault("KMP_BLOCKTIME", "0")

if TYPE_CHECKING:
    from emocaliber.errors import UserError
    from emocaliber.evaluation.comparison import Comparison, compare
    from emocaliber.evaluation.score import Score, score
    from emocaliber.predict.prediction import Prediction, Predictions
    from emocaliber.predict.predictor import Predictor, load
    from emocaliber.trust.calibrate import Calibration, calibrate
    from emocaliber.trust.certificate_file import Certificate
    from emocaliber.trust.certify import certify
    from emocaliber.trust.watch import Watch

    __version__: str


_HOMES = {
    "Calibration": "emocaliber.trust.calibrate",
    "Certificate": "emocaliber.trust.certificate_file",
    "Comparison": "emocaliber.evaluation.comparison",
    "Prediction": "emocaliber.predict.prediction",
    "Predictions": "emocaliber.predict.prediction",
    "Predictor": "emocaliber.predict.predictor",
    "Score": "emocaliber.evaluation.score",
    "UserError": "emocaliber.errors",
    "Watch": "emocaliber.trust.watch",
    "calibrate": "emocaliber.trust.calibrate",
    "certify": "emocaliber.trust.certify",
    "compare": "emocaliber.evaluation.comparison",
    "score": "emocaliber.evaluation.score",
    "load": "emocaliber.predict.predictor",
}

__all__ = [
    "Calibration",
    "Certificate",
    "Comparison",
    "Prediction",
    "Predictions",
    "Predictor",
    "Score",
    "UserError",
    "Watch",
    "__version__",
    "calibrate",
    "certify",
    "compare",
    "load",
    "score",
]


def __getattr__(name: str) -> Any:
    """Imports what a public name needs only when it is used, so that `import emocaliber` is fast."""
    if name == "__version__":
        from importlib.metadata import version

        return version("emocaliber")
    if name in _HOMES:
        from importlib import import_module

        return getattr(import_module(_HOMES[name]), name)
    from emocaliber.errors import did_you_mean

    message = f"module 'emocaliber' has no attribute {name!r}; it has {', '.join(__all__)}{did_you_mean(name, __all__)}"
    raise AttributeError(message, name=name)  # with a name, Python adds no suggestion of its own


def __dir__() -> list[str]:
    return __all__
