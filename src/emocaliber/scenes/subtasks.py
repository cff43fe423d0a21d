"""What the pictures of each of the nine subtasks are: how a scene is chosen, felt, painted and told.

The in-domain subtasks show one world, as plain drawings, as photographs, and as pictures from the web. The others are out of its domain:
Abstract has colour and texture only, Artphoto another hand, and UnbiasedEmo the same object under different emotions. Any subtask can also
ask about pictures of nothing that this world knows.
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
from emocaliber.scenes.concepts import Scene, random_scene
from emocaliber.scenes.drawing.abstract import draw_abstract
from emocaliber.scenes.drawing.compose import draw
from emocaliber.scenes.drawing.pen import SUPERSAMPLING, Colour
from emocaliber.scenes.drawing.styles import Finish, artistic, everyday, lit, posted, snapshot
from emocaliber.scenes.drawing.unfamiliar import draw_unfamiliar
from emocaliber.scenes.out_of_domain import (
    AbstractScene,
    MoodScene,
    UnfamiliarScene,
    abstract_feeling,
    mood_feeling,
    mood_scene,
    random_abstract,
    tone_feeling,
    unfamiliar_scene,
)
from emocaliber.scenes.template_teacher import narrate, narrate_abstract, narrate_mood, narrate_unfamiliar
from emocaliber.scenes.viewers import Floats, feeling, leaning, posterior

S = TypeVar("S", bound=tuple[str, ...])


@dataclass(frozen=True)
class Kind(Generic[S]):
    """The pictures of one subtask. `S` is its record of a scene, a named tuple of keys.

    `choose(index, rng)` is the scene of sample number `index`, `feel(scene)` its feeling, `paint(scene, rng, size)` its picture, and
    `tell(scene, label, rng)` its five steps. `vote(feeling, labels)` are the viewers. `stream` sets the random numbers of subtasks apart.
    """

    stream: int
    choose: Callable[[int, np.random.Generator], S]
    feel: Callable[[S], VAD]
    paint: Callable[[S, np.random.Generator, int], Image.Image]
    tell: Callable[[S, str, np.random.Generator], Response]
    vote: Callable[[VAD, Taxonomy], Floats] = posterior

    def generator(self, seed: int, index: int) -> np.random.Generator:
        """The random numbers of one sample. Every sample has its own, so the order of drawing does not matter."""
        # Stream 0 is left out, as it was before there were others: what was drawn then is drawn again.
        return np.random.default_rng([seed, index, self.stream] if self.stream else [seed, index])

    def shares(self, scene: S, labels: Taxonomy) -> Floats:
        """P(label | scene): how many viewers name each label, in the taxonomy's order."""
        return self.vote(self.feel(scene), labels)


def _world(stream: int, finish: Finish, supersampling: int = SUPERSAMPLING) -> Kind[Scene]:
    """Scenes of element, figure and context, finished in this way."""
    return Kind(
        stream,
        choose=lambda index, rng: random_scene(rng),
        feel=lambda scene: feeling(*scene),
        paint=lambda scene, rng, size: draw(*scene, rng, size, finish=finish, supersampling=supersampling),
        tell=lambda scene, label, rng: narrate(*scene, label, rng),
    )


_ABSTRACT: Kind[AbstractScene] = Kind(
    6,
    choose=lambda index, rng: random_abstract(rng),
    feel=abstract_feeling,
    paint=lambda scene, rng, size: draw_abstract(*scene, rng, size),
    tell=narrate_abstract,
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


def _paint_mood(scene: MoodScene, rng: np.random.Generator, size: int) -> Image.Image:
    return draw(*scene[:4], rng, size, finish=lambda picture, rng: lit(picture, *_LIGHTS[scene.light]))


_MOOD: Kind[MoodScene] = Kind(8, choose=mood_scene, feel=mood_feeling, paint=_paint_mood, tell=narrate_mood)

KINDS: Mapping[str, Kind[Any]] = MappingProxyType(
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


def unfamiliar_kind(task_name: str) -> Kind[UnfamiliarScene]:
    """Pictures of nothing that this world knows, about which the question of a subtask is asked; every subtask has its own."""
    return Kind(
        10 + KINDS[task_name].stream,
        choose=lambda index, rng: unfamiliar_scene(rng),
        feel=lambda scene: tone_feeling(scene.tone),
        paint=lambda scene, rng, size: draw_unfamiliar(scene.tone, rng, size),
        tell=narrate_unfamiliar,
        vote=leaning,
    )
