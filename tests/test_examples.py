"""Every file in examples/ runs, or says in one sentence which package it lacks."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from emocaliber.io.rows import read_rows
from emocaliber.models import TINY
from emocaliber.scenes.dataset import draw_samples

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"
# What each example is given, and what it says where the package that it needs is missing.
ARGUMENTS = {
    "find_faces.py": ("{samples}",),
    "ray_batch.py": ("{samples}", str(TINY), "{folder}/answers"),
}
NEEDS = {
    "find_faces.py": ("cv2", "this example needs OpenCV 4: pip install 'opencv-python-headless<5'"),
    "ray_batch.py": ("vllm", "this example needs Ray and vLLM: pip install 'ray[data,llm]'"),
}
# Stands in for OpenCV: it finds one face in the upper left quarter of every picture.
DETECTOR = """
class data:
    haarcascades = ""

class CascadeClassifier:
    def __init__(self, file):
        assert file.endswith(".xml")

    def detectMultiScale(self, grey, scaleFactor, minNeighbors):
        assert grey.ndim == 2
        height, width = grey.shape
        return [(0, 0, width // 2, height // 2)]
"""


@pytest.fixture
def samples(tmp_path: Path) -> Path:
    """Three scenes, of which the image of the second is missing and that of the third is cut off."""
    for _ in draw_samples(tmp_path / "scenes", 3, 5, size=56):
        pass
    file = tmp_path / "scenes" / "samples.jsonl"
    _, missing, cut = (file.parent / row["image"] for row in read_rows(file))
    missing.unlink()
    cut.write_bytes(cut.read_bytes()[:400])
    return file


def run(name: str, samples: Path, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    config = samples.parent / "run.toml"
    config.write_text('model = "tiny"\n')
    places = {"samples": samples, "folder": samples.parent, "config": config}
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, filter(None, (path, *sys.path))))}
    command = [sys.executable, str(EXAMPLES / name), *(each.format(**places) for each in ARGUMENTS[name])]
    return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=samples.parent, check=False, timeout=300)


@pytest.mark.parametrize("name", sorted(file.name for file in EXAMPLES.glob("*.py")))
def test_an_example_runs_or_names_the_package_that_it_needs(name: str, samples: Path) -> None:
    package, sentence = NEEDS.get(name, ("emocaliber", ""))
    done = run(name, samples)
    if importlib.util.find_spec(package):
        assert done.returncode == 0, done.stderr
    else:
        assert (done.returncode, done.stdout, done.stderr) == (1, "", f"{sentence}\n")


def test_find_faces_goes_on_after_an_image_that_cannot_be_opened_and_says_why(samples: Path, tmp_path: Path) -> None:
    (tmp_path / "stand-in").mkdir()
    (tmp_path / "stand-in" / "cv2.py").write_text(DETECTOR)
    done = run("find_faces.py", samples, tmp_path / "stand-in")
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["id"] for row in rows] == [row["id"] for row in read_rows(samples)]
    assert [row["faces"] for row in rows] == [[{"box": [0, 0, 0.5, 0.5]}], [], []]
    missing, cut = done.stderr.splitlines()
    assert missing.startswith("sample 'scene-5-000001': ")
    assert "there is no such file" in missing
    assert cut.startswith("sample 'scene-5-000002': ")
