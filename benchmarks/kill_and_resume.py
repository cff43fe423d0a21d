"""Does a run that is killed end as one that is not? And do two processes keep out of each other's way?

    OMP_NUM_THREADS=1 python benchmarks/kill_and_resume.py [--kills 20] [--n 36] [--seed 0] [--parts respond,predict,stage0,...]

`respond` and `predict` ask tiny about N synthetic scenes; each training stage, at the microscopic size of the tests, trains for a few
steps, and the scaffold of stage 2 answers. Each is run once without a break. Then it is begun anew KILLS times, killed with SIGKILL at a
moment drawn uniformly from the time that it takes (every other time: from the time after its first row or checkpoint), and run again to its
end: rows must be the same but for `seconds`, weights to the bit. `pairs` are two processes of `respond --resume` on one file at the same
time: one must work, the other leave with exit code 2, and no row be there twice. `with_state` counts the kills after which there was
something to go on from. The last line is one JSON object; it takes about fifteen minutes on two busy cores.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from emocaliber.io.rows import read_rows
from emocaliber.scenes.dataset import draw_samples

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from microscopic import letters_reward, start, write_configs

STAGES = ("stage0", "stage1", "stage2", "stage3")
PARTS = ("respond", "predict", *STAGES, "scaffold", "pairs")


@dataclass(frozen=True)
class Part:
    """Something that can be killed: how it is begun in a folder, what it left there, its exit code, and the files that it goes on from."""

    begin: Callable[[Path], BaseProcess]
    result: Callable[[Path], Any]
    code: int
    state: str


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--n", type=int, default=36)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--parts", default=",".join(PARTS))
    args = parser.parse_args()
    chosen, rng, found = args.parts.split(","), random.Random(args.seed), {}
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        for _ in draw_samples(folder / "scenes", args.n, 3, workers=1):
            pass
        parts = commands(folder) | (stages(folder) if set(chosen) & {*STAGES, "scaffold"} else {})
        for name in chosen:
            if name != "pairs":
                found[name] = killed_and_resumed(folder / "runs" / name, parts[name], args.kills, rng)
            else:
                found[name] = pairs(folder / "runs" / name, parts["respond"], args.n)
            print(f"{name}: {found[name]}", file=sys.stderr, flush=True)
    print(json.dumps({"benchmark": "kill_and_resume", "kills": args.kills, "n": args.n, "seed": args.seed, **found}))


def commands(folder: Path) -> dict[str, Part]:
    """`respond` and `predict` about the scenes."""

    def rows(out: Path) -> list[dict[str, Any]]:
        return [{name: value for name, value in row.items() if name != "seconds"} for row in read_rows(out / "rows.jsonl")]

    def begin(words: list[str], out: Path) -> BaseProcess:
        out.mkdir(parents=True, exist_ok=True)
        return start(command, [*words, "--model", "tiny", "--batch-size", "4", "--resume", "--out", str(out / "rows.jsonl")])

    asked = {"respond": folder / "scenes" / "samples.jsonl", "predict": folder / "scenes" / "images"}
    return {name: Part(partial(begin, [name, str(place)]), rows, 0, "rows.jsonl") for name, place in asked.items()}


def stages(folder: Path) -> dict[str, Part]:
    """The four stages, each of which goes on from the model that an unbroken run of the one before left; and the scaffold's answers."""
    configs = write_configs(folder / "stages")
    found = {}
    for stage in STAGES:
        process = start(train, stage, configs, configs / stage, True)
        process.join()
        assert process.exitcode == 0, f"{stage} did not train"
        found[stage] = Part(partial(begin_stage, stage, configs), weights, 0, "**/trainer_state.json")
    # A model this small says nothing well-formed, which ends the stage as wrong usage once all is answered.
    scaffold = partial(begin_stage, "stage2", configs, with_answers=False)
    return found | {"scaffold": Part(scaffold, answers, 2, "scaffold.jsonl")}


def begin_stage(stage: str, configs: Path, out: Path, *, with_answers: bool = True) -> BaseProcess:
    """Starts a stage in `out`; stage 2 with the answers that were written for it, unless its scaffold shall answer."""
    return start(train, stage, configs, out, with_answers)


def train(stage: str, configs: Path, out: Path, with_answers: bool) -> None:
    """In a process of its own: trains, with a reward that differs from answer to answer."""
    from emocaliber.__main__ import main as emocaliber
    from emocaliber.training import stage3

    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # the benchmark's own output is the JSON object
    stage3.reward = letters_reward  # type: ignore[assignment]
    if stage == "stage2" and with_answers and not (out / "scaffold.jsonl").exists():
        out.mkdir(parents=True, exist_ok=True)
        shutil.copy(configs / "stage2" / "scaffold.jsonl", out / ".scaffold")
        (out / ".scaffold").rename(out / "scaffold.jsonl")
    sys.exit(emocaliber(["train", stage, "--config", str(configs), f"out={out}"]))


def command(words: list[str]) -> None:
    """In a process of its own: a command."""
    from emocaliber.__main__ import main as emocaliber

    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    sys.exit(emocaliber(words))


def weights(out: Path) -> bytes:
    return (out / "model" / "model.safetensors").read_bytes()


def answers(out: Path) -> list[tuple[Any, ...]]:
    return [(row["id"], row["response"], row["confidence"]) for row in read_rows(out / "scaffold.jsonl")]


def killed_and_resumed(folder: Path, part: Part, kills: int, rng: random.Random) -> dict[str, Any]:
    """What came of `kills` kills: how many runs then ended as the unbroken one."""
    began = time.monotonic()
    whole = part.begin(folder / "whole")
    whole.join()
    seconds = time.monotonic() - began
    assert whole.exitcode == part.code, f"the unbroken run ended with {whole.exitcode}"
    expected = part.result(folder / "whole")
    counts = {"kills": 0, "with_state": 0, "identical": 0}
    for number in range(5 * kills):
        if counts["kills"] == kills:
            break
        out = folder / str(number)
        process = part.begin(out)
        if number % 2:
            while process.is_alive() and not has_state(out, part):
                time.sleep(0.001)
        process.join(rng.uniform(0, seconds / (1 + number % 2)))
        process.kill()
        process.join()
        if process.exitcode != -9:  # it had ended before
            continue
        counts["kills"] += 1
        counts["with_state"] += has_state(out, part)
        again = part.begin(out)
        again.join()
        counts["identical"] += again.exitcode == part.code and part.result(out) == expected
        shutil.rmtree(out)
    return counts | {"seconds_unbroken": round(seconds, 1)}


def has_state(out: Path, part: Part) -> bool:
    """Whether there is anything to go on from."""
    return any(file.is_file() and file.stat().st_size > 0 for file in out.glob(part.state))


def pairs(folder: Path, part: Part, n: int, times: int = 5) -> dict[str, int]:
    """How often one of two processes worked while the other left, and the file had each row once."""
    counts = {"times": times, "one_worked_and_one_left": 0, "each_row_once": 0}
    for number in range(times):
        team = [part.begin(folder / str(number)) for _ in range(2)]
        for process in team:
            process.join()
        counts["one_worked_and_one_left"] += sorted(process.exitcode or 0 for process in team) == [0, 2]
        ids = [row["id"] for row in part.result(folder / str(number))]
        counts["each_row_once"] += len(set(ids)) == len(ids) == n
    return counts


if __name__ == "__main__":
    main()
