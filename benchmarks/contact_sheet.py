"""Draws the contact sheets of the docs: the concepts of scenes, and the pictures of each of the nine subtasks.

    python benchmarks/contact_sheet.py [--out docs]

writes scenes.png (every element, figure and context at least once, with what each picture shows) and scenes-tasks.png (a row of pictures
for each subtask, each with its likeliest label and the share of simulated annotators who name it, and one of out-of-distribution pictures).
The last line printed is JSON.
"""

from __future__ import annotations

import argparse
import json
from itertools import cycle, islice
from pathlib import Path

import numpy as np
from PIL import Image

from emocaliber.core.tasks import task
from emocaliber.emotions.taxonomy import taxonomy
from emocaliber.scenes.concepts import CONTEXTS, ELEMENTS, HUMANS, INTERACTIONS, Scene
from emocaliber.scenes.drawing.compose import draw_scene
from emocaliber.scenes.drawing.sheet import contact_sheet
from emocaliber.scenes.subtasks import SCENE_SUBTASKS, ood_subtask

COLUMNS, ROWS, SIDE = 9, 4, 160
EACH, TASK_SIDE, SEED = 8, 132, 1


def of_concepts() -> Image.Image:
    rng = np.random.default_rng(20)
    kinds = [list(rng.permutation(list(kind))) for kind in (ELEMENTS, HUMANS, CONTEXTS)]
    parts = zip(*map(cycle, kinds), cycle(INTERACTIONS))
    scenes = [Scene(*map(str, keys)) for keys in islice(parts, COLUMNS * ROWS)]
    pictures = [(draw_scene(*scene, rng, size=SIDE), f"{scene.element}, {scene.human}, {scene.context}") for scene in scenes]
    return contact_sheet(pictures, COLUMNS)


def of_tasks() -> Image.Image:
    rows = [(name, name, kind) for name, kind in SCENE_SUBTASKS.items()] + [("OOD", "EmoSet-8", ood_subtask("EmoSet-8"))]
    pictures = []
    for title, name, kind in rows:
        labels = taxonomy(task(name).taxonomy)
        for index in range(EACH):
            rng = kind.generator(SEED, index)
            scene = kind.choose(index, rng)
            shares = kind.posterior(scene, labels)
            said = f"{labels.labels[shares.argmax()] if np.ptp(shares) else 'any'} {shares.max():.0%}"
            pictures.append((kind.draw(scene, rng, TASK_SIDE), said if index else f"{title}: {said}"))
    return contact_sheet(pictures, EACH)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("docs"), help="the folder to write the sheets to (default: docs)")
    out: Path = parser.parse_args().out
    written = {}
    for name, sheet in (("scenes.png", of_concepts().quantize(128)), ("scenes-tasks.png", of_tasks().quantize(256))):
        sheet.save(out / name, optimize=True)
        written[name] = (out / name).stat().st_size
    print(json.dumps({"benchmark": "contact_sheet", "bytes": written}))


if __name__ == "__main__":
    main()
