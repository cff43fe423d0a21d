"""The template teacher: its responses are well-formed, describe the scene, and name no label before the analysis and no probability."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emocaliber.core.response import STEPS, Response, parse, render
from emocaliber.emotions.loop import VAD
from emocaliber.emotions.taxonomy import BUILT_IN, taxonomy
from emocaliber.scenes.annotators import scene_vad
from emocaliber.scenes.concepts import CLOSE, CONTEXTS, ELEMENTS, HUMANS, INTERACTIONS, NOBODY, Scene
from emocaliber.scenes.template_teacher import caption, vad_words, write_response

TAXONOMIES = [taxonomy(name) for name in BUILT_IN]
# Every label, alias and family of every taxonomy, as whole words.
NAMES = sorted({name for each in TAXONOMIES for name in (*each.labels, *each.aliases, *each.parents.values())})
EMOTIONS = re.compile(rf"\b(?:{'|'.join(map(re.escape, NAMES))})\b", re.IGNORECASE)
SURENESS = re.compile(
    r"\d|%|\b(?:viewers?|people|votes?|agree(?:s|d|ment)?|disagree\w*|sure|certain\w*|confiden\w*|probab\w*|likel\w*)\b", re.IGNORECASE
)
EVERY_SCENE = [Scene(*keys) for keys in product(ELEMENTS, HUMANS, CONTEXTS, INTERACTIONS)]


def responses() -> Iterator[tuple[Scene, str, tuple[str, ...], Response]]:
    """Every combination of concepts once, with a label of each taxonomy in turn."""
    rng = np.random.default_rng(0)
    for index, scene in enumerate(EVERY_SCENE):
        labels = TAXONOMIES[index % len(TAXONOMIES)].labels
        label = labels[rng.integers(len(labels))]
        yield scene, label, labels, write_response(*scene, label, rng)


def test_a_response_is_well_formed_and_has_the_label_as_its_answer() -> None:
    for _, label, labels, response in responses():
        assert response.answer == label
        assert response.confidence is None
        assert parse(render(response), labels, confidence="forbidden") == response


def test_every_step_names_what_it_is_about() -> None:
    for scene, label, _, response in responses():
        steps = response.reasoning
        assert ELEMENTS[scene.element].phrase in steps.element.casefold()
        assert HUMANS[scene.human].phrase in steps.human.casefold()
        assert CONTEXTS[scene.context].phrase in steps.context.casefold()
        assert ("close" in steps.interaction) == (scene.interaction == CLOSE)
        assert ("figure" in steps.interaction.casefold()) == (scene.human != NOBODY)
        assert ELEMENTS[scene.element].phrase.removeprefix("a ").removeprefix("an ") in steps.interaction.casefold()
        assert re.search(rf"\b{label}\b", steps.analysis)


def test_the_steps_say_how_each_part_and_the_whole_feel() -> None:
    for scene, _, _, response in responses():
        parts = {"element": ELEMENTS[scene.element].vad, "context": CONTEXTS[scene.context].vad, "analysis": scene_vad(*scene)}
        if scene.human != NOBODY:
            parts["human"] = HUMANS[scene.human].vad
        for step, vad in parts.items():
            valence, arousal, dominance = vad_words(vad)
            assert f"{valence}, {arousal} and {dominance}" in getattr(response.reasoning, step)


def test_no_emotion_is_named_before_the_analysis() -> None:
    for *_, response in responses():
        for step in STEPS[:-1]:
            assert not EMOTIONS.search(getattr(response.reasoning, step))


def test_the_analysis_names_the_label_and_no_other_emotion() -> None:
    for _, label, _, response in responses():
        assert EMOTIONS.findall(response.reasoning.analysis) == [label]


def test_no_step_says_how_sure_one_can_be() -> None:
    for *_, response in responses():
        for step in STEPS:
            assert not SURENESS.search(getattr(response.reasoning, step))


def test_every_step_has_several_wordings() -> None:
    rng = np.random.default_rng(0)
    told = [write_response("snake", "child", "forest", CLOSE, "fear", rng).reasoning for _ in range(40)]
    for step in STEPS:
        assert len({getattr(reasoning, step) for reasoning in told}) >= 2


def test_the_same_seed_gives_the_same_response() -> None:
    scene = EVERY_SCENE[100]
    first, second = (write_response(*scene, "awe", np.random.default_rng(3)) for _ in range(2))
    assert first == second


def test_a_caption_names_what_is_seen_and_no_emotion() -> None:
    rng = np.random.default_rng(0)
    for scene in EVERY_SCENE:
        text = caption(*scene, rng)
        for phrase in (ELEMENTS[scene.element].phrase, HUMANS[scene.human].phrase, CONTEXTS[scene.context].phrase, scene.interaction):
            assert phrase in text.casefold()
        assert not EMOTIONS.search(text)
        assert not SURENESS.search(text)


def test_a_caption_sooner_or_later_says_how_each_part_and_the_whole_feel() -> None:
    rng = np.random.default_rng(0)
    captions = " ".join(caption("snake", "child", "forest", CLOSE, rng) for _ in range(60))
    for subject in ("A coiled snake", "A laughing child", "A dark forest", "The whole"):
        assert f"{subject} feels" in captions


axes = st.floats(-1.5, 1.5)


@pytest.mark.parametrize("axis", range(3))
def test_seven_words_rise_with_each_axis(axis: int) -> None:
    grid = np.linspace(-1.5, 1.5, 301)
    words = [vad_words(VAD(*(x if each == axis else 0.0 for each in range(3))))[axis] for x in grid]
    seen = list(dict.fromkeys(words))
    assert len(seen) == 7
    assert words == sorted(words, key=seen.index), "no word comes back once it is left"


@given(axes, axes, axes)
def test_each_word_depends_on_its_own_axis_alone(valence: float, arousal: float, dominance: float) -> None:
    mixed = vad_words(VAD(valence, arousal, dominance))
    assert mixed == (vad_words(VAD(valence, 0, 0))[0], vad_words(VAD(0, arousal, 0))[1], vad_words(VAD(0, 0, dominance))[2])


def test_the_ends_of_each_axis_are_named_the_right_way_round() -> None:
    assert vad_words(VAD(-1, -1, -1)) == ("awful", "lifeless", "helpless")
    assert vad_words(VAD(1, 1, 1)) == ("delightful", "frantic", "commanding")
