"""Seconds that a user waits: commands as whole processes, idle and with one core kept busy, beside another checkout of this project.

    python benchmarks/first_hour.py [--photos DIR] [--peer CHECKOUT] [--runs 3]

The peer is asked in turn with this checkout, so that both see the same machine. DIR has photographs; without it, the images of examples/
are used. Each figure is the median of the runs; all photographs are predicted once. The last line of standard output is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).resolve().parents[1]
_SPIN = "while True: sum(range(100_000))"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=Path, default=HERE / "examples" / "images")
    parser.add_argument("--peer", type=Path)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--n", type=int, default=8035, help="answers to score")
    args = parser.parse_args()
    checkouts = {"this": HERE} | ({"peer": args.peer.resolve()} if args.peer else {})
    found: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        commands = _commands(Path(folder), sorted(args.photos.iterdir()), args.n)
        for load in ("idle", "busy"):
            for name, command in commands.items():
                times: dict[str, list[float]] = {each: [] for each in checkouts}
                with _busy(load == "busy"):
                    for run in range(1 if "OUT-all.jsonl" in command else args.runs):
                        for each, checkout in checkouts.items():
                            out = Path(folder) / f"{each}-{load}-{run}"
                            times[each].append(_seconds([part.replace("OUT", str(out)) for part in command], checkout))
                found[f"{name}, {load}"] = {each: round(statistics.median(values), 2) for each, values in times.items()}
                print(f"{name}, {load}: " + ", ".join(f"{each} {value} s" for each, value in found[f"{name}, {load}"].items()), flush=True)
    for name in commands:
        slower = found[f"{name}, busy"]["this"] / max(found[f"{name}, idle"]["this"], 0.01)
        print(f"{name}: {slower:.2f} times slower with a busy core")
    print(json.dumps(found))


def _commands(folder: Path, photos: list[Path], n: int) -> dict[str, list[str]]:
    """The commands by what they are; OUT is replaced by a new path."""
    few = folder / "few"
    few.mkdir()
    for path in photos[:24]:
        (few / path.name).symlink_to(path)
    everything = folder / "all"
    everything.mkdir()
    for path in photos:
        (everything / path.name).symlink_to(path)
    responses = folder / "responses.jsonl"
    _write_responses(responses, n)
    finished = ["predict", str(few), "--out", str(folder / "finished-OWN.jsonl"), "--resume"]
    return {
        "--help": ["--help"],
        "one photograph": ["predict", str(photos[0])],
        f"{len(photos[:24])} photographs": ["predict", str(few), "--out", "OUT.jsonl"],
        f"{len(photos)} photographs": ["predict", str(everything), "--out", "OUT-all.jsonl"],
        f"score of {n:,} answers": ["score", str(responses), "--out", "OUT-scores", "--numbers-only"],
        "resume with nothing to do": finished,
    }


def _seconds(command: list[str], checkout: Path) -> float:
    environment = {name: value for name, value in os.environ.items() if name not in ("OMP_NUM_THREADS", "OMP_WAIT_POLICY")}
    environment["PYTHONPATH"] = str(checkout / "src")
    command = [part.replace("OWN", checkout.name) for part in command]
    if "--resume" in command and not Path(command[command.index("--out") + 1]).exists():
        _run(command, environment)
    start = time.perf_counter()
    _run(command, environment)
    return time.perf_counter() - start


def _run(command: list[str], environment: dict[str, str]) -> None:
    done = subprocess.run([sys.executable, "-m", "emocaliber", *command], env=environment, capture_output=True, text=True, check=False)
    if done.returncode not in (0, 3):
        sys.exit(f"{' '.join(command)}: exit code {done.returncode}\n{done.stderr}")


@contextmanager
def _busy(on: bool) -> Iterator[None]:
    """Keeps one core busy with another process, if `on`."""
    process = subprocess.Popen([sys.executable, "-c", _SPIN]) if on else None
    try:
        yield
    finally:
        if process:
            process.kill()
            process.wait()


def _write_responses(file: Path, n: int) -> None:
    rng = random.Random(0)
    labels = ["amusement", "awe", "contentment", "excitement", "anger", "disgust", "fear", "sadness"]
    step = "".join(f"<{name}>some words about the {name}</{name}>" for name in ("element", "human", "context", "interaction", "analysis"))
    with open(file, "w", encoding="utf-8") as out:
        for number in range(n):
            truth, answer, sure = rng.choice(labels), rng.choice(labels), rng.randint(10, 100) / 100
            text = f"<think>{step}</think><answer>{truth if rng.random() < sure else answer}</answer><confidence>{sure:.2f}</confidence>"
            row = {"id": f"{number:05}", "task": "EmoSet-8", "candidates": labels, "ground_truth": truth, "response": text}
            out.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
