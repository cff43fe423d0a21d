"""The contact sheet of the docs: every element, figure and context at least once, with what each picture shows.

python benchmarks/contact_sheet.py [--out docs/scenes.png]
"""

from __future__ import annotations

import argparse
import json
from itertools import cycle, islice
from pathlib import Path

import numpy as np

from emocaliber.scenes import Scene
from emocaliber.scenes.concepts import CONTEXTS, ELEMENTS, HUMANS, INTERACTIONS
from emocaliber.scenes.drawing.compose import draw
from emocaliber.scenes.drawing.sheet import contact_sheet

COLUMNS, ROWS, SIDE = 9, 4, 160


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("docs/scenes.png"))
    out: Path = parser.parse_args().out
    rng = np.random.default_rng(20)
    kinds = [list(rng.permutation(list(kind))) for kind in (ELEMENTS, HUMANS, CONTEXTS)]
    parts = zip(*map(cycle, kinds), cycle(INTERACTIONS))
    scenes = [Scene(*map(str, keys)) for keys in islice(parts, COLUMNS * ROWS)]
    pictures = [(draw(*scene, rng, size=SIDE), f"{scene.element}, {scene.human}, {scene.context}") for scene in scenes]
    contact_sheet(pictures, COLUMNS).quantize(128).save(out, optimize=True)
    print(json.dumps({"benchmark": "contact_sheet", "pictures": len(pictures), "bytes": out.stat().st_size}))


if __name__ == "__main__":
    main()
