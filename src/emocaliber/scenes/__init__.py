"""Synthetic scenes: a drawn world in which the right confidence is known."""

from __future__ import annotations

from emocaliber.scenes.annotators import fit_temperature, posterior, scene_vad, vote_entropy_nats
from emocaliber.scenes.concepts import Scene, random_scene
from emocaliber.scenes.dataset import draw_samples, read_scene_rows
from emocaliber.scenes.subtasks import SCENE_SUBTASKS, SceneSubtask
from emocaliber.scenes.template_teacher import caption, write_response

__all__ = [
    "SCENE_SUBTASKS",
    "Scene",
    "SceneSubtask",
    "caption",
    "draw_samples",
    "fit_temperature",
    "posterior",
    "random_scene",
    "read_scene_rows",
    "scene_vad",
    "vote_entropy_nats",
    "write_response",
]
