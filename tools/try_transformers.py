"""transformers asked for real: `pipeline("visual-emotion")`, `pipeline("decision")`, and `transformers serve` on this machine's loopback.

python tools/try_transformers.py [--image FILE] [--n 200]

Copies tiny, writes its `decision.json` from N scenes (and N / 2 of polarity), and prints what each gives for the image. The server needs
torchvision and what `transformers[serving]` brings (`make try-transformers` sets that up); without them that part says so and is left out.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import importlib.util
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import textwrap
import time
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import torch
import transformers

from emocaliber.core.response import Response, parse
from emocaliber.core.samples import read_samples
from emocaliber.core.tasks import labels_of
from emocaliber.inference.engine import question_for
from emocaliber.integrations.visual_emotion import pipeline
from emocaliber.models import TINY
from emocaliber.models.processor import load_processor
from emocaliber.scenes.dataset import draw_samples
from emocaliber.training.decision import decisions_section, write_decision

IMAGE = Path(__file__).parent.parent / "examples" / "images" / "comet_nobody_stars.png"
EIGHT = ("amusement", "awe", "contentment", "excitement", "anger", "disgust", "fear", "sadness")
SERVER_NEEDS = ("torchvision", "fastapi", "uvicorn", "openai")
PATIENCE = 240  # seconds until the server answers


def request_about(image: Path) -> dict[str, Any]:
    asset = {"type": "image", "format": "png", "data_base64": base64.b64encode(image.read_bytes()).decode()}
    mood = {"type": "choice", "instructions": "Which emotion?", "criteria": dict.fromkeys(EIGHT)}
    pleasant = {"type": "noul", "criteria": {"true": "positive", "false": "negative"}}
    return {"state": "PHOTO", "questions": {"mood": mood, "pleasant": pleasant}, "assets": {"PHOTO": asset}}


def with_decision(work: Path, n: int) -> Path:
    """A copy of tiny with its decision files."""
    folder = Path(shutil.copytree(TINY, work / "tiny-decides"))
    samples = []
    for task, count in (("EmoSet-8", n), ("FI-2", n // 2)):
        for _ in draw_samples(work / task, count, 991, task):
            pass
        samples += [replace(each, id=f"{task}/{each.id}") for each in read_samples(work / task / "samples.jsonl")]
    print(decisions_section(write_decision(folder, samples)))
    return folder


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[str]:
    """The address of `transformers serve` with the folder's model, once it answers. Raises SystemExit with what it said if it does not."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "transformers.cli.transformers", "serve", str(folder), "--host", "127.0.0.1", "--port", str(port)]
    with tempfile.TemporaryFile("w+") as said:
        server = subprocess.Popen(command, env=os.environ | {"HF_HUB_OFFLINE": "1"}, stdout=said, stderr=subprocess.STDOUT)
        try:
            until = time.monotonic() + PATIENCE
            while server.poll() is None and time.monotonic() < until:
                with contextlib.suppress(httpx2.TransportError):
                    httpx2.get(f"http://127.0.0.1:{port}/health", timeout=5)
                    yield f"http://127.0.0.1:{port}"
                    return
                time.sleep(1)
            said.seek(0)
            raise SystemExit(f"transformers serve did not answer:\n{said.read()[-2000:]}")
        finally:
            server.terminate()
            server.wait()


def decided(address: str, folder: Path, body: dict[str, Any]) -> Any:
    """What the server answers to the body as System One; its error as text where it refuses."""
    reply = httpx2.post(f"{address}/v1/systemone", json={"model": str(folder), **body}, timeout=PATIENCE)
    return reply.json() if reply.status_code == 200 else f"{reply.status_code}: {reply.text}"


def decodes(image: Path) -> bool:
    """Whether torchvision can open an image here: its compiled part loads beside the torch it was built for only."""
    from torchvision.io import decode_image

    try:
        decode_image(torch.frombuffer(bytearray(image.read_bytes()), dtype=torch.uint8))
    except RuntimeError:
        return False
    return True


def chatted(address: str, folder: Path, image: Path) -> str:
    """What OpenAI's own client gets from the server for the image and the question that tiny has learnt."""
    from openai import OpenAI

    picture = f"data:image/png;base64,{base64.b64encode(image.read_bytes()).decode()}"
    asked = [{"type": "image_url", "image_url": {"url": picture}}, {"type": "text", "text": question_for("EmoSet-8", EIGHT)}]
    client = OpenAI(base_url=f"{address}/v1", api_key="any", timeout=PATIENCE)
    messages: Any = [{"role": "user", "content": asked}]
    reply = client.chat.completions.create(model=str(folder), messages=messages, temperature=0, max_tokens=200)
    return reply.choices[0].message.content or ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--image", type=Path, default=IMAGE, help="a PNG file")
    parser.add_argument("--n", type=int, default=200, help="scenes for the temperature (default: 200)")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    print(f"transformers {transformers.__version__}, torch {torch.__version__}")
    first, *others = pipeline("visual-emotion", model=str(TINY), device="cpu")(str(args.image))
    print("visual-emotion:", json.dumps([{name: first[name] for name in ("label", "score", "people", "reasoning")}, *others], indent=1))
    with tempfile.TemporaryDirectory() as work:
        folder = with_decision(Path(work), args.n)
        body, processor = request_about(args.image), load_processor(folder)
        decide = transformers.pipeline(
            "decision", model=str(folder), processor=processor, tokenizer=processor.tokenizer, dtype=torch.float32, device="cpu"
        )
        print("decision:", json.dumps(decide(body), indent=1))
        if missing := [name for name in SERVER_NEEDS if importlib.util.find_spec(name) is None]:
            print(f"transformers serve: left out, as {', '.join(missing)} is not installed")
        else:
            with serving(folder) as address:
                print("transformers serve, POST /v1/systemone:", json.dumps(decided(address, folder, body), indent=1))
                said = chatted(address, folder, args.image) if decodes(args.image) else None
            print("Shown: pipeline, decision and server answer.")
            if said is None:
                print("Left out: OpenAI's client, as the installed torchvision, which transformers serve opens images")
                print("with, lacks its image extension; it comes with the torchvision that goes with the installed torch.")
                return
            print("transformers serve, asked by OpenAI's client:", textwrap.fill(said, 80), sep="\n")
            read = parse(said, labels_of("EmoSet-8", EIGHT))
            assert isinstance(read, Response), read
            print(f"read from it: {read.answer}, confidence stated: {read.confidence}; the pipeline says {first['label']}")


if __name__ == "__main__":
    main()
