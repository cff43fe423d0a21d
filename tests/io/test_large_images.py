"""Images as phones make them: tens to hundreds of megapixels, HEIC and AVIF."""

from __future__ import annotations

import io
import struct
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, features

from emocaliber.io.image_formats import decoded_by_rows
from emocaliber.io.images import CODES, ImageError, ImageLimits, OpenedImage, open_image, read_image

ORIENTATION = 0x0112


def encode(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def halves(size: tuple[int, int] = (640, 480)) -> Image.Image:
    """Red on the left, blue on the right."""
    image = Image.new("RGB", size, "red")
    image.paste("blue", (size[0] // 2, 0, *size))
    return image


def heic(image: Image.Image | None = None, **options: object) -> bytes:
    pillow_heif = pytest.importorskip("pillow_heif", reason="HEIC needs pillow-heif")
    buffer = io.BytesIO()
    pillow_heif.from_pillow(image or halves()).save(buffer, **options)
    return buffer.getvalue()


def code_of(data: bytes, limits: ImageLimits | None = None) -> str:
    with pytest.raises(ImageError) as caught:
        read_image(data, limits or ImageLimits())
    assert caught.value.code in CODES
    return caught.value.code


def colour(opened: OpenedImage, x: float, y: float) -> str:
    """The main colour at a place in the image, given in shares of its sides."""
    width, height = opened.image.size
    pixel = opened.image.getpixel((int(x * (width - 1)), int(y * (height - 1))))
    assert isinstance(pixel, tuple)
    return "red" if pixel[0] > 180 and pixel[2] < 80 else "blue" if pixel[2] > 180 and pixel[0] < 80 else str(pixel)


# Large JPEGs


def test_a_jpeg_above_the_limit_is_decoded_smaller_and_said_so() -> None:
    data = encode(halves((1600, 1200)), "JPEG")
    opened = read_image(data, ImageLimits(max_pixels=800 * 600))
    assert opened.image.size == (800, 600)
    assert opened.notes == ("has 1600 x 1200 pixels; decoded at 1/2 of its size",)
    assert read_image(data, ImageLimits(max_pixels=800 * 600, max_side=500)).notes == ()  # it was to be reduced anyway
    assert code_of(data, ImageLimits(max_pixels=400 * 300)) == "too_many_pixels"  # more than four times as many


@pytest.mark.parametrize("turn", range(1, 9))
def test_a_reduced_jpeg_is_upright(turn: int) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = turn
    data = encode(halves((1600, 1200)), "JPEG", exif=exif)
    whole, reduced = read_image(data), read_image(data, ImageLimits(max_pixels=800 * 600))
    assert reduced.image.size == tuple(side // 2 for side in whole.image.size)
    places = [(0.1, 0.1), (0.9, 0.1), (0.1, 0.9), (0.9, 0.9)]
    assert [colour(reduced, *place) for place in places] == [colour(whole, *place) for place in places]


def test_a_progressive_jpeg_is_held_whole_and_so_may_have_only_twice_as_many_pixels() -> None:
    data = encode(halves((1600, 1200)), "JPEG", progressive=True)
    assert code_of(data, ImageLimits(max_pixels=800 * 1199)) == "too_many_pixels"
    assert read_image(data, ImageLimits(max_pixels=800 * 1200)).image.size == (800, 600)
    four = encode(halves((1600, 1200)).convert("CMYK"), "JPEG")
    assert code_of(four, ImageLimits(max_pixels=1600 * 1199)) == "too_many_pixels"


def test_only_a_sequential_jpeg_with_all_channels_in_its_first_scan_is_decoded_by_rows() -> None:
    size = (64, 48)
    plain = encode(halves(size), "JPEG")
    frame, scan = plain.index(b"\xff\xc0"), plain.index(b"\xff\xda")
    assert decoded_by_rows(plain, size)
    assert decoded_by_rows(encode(halves(size).convert("L"), "JPEG"), size)
    assert not decoded_by_rows(plain, (64, 49))
    assert not decoded_by_rows(plain[: scan + 3], size)
    assert not decoded_by_rows(plain[:scan] + b"\xff\xda\x00\x08\x01" + plain[scan + 5 :], size)  # a scan of one channel
    assert not decoded_by_rows(plain[:frame] + plain[frame:scan] + plain[frame:], size)  # two frames
    assert not decoded_by_rows(encode(halves(size), "JPEG", progressive=True), size)


@given(st.binary(max_size=60))
@settings(deadline=None)
def test_looking_for_the_first_scan_ends_on_any_bytes(tail: bytes) -> None:
    decoded_by_rows(b"\xff\xd8\xff" + tail, (1, 1))


@pytest.mark.slow
def test_a_header_that_claims_more_rows_than_there_are_costs_no_more_than_the_limit() -> None:
    data = bytearray(encode(halves((1600, 160)), "JPEG"))
    place = data.index(b"\xff\xc0") + 5
    data[place : place + 2] = struct.pack(">H", 60_000)
    assert read_image(bytes(data)).image.size == (800, 30_000)  # libjpeg fills what is missing
    assert code_of(bytes(data[:-2])) == "truncated"


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="memory is counted otherwise there")
def test_the_memory_of_a_200_megapixel_jpeg_is_bounded() -> None:
    sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
    try:
        import image_memory
    finally:
        sys.path.pop(0)
    measured = image_memory.measure("jpeg", 200, max_side=2048)
    assert measured["size"] == [4083, 3062]
    assert measured["peak_mb"] < 300


# HEIC and AVIF


def test_a_heic_is_opened_with_its_colours() -> None:
    opened = read_image(heic(quality=90))
    assert (opened.image.size, opened.image.mode, opened.notes, opened.image.info) == ((640, 480), "RGB", (), {})
    assert [colour(opened, x, 0.5) for x in (0.1, 0.9)] == ["red", "blue"]


def test_a_heic_is_known_by_its_content(tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes(heic())
    assert open_image(tmp_path / "photo.jpg").image.size == (640, 480)


def test_transparency_of_a_heic_is_laid_on_white() -> None:
    image = halves().convert("RGBA")
    image.putalpha(0)
    assert read_image(heic(image)).image.getpixel((5, 5)) == (255, 255, 255)


def test_broken_and_enormous_heics_have_a_code() -> None:
    data = heic()
    assert code_of(data, ImageLimits(max_pixels=640 * 480 - 1)) == "too_many_pixels"
    assert code_of(data[: len(data) // 2]) in ("truncated", "corrupt")
    place = data.index(b"ispe") + 8
    for claimed in ((64, 48), (30_000, 20_000)):  # sizes that are not the image's
        lie = data[:place] + struct.pack(">II", *claimed) + data[place + 8 :]
        assert code_of(lie, ImageLimits(max_pixels=100_000)) in ("too_many_pixels", "corrupt")


@pytest.mark.slow
@given(st.data())
@settings(deadline=None, max_examples=200)
def test_damaged_heics_raise_nothing_but_image_errors(draw: st.DataObject) -> None:
    data = bytearray(heic(halves((64, 48))))
    for _ in range(draw.draw(st.integers(1, 6))):
        place = draw.draw(st.integers(0, len(data) - 1))
        data[place : place + draw.draw(st.integers(1, 4))] = draw.draw(st.binary(max_size=6))
    try:
        assert read_image(bytes(data), ImageLimits(max_pixels=1_000_000)).image.mode == "RGB"
    except ImageError as error:
        assert error.code in CODES
        assert error.code != "internal"


def test_without_pillow_heif_the_remedy_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(ImageError, match="HEIC needs the package pillow-heif") as caught:
        read_image(struct.pack(">I", 24) + b"ftypheic" + bytes(4) + b"mif1heic" + bytes(100))
    assert caught.value.code == "unsupported_format"


@pytest.mark.skipif(not features.check("avif"), reason="this build of Pillow has no AVIF")
def test_an_avif_is_opened_whatever_its_first_brand() -> None:
    data = encode(halves(), "AVIF")
    assert [colour(read_image(data), x, 0.5) for x in (0.1, 0.9)] == ["red", "blue"]
    assert code_of(data, ImageLimits(max_pixels=640 * 480 - 1)) == "too_many_pixels"
    general = data[:8] + b"mif1" + data[12:]
    assert read_image(general).image.size == (640, 480)
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    turned = read_image(encode(halves(), "AVIF", exif=exif))
    assert turned.image.size == (480, 640)
    assert [colour(turned, 0.5, y) for y in (0.1, 0.9)] == ["red", "blue"]


# Large images of other formats


def test_a_large_png_is_reduced_after_decoding_but_not_below_the_hint() -> None:
    image = halves((5000, 3500))
    opened = read_image(encode(image, "PNG"), ImageLimits(max_side=2048))
    assert opened.image.size == (2500, 1750)
    assert [colour(opened, x, 0.5) for x in (0.1, 0.9)] == ["red", "blue"]
    assert np.asarray(opened.image).shape == (1750, 2500, 3)
