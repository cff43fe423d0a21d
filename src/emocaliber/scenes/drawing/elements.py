"""The drawer of every salient element, by its concept's key. A drawer fills the pen's unit square."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from emocaliber.scenes.drawing.elements_calm import CALM
from emocaliber.scenes.drawing.elements_dark import DARK
from emocaliber.scenes.drawing.elements_joyful import JOYFUL
from emocaliber.scenes.drawing.elements_threat import THREAT
from emocaliber.scenes.drawing.pen import Pen

ELEMENT_DRAWERS: dict[str, Callable[[Pen, np.random.Generator], None]] = {**JOYFUL, **CALM, **DARK, **THREAT}
