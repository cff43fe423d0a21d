"""Finds the faces of a file of samples with OpenCV 4, for Set-of-Vision prompting (`faces` in a run file's [strategy]).

    pip install "opencv-python-headless<5"
    python examples/find_faces.py bench/test.jsonl > faces.jsonl

Its detector knows upright frontal faces only, and has no landmarks; any better one will do that writes the same rows. An image that cannot
be opened gets a row without faces, and a sentence on stderr says why.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np

from emocaliber.core.samples import read_samples
from emocaliber.io.images import ImageError, open_image

try:
    import cv2
except ImportError:
    sys.exit("this example needs OpenCV 4: pip install 'opencv-python-headless<5'")


def main(file: Path) -> None:
    cascade = cv2.CascadeClassifier(cv2.data.haarcascades + "haarcascade_frontalface_default.xml")
    for sample in read_samples(file):
        boxes = []
        try:
            image = open_image(sample.image).image
        except ImageError as error:
            print(f"sample {sample.id!r}: {error}", file=sys.stderr)
        else:
            width, height = image.size
            found = cascade.detectMultiScale(np.asarray(image.convert("L")), scaleFactor=1.1, minNeighbors=8)
            boxes = [[x / width, y / height, (x + w) / width, (y + h) / height] for x, y, w, h in (map(int, box) for box in found)]
        print(json.dumps({"id": sample.id, "faces": [{"box": box} for box in boxes]}))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("samples", type=Path, help="a file of samples")
    main(parser.parse_args().samples)
