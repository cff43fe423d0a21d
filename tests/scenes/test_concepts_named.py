"""A reasoning is right about a scene when each step names the scene's own concept, and no other."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from emocaliber.scenes.concepts import Scene, random_scene
from emocaliber.scenes.template_teacher import concepts_named, write_response

RIGHT = {"element": True, "human": True, "context": True, "interaction": True}


def test_the_template_teacher_names_every_scenes_concepts() -> None:
    rng = np.random.default_rng(0)
    for _ in range(300):
        scene = random_scene(rng)
        assert concepts_named(write_response(*scene, "awe", rng).reasoning, scene._asdict()) == RIGHT


@pytest.mark.parametrize("step", ["element", "human", "context", "interaction"])
def test_a_wrong_concept_is_wrong_in_its_own_step_only(step: str) -> None:
    shown = Scene("snake", "child", "forest", "close")
    other = shown._replace(**{step: {"element": "spider", "human": "nobody", "context": "beach", "interaction": "apart"}[step]})
    reasoning = write_response(*shown, "fear", np.random.default_rng(1)).reasoning
    assert concepts_named(reasoning, other._asdict()) == RIGHT | {step: False}


def test_naming_two_concepts_of_a_kind_is_wrong() -> None:
    shown = Scene("snake", "child", "forest", "close")
    reasoning = write_response(*shown, "fear", np.random.default_rng(1)).reasoning
    both = replace(reasoning, element="It is a coiled snake or a hanging spider.")
    assert not concepts_named(both, shown._asdict())["element"]
