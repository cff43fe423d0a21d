"""Did a model see what is there? Its reasoning against the concepts of the scene it was shown."""

from __future__ import annotations

from collections.abc import Mapping

from emocaliber.response import Reasoning
from emocaliber.scenes.abstract import MARKS, SURFACES, TONES
from emocaliber.scenes.concepts import CONTEXTS, ELEMENTS, HUMANS, INTERACTIONS, Concept
from emocaliber.scenes.unbiased import LIGHTS
from emocaliber.scenes.unfamiliar import UNFAMILIAR


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
