"""Scenes: a drawn world in which the right confidence is known."""

from __future__ import annotations

from emocaliber.scenes.kinds import KINDS, Kind
from emocaliber.scenes.narrator import caption, narrate
from emocaliber.scenes.scene import Scene, random_scene
from emocaliber.scenes.viewers import feeling, fit_temperature, posterior, vote_entropy
from emocaliber.scenes.world import draw_samples, drawn_rows

__all__ = [
    "KINDS",
    "Kind",
    "Scene",
    "caption",
    "draw_samples",
    "drawn_rows",
    "feeling",
    "fit_temperature",
    "narrate",
    "posterior",
    "random_scene",
    "vote_entropy",
]
