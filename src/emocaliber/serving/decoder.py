"""The process that decodes: pictures of strangers come in on standard input, pixels or an error go out. It may be killed at any moment.

A picture is sent as eight bytes, its length, and its bytes. The answer is a line of JSON, and the pixels that the line announces.
"""

from __future__ import annotations

import contextlib
import json
import signal
import sys
from typing import BinaryIO

from emocaliber.inference.engine import MAX_SIDE, downscaled
from emocaliber.io.images import ImageError, ImageLimits, read_image

LENGTH = 8  # bytes


def serve(requests: BinaryIO, replies: BinaryIO, limits: ImageLimits) -> None:
    """Answers pictures until `requests` ends."""
    while head := requests.read(LENGTH):
        data = requests.read(int.from_bytes(head))
        try:
            opened = read_image(data, limits)
        except ImageError as error:
            replies.write(json.dumps({"error": error.as_row()}).encode() + b"\n")
        else:
            image = downscaled(opened.image)
            pixels = image.tobytes()
            replies.write(json.dumps({"size": image.size, "notes": opened.notes, "length": len(pixels)}).encode() + b"\n")
            replies.write(pixels)
        replies.flush()


def confine(memory: int) -> None:
    """Limits this process to `memory` bytes of address space, where the operating system can, and forbids it to write files."""
    try:
        import resource
    except ImportError:  # Windows
        return
    for limit, most in ((resource.RLIMIT_AS, memory), (resource.RLIMIT_FSIZE, 0), (resource.RLIMIT_CORE, 0)):
        with contextlib.suppress(ValueError, OSError):  # macOS refuses some
            resource.setrlimit(limit, (most, most))


def main() -> None:
    """Runs the process; its arguments are the limits: bytes and pixels of a picture, bytes of memory."""
    for number in (signal.SIGINT, signal.SIGTERM):  # meant for the server, which finishes what it has and then closes the pipe
        signal.signal(number, signal.SIG_IGN)
    max_bytes, max_pixels, memory = map(int, sys.argv[1:])
    confine(memory)
    serve(sys.stdin.buffer, sys.stdout.buffer, ImageLimits(max_bytes=max_bytes, max_pixels=max_pixels, max_side=MAX_SIDE))


if __name__ == "__main__":
    main()
