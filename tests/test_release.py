"""What is built can be installed and used outside the repository, without a network, and for what needs no torch without torch."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import venv
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from emocaliber.models.available import LOCAL_PACKAGES

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
# Beside what a local model needs, what came with it.
WITH_TORCH = (*LOCAL_PACKAGES, "tokenizers", "huggingface_hub", "trl", "peft", "accelerate", "datasets", "torchgen", "functorch", "triton")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel and the sdist."""
    pytest.importorskip("hatchling", reason="hatchling, which builds the package, is not installed")
    folder = tmp_path_factory.mktemp("dist")
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-d", folder], cwd=ROOT, check=True, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def wheel(built: Path) -> Path:
    return next(built.glob("*.whl"))


def shared_folders() -> list[Path]:
    """Where the packages of this environment are."""
    return [Path(each) for each in sys.path if each.endswith(("site-packages", "dist-packages"))]


def installed(folder: Path, wheel: Path, without: Sequence[str] = ()) -> Path:
    """The `bin` of a new environment with the wheel, beside the packages of this one, save those in `without` and EmoCaliber."""
    venv.create(folder, with_pip=False)
    site = Path(sysconfig.get_path("purelib", "venv", {"base": str(folder), "platbase": str(folder)}))
    shared = folder / "shared"
    shared.mkdir()
    for each in (entry for packages in shared_folders() for entry in packages.iterdir()):
        name = each.name.replace("-", "_").casefold()
        if each.suffix != ".pth" and not any(name.startswith((f"{out}_", f"{out}.", f"{out}")) for out in ("emocaliber", *without)):
            link = shared / each.name
            if not link.exists():
                link.symlink_to(each)
    (site / "shared.pth").write_text(f"{shared}\n")
    scripts = site.parents[2] / "bin" if os.name == "posix" else folder / "Scripts"
    pip = [sys.executable, "-m", "pip", "--python", scripts / "python", "--quiet", "install", "--no-index", "--no-deps", wheel]
    subprocess.run(pip, check=True, capture_output=True)
    return scripts


def run(command: Sequence[str | Path], folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=600)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory of one's own: a photograph, and 400 answers with their truths."""
    folder = tmp_path_factory.mktemp("home")
    (folder / "photo.jpg").write_bytes((ROOT / "examples" / "photos" / "rocket.jpg").read_bytes())
    chance = random.Random(4)
    rows = [(chance.choice(["calm", "tense"]), round(chance.uniform(0.5, 1), 3)) for _ in range(400)]
    other = {"calm": "tense", "tense": "calm"}
    lines = [f"{answer if chance.random() < sure else other[answer]},{answer},{sure}" for answer, sure in rows]
    (folder / "answers.csv").write_text("\n".join(["truth,answer,confidence", *lines]) + "\n")
    return folder


def names(wheel: Path) -> Iterator[str]:
    with zipfile.ZipFile(wheel) as opened:
        yield from opened.namelist()


def test_the_wheel_has_all_that_is_used_and_nothing_else(wheel: Path) -> None:
    found = set(names(wheel))
    for needed in ("py.typed", "checkpoints/tiny/model.safetensors", "configs/7b/stage3.toml", "serving/page/index.html"):
        assert f"emocaliber/{needed}" in found
    assert {each.split("/")[0] for each in found} == {"emocaliber", f"emocaliber-{PROJECT['version']}.dist-info"}


def test_the_sdist_gives_the_same_wheel(built: Path, wheel: Path, tmp_path: Path) -> None:
    with tarfile.open(next(built.glob("*.tar.gz"))) as opened:
        opened.extractall(tmp_path, filter="data")
    (source,) = tmp_path.iterdir()
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path], cwd=source, check=True, capture_output=True)
    assert sorted(names(next(tmp_path.glob("*.whl")))) == sorted(names(wheel))
    assert (source / "CITATION.cff").is_file() and (source / "CHANGELOG.md").is_file()


@pytest.fixture(scope="module")
def whole(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return installed(tmp_path_factory.mktemp("whole") / "venv", wheel)


def test_from_nothing_to_predictions_scores_and_a_certificate(whole: Path, home: Path) -> None:
    emocaliber = whole / "emocaliber"
    assert run([emocaliber, "--version"], home).stdout == f"emocaliber {PROJECT['version']}\n"
    predicted = run([emocaliber, "predict", "photo.jpg"], home)
    assert predicted.returncode == 0, predicted.stderr
    assert "photo.jpg" in predicted.stdout and "1 answered" in predicted.stderr
    certified = run([emocaliber, "calibrate", "certify", "answers.csv", "--accuracy", ".6", "--out", "whole.json"], home)
    assert certified.returncode == 0, certified.stderr
    where = run([whole / "python", "-c", "import emocaliber; print(emocaliber.__file__)"], home).stdout
    assert Path(where.strip()).is_relative_to(whole.parent)


WITHOUT_TORCH = """
import importlib.util, json, sys
from emocaliber.__main__ import main
assert importlib.util.find_spec("torch") is None and importlib.util.find_spec("transformers") is None
codes = {}
for line in sys.stdin.read().splitlines():
    codes[line] = main(line.split())
print(json.dumps({"codes": codes, "heavy": [name for name in ("torch", "transformers") if name in sys.modules]}))
"""
COMMANDS = """score answers.csv --out one --numbers-only
score answers.csv --out two
compare one two
calibrate fit answers.csv --out calibrator.json
calibrate apply answers.csv --calibrator calibrator.json --out applied.jsonl
calibrate certify answers.csv --accuracy .6 --out certificate.json
bench build --scenes 10 --out bench
bench stats bench
tasks --json
doctor --no-speed --json"""


@pytest.fixture(scope="module")
def light(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return installed(tmp_path_factory.mktemp("light") / "venv", wheel, WITH_TORCH)


def test_answers_are_scored_compared_calibrated_and_certified_where_torch_is_not_installed(light: Path, home: Path) -> None:
    script = home / "commands.py"
    script.write_text(WITHOUT_TORCH)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [light / "python", script]
    done = subprocess.run(command, input=COMMANDS, cwd=home, env=environment, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["codes"] == dict.fromkeys(COMMANDS.splitlines(), 0), done.stderr
    assert told["heavy"] == []
    for written in ("one/metrics.json", "two/report.html", "applied.jsonl", "certificate.json", "bench/manifest.json"):
        assert (home / written).is_file()


def test_a_model_that_runs_here_says_what_to_install(light: Path, home: Path) -> None:
    done = run([light / "emocaliber", "predict", "photo.jpg"], home)
    assert done.returncode == 2
    assert "a model on this machine needs more packages (No module named 'torch'): pip install " in done.stderr
    for each in LOCAL_PACKAGES:
        assert f"'{each}" in done.stderr


def test_the_packages_named_for_an_installation_without_torch_are_all_but_those_of_local_models() -> None:
    told = (ROOT / "docs" / "install.md").read_text("utf-8")
    command = next(line for line in told.splitlines() if line.startswith("$ pip install 'httpx2"))
    stated = {each.strip("'") for each in command.split()[3:]}
    assert stated == {each for each in PROJECT["dependencies"] if not each.startswith(LOCAL_PACKAGES)}
