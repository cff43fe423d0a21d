"""Samples per second of the kinds of model, in one run: tiny in batches, one at a time, through transformers' pipeline, through vLLM; and
the share of a server's own limit that the client of remote models reaches.

    python benchmarks/respond_speed.py [--n 64] [--batch-size 32] [--requests 320] [--at-once 8]

The images are newly drawn scenes, and all four answer the same questions about them greedily, in up to 200 tokens. vLLM runs where
EMOCALIBER_VLLM names an environment that has it (docs/vllm.md), in a process of its own, on cores of its choice; its start does not count.
The server, also a process of its own, works on `at-once` requests at once and takes 50 ms for each; the client sends it twice as many, so
that it need not wait. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import pickle
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import emocaliber
from emocaliber.core.model import Model, Request
from emocaliber.core.response import question
from emocaliber.emotions.taxonomy import taxonomy
from emocaliber.models import TINY

LIMIT = 200
SECONDS = 0.05  # that the server takes for a request
LABELS = tuple(taxonomy("mikels-8").labels)
Answer = Callable[[Sequence[Request]], list[str]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=64, help="scenes")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--requests", type=int, default=320, help="to the server")
    parser.add_argument("--at-once", type=int, default=8)
    args = parser.parse_args()
    import torch

    requests = scenes(args.n)
    ways: dict[str, Answer] = {
        "local, batched": local(args.batch_size),
        "local, one at a time": local(1),
        "transformers pipeline": pipeline(),
    }
    rates: dict[str, list[float]] = {name: [] for name in ways}
    texts: dict[str, list[str]] = {}
    for _ in range(3):  # the ways take turns, so that a noisy moment hits all
        for name, answer in ways.items():
            answer(requests[:2])
            start = time.perf_counter()
            texts[name] = answer(requests)
            rates[name].append(len(requests) / (time.perf_counter() - start))
    found = {name: sorted(each)[1] for name, each in rates.items()}
    if os.environ.get("EMOCALIBER_VLLM"):
        found["vllm"], texts["vllm"] = through_vllm(requests, args.batch_size)
    same = {name: sum(a == b for a, b in zip(texts["local, batched"], each, strict=True)) / len(requests) for name, each in texts.items()}
    limit = args.at_once / SECONDS
    reached = sorted(remote(args.requests, args.at_once) for _ in range(3))[1]
    for name, rate in found.items():
        print(f"{name}: {rate:.2f} samples/s; {same[name]:.0%} the same texts")
    print(f"remote: {reached:.0f} of the server's {limit:.0f} requests/s, {reached / limit:.0%}")
    report = {
        "benchmark": "respond_speed",
        "samples": len(requests),
        "threads": torch.get_num_threads(),
        "load_average": round(os.getloadavg()[0], 1),
        "samples_per_second": {name: round(rate, 3) for name, rate in found.items()},
        "same_text": same,
        "remote": {"requests_per_second": round(reached, 1), "limit": limit, "share": round(reached / limit, 3)},
    }
    print(json.dumps(report))


def scenes(n: int) -> list[Request]:
    from emocaliber.scenes.subtasks import SCENE_SUBTASKS

    kind = SCENE_SUBTASKS["EmoSet-8"]
    asked = question(LABELS)
    made = []
    for index in range(n):
        rng = kind.generator(2024, index)
        made.append(Request(kind.draw(kind.choose(index, rng), rng, 112), asked, LABELS, key=str(index), seed=index))
    return made


def local(batch_size: int) -> Answer:
    from emocaliber.models.local import LocalModel

    model: Model = LocalModel(TINY, batch_size=batch_size, max_new_tokens=LIMIT)
    return lambda requests: [reply.text for reply in model.answer(requests)]


def pipeline() -> Answer:
    """Transformers' own way, one image after the other, as its documentation shows it."""
    import torch
    import transformers

    from emocaliber.models.processor import load_processor

    transformers.logging.set_verbosity_error()
    model = transformers.AutoModelForImageTextToText.from_pretrained(TINY, dtype=torch.float32)
    pipe = transformers.pipeline("image-text-to-text", model=model, processor=load_processor(TINY))

    def answer(requests: Sequence[Request]) -> list[str]:
        said = []
        for request in requests:
            content = [{"type": "image", "image": request.image}, {"type": "text", "text": request.question}]
            chat = [{"role": "user", "content": content}]
            (made,) = pipe(text=chat, generate_kwargs={"max_new_tokens": LIMIT, "do_sample": False}, return_full_text=False)
            said.append(str(made["generated_text"]))
        return said

    return answer


IN_VLLM = """
import json, pickle, sys, time
from emocaliber.models.vllm import VllmModel

if __name__ == "__main__":
    folder, asked, limit, concurrency = sys.argv[1:]
    requests = pickle.load(open(asked, "rb"))
    model = VllmModel(folder, max_new_tokens=int(limit), concurrency=int(concurrency), max_model_len=512)
    list(model.answer(requests[:2]))
    start = time.perf_counter()
    texts = [reply.text for reply in model.answer(requests)]
    print(json.dumps([len(requests) / (time.perf_counter() - start), texts]))
"""


def through_vllm(requests: Sequence[Request], concurrency: int) -> tuple[float, list[str]]:
    """Samples per second and texts of vLLM, whose Python need not be this one."""
    paths = [str(Path(emocaliber.__file__).parents[1]), os.environ.get("EMOCALIBER_VLLM_PYTHONPATH", "")]
    environment = {"VLLM_CPU_KVCACHE_SPACE": "1", **os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    with tempfile.TemporaryDirectory() as folder:
        script, asked = Path(folder) / "ask.py", Path(folder) / "requests.pickle"
        script.write_text(IN_VLLM)
        asked.write_bytes(pickle.dumps(list(requests)))
        command = [Path(os.environ["EMOCALIBER_VLLM"]) / "bin/python", script, TINY, asked, str(LIMIT), str(concurrency)]
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    rate, texts = json.loads(done.stdout.splitlines()[-1])
    return rate, texts


def remote(n: int, at_once: int) -> float:
    """Requests per second that the client gets from a server that takes `at_once` at once."""
    from emocaliber.models.openai.model import RemoteModel

    server = subprocess.Popen([sys.executable, __file__, "serve", str(at_once)], stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        model = RemoteModel("any", base_url=server.stdout.readline().strip(), api_key="", concurrency=2 * at_once)
        images = [request.image for request in scenes(16)]
        requests = [Request(images[index % 16], f"What is {index}?", key=str(index)) for index in range(n)]
        list(model.answer(requests[: 4 * at_once]))
        start = time.perf_counter()
        assert all(reply.text == "fine" for reply in model.answer(requests))
        return n / (time.perf_counter() - start)
    finally:
        server.terminate()
        server.wait()


async def serve(at_once: int) -> None:
    """A server of chat completions that says its address and then "fine" to everything."""
    places = asyncio.Semaphore(at_once)
    message: dict[str, Any] = {"choices": [{"index": 0, "message": {"role": "assistant", "content": "fine"}, "finish_reason": "stop"}]}
    body = json.dumps(message | {"usage": {"prompt_tokens": 30, "completion_tokens": 1}}).encode()
    answer = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                await reader.readexactly(int(head.partition(b"content-length:")[2].split(b"\r\n")[0]))
                async with places:
                    await asyncio.sleep(SECONDS)
                writer.write(answer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    if sys.argv[1:2] == ["serve"]:
        asyncio.run(serve(int(sys.argv[2])))
    else:
        main()
