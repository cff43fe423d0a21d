"""Sample rows as `emocaliber scenes` writes them, with the template teacher's responses, without drawing the pictures."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from emocaliber.core.response import render
from emocaliber.core.samples import Sample
from emocaliber.core.tasks import task
from emocaliber.emotions.taxonomy import taxonomy
from emocaliber.scenes.subtasks import SCENE_SUBTASKS


def drawn_rows(n: int, name: str = "EmoSet-8", *, seed: int = 0, split: str = "train") -> Iterator[dict[str, Any]]:
    """The rows of scenes 0..n-1 of a seed; their images are not there."""
    subtask, labels = SCENE_SUBTASKS[name], taxonomy(task(name).taxonomy)
    for index in range(n):
        rng = subtask.generator(seed, index)
        scene = subtask.choose(index, rng)
        shares = subtask.posterior(scene, labels)
        label = labels.labels[rng.choice(len(shares), p=shares)]
        sample = Sample(f"scene-{seed}-{index:06d}", f"images/{index}.png", name, labels.labels, label, "scenes", split)
        yield sample.to_row() | {"scene": scene._asdict(), "response": render(subtask.write(scene, label, rng))}
