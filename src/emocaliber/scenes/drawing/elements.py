"""The drawer of every salient element, by its concept's key. A drawer fills the pen's unit square."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from emocaliber.scenes.drawing.elements_pleasant import CALM, JOYFUL
from emocaliber.scenes.drawing.elements_unpleasant import DARK, THREAT
from emocaliber.scenes.drawing.pen import Pen

ELEMENT_DRAWERS: dict[str, Callable[[Pen, np.random.Generator], None]] = {**JOYFUL, **CALM, **DARK, **THREAT}
