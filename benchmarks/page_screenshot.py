"""Draws the picture of the page of `emocaliber serve` in the docs: three pictures, with the slider at 70 %.

    python benchmarks/page_screenshot.py [--out docs/serve-page.png]

It starts the server with the shipped model and needs Chromium. The last line printed is JSON: the picture's size and what the page says.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))
from browser import Browser  # noqa: E402
from serving_servers import served_by_command  # noqa: E402

PICTURES = ("fist_man_fire.png", "whale_nobody_mountains.png", "heart_child_storm.png")
WIDTH, LEVEL, COLOURS = 1120, 70, 256


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "serve-page.png")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, served_by_command(config=Path(folder)) as server, Browser(Path(folder)) as browser:
        browser.look(width=WIDTH)
        browser.open(server.url)
        browser.wait("task.options.length > 2")
        browser.drop([ROOT / "examples" / "images" / name for name in PICTURES])
        browser.wait(f"document.querySelectorAll('.card .says').length >= {len(PICTURES)} && !document.querySelector('progress')")
        browser.evaluate(f"least.value = {LEVEL}; least.dispatchEvent(new Event('input'))")
        browser.wait("[...document.images].every((image) => image.complete)")
        browser.screenshot(args.out)
        remains = browser.evaluate("remains.textContent")
    with Image.open(args.out) as whole:
        whole.convert("RGB").quantize(COLOURS).save(args.out, optimize=True)
        size = whole.size
    print(json.dumps({"picture": str(args.out), "bytes": args.out.stat().st_size, "pixels": size, "remains": remains}))


if __name__ == "__main__":
    main()
