"""Draws the pictures of pages in the docs: that of `emocaliber serve`, three photographs with the slider at 70 %, and that of `predict`.

    python benchmarks/page_screenshot.py [--out docs]

It asks the model that ships, and needs Chromium. The last line printed is JSON: the pictures' sizes and what the first page says.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from PIL import Image

from emocaliber.__main__ import main as emocaliber
from emocaliber.models import DEFAULT_MODEL

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))
from browser import Browser  # noqa: E402
from serving_servers import served_by_command  # noqa: E402

PHOTOS = ROOT / "examples" / "photos"
DROPPED = ("rocket.jpg", "cat.jpg", "photographer.jpg")
WIDTH, HIGHEST, LEVEL, COLOURS = 1120, 1500, 70, 256


def draw_service(browser: Browser, folder: Path, out: Path) -> str:
    """The page of the service with three answers; returns what it says remains."""
    with served_by_command("--model", DEFAULT_MODEL, config=folder) as server:
        browser.open(server.url)
        browser.wait("task.options.length > 2")
        browser.drop([PHOTOS / name for name in DROPPED])
        browser.wait(f"document.querySelectorAll('.card .says').length >= {len(DROPPED)} && !document.querySelector('progress')")
        browser.evaluate(f"least.value = {LEVEL}; least.dispatchEvent(new Event('input'))")
        browser.wait("[...document.images].every((image) => image.complete)")
        browser.screenshot(out)
        return str(browser.evaluate("remains.textContent"))


def draw_report(browser: Browser, folder: Path, out: Path) -> None:
    """The page that `predict --report` writes."""
    with contextlib.chdir(ROOT / "examples"):
        code = emocaliber(["predict", "photos", "--report", str(folder / "page")])
    assert code == 0
    browser.open((folder / "page" / "index.html").as_uri())
    browser.wait("[...document.images].every((image) => image.complete)")
    browser.screenshot(out)


def shrunk(picture: Path) -> dict[str, Any]:
    """The top of the picture with fewer colours, and its size."""
    with Image.open(picture) as whole:
        top = whole.convert("RGB").crop((0, 0, whole.width, min(whole.height, HIGHEST)))
    top.quantize(COLOURS).save(picture, optimize=True)
    return {"picture": picture.name, "bytes": picture.stat().st_size, "pixels": top.size}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "docs")
    args = parser.parse_args()
    service, report = args.out / "serve-page.png", args.out / "prediction-report.png"
    with tempfile.TemporaryDirectory() as folder, Browser(Path(folder)) as browser:
        browser.look(width=WIDTH)
        remains = draw_service(browser, Path(folder), service)
        draw_report(browser, Path(folder), report)
    print(json.dumps({"pictures": [shrunk(service), shrunk(report)], "remains": remains}))


if __name__ == "__main__":
    main()
