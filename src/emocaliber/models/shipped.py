"""The models that ship inside the package, and where they are."""

from __future__ import annotations

from pathlib import Path

_CHECKPOINTS = Path(__file__).parent.parent / "checkpoints"
LITE = _CHECKPOINTS / "lite"  # of photographs
TINY = _CHECKPOINTS / "tiny"  # of the known-answer world
SHIPPED = {"lite": LITE, "tiny": TINY}
DEFAULT_MODEL = "lite"  # of `predict`, `serve` and `load`


def checkpoint_of(name: str) -> str:
    """The folder of the model that ships under this name; any other name as it is."""
    return str(SHIPPED.get(name, name))
