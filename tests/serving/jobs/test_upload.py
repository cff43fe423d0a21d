"""The pictures of a job as they arrive, in pieces of any size, and the limits on them."""

from __future__ import annotations

import asyncio
import json
from base64 import b64encode
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emocaliber.serving.errors import Refused
from emocaliber.serving.jobs.store import Arriving
from emocaliber.serving.jobs.upload import JobLimits, Received, receive

FORM = (
    b'--x\r\nContent-Disposition: form-data; name="task"\r\n\r\nFI-2\r\n'
    b'--x\r\nContent-Disposition: form-data; name="images"; filename="a.png"\r\nContent-Type: image/png\r\n\r\n\r\n--\r\nx\r\n'
    b'--x\r\nContent-Disposition: form-data; name="images"\r\n\r\nsecond\r\n--x--\r\n'
)
LINES = b'{"data": "%s", "name": "a.png"}\n\n{"data": "%s"}' % (b64encode(b"\r\n--\r\nx"), b64encode(b"second"))
KINDS = {"form": (FORM, "multipart/form-data; boundary=x"), "lines": (LINES, "application/jsonl")}


def received(body: bytes, kind: str, folder: Path, limits: JobLimits | None = None, sizes: tuple[int, ...] = (10_000,)) -> Received:
    """What a body makes that comes in pieces of these sizes, over and over."""

    async def stream() -> AsyncIterator[bytes]:
        start = number = 0
        while start < len(body):
            yield body[start : start + sizes[number % len(sizes)]]
            start, number = start + sizes[number % len(sizes)], number + 1

    return asyncio.run(receive(stream(), kind, Arriving(folder), limits or JobLimits()))


def arrived(folder: Path) -> list[bytes]:
    return [path.read_bytes() for path in sorted(folder.iterdir())]


@pytest.mark.parametrize("kind", KINDS)
@given(sizes=st.lists(st.integers(1, 40), min_size=1, max_size=5))
def test_the_sizes_of_the_pieces_change_nothing(kind: str, sizes: list[int], tmp_path_factory: pytest.TempPathFactory) -> None:
    body, media = KINDS[kind]
    whole, pieces = tmp_path_factory.mktemp("whole") / "f", tmp_path_factory.mktemp("pieces") / "f"
    assert received(body, media, pieces, sizes=tuple(sizes)) == received(body, media, whole)
    assert arrived(pieces) == arrived(whole) == [b"\r\n--\r\nx", b"second"]


def test_a_form_and_lines_of_the_same_pictures_have_the_same_hash(tmp_path: Path) -> None:
    form, lines = received(*KINDS["form"], tmp_path / "form"), received(*KINDS["lines"], tmp_path / "lines")
    assert form.digest == lines.digest
    other = received(LINES.replace(b"a.png", b"b.png"), "application/jsonl", tmp_path / "other")
    assert other.digest != lines.digest
    assert form.fields == {"task": "FI-2"}


def test_a_picture_that_is_too_long_is_cut_where_the_decoder_sees_it(tmp_path: Path) -> None:
    line = json.dumps({"data": b64encode(bytes(1000)).decode()}).encode()
    received(line, "application/jsonl", tmp_path / "f", JobLimits(picture_bytes=100))
    assert [len(each) for each in arrived(tmp_path / "f")] == [101]


@pytest.mark.parametrize("kind", KINDS)
def test_there_is_a_limit_on_pictures(kind: str, tmp_path: Path) -> None:
    with pytest.raises(Refused, match="more than 1 pictures") as refused:
        received(*KINDS[kind], tmp_path / "f", JobLimits(pictures=1))
    assert refused.value.status == 413


def test_a_line_without_an_end_is_given_up(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="line 1 is longer"):
        received(b'{"data": "' + b"A" * 100_000, "application/jsonl", tmp_path / "f", JobLimits(picture_bytes=100))


def test_a_line_that_is_no_picture_is_named(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="line 3 is no picture"):
        received(b'{"data": "AAAA"}\n\n{"date": "AAAA"}\n', "application/jsonl", tmp_path / "f")
