"""The synthetic pictures of each of the nine subtasks: how a scene is chosen, its VAD, its picture and its reasoning text.

The in-domain subtasks show one world, as plain drawings, as photographs, and as pictures from the web. The subtasks of the group OOD VER
lie outside that domain: Abstract has colour and texture only, Artphoto another style, and UnbiasedEmo the same object under different
emotions. Any subtask can also ask about out-of-distribution (OOD) pictures, in which nothing can be recognised.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Generic, TypeVar

import numpy as np
from PIL import Image

from emocaliber.core.response import Response
from emocaliber.emotions.loop import VAD
from emocaliber.emotions.taxonomy import Taxonomy
from emocaliber.scenes.annotators import Floats, ood_posterior, posterior, scene_vad
from emocaliber.scenes.concepts import Scene, random_scene
from emocaliber.scenes.drawing.abstract import draw_abstract
from emocaliber.scenes.drawing.compose import draw_scene
from emocaliber.scenes.drawing.ood import draw_ood
from emocaliber.scenes.drawing.pen import SUPERSAMPLING, Colour
from emocaliber.scenes.drawing.styles import Finish, artistic, everyday, lit, posted, snapshot
from emocaliber.scenes.out_of_domain import (
    AbstractScene,
    MoodScene,
    OODScene,
    abstract_vad,
    mood_scene,
    mood_vad,
    random_abstract,
    random_ood_scene,
    tone_vad,
)
from emocaliber.scenes.template_teacher import write_abstract_response, write_mood_response, write_ood_response, write_response

S = TypeVar("S", bound=tuple[str, ...])


@dataclass(frozen=True)
class SceneSubtask(Generic[S]):
    """The synthetic pictures of one subtask. `S` is its record of a scene, a named tuple of keys.

    `choose(index, rng)` returns the scene of sample number `index`, `vad(scene)` its valence, arousal and dominance,
    `draw(scene, rng, size)` its picture, and `write(scene, label, rng)` the template teacher's response. `annotators(vad, labels)` returns
    the label distribution of the simulated annotators. `stream` gives every subtask random numbers of its own.
    """

    stream: int
    choose: Callable[[int, np.random.Generator], S]
    vad: Callable[[S], VAD]
    draw: Callable[[S, np.random.Generator, int], Image.Image]
    write: Callable[[S, str, np.random.Generator], Response]
    annotators: Callable[[VAD, Taxonomy], Floats] = posterior

    def generator(self, seed: int, index: int) -> np.random.Generator:
        """The random generator of one sample. Every sample has its own, so the order of drawing does not matter."""
        # Stream 0 is left out, as in the first version, which had no streams: so its samples can be drawn again.
        return np.random.default_rng([seed, index, self.stream] if self.stream else [seed, index])

    def posterior(self, scene: S, labels: Taxonomy) -> Floats:
        """P(label | scene): the share of annotators who name each label, (labels,) in the taxonomy's order."""
        return self.annotators(self.vad(scene), labels)


def _world(stream: int, finish: Finish, supersampling: int = SUPERSAMPLING) -> SceneSubtask[Scene]:
    """Scenes of element, figure and context, finished in this way."""
    return SceneSubtask(
        stream,
        choose=lambda index, rng: random_scene(rng),
        vad=lambda scene: scene_vad(*scene),
        draw=lambda scene, rng, size: draw_scene(*scene, rng, size, finish=finish, supersampling=supersampling),
        write=lambda scene, label, rng: write_response(*scene, label, rng),
    )


_ABSTRACT: SceneSubtask[AbstractScene] = SceneSubtask(
    6,
    choose=lambda index, rng: random_abstract(rng),
    vad=abstract_vad,
    draw=lambda scene, rng, size: draw_abstract(*scene, rng, size),
    write=write_abstract_response,
)

# Each light as gains of red, green and blue, and the veil it lays over the dark.
_LIGHTS: dict[str, tuple[tuple[float, float, float], Colour]] = {
    "clear": ((1.25, 1.25, 1.25), (225, 232, 240)),
    "golden": ((1.35, 1.1, 0.6), (255, 190, 40)),
    "rosy": ((1.35, 1.0, 1.15), (255, 150, 195)),
    "cold": ((0.65, 0.9, 1.35), (40, 100, 220)),
    "dim": ((0.45, 0.45, 0.5), (14, 14, 20)),
    "glaring": ((1.3, 0.6, 0.5), (255, 20, 10)),
}


def _draw_mood(scene: MoodScene, rng: np.random.Generator, size: int) -> Image.Image:
    return draw_scene(*scene[:4], rng, size, finish=lambda picture, rng: lit(picture, *_LIGHTS[scene.light]))


_MOOD: SceneSubtask[MoodScene] = SceneSubtask(8, choose=mood_scene, vad=mood_vad, draw=_draw_mood, write=write_mood_response)

SCENE_SUBTASKS: Mapping[str, SceneSubtask[Any]] = MappingProxyType(
    {
        "EmoSet-8": _world(0, everyday),
        "FI-8": _world(1, snapshot),
        "WebEmo-7": _world(2, posted),
        "WebEmo-25": _world(3, posted),
        "FI-2": _world(4, snapshot),
        "WebEmo-2": _world(5, posted),
        "Abstract-8": _ABSTRACT,
        "Artphoto-8": _world(7, artistic, supersampling=1),
        "UnbiasedEmo-6": _MOOD,
    }
)


def ood_subtask(task_name: str) -> SceneSubtask[OODScene]:
    """Out-of-distribution pictures about which the question of a subtask is asked; every subtask has its own."""
    return SceneSubtask(
        10 + SCENE_SUBTASKS[task_name].stream,
        choose=lambda index, rng: random_ood_scene(rng),
        vad=lambda scene: tone_vad(scene.tone),
        draw=lambda scene, rng, size: draw_ood(scene.tone, rng, size),
        write=write_ood_response,
        annotators=ood_posterior,
    )
