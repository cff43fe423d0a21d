"""A pool of processes that decode pictures: each with limits on memory and time, killed when it exceeds them, and replaced."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from PIL import Image

from emocaliber.io.images import ImageError, OpenedImage
from emocaliber.serving.decoder import LENGTH

_TRIES = 2  # as somebody else may have killed the process
# Of the environment, as a process that meets strangers' bytes is to see no secrets.
_KEPT = ("PATH", "SYSTEMROOT", "LD_LIBRARY_PATH", "LANG", "LC_ALL")


@dataclass(frozen=True)
class DecodingLimits:
    """What a picture may cost: `max_bytes` of its file, `max_pixels` decoded at once, `seconds`, and `memory` of the process, in bytes."""

    max_bytes: int = 20_000_000
    max_pixels: int = 64_000_000
    seconds: float = 10.0
    memory: int = 2_000_000_000
    processes: int = 2


class DecodingPool:
    """Processes that turn the bytes of files into upright RGB pictures of at most 2,048 pixels a side, as `predict` does with files."""

    def __init__(self, limits: DecodingLimits | None = None) -> None:
        self.limits = limits or DecodingLimits()
        self._threads = ThreadPoolExecutor(self.limits.processes, "decoding")
        self._idle = [_Decoder(self.limits) for _ in range(self.limits.processes)]
        self._lock = threading.Lock()
        self._decoders = tuple(self._idle)

    @property
    def processes(self) -> tuple[int, ...]:
        """The process ids of those that run."""
        return tuple(each.pid for each in self._decoders if each.pid is not None)

    @property
    def restarts(self) -> int:
        """How many processes had to be replaced."""
        return sum(each.restarts for each in self._decoders)

    def start(self) -> None:
        """Starts the processes, so that the first picture does not wait for one."""
        for each in self._decoders:
            each.start()

    async def open(self, data: bytes) -> OpenedImage | ImageError:
        """The picture in the bytes of a file, or what is wrong with it; the error "timeout" or "internal" if the process was killed."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._open, data)

    def _open(self, data: bytes) -> OpenedImage | ImageError:
        with self._lock:
            decoder = self._idle.pop()
        try:
            return decoder.open(data)
        finally:
            with self._lock:
                self._idle.append(decoder)

    def close(self) -> None:
        """Ends the processes."""
        self._threads.shutdown(cancel_futures=True)
        for each in self._decoders:
            each.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


class _Decoder:
    """One process and its pipes; used by one thread at a time."""

    def __init__(self, limits: DecodingLimits) -> None:
        self._limits = limits
        self._process: subprocess.Popen[bytes] | None = None
        self.restarts = -1

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process and self._process.poll() is None else None

    def open(self, data: bytes) -> OpenedImage | ImageError:
        if len(data) > self._limits.max_bytes:  # not worth the way to the process
            most = self._limits.max_bytes / 1e6
            return ImageError("too_large", f"the image: {len(data) / 1e6:.1f} MB is over the limit of {most:g} MB; save it smaller.")
        for _ in range(_TRIES):
            process = self.start()
            late = threading.Event()
            timer = threading.Timer(self._limits.seconds, _kill, (process, late))
            timer.start()
            try:
                return self._exchange(process, data)
            except (OSError, EOFError, ValueError):
                self.close()
                if late.is_set():
                    seconds = f"{self._limits.seconds:g} s"
                    return ImageError("timeout", f"the image: not open after {seconds}; save it anew as a plain JPEG or PNG.")
            finally:
                timer.cancel()
        return ImageError("internal", "the image: decoding it ended its process, twice; save it anew as a plain JPEG or PNG.")

    def _exchange(self, process: subprocess.Popen[bytes], data: bytes) -> OpenedImage | ImageError:
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(len(data).to_bytes(LENGTH))
        process.stdin.write(data)
        process.stdin.flush()
        answer: dict[str, Any] = json.loads(process.stdout.readline())
        if "error" in answer:
            return ImageError(answer["error"]["code"], answer["error"]["message"])
        pixels = process.stdout.read(answer["length"])
        if len(pixels) < answer["length"]:
            raise EOFError
        return OpenedImage(Image.frombytes("RGB", tuple(answer["size"]), pixels), tuple(answer["notes"]))

    def start(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            self.close()
            limits = (self._limits.max_bytes, self._limits.max_pixels, self._limits.memory)
            command = [sys.executable, "-m", "emocaliber.serving.decoder", *map(str, limits)]
            environment = {name: os.environ[name] for name in _KEPT if name in os.environ}
            environment |= {"PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
            # No temporary folder as its working directory and no inherited one: it opens nothing by a relative name.
            pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
            self._process = subprocess.Popen(command, env=environment, cwd="/" if os.name == "posix" else None, **pipes)
            self.restarts += 1
        return self._process

    def close(self) -> None:
        if self._process is not None:
            self._process.kill()
            for pipe in (self._process.stdin, self._process.stdout):
                try:
                    if pipe:
                        pipe.close()
                except OSError:  # what could not be flushed to a dead process
                    pass
            self._process.wait()
            self._process = None


def _kill(process: subprocess.Popen[bytes], late: threading.Event) -> None:
    late.set()
    process.kill()
