"""Scenes outside the in-domain world: abstract pictures, the same object under different emotions, and out-of-distribution (OOD) pictures.

For each kind: the record of a scene (a named tuple of keys), how it is drawn at random, and its valence, arousal and dominance (VAD).
"""

from __future__ import annotations

import math
from itertools import product
from typing import NamedTuple

import numpy as np

from emocaliber.emotions.loop import VAD
from emocaliber.scenes.annotators import GAIN, WEIGHTS, weighted_vad
from emocaliber.scenes.concepts import CONTEXTS, ELEMENTS, HUMANS, NOBODY, Concept, concepts, random_key, random_scene

# Abstract pictures: marks, colour and surface. The VADs of marks and surfaces are this project's own choices; that round forms please and
# pointed ones alarm follows Bar & Neta (2006, Psychol. Sci. 17:645). Hue explained little in Valdez & Mehrabian's data, so it has no VAD.

# In standard units; `SPAN` of them are the end of the VAD scale.
BRIGHTNESS = {"dark": -1.4, "mid-toned": 0.0, "bright": 1.4}
SATURATION = {"greyish": -1.4, "muted": 0.0, "vivid": 1.4}
SPAN = 2.0


def colour_vad(brightness: float, saturation: float) -> VAD:
    """The VAD of a colour, from its brightness and saturation in standard units.

    The coefficients were measured by Valdez & Mehrabian (1994, "Effects of color on emotions", J. Exp. Psychol. Gen. 123:394).
    """
    pleasure = 0.69 * brightness + 0.22 * saturation
    arousal = -0.31 * brightness + 0.60 * saturation
    dominance = -0.76 * brightness + 0.32 * saturation
    return VAD(pleasure / SPAN, arousal / SPAN, dominance / SPAN)


COLOUR_TONES = concepts(
    *(
        (f"{light} {strength}", f"{light} and {strength}", *colour_vad(brightness, saturation))
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

# Weights of the marks, their colour, the colour of the ground, and the surface in an abstract picture's VAD.
ABSTRACT_WEIGHTS = (0.46, 0.16, 0.22, 0.16)


class AbstractScene(NamedTuple):
    """The keys of an abstract picture's parts: its marks, their colour, the colour of the ground, and the surface."""

    marks: str
    colour: str
    ground: str
    surface: str


def random_abstract(rng: np.random.Generator) -> AbstractScene:
    """A scene whose parts are drawn independently, every key equally likely."""
    return AbstractScene(*(random_key(keys, rng) for keys in (MARKS, COLOUR_TONES, COLOUR_TONES, SURFACES)))


def part_vads(scene: AbstractScene) -> tuple[VAD, VAD, VAD, VAD]:
    """The VADs of the marks, their colour, the ground's colour and the surface."""
    return MARKS[scene.marks].vad, COLOUR_TONES[scene.colour].vad, COLOUR_TONES[scene.ground].vad, SURFACES[scene.surface].vad


def abstract_vad(scene: AbstractScene) -> VAD:
    """The valence, arousal and dominance of the whole picture."""
    return VAD(*(GAIN * value for value in weighted_vad(part_vads(scene), ABSTRACT_WEIGHTS)))


# The same object under different emotions, as in UnbiasedEmo (Panda et al. 2018): within a series the element stays, while figure, context
# and light change the mood. The element has no weight in the VAD and depends on the sample's number alone, so it says nothing about the
# label.

SERIES = 6  # consecutive samples that show the same element

LIGHTS = concepts(
    ("clear", "in clear daylight", 0.40, 0.10, 0.30),
    ("golden", "in golden light", 0.90, 0.15, 0.45),
    ("rosy", "in soft rosy light", 0.85, -0.05, 0.15),
    ("cold", "in cold blue light", -0.55, -0.15, -0.55),
    ("dim", "in dim light", -0.75, -0.60, -0.75),
    ("glaring", "in glaring red light", -0.65, 0.90, 0.50),
)
LIGHT_WEIGHT = 0.25


class MoodScene(NamedTuple):
    """The keys of a scene and of the light it is shown in."""

    element: str
    human: str
    context: str
    interaction: str
    light: str


def mood_scene(index: int, rng: np.random.Generator) -> MoodScene:
    """The scene of sample number `index`: the element of its series, and figure, context, nearness and light at random."""
    element = list(ELEMENTS)[index // SERIES % len(ELEMENTS)]
    return MoodScene(*random_scene(rng)._replace(element=element), random_key(LIGHTS, rng))


def mood_weights(scene: MoodScene) -> tuple[float, float, float]:
    """The weights of figure, context and light in the scene's VAD; the element's weight goes to figure and context in proportion."""
    _, human, context = WEIGHTS[scene.human != NOBODY, scene.interaction]
    scale = (1 - LIGHT_WEIGHT) / (human + context)
    return scale * human, scale * context, LIGHT_WEIGHT


def mood_vad(scene: MoodScene) -> VAD:
    """The valence, arousal and dominance of the whole scene."""
    felt = weighted_vad((HUMANS[scene.human].vad, CONTEXTS[scene.context].vad, LIGHTS[scene.light].vad), mood_weights(scene))
    return VAD(*(GAIN * value for value in felt))


# Out-of-distribution pictures, in which nothing can be recognised: outlier exposure (Hendrycks et al. 2019) with an answer in place of a
# refusal. A model trained on in-domain scenes alone recognises one in every picture. On these pictures next to nothing says which answer is
# right, so the right confidence is about one over the number of candidates. Two weak effects remain: the picture's colour tone (brightness
# and saturation), and a positivity offset (Ito & Cacioppo 2005): people rate neutral pictures a little above neutral. They raise the
# likelier of two answers to 0.77 at most, and make the likeliest answer depend on the picture.

OOD_ELEMENT = Concept("unfamiliar", "nothing familiar", VAD(0.0, 0.0, 0.0))
POSITIVITY_OFFSET = 0.052  # of valence, whatever the tone: 61 % of annotators say positive, as for the paintings of Abstract (140 of 229)
TONE_WEIGHT = 0.125  # of the colour tone in the picture's VAD; in abstract pictures colours have 0.38


class OODScene(NamedTuple):
    """The record of an OOD picture: the element is `OOD_ELEMENT`, and `tone` is the brightness and saturation of the picture as a whole."""

    element: str
    tone: str


def random_ood_scene(rng: np.random.Generator) -> OODScene:
    """An OOD picture's record, every colour tone equally likely."""
    return OODScene(OOD_ELEMENT.key, random_key(COLOUR_TONES, rng))


def tone_vad(tone: str) -> VAD:
    """The VAD of an OOD picture with this colour tone: a small valence, and neither arousal nor dominance.

    Bright colours have high valence and low dominance, while among emotion words the pleasant ones have high dominance. With all three
    values, bright pictures would therefore be labelled as unpleasant.
    """
    return VAD(POSITIVITY_OFFSET + TONE_WEIGHT * COLOUR_TONES[tone].vad.valence, 0.0, 0.0)


def is_ood(index: int, share: float) -> bool:
    """Whether sample number `index` shows an OOD picture; of the first n samples, n times the share do, rounded up, evenly spread."""
    before, after = (math.ceil(round(count * share, 9)) for count in (index, index + 1))
    return after > before
