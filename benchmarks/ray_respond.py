"""Does a run on Ray Data end with the rows of a single process, also when workers and the command itself are killed?

    OMP_NUM_THREADS=1 python benchmarks/ray_respond.py [--n 2000] [--workers 2] [--seed 0] [--parts worker,command] [--keep DIR]

N synthetic scenes, of which three are spoilt (one is cut off, one is text, one is not there), are asked about by one process, then by the
workers of a Ray cluster on this machine. "worker": one of the workers is killed with SIGKILL once a quarter of the rows is written.
"command": the command is killed so once half of them are, and given again with --resume. Each must end with every id once, in the order of
the samples, with the rows of the single process (all fields but `seconds`, which is a time). For Linux, as it finds workers in /proc. The
last line of stdout is one JSON object; seconds are those of whole commands, with the start of Ray and the loading of the models. With
`--keep DIR` the pictures and rows stay, and a second call does not ask the single process again.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from emocaliber.io.rows import read_rows
from emocaliber.scenes.dataset import draw_samples

MARK = f"EMOCALIBER_BENCHMARK={os.getpid()}"
WAIT = 3600.0  # seconds for a command


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=2000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--parts", default="worker,command")
    parser.add_argument("--keep", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        folder = args.keep or Path(made)
        if not (folder / "single").exists():
            scenes(folder / "scenes", args.n, args.seed)
        words = ["respond", str(folder / "scenes"), "--model", args.model]
        began = time.monotonic()
        finish(start([*words, "--out", str(folder / "single"), "--resume"]))
        seconds = {"single": round(time.monotonic() - began, 1)}
        single, found = rows(folder / "single"), {}
        for part in args.parts.split(","):
            out, began = folder / part, time.monotonic()
            spread = [*words, "--out", str(out), "--engine", "ray", "--workers", str(args.workers)]
            how = kill_a_worker(spread, out, args.n) if part == "worker" else kill_the_command(spread, out, args.n)
            seconds[part] = round(time.monotonic() - began, 1)
            found[part] = how | compared(single, rows(out))
            print(f"{part}: {found[part]}", file=sys.stderr, flush=True)
        failed = sum(row["error"] is not None for row in single)
    shape = {"n": args.n, "spoilt": failed, "workers": args.workers, "model": args.model, "threads": os.environ.get("OMP_NUM_THREADS")}
    print(json.dumps({"benchmark": "ray_respond", **shape, "seconds": seconds, **found}))


def scenes(folder: Path, n: int, seed: int) -> None:
    for _ in draw_samples(folder, n, seed, workers=1):
        pass
    images = [folder / row["image"] for row in read_rows(folder / "samples.jsonl")]
    cut, text, gone = images[n // 5], images[n // 2], images[4 * n // 5]
    cut.write_bytes(cut.read_bytes()[:200])
    text.write_text("not a picture")
    gone.unlink(missing_ok=True)


def start(words: list[str]) -> subprocess.Popen[bytes]:
    name, _, value = MARK.partition("=")
    return subprocess.Popen([sys.executable, "-m", "emocaliber", "-q", *words], stdout=sys.stderr, env=os.environ | {name: value})


def finish(process: subprocess.Popen[bytes]) -> None:
    code = process.wait(WAIT)
    assert code == 3, f"it ended with {code}, and not with 3, which says that some samples failed"


def rows(out: Path) -> list[dict[str, Any]]:
    return [{name: value for name, value in row.items() if name != "seconds"} for row in read_rows(out / "responses.jsonl")]


def written(out: Path) -> int:
    file = out / "responses.jsonl"
    return file.read_bytes().count(b"\n") if file.exists() else 0


def wait_for(process: subprocess.Popen[bytes], out: Path, least: int) -> int:
    """Waits until so many rows are written; returns how many there are."""
    until = time.monotonic() + WAIT
    while (there := written(out)) < least:
        assert process.poll() is None and time.monotonic() < until, f"it ended, or stood still, at {there} rows"
        time.sleep(0.1)
    return there


def pids() -> list[int]:
    """Workers with a model, of this benchmark alone."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            name, environment = (Path("/proc", pid, part).read_bytes() for part in ("cmdline", "environ"))
        except OSError:
            continue
        if name.startswith(b"ray::MapWorker") and MARK.encode() in environment.split(b"\0"):
            found.append(int(pid))
    return sorted(found)


def kill_a_worker(words: list[str], out: Path, n: int) -> dict[str, Any]:
    process = start(words)
    there = wait_for(process, out, n // 4)
    before = pids()
    os.kill(before[0], signal.SIGKILL)
    finish(process)
    session = json.loads((out / "responses.run.json").read_text())["sessions"][-1]
    return {"rows_at_kill": there, "workers_at_kill": len(before), "rows_by_worker": sorted(session["ray"]["workers"].values())}


def kill_the_command(words: list[str], out: Path, n: int) -> dict[str, Any]:
    process = start(words)
    wait_for(process, out, n // 2)
    process.kill()
    process.wait()
    there = written(out)
    until = time.monotonic() + 60
    while pids() and time.monotonic() < until:  # Ray ends its processes when the command that started it has ended
        time.sleep(0.2)
    left = len(pids())
    finish(start([*words, "--resume"]))
    session = json.loads((out / "responses.run.json").read_text())["sessions"][-1]
    return {"rows_at_kill": there, "workers_left": left, "rows_after": session["rows"]}


def compared(single: list[dict[str, Any]], spread: list[dict[str, Any]]) -> dict[str, Any]:
    ids, theirs = [row["id"] for row in single], [row["id"] for row in spread]
    pairs = list(zip(single, spread, strict=False))
    differences = [
        abs(one["confidence"][name] - other["confidence"][name])
        for one, other in pairs
        for name in one["confidence"]
        if one["confidence"][name] is not None and other["confidence"][name] is not None
    ]
    return {
        "every_id_once_in_order": ids == theirs and len(set(theirs)) == len(theirs),
        "equal_responses": sum(one["response"] == other["response"] for one, other in pairs),
        "equal_errors": sum(one["error"] == other["error"] for one, other in pairs),
        "equal_rows": sum(one == other for one, other in pairs),
        "largest_difference_of_a_confidence": max(differences),
    }


if __name__ == "__main__":
    main()
