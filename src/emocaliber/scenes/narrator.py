"""The narrator: puts a scene into words, as a caption or as the five reasoning steps. It is the offline teacher of stage 1.

It sees what a careful onlooker would (which concepts, how close, how each and the whole feel) and, like the paper's teacher, the label; it
never sees how many viewers agree, so nothing it writes gives a confidence away. Several wordings of each step keep its texts from being one
fixed string.
"""

from __future__ import annotations

from bisect import bisect
from collections.abc import Sequence

import numpy as np

from emocaliber.emotions import VAD
from emocaliber.response import Reasoning, Response
from emocaliber.scenes.concepts import CLOSE, CONTEXTS, ELEMENTS, HUMANS, NOBODY
from emocaliber.scenes.viewers import feeling

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
