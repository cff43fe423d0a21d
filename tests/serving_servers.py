"""Real servers for tests: `emocaliber serve` in a process of its own, and an application around any model in a thread."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
from PIL import Image

from emocaliber.core.model import Model
from emocaliber.predict.predictor import Predictor
from emocaliber.serving.app import GROUPS, Group, create_app
from emocaliber.serving.decoding import DecodingLimits, DecodingPool
from emocaliber.serving.engine import Engine, EngineLimits
from emocaliber.serving.keys import KeyFile, KeyRing
from emocaliber.serving.server import address_of, bound_socket, server_of
from emocaliber.serving.settings import HttpLimits, Settings


@dataclass
class ServerProcess:
    """A running `emocaliber serve`: its address, and its process with what it printed."""

    url: str
    process: subprocess.Popen[str]

    def stop(self, number: int = signal.SIGTERM) -> tuple[int, str]:
        """Its exit code and what it printed after a signal."""
        self.process.send_signal(number)
        printed, errors = self.process.communicate(timeout=60)
        return self.process.returncode, printed + errors


@contextlib.contextmanager
def served_by_command(*words: str, config: Path) -> Iterator[ServerProcess]:
    """`emocaliber serve --port 0 WORDS`, its configuration in the folder `config`; with `tiny`, unless WORDS name another model."""
    model = () if "--model" in words else ("--model", "tiny")
    command = [sys.executable, "-m", "emocaliber", "serve", "--port", "0", *model, *words]
    environment = os.environ | {"XDG_CONFIG_HOME": str(config), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        if "http://" not in line:
            _, errors = process.communicate(timeout=60)
            raise AssertionError(f"it did not start: {line}{errors}")
        yield ServerProcess(line.split(" at ")[1].split(";")[0].strip(), process)
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


@contextlib.contextmanager
def served_model(
    model: Model,
    folder: Path,
    *,
    engine: EngineLimits | None = None,
    http: HttpLimits | None = None,
    decoding: DecodingLimits | None = None,
    groups: tuple[Group, ...] = GROUPS,
    **settings: Any,
) -> Iterator[tuple[str, Engine]]:
    """The address of a server around `model`, and its engine; its keys are in `folder`."""
    made = Settings(port=0, http=http or HttpLimits(), **settings)
    asked = Engine(Predictor(model), engine, DecodingPool(decoding))
    bound = bound_socket(made.host, 0)
    url, listening = address_of(bound).replace("0.0.0.0", "127.0.0.1"), threading.Event()
    server = server_of(
        create_app(asked, made, KeyRing(KeyFile(folder / "keys.json"), needed=not made.is_local), groups=groups), made, listening.set, 30
    )
    thread = threading.Thread(target=lambda: asyncio.run(server.serve([bound])), daemon=True)
    thread.start()
    assert listening.wait(60)
    try:
        yield url, asked
    finally:
        server.should_exit = True
        thread.join(60)


def picture(colour: str | tuple[int, int, int] | int = "orange", size: tuple[int, int] = (48, 32), kind: str = "PNG") -> bytes:
    """The bytes of an image file: of one colour, or of noise of a seed."""
    image = noise(colour, size) if isinstance(colour, int) else Image.new("RGB", size, colour)
    file = io.BytesIO()
    image.save(file, kind)
    return file.getvalue()


def noise(seed: int, size: tuple[int, int] = (48, 32)) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))


def post(url: str, *images: bytes, timeout: float = 60, headers: Mapping[str, str] | None = None, **fields: str) -> httpx2.Response:
    """The answer of POST /v1/emotions for a form."""
    files = [("images", (f"{number}.png", data)) for number, data in enumerate(images)]
    return httpx2.post(f"{url}/v1/emotions", files=files, data=fields, headers=dict(headers or {}), timeout=timeout)
