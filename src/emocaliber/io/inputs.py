"""Finds the images that command-line arguments name, in a stable order: files, folders, globs, and `-` for standard input."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from emocaliber.errors import UserError
from emocaliber.io.images import DEFAULT_LIMITS, ImageLimits
from emocaliber.io.rows import display_name

# Suffixes only decide which files of a folder are taken; files are opened by their content. The last three formats are not supported,
# but get a row with an error, so that no image is skipped silently.
SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".bmp", ".dib", ".tif", ".tiff", ".avif"),
    *(".ppm", ".pgm", ".pbm", ".pnm", ".heic", ".heif", ".jxl", ".jp2", ".svg"),
)

_WILDCARD = re.compile(r"[*?[]")
_BEGINS_LIKE_AN_IMAGE = re.compile(
    rb"\xff\xd8\xff|\x89PNG\r\n\x1a\n|GIF8[79]a|RIFF....WEBP|BM....\0\0\0\0|II\*\0|MM\0\*|\0\0\0.ftyp|P[1-6]\s+(?:#|\d+\s+\d)", re.DOTALL
)


def find_images(arguments: Iterable[str], stdin: BinaryIO, limits: ImageLimits = DEFAULT_LIMITS) -> list[str | bytes]:
    """The images that `arguments` name, without duplicates: paths (undecodable bytes as surrogates), or the bytes of a piped image.

    - A file is taken unchecked; if it is missing or no image, opening it gives the error of its row.
    - A folder gives all files with a suffix of `SUFFIXES` in it and its subfolders, sorted by name, without hidden files. Linked folders
      are followed, each folder once. A subfolder that cannot be read is itself in the list, so that its error is reported.
    - A glob that the shell did not expand (`'photos/**/*.png'`) gives its matches, sorted; folders as above.
    - `-` reads standard input: the bytes of one image, or a list of files and folders, separated by newlines or NUL.

    Raises UserError for a folder without images, a glob that matches nothing, and an empty standard input.
    """
    found: dict[object, str | bytes] = {}
    parents: dict[str, str] = {}
    for image in _named(arguments, stdin, limits):
        if isinstance(image, bytes):
            found.setdefault("-", image)
        else:
            parent, name = os.path.split(image)
            if parent not in parents:
                parents[parent] = os.path.realpath(parent)
            found.setdefault((parents[parent], name), image)
    return list(found.values())


def _named(arguments: Iterable[str], stdin: BinaryIO, limits: ImageLimits) -> Iterator[str | bytes]:
    for argument in arguments:
        if argument == "-":
            yield from _piped(stdin, limits)
        elif _WILDCARD.search(argument) and "://" not in argument and not os.path.lexists(argument):
            matches = _matches(argument)
            if not matches:
                raise UserError(f"{display_name(argument)} matches no file; check the pattern, or name a file or folder")
            for match in matches:
                yield from _file_or_folder(match)
        else:
            yield from _file_or_folder(argument)


def _file_or_folder(path: str) -> Iterator[str]:
    if not os.path.isdir(path):
        yield path
        return
    images = list(_images_below(path))
    if not images:
        raise UserError(f"{display_name(path)}: the folder holds no images (by their suffix: {' '.join(SUFFIXES)}); name another")
    yield from images


def _images_below(folder: str) -> Iterator[str]:
    entered: set[tuple[int, int]] = set()
    pending = [folder]
    while pending:
        path = pending.pop()
        if not os.path.isdir(path):
            if os.path.splitext(path)[1].lower() in SUFFIXES:
                yield path
            continue
        try:
            status = os.stat(path)
            if (status.st_dev, status.st_ino) in entered:
                continue
            entered.add((status.st_dev, status.st_ino))
            names = sorted(name for name in os.listdir(path) if not name.startswith("."))
        except OSError:
            yield path  # opening it gives the error
            continue
        pending += [os.path.join(path, name) for name in reversed(names)]


def _matches(pattern: str) -> list[str]:
    """The matches of a glob by pathlib, whose `**` does not follow linked folders, and so cannot loop."""
    parts = Path(pattern).parts
    first = next(index for index, part in enumerate(parts) if _WILDCARD.search(part))
    root, rest = Path(*parts[:first]), parts[first:]
    matches = root.glob(os.path.join(*rest))
    if not any(part.startswith(".") for part in rest):
        matches = (match for match in matches if not any(part.startswith(".") for part in match.relative_to(root).parts))
    return sorted(map(str, matches))


def _piped(stdin: BinaryIO, limits: ImageLimits) -> Iterator[str | bytes]:
    head = stdin.read(64)
    if _BEGINS_LIKE_AN_IMAGE.match(head):
        yield head + stdin.read(limits.max_bytes)  # with the head, enough to exceed the limit
        return
    data = head + stdin.read()
    lines = data.split(b"\0") if b"\0" in data else data.splitlines()
    paths = [os.fsdecode(line) for line in lines if line.strip()]
    if not paths:
        raise UserError("standard input is empty; pipe an image into it, or a list of files, one a line")
    for path in paths:
        yield from _file_or_folder(path)
