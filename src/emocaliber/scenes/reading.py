"""Did a model see what is there? Its reasoning against the concepts of the scene it was shown."""

from __future__ import annotations

from collections.abc import Mapping

from emocaliber.response import Reasoning
from emocaliber.scenes.concepts import CONTEXTS, ELEMENTS, HUMANS, INTERACTIONS


def read_right(reasoning: Reasoning, scene: Mapping[str, str]) -> dict[str, bool]:
    """For element, human, context and interaction: whether that step names the scene's own concept and no other one of its kind."""
    phrases = {
        "element": {key: concept.phrase for key, concept in ELEMENTS.items()},
        "human": {key: concept.phrase for key, concept in HUMANS.items()},
        "context": {key: concept.phrase for key, concept in CONTEXTS.items()},
        "interaction": {key: f" {key}" for key in INTERACTIONS},
    }
    return {
        step: [key for key, phrase in named.items() if phrase in getattr(reasoning, step).lower()] == [scene[step]]
        for step, named in phrases.items()
    }
