"""The narrator: puts a scene into words, as a caption or as the five reasoning steps. It is the offline teacher of stage 1.

It sees what a careful onlooker would (which concepts, how close, how each and the whole feel) and, like the paper's teacher, the label; it
never sees how many viewers agree, so nothing it writes gives a confidence away. Several wordings of each step keep its texts from being one
fixed string.
"""

from __future__ import annotations

from bisect import bisect
from collections.abc import Mapping, Sequence

import numpy as np

from emocaliber.core.response import Reasoning, Response
from emocaliber.emotions.loop import VAD
from emocaliber.scenes.concepts import CLOSE, CONTEXTS, ELEMENTS, HUMANS, INTERACTIONS, NOBODY, Concept
from emocaliber.scenes.out_of_domain import (
    ABSTRACT_WEIGHTS,
    BRIGHTNESS,
    LIGHTS,
    MARKS,
    SURFACES,
    TONES,
    UNFAMILIAR,
    AbstractScene,
    MoodScene,
    UnfamiliarScene,
    abstract_feeling,
    mood_feeling,
    mood_shares,
    parts,
)
from emocaliber.scenes.viewers import blend, feeling

_EDGES = (-0.8, -0.45, -0.15, 0.15, 0.45, 0.8)
_VALENCE = ("awful", "unpleasant", "uneasy", "mixed", "agreeable", "pleasant", "delightful")
_AROUSAL = ("lifeless", "still", "quiet", "steady", "lively", "intense", "frantic")
_DOMINANCE = ("helpless", "weak", "small", "even", "firm", "strong", "commanding")


def tone(vad: VAD) -> tuple[str, str, str]:
    """One word each for valence, arousal and dominance, from seven degrees."""
    return tuple(words[bisect(_EDGES, value)] for words, value in zip((_VALENCE, _AROUSAL, _DOMINANCE), vad, strict=True))  # type: ignore[return-value]


def say(templates: Sequence[str], rng: np.random.Generator, **words: str) -> str:
    """One of the wordings at random, filled in, as a sentence."""
    sentence = templates[int(rng.integers(len(templates)))].format(**words)
    return sentence[0].upper() + sentence[1:]


def tones(vad: VAD) -> dict[str, str]:
    """The three words of `tone`, for the places {v}, {a} and {d} of a wording."""
    return dict(zip("vad", tone(vad), strict=True))


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
ANALYSIS = (
    "taken together, the scene is {v}, {a} and {d}. It evokes {label}.",
    "as a whole it feels {v}, {a} and {d}, which evokes {label}.",
    "all this is {v}, {a} and {d}. It evokes {label}.",
)


def narrate(element: str, human: str, context: str, interaction: str, label: str, rng: np.random.Generator) -> Response:
    """The five steps and the answer for one scene and one viewer's label, without a confidence."""
    thing, figure, place = ELEMENTS[element], HUMANS[human], CONTEXTS[context]
    there = human != NOBODY
    return Response(
        Reasoning(
            element=say(_ELEMENT, rng, thing=thing.phrase, **tones(thing.vad)),
            human=say(HUMAN, rng, thing=figure.phrase, **tones(figure.vad)) if there else say(ALONE, rng),
            context=say(_CONTEXT, rng, thing=place.phrase, **tones(place.vad)),
            interaction=say(_INTERACTION[there, interaction == CLOSE], rng, thing=f"the {thing.bare}"),
            analysis=say(ANALYSIS, rng, label=label, **tones(feeling(element, human, context, interaction))),
        ),
        label,
    )


_CAPTION = (
    "{element}, {human}, {context}; {distance}. {felt}",
    "{context} with {element} and {human}; {distance}. {felt}",
    "{human}, {distance}, {element}, {context}. {felt}",
)


def caption(element: str, human: str, context: str, interaction: str, rng: np.random.Generator) -> str:
    """A short description of what is seen and how a part or the whole of it feels, without any emotion label, for the base checkpoint."""
    seen = {"element": ELEMENTS[element], "human": HUMANS[human], "context": CONTEXTS[context]}
    known = [(concept.phrase, concept.vad) for concept in seen.values() if concept.key != NOBODY]
    known.append(("the whole", feeling(element, human, context, interaction)))
    subject, vad = known[rng.integers(len(known))]
    felt = f"{subject[0].upper()}{subject[1:]} feels {', '.join(tone(vad))}."
    return say(_CAPTION, rng, distance=interaction, felt=felt, **{key: concept.phrase for key, concept in seen.items()})


# The narrator for pictures that are not like the others: colour and texture alone, one object under different emotions, nothing known.

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
            element=say(_MARKS, rng, thing=thing, colour=TONES[scene.colour].phrase, **tones(blend((marks, colour), ABSTRACT_WEIGHTS[:2]))),
            human=say(ALONE, rng),
            context=say(
                _GROUND,
                rng,
                colour=TONES[scene.ground].phrase,
                surface=SURFACES[scene.surface].phrase,
                **tones(blend((ground, surface), ABSTRACT_WEIGHTS[2:])),
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


# Did a model see what is there? Its reasoning against the concepts of the scene it was shown.


def _phrases(kind: Mapping[str, Concept]) -> dict[str, str]:
    return {key: concept.phrase for key, concept in kind.items()}


# For each part of a scene: the step that must name it, and the words for each of its keys.
_SAID = {
    "element": ("element", _phrases(ELEMENTS) | {UNFAMILIAR.key: UNFAMILIAR.phrase}),
    "human": ("human", _phrases(HUMANS)),
    "context": ("context", _phrases(CONTEXTS)),
    "interaction": ("interaction", {key: f" {key}" for key in INTERACTIONS}),
    "tone": ("context", _phrases(TONES)),
    "light": ("context", _phrases(LIGHTS)),
    "marks": ("element", _phrases(MARKS)),
    "colour": ("element", _phrases(TONES)),
    "ground": ("context", _phrases(TONES)),
    "surface": ("context", _phrases(SURFACES)),
}


def read_right(reasoning: Reasoning, scene: Mapping[str, str]) -> dict[str, bool]:
    """For each part of the scene's record: whether its step names the scene's own concept and no other one of its kind."""
    right = {}
    for part, key in scene.items():
        step, phrases = _SAID[part]
        said = getattr(reasoning, step).lower()
        right[part] = [other for other, phrase in phrases.items() if phrase in said] == [key]
    return right
