"""The template teacher: writes a caption or the five reasoning steps for a scene. It is the offline teacher of stage 1.

It knows a scene's concepts, how near they are, and the VADs of the parts and the whole, and, like the paper's teacher, the label. It does
not know the posterior, so nothing that it writes gives a confidence away. Each step has several wordings. `concepts_named` is the reverse:
it checks which of a scene's concepts a model's reasoning names.
"""

from __future__ import annotations

from bisect import bisect
from collections.abc import Mapping, Sequence

import numpy as np

from emocaliber.core.response import Reasoning, Response
from emocaliber.emotions.loop import VAD
from emocaliber.scenes.annotators import scene_vad, weighted_vad
from emocaliber.scenes.concepts import CLOSE, CONTEXTS, ELEMENTS, HUMANS, INTERACTIONS, NOBODY, Concept
from emocaliber.scenes.out_of_domain import (
    ABSTRACT_WEIGHTS,
    BRIGHTNESS,
    COLOUR_TONES,
    LIGHTS,
    MARKS,
    OOD_ELEMENT,
    SURFACES,
    AbstractScene,
    MoodScene,
    OODScene,
    abstract_vad,
    mood_vad,
    mood_weights,
    part_vads,
)

_EDGES = (-0.8, -0.45, -0.15, 0.15, 0.45, 0.8)
VALENCE = ("awful", "unpleasant", "uneasy", "mixed", "agreeable", "pleasant", "delightful")
AROUSAL = ("lifeless", "still", "quiet", "steady", "lively", "intense", "frantic")
DOMINANCE = ("helpless", "weak", "small", "even", "firm", "strong", "commanding")


def vad_words(vad: VAD) -> tuple[str, str, str]:
    """One word each for valence, arousal and dominance, out of seven degrees."""
    return tuple(words[bisect(_EDGES, value)] for words, value in zip((VALENCE, AROUSAL, DOMINANCE), vad, strict=True))  # type: ignore[return-value]


def fill_template(templates: Sequence[str], rng: np.random.Generator, **words: str) -> str:
    """One of the templates at random, with `words` filled in and its first letter capitalised."""
    sentence = templates[int(rng.integers(len(templates)))].format(**words)
    return sentence[0].upper() + sentence[1:]


def vad_slots(vad: VAD) -> dict[str, str]:
    """The three words of `vad_words`, for the slots {v}, {a} and {d} of a template."""
    return dict(zip("vad", vad_words(vad), strict=True))


_ELEMENT = (
    "the eye goes first to {thing}. It feels {v}, {a} and {d}.",
    "{thing} stands out. It feels {v}, {a} and {d}.",
    "the picture shows {thing}, {v}, {a} and {d}.",
)
HUMAN = (
    "there is {thing}. The figure seems {v}, {a} and {d}.",
    "{thing} can be seen. The figure seems {v}, {a} and {d}.",
    "the human figure is {thing}, {v}, {a} and {d}.",
)
ALONE = ("there is nobody in the picture.", "nobody can be seen.")
_CONTEXT = (
    "the setting is {thing}. It feels {v}, {a} and {d}.",
    "around it lies {thing}, {v}, {a} and {d}.",
    "the place is {thing}. It feels {v}, {a} and {d}.",
)
_INTERACTION = {
    (True, True): (
        "the figure is close to {thing}, which weighs most.",
        "figure and {thing} are close together, and the setting matters little.",
    ),
    (True, False): (
        "the figure keeps apart from {thing}, and the setting matters more.",
        "figure and {thing} stand apart, so the setting weighs more.",
    ),
    (False, True): (
        "alone, {thing} is close and fills the picture.",
        "with nobody near, {thing} is close and weighs most.",
    ),
    (False, False): (
        "alone, {thing} is far apart and the setting weighs more.",
        "with nobody near, {thing} stands apart, and the setting matters more.",
    ),
}
COMMITS = "evokes"  # the word after which every analysis names the emotion
ANALYSIS = (
    "taken together, the scene is {v}, {a} and {d}. It evokes {label}.",
    "as a whole it feels {v}, {a} and {d}, which evokes {label}.",
    "all this is {v}, {a} and {d}. It evokes {label}.",
)


def write_response(element: str, human: str, context: str, interaction: str, label: str, rng: np.random.Generator) -> Response:
    """The five steps and the answer for one scene and its label, without a confidence."""
    thing, figure, place = ELEMENTS[element], HUMANS[human], CONTEXTS[context]
    there = human != NOBODY
    return Response(
        Reasoning(
            element=fill_template(_ELEMENT, rng, thing=thing.phrase, **vad_slots(thing.vad)),
            human=fill_template(HUMAN, rng, thing=figure.phrase, **vad_slots(figure.vad)) if there else fill_template(ALONE, rng),
            context=fill_template(_CONTEXT, rng, thing=place.phrase, **vad_slots(place.vad)),
            interaction=fill_template(_INTERACTION[there, interaction == CLOSE], rng, thing=f"the {thing.bare}"),
            analysis=fill_template(ANALYSIS, rng, label=label, **vad_slots(scene_vad(element, human, context, interaction))),
        ),
        label,
    )


_CAPTION = (
    "{element}, {human}, {context}; {distance}. {felt}",
    "{context} with {element} and {human}; {distance}. {felt}",
    "{human}, {distance}, {element}, {context}. {felt}",
)


def caption(element: str, human: str, context: str, interaction: str, rng: np.random.Generator) -> str:
    """A short description of a scene and of the VAD of one part or the whole, without an emotion label: trains the base checkpoint."""
    seen = {"element": ELEMENTS[element], "human": HUMANS[human], "context": CONTEXTS[context]}
    known = [(concept.phrase, concept.vad) for concept in seen.values() if concept.key != NOBODY]
    known.append(("the whole", scene_vad(element, human, context, interaction)))
    subject, vad = known[rng.integers(len(known))]
    felt = f"{subject[0].upper()}{subject[1:]} feels {', '.join(vad_words(vad))}."
    return fill_template(_CAPTION, rng, distance=interaction, felt=felt, **{key: concept.phrase for key, concept in seen.items()})


# Abstract pictures: colour and texture alone.

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


def write_abstract_response(scene: AbstractScene, label: str, rng: np.random.Generator) -> Response:
    """The response for an abstract picture: its marks are the element, its ground the context, their contrast the interaction."""
    marks, colour, ground, surface = part_vads(scene)
    front, back = weighted_vad((marks, colour), ABSTRACT_WEIGHTS[:2]), weighted_vad((ground, surface), ABSTRACT_WEIGHTS[2:])
    light, behind = (BRIGHTNESS[tone.split()[0]] for tone in (scene.colour, scene.ground))
    thing = MARKS[scene.marks].phrase
    return Response(
        Reasoning(
            element=fill_template(_MARKS, rng, thing=thing, colour=COLOUR_TONES[scene.colour].phrase, **vad_slots(front)),
            human=fill_template(ALONE, rng),
            context=fill_template(
                _GROUND,
                rng,
                colour=COLOUR_TONES[scene.ground].phrase,
                surface=SURFACES[scene.surface].phrase,
                **vad_slots(back),
            ),
            interaction=fill_template(_CONTRAST[int(np.sign(light - behind))], rng, thing=thing),
            analysis=fill_template(ANALYSIS, rng, label=label, **vad_slots(abstract_vad(scene))),
        ),
        label,
    )


# The same object under different emotions.

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


def write_mood_response(scene: MoodScene, label: str, rng: np.random.Generator) -> Response:
    """The response for a scene in which the element has no weight and the light has some."""
    thing, figure, place, light = ELEMENTS[scene.element], HUMANS[scene.human], CONTEXTS[scene.context], LIGHTS[scene.light]
    there = scene.human != NOBODY
    surroundings = weighted_vad((place.vad, light.vad), mood_weights(scene)[1:])
    return Response(
        Reasoning(
            element=fill_template(_OBJECT, rng, thing=thing.phrase),
            human=fill_template(HUMAN, rng, thing=figure.phrase, **vad_slots(figure.vad)) if there else fill_template(ALONE, rng),
            context=fill_template(_LIT_CONTEXT, rng, thing=place.phrase, light=light.phrase, **vad_slots(surroundings)),
            interaction=fill_template(_BESIDE[there, scene.interaction == CLOSE], rng, thing=f"the {thing.bare}"),
            analysis=fill_template(ANALYSIS, rng, label=label, **vad_slots(mood_vad(scene))),
        ),
        label,
    )


# Out-of-distribution pictures.

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


def write_ood_response(scene: OODScene, label: str, rng: np.random.Generator) -> Response:
    """The response for an out-of-distribution picture: it says that nothing is familiar, and guesses."""
    return Response(
        Reasoning(
            element=fill_template(_NOTHING, rng, thing=OOD_ELEMENT.phrase),
            human=fill_template(_NO_FIGURE, rng),
            context=fill_template(_NO_PLACE, rng, tone=COLOUR_TONES[scene.tone].phrase),
            interaction=fill_template(_NO_RELATION, rng),
            analysis=fill_template(_GUESS, rng, label=label),
        ),
        label,
    )


# Reasoning compared with the scene: which concepts does it name?


def _phrases(concepts: Mapping[str, Concept]) -> dict[str, str]:
    return {key: concept.phrase for key, concept in concepts.items()}


# For each part of a scene: the step that must name it, and the phrase for each of its keys.
_NAMED_IN = {
    "element": ("element", _phrases(ELEMENTS) | {OOD_ELEMENT.key: OOD_ELEMENT.phrase}),
    "human": ("human", _phrases(HUMANS)),
    "context": ("context", _phrases(CONTEXTS)),
    "interaction": ("interaction", {key: f" {key}" for key in INTERACTIONS}),
    "tone": ("context", _phrases(COLOUR_TONES)),
    "light": ("context", _phrases(LIGHTS)),
    "marks": ("element", _phrases(MARKS)),
    "colour": ("element", _phrases(COLOUR_TONES)),
    "ground": ("context", _phrases(COLOUR_TONES)),
    "surface": ("context", _phrases(SURFACES)),
}


def concepts_named(reasoning: Reasoning, scene: Mapping[str, str]) -> dict[str, bool]:
    """For each part of a scene's record: whether its step names the scene's own concept, and no other concept of that part."""
    named = {}
    for part, key in scene.items():
        step, phrases = _NAMED_IN[part]
        text = getattr(reasoning, step).lower()
        named[part] = [other for other, phrase in phrases.items() if phrase in text] == [key]
    return named
