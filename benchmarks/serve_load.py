"""`emocaliber serve` under load: is every request answered with its own picture's answer, how fast, and does the memory stay flat?

    python benchmarks/serve_load.py --clients 32 --seconds 20 --flat 500
    python benchmarks/serve_load.py --clients 1000 --seconds 120 --flat 10000

One server (`emocaliber serve`, in a process of its own) and this process, which draws scenes, predicts them itself, and asks the server
about them. A picture's own answer is known from there: its text, and the probabilities of all labels, which differ from picture to
picture; an answer that is not the picture's is "wrong". Three measurements, in one run: rounds of all pictures by `predict` here and by the
server in turn ("throughput"); single requests to a server that does nothing else beside single predictions ("unloaded"); `--clients`
clients that ask without pause ("load"; who gets 429 or 503 waits as long as Retry-After says). Then `--flat` further pictures for the slope
of the memory of the server with its processes, in bytes for each picture, with its 95 % interval. The last line of stdout is one JSON
object.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from emocaliber.predict.prediction import Prediction
from emocaliber.predict.predictor import Predictor, Query, load
from emocaliber.scenes.dataset import draw_samples
from emocaliber.serving.engine import TOLERANCE

QUERY = Query.of()


@dataclass(frozen=True)
class Marked:
    """A picture with the answer that is its own, and the request that asks for it. The answer names the file, unless it is not `named`."""

    file: Path
    request: bytes
    text: str | None
    probabilities: tuple[float, ...]
    named: bool = True

    def is_answered_by(self, row: dict[str, Any]) -> bool:
        if row["error"] is not None or (self.named and row["image"] != self.file.name) or row["response"] != self.text:
            return False
        return np.allclose(probabilities(row["alternatives"]), self.probabilities, atol=TOLERANCE, rtol=0)


def probabilities(alternatives: list[dict[str, Any]]) -> tuple[float, ...]:
    """Those of all labels, in the order of the labels."""
    known = {each["emotion"]: each["probability"] for each in alternatives}
    return tuple(known[label] for label in QUERY.candidates)


def marked(files: list[Path], predictor: Predictor) -> list[Marked]:
    """The pictures whose answers can be told apart."""
    found: list[Marked] = []
    for file, answer in zip(files, predictor.ask([str(each) for each in files], QUERY), strict=True):
        mine = probabilities(answer.to_row()["alternatives"])
        if all(np.max(np.abs(np.subtract(mine, each.probabilities))) > 4 * TOLERANCE for each in found):
            found.append(Marked(file, request_for(file), answer.response, mine))
    return found


def request_for(file: Path) -> bytes:
    """The bytes of POST /v1/emotions for one picture."""
    part = f'--b\r\nContent-Disposition: form-data; name="images"; filename="{file.name}"\r\n\r\n'.encode()
    body = part + file.read_bytes() + b"\r\n--b--\r\n"
    head = "POST /v1/emotions HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=b\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


@dataclass
class Tally:
    """What happened to requests, and the seconds of those that were answered."""

    counts: Counter[str] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)

    def summary(self, wall: float) -> dict[str, Any]:
        p50, p99 = np.percentile(self.seconds, (50, 99)) if self.seconds else (None, None)
        counts = {name: self.counts[name] for name in ("answered", "refused", "wrong", "lost", "other")}
        rate = round(self.counts["answered"] / wall, 2)
        return counts | {"images_per_second": rate, "p50": _rounded(p50), "p99": _rounded(p99), "seconds": round(wall, 1)}


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(float(value), 4)


class Client:
    """One connection to the server, which stays open."""

    def __init__(self, port: int, tally: Tally) -> None:
        self._port, self._tally = port, tally
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, picture: Marked) -> float:
        """Asks about a picture, counts what came of it, and returns the seconds to wait before the next request."""
        start = time.perf_counter()
        try:
            status, headers, body = await self._exchange(picture.request)
        except (OSError, EOFError, asyncio.IncompleteReadError):
            self._tally.counts["lost"] += 1
            self.close()
            return 1.0
        if status == 200:
            answer = json.loads(body)
            row = answer.get("predictions", [answer])[0]
            self._tally.counts["answered" if picture.is_answered_by(row) else "wrong"] += 1
            self._tally.seconds.append(time.perf_counter() - start)
            return 0.0
        told = status in (429, 503) and "retry-after" in headers
        self._tally.counts["refused" if told else "other"] += 1
        return float(headers.get("retry-after", 1))

    async def _exchange(self, request: bytes) -> tuple[int, dict[str, str], bytes]:
        if self._streams and self._streams[0].at_eof():
            self.close()  # the server closed it while this client waited
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port)
        reader, writer = self._streams
        writer.write(request)
        await writer.drain()
        first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)}
        body = await reader.readexactly(int(headers["content-length"]))
        if headers.get("connection") == "close":
            self.close()
        return int(first.split()[1]), headers, body

    def close(self) -> None:
        if self._streams:
            self._streams[1].close()
            self._streams = None


async def asked_by(clients: int, port: int, pictures: list[Marked], *, seconds: float | None = None) -> dict[str, Any]:
    """Asks about `pictures` once, or again and again for `seconds`, by so many clients at once."""
    tally, start, following = Tally(), time.perf_counter(), iter(range(sys.maxsize))

    async def one() -> None:
        client = Client(port, tally)
        while True:
            number = next(following)
            if number >= len(pictures) if seconds is None else time.perf_counter() - start > seconds:
                break
            while wait := await client.ask(pictures[number % len(pictures)]):
                await asyncio.sleep(wait)
                if seconds is not None and time.perf_counter() - start > seconds:
                    break
        client.close()

    await asyncio.gather(*(one() for _ in range(clients)))
    return tally.summary(time.perf_counter() - start)


def throughput(port: int, pictures: list[Marked], predictor: Predictor, rounds: int) -> dict[str, Any]:
    """All pictures by `predict` here and by the server, in turn, and the ratio of the medians."""
    ours, theirs, wrong = [], [], 0
    for _ in range(rounds):
        start = time.perf_counter()
        list(predictor.ask([str(each.file) for each in pictures], QUERY))
        ours.append(len(pictures) / (time.perf_counter() - start))
        found = asyncio.run(asked_by(min(len(pictures), 64), port, pictures))
        theirs.append(found["images_per_second"])
        wrong += len(pictures) - found["answered"]
    ratio = float(np.median(theirs) / np.median(ours))
    return {
        "predict": round(float(np.median(ours)), 2),
        "serve": round(float(np.median(theirs)), 2),
        "ratio": round(ratio, 3),
        "wrong": wrong,
    }


def unloaded(port: int, pictures: list[Marked], predictor: Predictor, n: int) -> dict[str, Any]:
    """Single requests and single predictions, in turn: p50 and p99 in seconds."""
    tally, alone = Tally(), []

    async def one(picture: Marked) -> None:
        client = Client(port, tally)
        await client.ask(picture)
        client.close()

    for number in range(n):
        picture = pictures[number % len(pictures)]
        asyncio.run(one(picture))
        start = time.perf_counter()
        answer: Prediction = next(predictor.ask([str(picture.file)], QUERY))
        alone.append(time.perf_counter() - start)
        assert answer.error is None
    (p50, p99), (one50, one99) = np.percentile(tally.seconds, (50, 99)), np.percentile(alone, (50, 99))
    names = ("serve_p50", "serve_p99", "predict_p50", "predict_p99", "p99_over_predict_p50", "p99_over_predict_p99")
    return dict(zip(names, map(_rounded, (p50, p99, one50, one99, p99 / one50, p99 / one99)), strict=True))


def memory_slope(port: int, pictures: list[Marked], process: psutil.Process, n: int) -> dict[str, Any]:
    """The slope of the memory over `n` pictures, in bytes for each, after the first fifth; measured every fiftieth of them."""
    points: list[tuple[int, int]] = []
    step, done = max(n // 50, 1), 0
    while done < n:
        asyncio.run(asked_by(32, port, [pictures[(done + k) % len(pictures)] for k in range(step)]))
        done += step
        points.append((done, sum(each.memory_info().rss for each in (process, *process.children()))))
    kept = points[len(points) // 5 :]
    x, y = np.array(kept, float).T
    slope, level = np.polyfit(x, y, 1)
    rest = y - (slope * x + level)
    error = np.sqrt(rest @ rest / max(len(x) - 2, 1) / ((x - x.mean()) @ (x - x.mean())))
    interval = [round(slope - 1.96 * error), round(slope + 1.96 * error)]
    return {"pictures": done, "rss_mb": round(y[-1] / 1e6), "bytes_per_picture": round(slope), "interval": interval}


def main() -> None:
    """Runs all of it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--pictures", type=int, default=96)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--single", type=int, default=30, help="single requests to an unloaded server")
    parser.add_argument("--flat", type=int, default=500, help="pictures over which the memory is followed; 0 leaves it out")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for _ in draw_samples(Path(folder), args.pictures, seed=11, size=224, split="test", workers=1):
            pass
        command = [sys.executable, "-m", "emocaliber", "serve", "--model", args.model, "--port", "0"]
        server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | {"XDG_CONFIG_HOME": folder})
        try:
            assert server.stdout is not None
            port = int(server.stdout.readline().split(" at ")[1].rpartition(":")[2])
            predictor = load(args.model)
            pictures = marked(sorted(Path(folder).rglob("*.png")), predictor)
            print(f"{len(pictures)} pictures whose answers can be told apart", flush=True)
            found: dict[str, Any] = {"model": args.model, "pictures": len(pictures), "clients": args.clients}
            found["throughput"] = throughput(port, pictures, predictor, args.rounds)
            print(f"throughput {found['throughput']}", flush=True)
            found["unloaded"] = unloaded(port, pictures, predictor, args.single)
            print(f"unloaded {found['unloaded']}", flush=True)
            found["load"] = asyncio.run(asked_by(args.clients, port, pictures, seconds=args.seconds))
            print(f"load {found['load']}", flush=True)
            if args.flat:
                found["memory"] = memory_slope(port, pictures, psutil.Process(server.pid), args.flat)
        finally:
            server.terminate()
            found_code = server.wait(120)
    print(json.dumps(found | {"exit_code": found_code}))


if __name__ == "__main__":
    main()
