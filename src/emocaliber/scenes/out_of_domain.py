"""Abstract pictures: nothing but marks, colour and surface, each with a feeling of its own.

A colour's feeling follows from its brightness B and saturation S alone, as measured by Valdez & Mehrabian (1994, "Effects of color on
emotions", J. Exp. Psychol. Gen. 123:394), in standard units:

    pleasure = .69 B + .22 S,   arousal = -.31 B + .60 S,   dominance = -.76 B + .32 S.

Hue explained little beside them, so here it carries no meaning. The values of marks and surfaces are this project's own choices; that round
forms please and pointed ones alarm follows Bar & Neta (2006, Psychol. Sci. 17:645).
"""

from __future__ import annotations

import math
from itertools import product
from typing import NamedTuple

import numpy as np

from emocaliber.emotions.loop import VAD
from emocaliber.scenes.concepts import CONTEXTS, ELEMENTS, HUMANS, NOBODY, Concept, concepts, pick, random_scene
from emocaliber.scenes.viewers import GAIN, WEIGHTS, blend

# Standard units of each degree. Two of them span the VAD scale to its end.
BRIGHTNESS = {"dark": -1.4, "mid-toned": 0.0, "bright": 1.4}
SATURATION = {"greyish": -1.4, "muted": 0.0, "vivid": 1.4}
SPAN = 2.0


def colour_feeling(brightness: float, saturation: float) -> VAD:
    """The feeling of a colour whose brightness and saturation are given in standard units (Valdez & Mehrabian 1994)."""
    pleasure = 0.69 * brightness + 0.22 * saturation
    arousal = -0.31 * brightness + 0.60 * saturation
    dominance = -0.76 * brightness + 0.32 * saturation
    return VAD(pleasure / SPAN, arousal / SPAN, dominance / SPAN)


TONES = concepts(
    *(
        (f"{light} {strength}", f"{light} and {strength}", *colour_feeling(brightness, saturation))
        for (light, brightness), (strength, saturation) in product(BRIGHTNESS.items(), SATURATION.items())
    )
)

MARKS = concepts(
    ("dots", "scattered dots", 0.95, 0.75, 0.65),
    ("rays", "bursting rays", 0.85, 0.80, 0.60),
    ("blobs", "round blobs", 0.80, -0.15, 0.55),
    ("waves", "long waves", 0.85, -0.40, 0.45),
    ("bands", "level bands", 0.35, -0.70, 0.30),
    ("spiral", "whirling curves", 0.05, 0.70, -0.85),
    ("shards", "jagged shards", -0.75, 0.95, 0.85),
    ("scratches", "thin scratches", -0.85, 0.90, -0.65),
    ("stains", "spreading stains", -0.95, 0.35, -0.30),
    ("drips", "falling drips", -0.85, -0.80, -0.80),
)

SURFACES = concepts(
    ("smooth", "a smooth surface", 0.60, -0.50, 0.30),
    ("hazy", "a hazy surface", 0.35, -0.10, -0.75),
    ("grainy", "a grainy surface", 0.10, 0.45, 0.30),
    ("rough", "a rough surface", -0.50, 0.75, 0.40),
    ("cracked", "a cracked surface", -0.85, 0.10, -0.65),
)

# Shares in the feeling of marks, their colour, the colour of the ground, and the surface.
ABSTRACT_WEIGHTS = (0.46, 0.16, 0.22, 0.16)


class AbstractScene(NamedTuple):
    """The keys of an abstract picture's parts: its marks, their colour, the colour of the ground, and the surface."""

    marks: str
    colour: str
    ground: str
    surface: str


def random_abstract(rng: np.random.Generator) -> AbstractScene:
    """Every key of a part equally likely, independently of the other parts."""
    return AbstractScene(*(pick(kind, rng) for kind in (MARKS, TONES, TONES, SURFACES)))


def parts(scene: AbstractScene) -> tuple[VAD, VAD, VAD, VAD]:
    """The feelings of marks, their colour, the ground's colour and the surface."""
    return MARKS[scene.marks].vad, TONES[scene.colour].vad, TONES[scene.ground].vad, SURFACES[scene.surface].vad


def abstract_feeling(scene: AbstractScene) -> VAD:
    """The valence, arousal and dominance of the whole picture."""
    return VAD(*(GAIN * value for value in blend(parts(scene), ABSTRACT_WEIGHTS)))


# The same object under different emotions: within a series the element stays, while figure, context and light change the mood.
#
# As in UnbiasedEmo (Panda et al. 2018), the object says nothing about the label. Viewers give it no weight, and the sample's number alone
# chooses it, so a model that judges by the object is fooled.

SERIES = 6  # pictures in a row that show the same element

LIGHTS = concepts(
    ("clear", "in clear daylight", 0.40, 0.10, 0.30),
    ("golden", "in golden light", 0.90, 0.15, 0.45),
    ("rosy", "in soft rosy light", 0.85, -0.05, 0.15),
    ("cold", "in cold blue light", -0.55, -0.15, -0.55),
    ("dim", "in dim light", -0.75, -0.60, -0.75),
    ("glaring", "in glaring red light", -0.65, 0.90, 0.50),
)
LIGHT_SHARE = 0.25


class MoodScene(NamedTuple):
    """The keys of a scene in a certain light."""

    element: str
    human: str
    context: str
    interaction: str
    light: str


def mood_scene(index: int, rng: np.random.Generator) -> MoodScene:
    """Sample number `index`: its series' element, and figure, context, nearness and light at random."""
    element = list(ELEMENTS)[index // SERIES % len(ELEMENTS)]
    return MoodScene(*random_scene(rng)._replace(element=element), pick(LIGHTS, rng))


def mood_shares(scene: MoodScene) -> tuple[float, float, float]:
    """Shares of figure, context and light in the scene's feeling; figure and context have the element's between them."""
    _, human, context = WEIGHTS[scene.human != NOBODY, scene.interaction]
    seen = (1 - LIGHT_SHARE) / (human + context)
    return seen * human, seen * context, LIGHT_SHARE


def mood_feeling(scene: MoodScene) -> VAD:
    """The valence, arousal and dominance of the whole scene."""
    felt = blend((HUMANS[scene.human].vad, CONTEXTS[scene.context].vad, LIGHTS[scene.light].vad), mood_shares(scene))
    return VAD(*(GAIN * value for value in felt))


# Pictures with nothing in them that this world knows, so that a model can learn what a guess is.
#
# A model that has only met drawn scenes sees one in everything. Beside these pictures it is asked the same question, and next to nothing in
# them says which answer is right: the right confidence is about one over the number of candidates (outlier exposure, Hendrycks et al. 2019,
# with an answer in place of a refusal). What is left is how bright a picture is, and how vivid, which pleases a little (Valdez & Mehrabian
# 1994, see `abstract`); and that people are a little pleased by what tells them nothing (positivity offset, Ito & Cacioppo 2005). Between
# two answers that is at most three times in four. So a guess follows the picture, and is not the same one each time.

UNFAMILIAR = Concept("unfamiliar", "nothing familiar", VAD(0.0, 0.0, 0.0))
OFFSET = 0.052  # of pleasure, whatever the tone: 61 in 100 viewers find it positive, as 140 of the 229 paintings of Abstract are
TONE_SHARE = 0.125  # of a picture's tone in its feeling; in abstract pictures colours have 0.38


class UnfamiliarScene(NamedTuple):
    """Its record: the element is `unfamiliar`, no other part is known, and `tone` is how bright and vivid it is as a whole."""

    element: str
    tone: str


def unfamiliar_scene(rng: np.random.Generator) -> UnfamiliarScene:
    """Every tone is equally likely."""
    return UnfamiliarScene(UNFAMILIAR.key, pick(TONES, rng))


def tone_feeling(tone: str) -> VAD:
    """The little that viewers feel, and that is pleasure alone.

    Bright colours please and yield, dark ones displease and dominate; among words it is the pleasant emotions that dominate. With all three
    values a bright picture would so be called unpleasant.
    """
    return VAD(OFFSET + TONE_SHARE * TONES[tone].vad.valence, 0.0, 0.0)


def is_unfamiliar(index: int, share: float) -> bool:
    """Whether sample number `index` is one of those, evenly spread: of the first n samples, n times the share are, rounded up."""
    before, after = (math.ceil(round(count * share, 9)) for count in (index, index + 1))
    return after > before
