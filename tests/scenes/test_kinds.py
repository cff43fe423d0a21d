"""The nine subtasks as drawn worlds: each has scenes of its own, exact posteriors, and a teacher that says what is seen and no more."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
import pytest

from emocaliber.core.response import STEPS, parse, render
from emocaliber.core.tasks import TASKS, task
from emocaliber.emotions.taxonomy import BUILT_IN, Taxonomy, taxonomy
from emocaliber.scenes.subtasks import KINDS, Kind
from emocaliber.scenes.template_teacher import read_right
from emocaliber.scenes.viewers import GAIN, TEMPERATURE, posterior

SIZE = 48
every_kind = pytest.mark.parametrize("name", KINDS)


def labels_of(name: str) -> Taxonomy:
    return taxonomy(task(name).taxonomy)


def some_scenes(kind: Kind[Any], count: int, seed: int = 0) -> list[Any]:
    return [kind.choose(index, kind.generator(seed, index)) for index in range(count)]


def painted(name: str, index: int, seed: int = 0) -> bytes:
    kind = KINDS[name]
    rng = kind.generator(seed, index)
    return kind.paint(kind.choose(index, rng), rng, SIZE).tobytes()


def test_every_subtask_of_the_benchmark_has_a_kind_and_a_stream_of_its_own() -> None:
    assert set(KINDS) == set(TASKS)
    assert len({kind.stream for kind in KINDS.values()}) == len(TASKS)


def test_subtasks_share_no_picture() -> None:
    pictures = [painted(name, index) for name in KINDS for index in range(12)]
    assert len(set(pictures)) == len(pictures)


def test_subtasks_do_not_show_the_same_scenes_in_another_style() -> None:
    worlds = [name for name in KINDS if KINDS[name].choose(0, np.random.default_rng(0))._fields[-1] == "interaction"]
    assert len(worlds) == 7
    runs = [tuple(some_scenes(KINDS[name], 20)) for name in worlds]
    assert len(set(runs)) == len(runs)


@every_kind
def test_a_picture_is_square_rgb_and_depends_on_seed_and_number_alone(name: str) -> None:
    kind, rng = KINDS[name], np.random.default_rng(0)
    for index, scene in enumerate(some_scenes(kind, 40)):
        picture = kind.paint(scene, rng, SIZE)
        assert (picture.mode, picture.size) == ("RGB", (SIZE, SIZE)), (index, scene)
    assert painted(name, 3) == painted(name, 3)
    assert len({painted(name, 3), painted(name, 4), painted(name, 3, seed=1)}) == 3


@every_kind
def test_a_posterior_sums_to_one_and_is_what_many_viewers_vote(name: str) -> None:
    """Each viewer names the label nearest to the picture's feeling, once a Gumbel taste for each label is added."""
    kind, labels, rng, viewers = KINDS[name], labels_of(name), np.random.default_rng(1), 30_000
    points = np.array([labels.vad[label] for label in labels.labels])
    for scene in some_scenes(kind, 3):
        felt = np.array(kind.feel(scene))
        shares = posterior(felt, labels)
        dislike = ((points - felt) ** 2).sum(-1) / (2 * TEMPERATURE**2)
        votes = np.bincount((dislike - rng.gumbel(size=(viewers, len(points)))).argmin(-1), minlength=len(points)) / viewers
        assert shares.sum() == pytest.approx(1)
        assert (abs(votes - shares) < 5 * np.sqrt(shares * (1 - shares) / viewers) + 1e-4).all()


@every_kind
def test_every_label_is_somebodys_and_viewers_neither_always_nor_never_agree(name: str) -> None:
    labels, kind = labels_of(name), KINDS[name]
    scenes = some_scenes(kind, 1500)
    shares = posterior([kind.feel(scene) for scene in scenes], labels)
    assert shares.mean(0).min() > 0.4 / len(labels.labels)
    entropy = -(shares * np.log(shares)).sum(-1).mean() / math.log(len(labels.labels))
    assert 0.1 < entropy < 0.8
    assert max(abs(value) for scene in scenes for value in kind.feel(scene)) <= GAIN


NAMES = sorted({name for each in map(taxonomy, BUILT_IN) for name in (*each.labels, *each.aliases, *each.parents.values())})
EMOTIONS = re.compile(rf"\b(?:{'|'.join(map(re.escape, NAMES))})\b", re.IGNORECASE)


@every_kind
def test_the_narrator_tells_every_kind_in_five_steps_that_read_right(name: str) -> None:
    kind, labels, rng = KINDS[name], labels_of(name).labels, np.random.default_rng(2)
    for scene in some_scenes(kind, 300):
        label = labels[rng.integers(len(labels))]
        told = kind.tell(scene, label, rng)
        assert parse(render(told), labels, confidence="forbidden") == told
        right = read_right(told.reasoning, scene._asdict())
        assert right == dict.fromkeys(scene._fields, True), told.reasoning
        for step in STEPS[:-1]:
            assert not EMOTIONS.search(getattr(told.reasoning, step))
        assert EMOTIONS.findall(told.reasoning.analysis) == [label]
