"""Scenes: a drawn world in which the right confidence is known."""

from __future__ import annotations

from emocaliber.scenes.concepts import Scene, random_scene
from emocaliber.scenes.dataset import draw_samples, drawn_rows
from emocaliber.scenes.subtasks import KINDS, Kind
from emocaliber.scenes.template_teacher import caption, narrate
from emocaliber.scenes.viewers import feeling, fit_temperature, posterior, vote_entropy

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
