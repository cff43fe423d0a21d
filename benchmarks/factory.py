"""Does the data factory lose a row or a dollar? It is killed repeatedly, while its service limits rates, fails and is slow.

    python benchmarks/factory.py [--n 10000] [--kills 5] [--per-second 60] [--concurrency 64] [--delay 0.2] [--seed 0]

A local server sells answers of a teacher and a judge, each at so many requests per second, with 429s, 500s, broken and slow answers, and
keeps its own account. `emocaliber cot build` runs against it in a process of its own, is killed with SIGKILL at random moments, started
again, and at last left to finish; then the ledger is exported. Throughput is the teacher's answers per second of the factory's working
time, from each start's first answer to its last, as a share of the server's limit. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from PIL import Image

from emocaliber.core.samples import Sample
from emocaliber.core.tasks import taxonomy_of
from emocaliber.io.rows import read_rows, write_rows
from emocaliber.veccot.ledger import Ledger

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from faulty_server import FaultyServer
from provider import JUDGE_PROMPT, PRICES, TEACHER_PROMPT, Provider

RATE = 1.1  # times the server's limit, so that pauses are made up for; 429s limit the rest


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=10_000)
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--per-second", type=float, default=60.0)
    parser.add_argument("--concurrency", type=int, default=64)
    parser.add_argument("--delay", type=float, default=0.2)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(experiment(Path(folder), args.n, args.kills, args.per_second, args.concurrency, args.delay, args.seed)))


def experiment(folder: Path, n: int, kills: int, per_second: float, concurrency: int, delay: float, seed: int) -> dict[str, Any]:
    """Builds, kills, builds again, exports, and compares the ledger with the server's account."""
    samples, ledger, out = folder / "samples.jsonl", folder / "ledger.db", folder / "out"
    write_rows(samples, [row(folder, number) for number in range(n)])
    provider = Provider(per_second, delay=delay)
    with FaultyServer(provider) as server:
        config = write_config(folder, server.url, per_second, concurrency)
        command = [sys.executable, "-m", "emocaliber", "cot", "build", str(samples), "--ledger", str(ledger), "--config", str(config)]
        environment = os.environ | {"OPENAI_API_KEY": "sk-of-the-benchmark"}
        stretches = []  # of work: when each start's answers were sold
        expected = n / per_second  # seconds
        moments = random.Random(seed)
        began = time.monotonic()
        for start in range(kills + 1):
            sold = len(provider.served["teacher"])
            process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
            if start < kills:
                wait_for_sales(provider, sold, process)
                time.sleep(moments.uniform(0.3, 1.2) * expected / (kills + 1))
                process.send_signal(signal.SIGKILL)
            said, _ = process.communicate()
            stretches.append(provider.served["teacher"][sold:])
        if process.returncode not in (0, 3):
            raise SystemExit(f"the factory ended with {process.returncode}: {said}")
        seconds = time.monotonic() - began
    subprocess.run([sys.executable, "-m", "emocaliber", "cot", "export", "--ledger", str(ledger), "--out", str(out)], check=True, stdout=2)
    exported = Counter(found["id"] for stage in (1, 2, 3) for found in read_rows(out / f"stage{stage}.jsonl"))
    with Ledger(ledger) as book:
        totals = book.totals()
        accepted = {found["id"] for found, _ in book.accepted()}
    working = sum(times[-1] - times[0] for times in stretches if times)
    answers = sum(len(times) - 1 for times in stretches if times)
    print(f"{n:,} samples, killed {kills} times: {said.strip()}", file=sys.stderr)
    return {
        "benchmark": "factory",
        "samples": n,
        "kills": kills,
        "accepted": totals.accepted,
        "rejected": totals.rejected,
        "failed": totals.failed,
        "attempts": totals.attempts,
        "exported": exported.total(),
        "exported_twice": sum(count > 1 for count in exported.values()),
        "exported_as_accepted": set(exported) == accepted,
        "ledger_cost": round(totals.cost, 9),
        "server_account": round(provider.account, 9),
        "answers_sold": {model: len(times) for model, times in provider.served.items()},
        "rate_limited": dict(provider.refused),
        "seconds": round(seconds, 1),
        "limit_per_second": per_second,
        "throughput_share": round(answers / working / per_second, 4),
        "by_reason": dict(totals.by_reason),
    }


def wait_for_sales(provider: Provider, sold: int, process: subprocess.Popen[str]) -> None:
    """Until the process has got its first answer."""
    while len(provider.served["teacher"]) == sold:
        if process.poll() is not None:
            raise SystemExit("the factory ended before it was killed; give more samples")
        time.sleep(0.02)


def row(folder: Path, number: int) -> dict[str, object]:
    """A sample with an image of its own."""
    known = taxonomy_of("EmoSet-8")
    assert known is not None, "EmoSet-8 has labels"
    image = folder / "images" / f"{number}.png"
    image.parent.mkdir(exist_ok=True)
    Image.new("RGB", (16, 16), (number % 256, number // 256 % 256, 128)).save(image)
    label = known.labels[number % len(known.labels)]
    return Sample(f"sample-{number}", str(image), "EmoSet-8", known.labels, label, "benchmark", "train").to_row(folder)


def write_config(folder: Path, url: str, per_second: float, concurrency: int) -> Path:
    """Writes a recipe whose models are the server's, asked at its rate limit."""
    for name, prompt in (("teacher", TEACHER_PROMPT), ("judge", JUDGE_PROMPT)):
        (folder / f"{name}.txt").write_text(prompt)
    tables = (
        f'[{name}]\nmodel = "openai:{name}"\nprompt = "{name}.txt"\nbase_url = "{url}"\nprices = {list(PRICES[name])}\n'
        f"concurrency = {concurrency}\nrequests_per_minute = {60 * per_second * RATE}\nbackoff = 0.2\n"
        for name in ("teacher", "judge")
    )
    config = folder / "recipe.toml"
    config.write_text("\n".join(tables))
    return config


if __name__ == "__main__":
    main()
