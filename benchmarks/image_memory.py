"""Peak memory and time of opening large images, each in a process of its own.

    python benchmarks/image_memory.py

The images are made in a temporary folder: JPEGs of 48, 108 and 200 megapixels, progressive JPEGs, PNGs (RGB and
RGBA) and, with pillow-heif, a HEIC of 48. "peak_mb" is the growth of the process over its size before the image is opened, "size" that of
the opened image. The last line of stdout is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from PIL import Image

SOURCE = Path(__file__).parents[1] / "src"
CASES = (
    *(("jpeg", 48), ("jpeg", 108), ("jpeg", 200), ("progressive", 64), ("progressive", 108)),
    *(("png", 48), ("png", 64), ("png-rgba", 64), ("heic", 48)),
)
_OPEN = """
import json, resource, sys, time
from pathlib import Path
from PIL import Image
from emocaliber.io.images import ImageError, ImageLimits, open_image
def peak():  # Linux gives a new process the ru_maxrss of its parent, but not its VmHWM
    status = Path("/proc/self/status")
    if status.exists():
        return next(int(line.split()[1]) / 1e3 for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
Image.init()
before, started = peak(), time.perf_counter()
try:
    size, error = open_image(sys.argv[1], ImageLimits(max_side=int(sys.argv[2]) or None)).image.size, None
except ImageError as problem:
    size, error = None, problem.code
print(json.dumps({"peak_mb": round(peak() - before), "seconds": round(time.perf_counter() - started, 2), "size": size, "error": error}))
"""


def measure(kind: str, megapixels: int, max_side: int = 0) -> dict[str, Any]:
    """Peak memory in MB, seconds and size of the opened image, or the error's code, for an image of this kind and size."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "image"
        _write(file, kind, megapixels)
        environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
        command = [sys.executable, "-c", _OPEN, str(file), str(max_side)]
        found = json.loads(subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout)
        return {"kind": kind, "megapixels": megapixels, "file_mb": round(file.stat().st_size / 1e6, 1), "max_side": max_side, **found}


def _write(file: Path, kind: str, megapixels: int) -> None:
    """Writes an image with the proportions 4:3."""
    width = int((megapixels * 1e6 * 4 / 3) ** 0.5)
    size, mode = (width, width * 3 // 4), "RGBA" if kind == "png-rgba" else "RGB"
    image = Image.effect_noise((256, 192), 60).convert(mode).resize(size, Image.Resampling.NEAREST)
    if kind == "heic":
        import pillow_heif

        pillow_heif.from_pillow(image).save(file)
    elif kind.startswith("png"):
        image.save(file, "PNG", compress_level=1)
    else:
        image.save(file, "JPEG", quality=85, progressive=kind == "progressive")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--max-side", type=int, default=2048, help="the size hint, 0 for none (default: 2048, as in predict)")
    args = parser.parse_args()
    rows = []
    for kind, megapixels in CASES:
        try:
            rows.append(measure(kind, megapixels, args.max_side))
        except ModuleNotFoundError as error:
            print(f"{kind}: left out ({error})", file=sys.stderr)
            continue
        print(rows[-1], file=sys.stderr)
    print(json.dumps({"benchmark": "image_memory", "max_side": args.max_side, "images": rows}))


if __name__ == "__main__":
    main()
