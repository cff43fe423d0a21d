"""The template teacher for photographs: writes the five reasoning steps from what is known of one, and nothing else.

Known are its content (`content.py`), whether somebody is in it, its light, how it feels to people (valence and arousal), and how far they
agree. Where something is not known, the step says so; a setting, an expression or a story is never made up.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from emocaliber.core.response import Reasoning, Response
from emocaliber.emotions.loop import VAD
from emocaliber.photographs.content import PERSON, PLACE, Content, contents
from emocaliber.scenes.template_teacher import fill_template, vad_words

UNFAMILIAR = "nothing familiar"  # what the first step names in a picture that is no photograph
NOBODY = ("nobody can be seen.", "there is nobody in the picture.")
SOMEBODY = ("there is somebody in the picture.", "a person can be seen.")

_ELEMENT = ("the picture shows {thing}.", "the eye goes first to {thing}.", "{thing} stands out.")
_SETTING = ("the setting is {thing}. The picture is {tone}.", "all of it is {thing}, {tone}.")
_NO_SETTING = ("the setting says little. The picture is {tone}.", "little is said of the place. The picture is {tone}.")
_INTERACTION = {
    (PERSON, True): ("the figure weighs most.", "what counts is the figure."),
    (PLACE, True): ("the figure is part of the place, which weighs most.", "the place weighs more than the figure."),
    (PLACE, False): ("with nobody near, the place weighs most.", "alone, the place settles it."),
    ("", True): ("the figure is near {thing}, and both count.", "figure and {thing} are close together."),
    ("", False): ("with nobody near, {thing} weighs most.", "alone, {thing} fills the picture."),
}
_ANALYSIS = (
    "taken together, it evokes {label}. It is {v} and {a}, and {agree}.",
    "as a whole it evokes {label}: it feels {v} and {a}, and {agree}.",
    "all this evokes {label}. It is {v} and {a}, and {agree}.",
)
_AGREE = {0.7: "most would agree", 0.45: "many would agree", 0.0: "people would differ"}  # by the share of the label
_NOTHING = ("the picture shows {thing}.", "{thing} stands out.")
_NO_PLACE = ("the setting cannot be made out. All is {tone}.",)
_GUESS = ("it seems to be no photograph, and settles nothing. At a guess it evokes {label}.",)

_BRIGHTNESS = ((0.33, "dark"), (0.6, "mid-toned"), (2.0, "bright"))  # HSV value of pictures, thirds of photographs
_SATURATION = ((0.13, "greyish"), (0.24, "muted"), (2.0, "vivid"))


@dataclass(frozen=True)
class Look:
    """What a picture itself shows: its content (None: it is no photograph), whether somebody is in it, and its light as words."""

    content: Content | None
    person: bool
    tone: str


def tone_words(brightness: float, saturation: float) -> str:
    """The light of a picture in words, such as "bright and vivid", from the numbers of `views.light_of`."""
    light = next(word for edge, word in _BRIGHTNESS if brightness < edge)
    return f"{light} and {next(word for edge, word in _SATURATION if saturation < edge)}"


def write_photograph_response(
    look: Look, valence: float, arousal: float, agreement: float, label: str, rng: np.random.Generator
) -> Response:
    """The five steps and the answer for a photograph, without a confidence.

    `valence` and `arousal` are on -1..1; `agreement` is the share of people who would name the label. The emotion is
    named before the words for it, so that its probability is that given the picture, not given those words.
    """
    if look.content is None:
        return write_unfamiliar_response(look.tone, label, rng)
    kind, thing = look.content.kind, look.content.words
    v, a, _ = vad_words(VAD(valence, arousal, 0.0))
    agree = next(words for least, words in _AGREE.items() if agreement >= least)
    weighs = _INTERACTION[(kind, look.person) if kind == PLACE else (PERSON, True) if kind == PERSON else ("", look.person)]
    return Response(
        Reasoning(
            element=fill_template(_ELEMENT, rng, thing=thing),
            human=fill_template(SOMEBODY if look.person else NOBODY, rng),
            context=fill_template(_SETTING if kind == PLACE else _NO_SETTING, rng, thing=thing, tone=look.tone),
            interaction=fill_template(weighs, rng, thing=thing),
            analysis=fill_template(_ANALYSIS, rng, v=v, a=a, agree=agree, label=label),
        ),
        label,
    )


def write_unfamiliar_response(tone: str, label: str, rng: np.random.Generator) -> Response:
    """The response for a picture that is no photograph: it says that nothing is familiar, and guesses."""
    return Response(
        Reasoning(
            element=fill_template(_NOTHING, rng, thing=UNFAMILIAR),
            human="No figure can be made out.",
            context=fill_template(_NO_PLACE, rng, tone=tone),
            interaction="Without known parts, nothing weighs more.",
            analysis=fill_template(_GUESS, rng, label=label),
        ),
        label,
    )


# Reasoning compared with what is known of a photograph.


def content_named(reasoning: Reasoning) -> Content | None:
    """The content that the first step names; None where it names none, or nothing familiar."""
    text = reasoning.element.casefold()
    found = [content for content in contents().values() if content.words in text]
    return max(found, key=lambda content: len(content.words)) if found else None  # "a thing" is no part of "a machine or device"


def names_a_person(reasoning: Reasoning) -> bool:
    """Whether the second step says that somebody is in the picture."""
    return any(words in reasoning.human.casefold() for words in SOMEBODY)
