"""Samples per second of `respond`'s local model, in one run with what else answers: transformers' `generate` batched by hand, its pipeline,
vLLM, the model one image at a time, and the matrix products alone; and the share of a server's own limit that the client reaches.

    python benchmarks/respond_speed.py [--n 128] [--batch-size 32] [--subtasks EmoSet-8] [--only ours hand] [--requests 320] [--at-once 8]

The images are newly drawn scenes of the nine subtasks in random order (with --subtasks: of these), and all answer the same questions about
them greedily, in up to 200 tokens. By hand means: as many requests at a time, in their order, padded on the left, `generate`, decoded.
The products are those of all linear layers of the language model, in batches of the same size and for as many tokens, without anything
between them: the floor for a CPU that does not do with fewer. vLLM runs where EMOCALIBER_VLLM names an environment that has it
(docs/vllm.md), in a process of its own, on cores of its choice; its start does not count. Rates are by the wall clock and by seconds of
computing (all threads of the process), medians of `repeats` runs in turns. The server, also a process of its own, works on `at-once`
requests at once and takes 50 ms for each; the client sends it twice as many, so that it need not wait. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import pickle
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import emocaliber
from emocaliber.core.model import Model, Request
from emocaliber.core.tasks import labels_of, taxonomy_of
from emocaliber.inference.engine import question_for
from emocaliber.models import TINY
from emocaliber.models.local import LocalModel, chat_prompt
from emocaliber.scenes.subtasks import SCENE_SUBTASKS

LIMIT = 200
SECONDS = 0.05  # that the server takes for a request
Answer = Callable[[Sequence[Request]], list[str]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=128, help="scenes")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--subtasks", nargs="+", choices=SCENE_SUBTASKS, default=list(SCENE_SUBTASKS))
    parser.add_argument("--only", nargs="+", choices=[*WAYS, "vllm", "remote"], default=[*WAYS, "vllm", "remote"])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--requests", type=int, default=320, help="to the server")
    parser.add_argument("--at-once", type=int, default=8)
    args = parser.parse_args()
    import torch

    requests = scenes(args.n, args.subtasks)
    ways = {name: make(requests, args.batch_size) for name, make in WAYS.items() if name in args.only}
    rates: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    texts: dict[str, list[str]] = {}
    for answer in ways.values():
        answer(requests[:2])
    for _ in range(args.repeats):  # the ways take turns, so that a noisy moment hits all
        for name, answer in ways.items():
            wall, computing = time.perf_counter(), time.process_time()
            texts[name] = answer(requests)
            rates[name].append((len(requests) / (time.perf_counter() - wall), len(requests) / (time.process_time() - computing)))
    found = {name: tuple(map(statistics.median, zip(*each, strict=True))) for name, each in rates.items()}
    if os.environ.get("EMOCALIBER_VLLM") and "vllm" in args.only:
        found["vllm"], texts["vllm"] = through_vllm(requests, args.batch_size, args.repeats)
    first = next(iter(texts))
    same = {name: sum(a == b for a, b in zip(texts[first], each, strict=True)) / len(requests) for name, each in texts.items() if each[0]}
    for name, (wall, computing) in found.items():
        said = f"; {same[name]:.0%} the same texts" if name in same else ""
        print(f"{NAMES[name]}: {wall:.2f} samples/s, {computing:.2f} a second of computing{said}")
    report = {
        "benchmark": "respond_speed",
        "samples": len(requests),
        "subtasks": args.subtasks,
        "batch_size": args.batch_size,
        "threads": torch.get_num_threads(),
        "load_average": round(os.getloadavg()[0], 1),
        "samples_per_second": {name: round(wall, 3) for name, (wall, _) in found.items()},
        "samples_per_second_of_computing": {name: round(computing, 3) for name, (_, computing) in found.items()},
        "same_text": same,
    }
    if "remote" in args.only:
        limit = args.at_once / SECONDS
        reached = sorted(remote(args.requests, args.at_once) for _ in range(3))[1]
        print(f"remote: {reached:.0f} of the server's {limit:.0f} requests/s, {reached / limit:.0%}")
        report["remote"] = {"requests_per_second": round(reached, 1), "limit": limit, "share": round(reached / limit, 3)}
    print(json.dumps(report))


def scenes(n: int, subtasks: Sequence[str]) -> list[Request]:
    """Requests about newly drawn scenes of these subtasks, in random order."""
    order, made = random.Random(0), []
    for index in range(n):
        name = order.choice(list(subtasks))
        kind, emotions = SCENE_SUBTASKS[name], taxonomy_of(name)
        assert emotions is not None
        labels = labels_of(name, emotions.labels)
        rng = kind.generator(2024, index)
        picture = kind.draw(kind.choose(index, rng), rng, 112)
        made.append(Request(picture, question_for(name, labels), labels, key=str(index), seed=index))
    return made


def local(_: Sequence[Request], batch_size: int) -> Answer:
    model: Model = LocalModel(TINY, batch_size=batch_size, max_new_tokens=LIMIT)
    return lambda requests: [reply.text for reply in model.answer(requests)]


def one_at_a_time(requests: Sequence[Request], _: int) -> Answer:
    return local(requests, 1)


def by_hand(_: Sequence[Request], batch_size: int) -> Answer:
    """Transformers' `generate` in batches, as one would write it."""
    import torch

    model, processor = loaded()
    tokenizer = processor.tokenizer

    def answer(requests: Sequence[Request]) -> list[str]:
        said = []
        for start in range(0, len(requests), batch_size):
            batch = requests[start : start + batch_size]
            prompts = [chat_prompt(request.question, tokenizer) for request in batch]
            images = [request.image for request in batch]
            inputs = processor(images=images, text=prompts, padding=True, padding_side="left", return_tensors="pt")
            with torch.inference_mode():
                written = model.generate(**inputs, max_new_tokens=LIMIT, do_sample=False)
            said += tokenizer.batch_decode(written[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
        return said

    return answer


def loaded() -> tuple[Any, Any]:
    import torch
    import transformers

    from emocaliber.models.processor import load_processor

    transformers.logging.set_verbosity_error()
    return transformers.AutoModelForImageTextToText.from_pretrained(TINY, dtype=torch.float32).eval(), load_processor(TINY)


def pipeline(_: Sequence[Request], __: int) -> Answer:
    """Transformers' own way, one image after the other, as its documentation shows it."""
    import transformers

    model, processor = loaded()
    pipe = transformers.pipeline("image-text-to-text", model=model, processor=processor)

    def answer(requests: Sequence[Request]) -> list[str]:
        said = []
        for request in requests:
            content = [{"type": "image", "image": request.image}, {"type": "text", "text": request.question}]
            chat = [{"role": "user", "content": content}]
            (made,) = pipe(text=chat, generate_kwargs={"max_new_tokens": LIMIT, "do_sample": False}, return_full_text=False)
            said.append(str(made["generated_text"]))
        return said

    return answer


def products(requests: Sequence[Request], batch_size: int) -> Answer:
    """No answers, but the matrix products that they take: of the prompts, and of each token that is written."""
    import torch

    model, _ = loaded()
    usages = [reply.usage for reply in LocalModel(TINY, batch_size=batch_size, max_new_tokens=LIMIT).answer(requests)]
    read, written = (sum(getattr(usage, name) for usage in usages if usage) for name in ("prompt_tokens", "completion_tokens"))
    layers = [each for each in model.model.language_model.layers.modules() if isinstance(each, torch.nn.Linear)]

    def multiply(modules: Sequence[torch.nn.Linear], rows: int) -> None:
        for each in modules:
            each(torch.ones(rows, each.in_features))

    def answer(asked: Sequence[Request]) -> list[str]:
        with torch.inference_mode():
            multiply(layers, read)
            for _step in range(written // batch_size):
                multiply([*layers, model.lm_head], batch_size)
        return [""] * len(asked)

    return answer


WAYS: dict[str, Callable[[Sequence[Request], int], Answer]] = {
    "ours": local,
    "hand": by_hand,
    "one": one_at_a_time,
    "pipeline": pipeline,
    "products": products,
}
NAMES = {
    "ours": "local, batched",
    "hand": "transformers, batched by hand",
    "one": "local, one at a time",
    "pipeline": "transformers pipeline",
    "products": "matrix products alone",
    "vllm": "vllm",
}

IN_VLLM = """
import json, pickle, statistics, sys, time
from emocaliber.models.vllm import VllmModel

if __name__ == "__main__":
    folder, asked, limit, concurrency, repeats = sys.argv[1:]
    requests = pickle.load(open(asked, "rb"))
    model = VllmModel(folder, max_new_tokens=int(limit), concurrency=int(concurrency), max_model_len=512)
    list(model.answer(requests[:2]))
    rates = []
    for _ in range(int(repeats)):
        wall, computing = time.perf_counter(), time.process_time()
        texts = [reply.text for reply in model.answer(requests)]
        rates.append((len(requests) / (time.perf_counter() - wall), len(requests) / (time.process_time() - computing)))
    print(json.dumps([list(map(statistics.median, zip(*rates))), texts]))
"""


def through_vllm(requests: Sequence[Request], concurrency: int, repeats: int) -> tuple[tuple[float, ...], list[str]]:
    """Samples per second, by both clocks, and texts of vLLM, whose Python need not be this one."""
    paths = [str(Path(emocaliber.__file__).parents[1]), os.environ.get("EMOCALIBER_VLLM_PYTHONPATH", "")]
    own = {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_ENABLE_V1_MULTIPROCESSING": "0"}  # in one process, as it can be timed as one
    environment = {**own, **os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    with tempfile.TemporaryDirectory() as folder:
        script, asked = Path(folder) / "ask.py", Path(folder) / "requests.pickle"
        script.write_text(IN_VLLM)
        asked.write_bytes(pickle.dumps(list(requests)))
        python = Path(os.environ["EMOCALIBER_VLLM"]) / "bin/python"
        command: list[str | Path] = [python, script, TINY, asked, str(LIMIT), str(concurrency), str(repeats)]
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    rates, texts = json.loads(done.stdout.splitlines()[-1])
    return tuple(rates), texts


def remote(n: int, at_once: int) -> float:
    """Requests per second that the client gets from a server that takes `at_once` at once."""
    from emocaliber.models.openai.model import RemoteModel

    server = subprocess.Popen([sys.executable, __file__, "serve", str(at_once)], stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        model = RemoteModel("any", base_url=server.stdout.readline().strip(), api_key="", concurrency=2 * at_once)
        images = [request.image for request in scenes(16, list(SCENE_SUBTASKS))]
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
