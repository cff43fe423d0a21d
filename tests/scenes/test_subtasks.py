"""The nine subtasks as synthetic scenes: each has scenes of its own, exact posteriors, and a teacher that says what is seen and no more."""

from __future__ import annotations

import hashlib
import math
import re
from typing import Any

import numpy as np
import pytest

from emocaliber.core.response import STEPS, parse, render
from emocaliber.core.tasks import TASKS, task
from emocaliber.emotions.taxonomy import BUILT_IN, Taxonomy, taxonomy
from emocaliber.scenes.annotators import GAIN, TEMPERATURE, posterior
from emocaliber.scenes.subtasks import SCENE_SUBTASKS, SceneSubtask, ood_subtask
from emocaliber.scenes.template_teacher import concepts_named

SIZE = 48
every_subtask = pytest.mark.parametrize("name", SCENE_SUBTASKS)


def labels_of(name: str) -> Taxonomy:
    return taxonomy(task(name).taxonomy)


def some_scenes(subtask: SceneSubtask[Any], count: int, seed: int = 0) -> list[Any]:
    return [subtask.choose(index, subtask.generator(seed, index)) for index in range(count)]


def painted(name: str, index: int, seed: int = 0) -> bytes:
    subtask = SCENE_SUBTASKS[name]
    rng = subtask.generator(seed, index)
    return subtask.draw(subtask.choose(index, rng), rng, SIZE).tobytes()


def test_every_subtask_of_the_benchmark_has_pictures_and_a_stream_of_its_own() -> None:
    assert set(SCENE_SUBTASKS) == set(TASKS)
    assert len({subtask.stream for subtask in SCENE_SUBTASKS.values()}) == len(TASKS)


def test_subtasks_share_no_picture() -> None:
    pictures = [painted(name, index) for name in SCENE_SUBTASKS for index in range(12)]
    assert len(set(pictures)) == len(pictures)


def test_subtasks_do_not_show_the_same_scenes_in_another_style() -> None:
    worlds = [name for name in SCENE_SUBTASKS if SCENE_SUBTASKS[name].choose(0, np.random.default_rng(0))._fields[-1] == "interaction"]
    assert len(worlds) == 7
    runs = [tuple(some_scenes(SCENE_SUBTASKS[name], 20)) for name in worlds]
    assert len(set(runs)) == len(runs)


@every_subtask
def test_a_picture_is_square_rgb_and_depends_on_seed_and_number_alone(name: str) -> None:
    subtask, rng = SCENE_SUBTASKS[name], np.random.default_rng(0)
    for index, scene in enumerate(some_scenes(subtask, 40)):
        picture = subtask.draw(scene, rng, SIZE)
        assert (picture.mode, picture.size) == ("RGB", (SIZE, SIZE)), (index, scene)
    assert painted(name, 3) == painted(name, 3)
    assert len({painted(name, 3), painted(name, 4), painted(name, 3, seed=1)}) == 3


@every_subtask
def test_a_posterior_sums_to_one_and_is_what_many_annotators_vote(name: str) -> None:
    """Each annotator names the label of the highest utility: minus the squared distance from the picture's VAD, plus Gumbel noise."""
    subtask, labels, rng, annotators = SCENE_SUBTASKS[name], labels_of(name), np.random.default_rng(1), 30_000
    points = np.array([labels.vad[label] for label in labels.labels])
    for scene in some_scenes(subtask, 3):
        felt = np.array(subtask.vad(scene))
        shares = posterior(felt, labels)
        dislike = ((points - felt) ** 2).sum(-1) / (2 * TEMPERATURE**2)
        votes = np.bincount((dislike - rng.gumbel(size=(annotators, len(points)))).argmin(-1), minlength=len(points)) / annotators
        assert shares.sum() == pytest.approx(1)
        assert (abs(votes - shares) < 5 * np.sqrt(shares * (1 - shares) / annotators) + 1e-4).all()


@every_subtask
def test_every_label_occurs_and_annotators_neither_always_nor_never_agree(name: str) -> None:
    labels, subtask = labels_of(name), SCENE_SUBTASKS[name]
    scenes = some_scenes(subtask, 1500)
    shares = posterior([subtask.vad(scene) for scene in scenes], labels)
    assert shares.mean(0).min() > 0.4 / len(labels.labels)
    entropy = -(shares * np.log(shares)).sum(-1).mean() / math.log(len(labels.labels))
    assert 0.1 < entropy < 0.8
    assert max(abs(value) for scene in scenes for value in subtask.vad(scene)) <= GAIN


NAMES = sorted({name for each in map(taxonomy, BUILT_IN) for name in (*each.labels, *each.aliases, *each.parents.values())})
EMOTIONS = re.compile(rf"\b(?:{'|'.join(map(re.escape, NAMES))})\b", re.IGNORECASE)


@every_subtask
def test_the_template_teacher_writes_five_steps_that_name_the_concepts_of_every_subtask(name: str) -> None:
    subtask, labels, rng = SCENE_SUBTASKS[name], labels_of(name).labels, np.random.default_rng(2)
    for scene in some_scenes(subtask, 300):
        label = labels[rng.integers(len(labels))]
        told = subtask.write(scene, label, rng)
        assert parse(render(told), labels, confidence="forbidden") == told
        right = concepts_named(told.reasoning, scene._asdict())
        assert right == dict.fromkeys(scene._fields, True), told.reasoning
        for step in STEPS[:-1]:
            assert not EMOTIONS.search(getattr(told.reasoning, step))
        assert EMOTIONS.findall(told.reasoning.analysis) == [label]


def test_the_template_teachers_responses_never_change() -> None:
    """Stage 1 of the shipped model was trained on these texts: 100 of each subtask, and 100 about its out-of-distribution pictures."""
    digest = hashlib.sha256()
    for name in SCENE_SUBTASKS:
        labels = labels_of(name).labels
        for subtask in (SCENE_SUBTASKS[name], ood_subtask(name)):
            for index in range(100):
                rng = subtask.generator(0, index)
                scene = subtask.choose(index, rng)
                digest.update(render(subtask.write(scene, labels[index % len(labels)], rng)).encode())
    assert digest.hexdigest()[:16] == "3d018046b5f444ff"
