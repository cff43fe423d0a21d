"""What a newcomer gets from a wheel: its download, its size on the disk, and each first command in a folder of one's own, with its seconds.

    python benchmarks/from_nothing.py dist/emocaliber-0.2.0-py3-none-any.whl [--without-torch] [--with REQUIREMENT] [--environment FOLDER]

pip fetches the wheel's packages into a folder, whose size is the download, and installs them from there into a new environment; with
`--without-torch` as docs/install.md says, with `--with` in the versions named, such as torch's build for CPUs. `--environment` uses
one that is there already and has the wheel. The commands know nothing of this checkout. The photographs are those of examples/photos.
The last line of standard output is one JSON object; each command has the seconds it took and those that the processor worked.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
import venv
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parents[1]
LABELS = ("amusement", "awe", "contentment", "excitement", "anger", "disgust", "fear", "sadness")
LOCAL = ("torch", "transformers", "safetensors")  # what a model that runs here needs
# What is typed, and the exit code that is right where torch is there, and where it is not.
COMMANDS = {
    "--version": (0, 0),
    "doctor --no-speed": (0, 0),
    "predict photo.jpg": (0, 2),
    "predict photos": (0, 2),
    "score answers.csv": (0, 0),
    "calibrate certify answers.csv --accuracy .8": (0, 0),
    "calibrate fit answers.csv --out calibrator.json": (0, 0),
    "predct photo.jpg": (2, 2),
    "predict foto.jpg": (3, 3),
    "score lacking.csv": (2, 2),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wheel", type=Path)
    parser.add_argument("--without-torch", action="store_true")
    parser.add_argument("--with", dest="more", action="append", default=[], metavar="REQUIREMENT")
    parser.add_argument("--environment", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        found: dict[str, Any] = {"wheel_mb": megabytes(args.wheel)}
        environment = args.environment or work / "environment"
        if not args.environment:
            found |= made(environment, args.wheel.resolve(), work / "packages", args.without_torch, args.more)
        found["disk_mb"] = megabytes(environment)
        home = work / "home"
        fill(home)
        found["commands"] = {words: run(environment, home, words, codes[args.without_torch]) for words, codes in COMMANDS.items()}
    print(json.dumps(found))


def made(environment: Path, wheel: Path, packages: Path, without_torch: bool, more: list[str]) -> dict[str, Any]:
    """Makes the environment; returns the size of its packages and the seconds that pip took to install them."""
    wanted = [str(wheel), *more]
    if without_torch:
        project = tomllib.loads((HERE / "pyproject.toml").read_text("utf-8"))["project"]
        wanted = [each for each in project["dependencies"] if not each.startswith(LOCAL)]
    pip = [sys.executable, "-m", "pip", "--quiet"]
    subprocess.run([*pip, "download", "-d", str(packages), *wanted], check=True)
    if without_torch:
        shutil.copy(wheel, packages)
        wanted.append("--no-deps")  # all that is needed was fetched
        wanted = [*map(str, packages.iterdir()), "--no-deps"]
    size = megabytes(packages)
    venv.create(environment, with_pip=True)
    start = time.perf_counter()
    here = [str(environment / "bin" / "python"), "-m", "pip", "--quiet", "install", "--no-index", "--find-links", str(packages)]
    subprocess.run([*here, *wanted], check=True)
    return {"download_mb": size, "install_seconds": round(time.perf_counter() - start, 1)}


def fill(home: Path) -> None:
    """A folder such as a user has: photographs, 600 answers in a table, and a table without the truths."""
    shutil.copytree(HERE / "examples" / "photos", home / "photos", ignore=shutil.ignore_patterns("*.md"))
    shutil.copy(home / "photos" / "rocket.jpg", home / "photo.jpg")
    chance = random.Random(1)
    rows = []
    for number in range(600):
        truth, sure = chance.choice(LABELS), round(chance.uniform(0.3, 1), 2)
        said = truth if chance.random() < sure - 0.1 else chance.choice(LABELS)
        rows.append((f"img_{number:04}.jpg", truth, said, sure))
    for name, columns in (("answers.csv", (0, 1, 2, 3)), ("lacking.csv", (0, 2, 3))):
        with (home / name).open("w", newline="") as file:
            write = csv.writer(file)
            for row in (("image", "label", "prediction", "confidence"), *rows):
                write.writerow([row[column] for column in columns])


def run(environment: Path, home: Path, words: str, code: int) -> dict[str, float]:
    """Runs a command in the folder; returns its seconds and those of the processor. Exits if its exit code is another."""
    own = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(
        [environment / "bin" / "emocaliber", *words.split()], cwd=home, env=own, capture_output=True, text=True, check=False
    )
    seconds, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode != code:
        sys.exit(f"emocaliber {words}: exit code {done.returncode}, not {code}\n{done.stdout}{done.stderr}")
    worked = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(f"$ emocaliber {words}    [{seconds:.1f} s, {worked:.1f} s of the processor, exit code {code}]", flush=True)
    print(done.stdout + done.stderr)
    return {"seconds": round(seconds, 2), "processor_seconds": round(worked, 2), "exit_code": code}


def megabytes(path: Path) -> float:
    """The size of a file, or of all in a folder, in units of 10^6 bytes."""
    files = [path] if path.is_file() else [each for each in path.rglob("*") if each.is_file() and not each.is_symlink()]
    return round(sum(each.stat().st_size for each in files) / 1e6, 1)


if __name__ == "__main__":
    main()
