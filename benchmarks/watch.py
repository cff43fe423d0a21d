"""How often a watch raises a false alarm, and how soon a true one.

    python benchmarks/watch.py [--model tiny] [--n 1500] [--streams 1000] [--rows 10000] [--oasis FOLDER] [--work FOLDER] [--out FILE]

Draws N synthetic scenes (seed 21), and 600 of them 5 % brighter, and has the model predict EmoSet-8 for them, and for the photographs
of OASIS (by default below $EMOCALIBER_DATA; without it they are left out). The answers are kept in the work folder. Streams are sampled
from these answers with replacement, and so are their references of 500 rows, a new one for each stream; all streams are one array.

1. Streams without a change, with a certificate whose promise is just kept: the share of streams with an alarm must not exceed alpha.
2. After 0, 1,000 or 5,000 scenes, photographs: rows until the alarm, with all tests and with those of a certificate's summary alone.
3. The accuracy of accepted answers falls by 10 points, with the same pictures: labels until the alarm.
4. Pictures 5 % brighter: the model's accuracy, and what the watch says.

Ends with one JSON line.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageEnhance
from scipy.stats import beta

from emocaliber.__main__ import main as emocaliber
from emocaliber.core.samples import read_samples
from emocaliber.io.rows import read_rows, write_atomically
from emocaliber.render.table import Table, percent
from emocaliber.scenes.dataset import draw_samples
from emocaliber.trust.martingale import SHORTFALLS, Capital, ConformalTest, promise_returns
from emocaliber.trust.observation import Observation, Reference, observe, reference_of
from emocaliber.trust.watch import PATIENCE, PROMISE, alarm_lines

TASK, SEED, REFERENCE = "EmoSet-8", 21, 500
BRIGHTER, BRIGHTENED = 1.05, 600
SUMMARY = ("confidence", "answers", "malformed")  # what a certificate's summary has
Cells = Mapping[str, Any]  # the cell of each recorded answer, by test


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--n", type=int, default=1500)
    parser.add_argument("--streams", type=int, default=1000)
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--alpha", type=float, default=0.05)
    data = os.environ.get("EMOCALIBER_DATA")
    parser.add_argument("--oasis", type=Path, default=Path(data) / "oasis" if data else None, metavar="FOLDER")
    parser.add_argument("--work", type=Path, default=Path("runs/watch"))
    parser.add_argument("--out", type=Path, help="a Markdown file for the table")
    args = parser.parse_args()
    rng = np.random.default_rng(0)
    scenes, truths = drawn(args.work / "scenes", args.n)
    usual = answers(args.model, scenes / "images", args.work / "scenes.jsonl")
    reference = reference_of(usual, "the scenes", mark="", pictures=True)
    plain = cells(reference, usual)
    every = ("confidence", "answers", "malformed", "unfamiliar")
    found: dict[str, Any] = {"false_alarms": false_alarms(plain, every, args.streams, args.rows, args.alpha, rng)}
    print(json.dumps(found), flush=True)
    if args.oasis:
        photographs = cells(reference, answers(args.model, args.oasis / "images", args.work / "photographs.jsonl"))
        found["photographs"] = [
            {"tests": name, "after": after} | delays(plain, photographs, tests, after, 300, args.streams // 2, args.alpha, rng)
            for name, tests in (("all", every), ("summary", SUMMARY))
            for after in (0, 1000, 5000)
        ]
        print(json.dumps(found["photographs"]), flush=True)
    found["accuracy"] = [
        {"from": high, "to": high - 0.1, "after": after} | falls(high, after, 2 * args.streams, args.alpha, rng)
        for high in (0.8, 0.85)
        for after in (0, 500, 2000)
    ]
    bright = answers(args.model, brightened(scenes / "images", args.work / "brighter"), args.work / "brighter.jsonl")
    brighter, names = cells(reference, bright), {Path(each.id).name for each in bright}
    same = [each for each in usual if Path(each.id).name in names]
    print(json.dumps(found["accuracy"]), flush=True)
    pictures = (*every, "brightness", "contrast", "saturation", "size")
    right = {
        name: np.mean([truths[Path(each.id).name] == each.answer for each in seen])
        for name, seen in (("plain", same), ("brighter", bright))
    }
    drift = delays(plain, brighter, pictures, 500, 5000, args.streams // 5, args.alpha, rng)
    found["brightness"] = {"accuracy": float(right["plain"]), "accuracy_brighter": float(right["brighter"])} | drift
    found["brightness"]["without_pictures"] = delays(plain, brighter, every, 500, 5000, args.streams // 5, args.alpha, rng)
    text = report(found, args.alpha)
    print(text)
    if args.out:
        write_atomically(args.out, text)
    print(json.dumps({"benchmark": "watch", "model": args.model, "alpha": args.alpha, **found}))


def drawn(folder: Path, n: int) -> tuple[Path, dict[str, str]]:
    """The folder of scenes, and the truth of each by the name of its file."""
    for _ in draw_samples(folder, n, SEED, TASK):
        pass
    return folder, {Path(sample.image).name: sample.ground_truth for sample in read_samples(folder / "samples.jsonl")}


def brightened(images: Path, out: Path) -> Path:
    out.mkdir(parents=True, exist_ok=True)
    for path in sorted(images.iterdir())[:BRIGHTENED]:
        if not (out / path.name).exists():
            with Image.open(path) as image:
                ImageEnhance.Brightness(image.convert("RGB")).enhance(BRIGHTER).save(out / path.name)
    return out


def answers(model: str, images: Path, out: Path) -> list[Observation]:
    """The model's predictions for the images in a folder, which are kept in `out`."""
    if emocaliber(["predict", str(images), "--model", model, "--task", TASK, "--threads", "1", "--out", str(out), "--resume", "-q"]) != 0:
        raise SystemExit(f"{out}: some predictions failed")
    return [observe(row, str(out)) for row in read_rows(out)]


def cells(reference: Reference, seen: Sequence[Observation]) -> Cells:
    found = [reference.cells(each, each.id, Path()) for each in seen]
    return {name: np.array([each[name] for each in found]) for name in reference.counts}


class Streams:
    """Many streams at once, each with a reference of its own from the same answers."""

    def __init__(self, usual: Cells, tests: Sequence[str], streams: int, rng: np.random.Generator) -> None:
        self.rng, self.streams = rng, streams
        sampled = rng.integers(0, len(usual["answers"]), (streams, REFERENCE))
        self.tests = {name: ConformalTest.start(counted(usual[name][sampled], int(usual[name].max()) + 64), (streams,)) for name in tests}

    def see(self, pool: Cells) -> dict[str, Any]:
        """One row of every stream, sampled from a pool of answers; the capital of each test."""
        sampled = self.rng.integers(0, len(pool["answers"]), self.streams)
        return {name: test.see(pool[name][sampled], self.rng.random(self.streams)) for name, test in self.tests.items()}


def counted(values: Any, size: int) -> Any:
    """The number of each row's values in each of `size` cells."""
    counts = np.zeros((len(values), size))
    np.add.at(counts, (np.arange(len(values))[:, None], values), 1)
    return counts


def false_alarms(usual: Cells, tests: Sequence[str], streams: int, rows: int, alpha: float, rng: np.random.Generator) -> dict[str, Any]:
    """Streams without a change, every answer of which is accepted, labelled, and right with the promised probability."""
    lines, simulated = alarm_lines(tests, alpha, promise=True), Streams(usual, tests, streams, rng)
    kept = promise_capital(streams)
    alarmed = {name: np.zeros(streams, bool) for name in lines}
    for _ in range(rows):
        wealth = simulated.see(usual)
        kept.bet(promise_returns((rng.random(streams) < 0.8).astype(float), 0.8))
        for name, value in (wealth | {PROMISE: kept.wealth}).items():
            alarmed[name] |= value >= lines[name]
    count = int(np.any(list(alarmed.values()), axis=0).sum())
    low = float(beta.ppf(0.025, count, streams - count + 1)) if count else 0.0
    share = {"share": count / streams, "share_ci": [low, float(beta.ppf(0.975, count + 1, streams - count))]}
    return {"streams": streams, "rows": rows, **share, "by_test": {name: float(each.mean()) for name, each in alarmed.items()}}


def promise_capital(streams: int) -> Capital:
    """The capital of the promise's test, as a watch has it."""
    return Capital.start(len(SHORTFALLS), (streams,), PATIENCE)


def delays(
    usual: Cells, changed: Cells, tests: Sequence[str], after: int, most: int, streams: int, alpha: float, rng: np.random.Generator
) -> dict[str, Any]:
    """Rows from the change until the alarm; `most` rows are simulated."""
    lines, simulated = alarm_lines(tests, alpha, promise=True), Streams(usual, tests, streams, rng)
    early, found, moved = np.zeros(streams, bool), np.full(streams, np.inf), dict.fromkeys(tests, 0)
    for row in range(after + most):
        wealth = simulated.see(usual if row < after else changed)
        over = {name: value >= lines[name] for name, value in wealth.items()}
        any_over = np.any(list(over.values()), axis=0)
        if row < after:
            early |= any_over
            continue
        new = any_over & np.isinf(found)
        found[new] = row - after + 1
        for name, value in over.items():
            moved[name] += int((value & new).sum())
        if not np.isinf(found).any():
            break
    return quantiles(found[~early]) | {
        "false_before": float(early.mean()),
        "first": {name: count for name, count in moved.items() if count},
    }


def falls(high: float, after: int, streams: int, alpha: float, rng: np.random.Generator) -> dict[str, Any]:
    """Labels until the alarm, where answers are right with probability `high`, and with 0.1 less after a time; 0.8 is promised."""
    kept, line, most = promise_capital(streams), 2 / alpha, 4000
    early, found = np.zeros(streams, bool), np.full(streams, np.inf)
    for label in range(after + most):
        kept.bet(promise_returns((rng.random(streams) < (high if label < after else high - 0.1)).astype(float), 0.8))
        over = kept.wealth >= line
        if label < after:
            early |= over
        else:
            found[over & np.isinf(found)] = label - after + 1
    return quantiles(found[~early]) | {"false_before": float(early.mean())}


def quantiles(found: Any) -> dict[str, Any]:
    """Median and 90 % quantile; None where that many streams had no alarm."""
    middle, late = (float(np.quantile(found, share, method="higher")) for share in (0.5, 0.9))
    finite = {"median": middle, "late": late}
    return {name: value if np.isfinite(value) else None for name, value in finite.items()} | {"found": float(np.isfinite(found).mean())}


def report(found: Mapping[str, Any], alpha: float) -> str:
    """The Markdown page."""
    none = found["false_alarms"]
    low, high = none["share_ci"]
    rows = [
        [
            f"nothing ({none['streams']:,} streams of {none['rows']:,} rows and labels)",
            f"{percent(none['share'])} % [{percent(low)}, {percent(high)}]",
            "",
            "",
        ]
    ]
    for each in found.get("photographs", []):
        rows.append(
            [f"scenes, then photographs, after {each['after']:,} rows; {each['tests']} tests", percent(each["found"]) + " %", *shown(each)]
        )
    for each in found["accuracy"]:
        rows.append(
            [f"accuracy {each['from']:g} to {each['to']:g}, after {each['after']:,} labels", percent(each["found"]) + " %", *shown(each)]
        )
    drift = found["brightness"]
    rows.append(
        [
            f"5 % brighter; accuracy {percent(drift['accuracy'])} to {percent(drift['accuracy_brighter'])} %",
            percent(drift["found"]) + " %",
            *shown(drift),
        ]
    )
    blind = drift["without_pictures"]
    rows.append(["the same, without --pictures", percent(blind["found"]) + " %", *shown(blind)])
    return Table(["change", "alarms", "median delay", "90 % within"], rows, note=f"alpha {alpha:g}; promised accuracy 0.8").as_markdown()


def shown(each: Mapping[str, Any]) -> list[str]:
    return ["more" if each[name] is None else f"{each[name]:,.0f}" for name in ("median", "late")]


if __name__ == "__main__":
    main()
