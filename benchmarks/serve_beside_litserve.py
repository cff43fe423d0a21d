"""`emocaliber serve` beside LitServe with the same model: throughput, waiting times, and what each does when something goes wrong.

    python -m venv litserve && litserve/bin/pip install '.[serve]' litserve==0.2.19 psutil
    litserve/bin/python benchmarks/serve_beside_litserve.py --clients 32 --seconds 30 --rounds 3

Both servers run by turns, one at a time, each in processes of its own, with batches of up to 32. In each round the same clients ask
for the same pictures without pause; an answer must be the picture's own (see `benchmarks/serve_load.py`). Then, on each:

- "broken picture": 31 pictures and one file that is none are asked for at once. How many of the 31 were answered?
- "slow client": 8 clients send half a request and stop. Is a picture answered meanwhile, and how fast?
- "dead worker": a process of the server is killed (`kill -9`): LitServe's one with the model; of `serve`, whose model is in its first
  process, one that decodes. Of 20 pictures asked for in the 20 seconds after it, how many were answered?

The last line of stdout is one JSON object.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from emocaliber.predict.predictor import load
from emocaliber.scenes.dataset import draw_samples
from serve_load import Client, Marked, Tally, asked_by, marked, request_for

OURS, THEIRS = SERVERS = ("emocaliber serve", "litserve")
AT_ONCE = 32
READY = 120.0  # seconds that a server may take to start


def litserve_request(file: Path) -> bytes:
    """The bytes of LitServe's POST /predict for one picture."""
    body = json.dumps({"image": base64.b64encode(file.read_bytes()).decode()}).encode()
    head = f"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def asked_of(name: str, picture: Marked) -> Marked:
    """The picture as this server is asked for it."""
    return picture if name == OURS else replace(picture, request=litserve_request(picture.file), named=False)


@contextmanager
def running(name: str, model: str, port: int, first: Marked) -> Iterator[psutil.Process]:
    """The server's first process, from its first answer on."""
    here = Path(__file__).parent
    commands = {
        OURS: [sys.executable, "-m", "emocaliber", "serve", "--model", model, "--port", str(port)],
        THEIRS: [sys.executable, str(here / "litserve_server.py"), "--model", model, "--port", str(port), "--batch", str(AT_ONCE)],
    }
    with tempfile.TemporaryDirectory() as home:
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        server = subprocess.Popen(commands[name], env=os.environ | {"XDG_CONFIG_HOME": home}, **quiet)
        try:
            start = time.monotonic()
            while not asyncio.run(answered(port, [first], 30)):
                if time.monotonic() - start > READY or server.poll() is not None:
                    raise SystemExit(f"{name} did not start")
                time.sleep(1)
            yield psutil.Process(server.pid)
        finally:
            for each in (*psutil.Process(server.pid).children(recursive=True), psutil.Process(server.pid)) if server.poll() is None else ():
                each.kill()
            server.wait(30)


async def answered(port: int, pictures: list[Marked], seconds: float) -> int:
    """How many of the pictures, asked for at once, were answered with their own answers within that time."""
    tally = Tally()

    async def one(picture: Marked) -> None:
        client = Client(port, tally)
        try:
            await asyncio.wait_for(client.ask(picture), seconds)
        except TimeoutError:
            tally.counts["late"] += 1
        client.close()

    await asyncio.gather(*map(one, pictures))
    return tally.counts["answered"]


async def with_broken(port: int, pictures: list[Marked], broken: Marked) -> dict[str, int]:
    """Answers to good pictures beside one that is broken."""
    good = pictures[: AT_ONCE - 1]
    halves = len(good) // 2
    return {"good": len(good), "answered": await answered(port, [*good[:halves], broken, *good[halves:]], 60)}


async def with_slow_clients(port: int, picture: Marked) -> dict[str, Any]:
    """One answer while others have sent half a request."""
    slow = []
    for _ in range(8):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(picture.request[: len(picture.request) // 2])
        await writer.drain()
        slow.append(writer)
    start = time.perf_counter()
    found = await answered(port, [picture], 60)
    seconds = round(time.perf_counter() - start, 3)
    for writer in slow:
        writer.close()
    return {"answered": bool(found), "seconds": seconds}


def with_dead_worker(port: int, process: psutil.Process, pictures: list[Marked]) -> dict[str, int]:
    """Answers in the 20 seconds after a worker's death."""
    workers = [each for each in process.children(recursive=True) if "resource_tracker" not in " ".join(each.cmdline())]
    max(workers, key=lambda each: each.memory_info().rss).kill()
    found = 0
    for picture in pictures[:20]:
        start = time.monotonic()
        found += asyncio.run(answered(port, [picture], 10))
        time.sleep(max(0.0, 1 - (time.monotonic() - start)))
    return {"asked": len(pictures[:20]), "answered": found}


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def main() -> None:
    """Runs all of it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--pictures", type=int, default=96)
    parser.add_argument("--clients", type=int, default=AT_ONCE)
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    found: dict[str, Any] = {name: {"rounds": []} for name in SERVERS}
    with tempfile.TemporaryDirectory() as folder:
        for _ in draw_samples(Path(folder), args.pictures, seed=11, size=224, split="test", workers=1):
            pass
        pictures = marked(sorted(Path(folder).rglob("*.png")), load(args.model))
        file = Path(folder) / "broken.png"
        file.write_bytes(pictures[0].file.read_bytes()[:200])
        broken = Marked(file, request_for(file), None, ())
        for number in range(args.rounds):
            for name in SERVERS:
                asked, port = [asked_of(name, each) for each in pictures], free_port()
                with running(name, args.model, port, asked[0]) as process:
                    load_now = asyncio.run(asked_by(args.clients, port, asked, seconds=args.seconds))
                    found[name]["rounds"].append(load_now)
                    print(f"{name}: {load_now}", flush=True)
                    if number == args.rounds - 1:
                        found[name]["broken picture"] = asyncio.run(with_broken(port, asked, asked_of(name, broken)))
                        found[name]["slow client"] = asyncio.run(with_slow_clients(port, asked[0]))
                        found[name]["dead worker"] = with_dead_worker(port, process, asked)
    for name in SERVERS:
        for figure in ("images_per_second", "p50", "p99"):
            found[name][figure] = float(np.median([each[figure] for each in found[name]["rounds"]]))
    found["ratio of throughput"] = round(found[OURS]["images_per_second"] / found[THEIRS]["images_per_second"], 3)
    print(json.dumps({"model": args.model, "clients": args.clients} | found))


if __name__ == "__main__":
    main()
