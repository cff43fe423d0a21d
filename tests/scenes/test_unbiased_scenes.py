"""The same object under different emotions: the element stays within a series, and tells nothing about the label."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import chi2

from emocaliber.emotions.taxonomy import taxonomy
from emocaliber.scenes.annotators import posterior, scene_vad
from emocaliber.scenes.concepts import ELEMENTS, NOBODY, Scene
from emocaliber.scenes.out_of_domain import LIGHTS, SERIES, MoodScene, mood_vad, mood_weights
from emocaliber.scenes.subtasks import SCENE_SUBTASKS

SUBTASK, LABELS = SCENE_SUBTASKS["UnbiasedEmo-6"], taxonomy("unbiasedemo-6")
DRAWS = 2000


def drawn() -> tuple[list[MoodScene], np.ndarray]:
    """The scenes and labels of 2,000 samples, without their pictures."""
    scenes, labels = [], []
    for index in range(DRAWS):
        rng = SUBTASK.generator(0, index)
        scene = SUBTASK.choose(index, rng)
        scenes.append(scene)
        labels.append(rng.choice(len(LABELS.labels), p=posterior(SUBTASK.vad(scene), LABELS)))
    return scenes, np.array(labels)


def information(keys: list[str], labels: np.ndarray) -> tuple[float, float]:
    """The plug-in mutual information of key and label in nats, and what 999 of 1,000 independent samples stay below."""
    _, codes = np.unique(keys, return_inverse=True)
    table = np.zeros((codes.max() + 1, labels.max() + 1))
    np.add.at(table, (codes, labels), 1)
    joint = table / table.sum()
    product = joint.sum(1, keepdims=True) * joint.sum(0)
    seen = joint > 0
    nats = float((joint[seen] * np.log(joint[seen] / product[seen])).sum())
    freedom = (table.shape[0] - 1) * (table.shape[1] - 1)
    return nats, float(chi2.ppf(0.999, freedom)) / (2 * len(labels))


def test_the_answer_cannot_be_told_from_the_element_but_from_everything_else() -> None:
    scenes, labels = drawn()
    nats, chance = information([scene.element for scene in scenes], labels)
    assert nats < chance
    for part in ("human", "context", "light"):
        nats, chance = information([getattr(scene, part) for scene in scenes], labels)
        assert nats > 2 * chance, part


def test_the_measure_would_have_noticed_the_elements_of_ordinary_scenes() -> None:
    rng = np.random.default_rng(0)
    scenes = [Scene(*scene[:4]) for scene in drawn()[0]]
    labels = np.array([rng.choice(6, p=posterior(scene_vad(*scene), LABELS)) for scene in scenes])
    nats, chance = information([scene.element for scene in scenes], labels)
    assert nats > 2 * chance


def test_a_series_shows_one_element_in_different_moods() -> None:
    scenes, _ = drawn()
    for start in range(0, DRAWS - SERIES, SERIES):
        series = scenes[start : start + SERIES]
        assert len({scene.element for scene in series}) == 1
        assert len(set(series)) > 1
    assert {scene.element for scene in scenes} == set(ELEMENTS)


def test_the_vad_is_the_same_whatever_the_element() -> None:
    scene = MoodScene("skull", "child", "meadow", "close", "golden")
    assert {mood_vad(scene._replace(element=element)) for element in ELEMENTS} == {mood_vad(scene)}
    assert mood_vad(scene).valence == pytest.approx(1.5 * (0.75 * (0.34 * 0.95 + 0.18 * 0.90) / 0.52 + 0.25 * 0.90))


@pytest.mark.parametrize("human", ["child", NOBODY])
def test_the_weights_sum_to_one_and_a_figure_weighs_more_when_close(human: str) -> None:
    close, apart = (mood_weights(MoodScene("cake", human, "beach", key, "dim")) for key in ("close", "apart"))
    assert sum(close) == pytest.approx(1) and sum(apart) == pytest.approx(1)
    assert close[0] > apart[0] if human != NOBODY else close[0] == apart[0] == 0


def test_every_light_is_seen_even_at_night() -> None:
    for context in ("forest", "stars", "meadow"):
        means = [
            np.asarray(SUBTASK.draw(MoodScene("teddy", NOBODY, context, "apart", light), np.random.default_rng(0), 48)).mean((0, 1))
            for light in LIGHTS
        ]
        distances = [np.abs(a - b).max() for i, a in enumerate(means) for b in means[:i]]
        assert min(distances) > 8, context
