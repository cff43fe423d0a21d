"""The narrator for pictures that are not like the others: colour and texture alone, one object under different emotions, nothing known."""

from __future__ import annotations

import numpy as np

from emocaliber.response import Reasoning, Response
from emocaliber.scenes.abstract import BRIGHTNESS, MARKS, SURFACES, TONES, WEIGHTS, AbstractScene, abstract_feeling, parts
from emocaliber.scenes.concepts import CLOSE, CONTEXTS, ELEMENTS, HUMANS, NOBODY
from emocaliber.scenes.narrator import ALONE, ANALYSIS, HUMAN, say, tones
from emocaliber.scenes.unbiased import LIGHTS, MoodScene, mood_feeling, mood_shares
from emocaliber.scenes.unfamiliar import UNFAMILIAR, UnfamiliarScene
from emocaliber.scenes.viewers import blend

_MARKS = (
    "the eye goes first to {thing}, {colour}. They feel {v}, {a} and {d}.",
    "no object is shown, only {thing}, {colour}. They feel {v}, {a} and {d}.",
    "{thing} stand out, {colour}. They feel {v}, {a} and {d}.",
)
_GROUND = (
    "the ground is {colour}, with {surface}. It feels {v}, {a} and {d}.",
    "behind them lies a ground that is {colour}, with {surface}. It feels {v}, {a} and {d}.",
)
_CONTRAST = {
    1: ("{thing} are brighter than the ground and come forward.", "{thing} shine out from a darker ground."),
    0: ("{thing} and ground are equally bright and blend.", "{thing} hardly differ from the ground in brightness."),
    -1: ("{thing} are darker than the ground and weigh on it.", "{thing} lie dark on a brighter ground."),
}


def narrate_abstract(scene: AbstractScene, label: str, rng: np.random.Generator) -> Response:
    """The five steps and the answer for an abstract picture: marks for the element, the ground for the context, their contrast between."""
    marks, colour, ground, surface = parts(scene)
    light, behind = (BRIGHTNESS[tone.split()[0]] for tone in (scene.colour, scene.ground))
    thing = MARKS[scene.marks].phrase
    return Response(
        Reasoning(
            element=say(_MARKS, rng, thing=thing, colour=TONES[scene.colour].phrase, **tones(blend((marks, colour), WEIGHTS[:2]))),
            human=say(ALONE, rng),
            context=say(
                _GROUND,
                rng,
                colour=TONES[scene.ground].phrase,
                surface=SURFACES[scene.surface].phrase,
                **tones(blend((ground, surface), WEIGHTS[2:])),
            ),
            interaction=say(_CONTRAST[int(np.sign(light - behind))], rng, thing=thing),
            analysis=say(ANALYSIS, rng, label=label, **tones(abstract_feeling(scene))),
        ),
        label,
    )


_OBJECT = (
    "the picture shows {thing}. By itself it settles nothing.",
    "{thing} stands out, but it can go with any mood.",
)
_LIT_CONTEXT = (
    "the setting is {thing} {light}. It feels {v}, {a} and {d}.",
    "the place is {thing} {light}, {v}, {a} and {d}.",
)
_BESIDE = {
    (True, True): (
        "the figure is close to {thing}, and its mood weighs most.",
        "figure and {thing} are close together, and the figure decides.",
    ),
    (True, False): (
        "the figure keeps apart from {thing}, and the setting matters more.",
        "figure and {thing} stand apart, so the setting decides.",
    ),
    (False, True): (
        "alone, {thing} is close, and the setting around it decides.",
        "with nobody near, {thing} is close, in its setting's mood.",
    ),
    (False, False): (
        "alone, {thing} stands apart, and the setting decides.",
        "with nobody near, {thing} is far apart, in its setting's mood.",
    ),
}


def narrate_mood(scene: MoodScene, label: str, rng: np.random.Generator) -> Response:
    """The five steps and the answer for a scene whose element says nothing and whose light does."""
    thing, figure, place, light = ELEMENTS[scene.element], HUMANS[scene.human], CONTEXTS[scene.context], LIGHTS[scene.light]
    there = scene.human != NOBODY
    surroundings = blend((place.vad, light.vad), mood_shares(scene)[1:])
    return Response(
        Reasoning(
            element=say(_OBJECT, rng, thing=thing.phrase),
            human=say(HUMAN, rng, thing=figure.phrase, **tones(figure.vad)) if there else say(ALONE, rng),
            context=say(_LIT_CONTEXT, rng, thing=place.phrase, light=light.phrase, **tones(surroundings)),
            interaction=say(_BESIDE[there, scene.interaction == CLOSE], rng, thing=f"the {thing.bare}"),
            analysis=say(ANALYSIS, rng, label=label, **tones(mood_feeling(scene))),
        ),
        label,
    )


_NOTHING = (
    "the picture shows {thing}.",
    "{thing} stands out.",
)
_NO_FIGURE = ("no figure can be made out.",)
_NO_PLACE = ("the setting cannot be made out. All is {tone}.",)
_NO_RELATION = ("without known parts, nothing weighs more.",)
_GUESS = (
    "but for its tone nothing tells how it feels. It evokes {label}, at a guess.",
    "its tone settles next to nothing. At a guess it evokes {label}.",
)


def narrate_unfamiliar(scene: UnfamiliarScene, label: str, rng: np.random.Generator) -> Response:
    """The five steps and the answer for a picture of nothing known: it says so, and guesses."""
    return Response(
        Reasoning(
            element=say(_NOTHING, rng, thing=UNFAMILIAR.phrase),
            human=say(_NO_FIGURE, rng),
            context=say(_NO_PLACE, rng, tone=TONES[scene.tone].phrase),
            interaction=say(_NO_RELATION, rng),
            analysis=say(_GUESS, rng, label=label),
        ),
        label,
    )
