"""Stand-ins: a model that answers from an image's mean colour, and images made on the spot."""

from __future__ import annotations

import re
import struct
import time
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import log
from pathlib import Path

from PIL import Image

from emocaliber.core.model import Reply, Request, Tokens
from emocaliber.core.response import Reasoning, Response, render


@dataclass
class ColourModel:
    """Answers by the mean colour alone: its hue picks the candidate, its red says how sure. Black gets an answer that breaks off."""

    name: str = "colour"
    notice: str | None = "It sees colours only."
    window: int | None = 4
    seconds_each: float = 0.0
    tasks: tuple[str, ...] | None = None
    confidence_source: str | None = None

    def answer(self, requests: Iterable[Request]) -> Iterator[Reply]:
        for request in requests:
            time.sleep(self.seconds_each)
            yield self._reply(request)

    def _reply(self, request: Request) -> Reply:
        red, green, blue = request.image.resize((1, 1), Image.Resampling.BOX).getpixel((0, 0))
        if max(red, green, blue) < 20:
            return Reply("<think><element>darkness</element>", 0.01)
        mine = request.candidates[(red * 2 + green * 3 + blue * 5) // 100 % len(request.candidates)]
        colour = f"rgb {red // 16} {green // 16} {blue // 16}"
        steps = Reasoning(colour, "nobody", "a plain surface", "nothing moves", f"this suggests {mine}")
        text = render(Response(steps, mine, round(red / 255, 2)))
        return Reply(text, 0.01, _tokens(text, mine, request.candidates))


def _tokens(text: str, mine: str, candidates: tuple[str, ...]) -> Tokens:
    """Words, tags and single signs: a mention of the answer has probability 0.8, and its rivals share the rest; all else has 0.95."""
    pieces = re.findall(rf"{re.escape(mine)}|</?\w+>|[^\W\d]+|.", text, re.DOTALL)
    rivals = {name.encode(): log(0.2 / (len(candidates) - 1)) for name in candidates} | {mine.encode(): log(0.8)}
    likeliest = [rivals if piece == mine else {piece.encode(): log(0.95)} for piece in pieces]
    spelt = tuple(piece.encode() for piece in pieces)
    return Tokens(spelt, tuple(others[piece] for piece, others in zip(spelt, likeliest, strict=True)), likeliest)


def photo(path: Path, colour: str = "orange", size: tuple[int, int] = (48, 32)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)
    return path


def blank_png(width: int, height: int) -> bytes:
    """A black-and-white PNG of any size in a few kilobytes, made without its pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    packer = zlib.compressobj(9)
    line = bytes(1 + (width + 7) // 8)
    pixels = b"".join(packer.compress(line) for _ in range(height)) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
