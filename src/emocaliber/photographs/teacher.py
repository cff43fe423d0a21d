"""The template teacher for photographs: writes the five reasoning steps from what is known of one, and nothing else.

Known are its content (`content.py`), whether somebody is in it, its light, how it feels to people (valence and arousal), and how far they
agree. Where something is not known, the step says so; a setting, an expression or a story is never made up.
"""

from __future__ import annotations

from dataclasses import dataclass

from emocaliber.core.response import Reasoning, Response
from emocaliber.emotions.loop import VAD
from emocaliber.models.constrained import EMOTION
from emocaliber.photographs.content import PERSON, PLACE, Content, contents
from emocaliber.scenes.template_teacher import AROUSAL, VALENCE, vad_words

UNFAMILIAR = "nothing familiar"  # what the first step names in a picture that is no photograph
SOMEBODY, NOBODY = "Somebody can be seen.", "Nobody can be seen."

_INTERACTION = {
    (PERSON, True): "The person weighs most.",
    (PLACE, True): "The place weighs more than the person in it.",
    (PLACE, False): "The place alone weighs most.",
    ("", True): "{thing} and a person are seen together.",
    ("", False): "{thing} alone weighs most.",
}
_AGREE = {0.7: "most would agree", 0.45: "many would agree", 0.0: "people would differ"}  # by the share of the label
_SETTING, _NO_SETTING, _UNKNOWN_SETTING = "The setting is {thing}.", "The setting says little.", "The setting cannot be made out."
_NO_PERSON, _NO_PARTS = "No person can be made out.", "Without known parts, nothing weighs more."
_GUESS = "It seems to be no photograph. At a guess it evokes"
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


def write_photograph_response(look: Look, valence: float, arousal: float, agreement: float, label: str) -> Response:
    """The five steps and the answer for a photograph, without a confidence.

    `valence` and `arousal` are on -1..1; `agreement` is the share of people who would name the label. The emotion is named before the words
    for it, so that its probability is that given the picture, not given those words. There is one wording: a small model learns it well.
    """
    if look.content is None:
        return write_unfamiliar_response(look.tone, label)
    kind, thing = look.content.kind, look.content.words
    v, a, _ = vad_words(VAD(valence, arousal, 0.0))
    agree = next(words for least, words in _AGREE.items() if agreement >= least)
    weighs = _INTERACTION[(kind, look.person) if kind == PLACE else (PERSON, True) if kind == PERSON else ("", look.person)]
    setting = _SETTING.format(thing=thing) if kind == PLACE else _NO_SETTING
    return Response(
        Reasoning(
            element=f"The picture shows {thing}.",
            human=SOMEBODY if look.person else NOBODY,
            context=f"{setting} The picture is {look.tone}.",
            interaction=weighs.format(thing=f"{thing[0].upper()}{thing[1:]}"),
            analysis=f"As a whole it evokes {label}: it feels {v} and {a}, and {agree}.",
        ),
        label,
    )


def write_unfamiliar_response(tone: str, label: str) -> Response:
    """The response for a picture that is no photograph: it says that nothing is familiar, and guesses."""
    return Response(
        Reasoning(
            element=f"The picture shows {UNFAMILIAR}.",
            human=_NO_PERSON,
            context=f"{_UNKNOWN_SETTING} The picture is {tone}.",
            interaction=_NO_PARTS,
            analysis=f"{_GUESS} {label}.",
        ),
        label,
    )


def wording() -> tuple[tuple[tuple[str, ...], ...], ...]:
    """All that this teacher can write: for each step its parts, in order, each one of several texts (see `models.constrained.worded`)."""
    things = [(content.kind, content.words) for content in contents().values()]
    weighs = [text.format(thing=f"{thing[0].upper()}{thing[1:]}") for _, thing in things for text in _INTERACTION.values()]
    feels = [f": it feels {v} and {a}, and {agree}." for v in VALENCE for a in AROUSAL for agree in _AGREE.values()]
    settings = [_SETTING.format(thing=thing) for kind, thing in things if kind == PLACE]
    tones = [f"{light} and {colour}." for _, light in _BRIGHTNESS for _, colour in _SATURATION]
    return (
        (("The picture shows ",), (*(f"{thing}." for _, thing in things), f"{UNFAMILIAR}.")),
        ((SOMEBODY, NOBODY, _NO_PERSON),),
        ((*settings, _NO_SETTING, _UNKNOWN_SETTING), (" The picture is ",), tuple(tones)),
        ((*dict.fromkeys(weighs), _NO_PARTS),),
        ((f"As a whole it evokes {EMOTION}", f"{_GUESS} {EMOTION}"), (*feels, ".")),
    )


# Reasoning compared with what is known of a photograph.


def content_named(reasoning: Reasoning) -> Content | None:
    """The content that the first step names; None where it names none, or nothing familiar."""
    text = reasoning.element.casefold()
    found = [content for content in contents().values() if content.words in text]
    return max(found, key=lambda content: len(content.words)) if found else None  # "a thing" is no part of "a machine or device"


def names_a_person(reasoning: Reasoning) -> bool:
    """Whether the second step says that somebody is in the picture."""
    return SOMEBODY.casefold() in reasoning.human.casefold()
