from __future__ import annotations

import errno
import io
import json
import os
import pickle
import struct
import subprocess
import sys
import threading
import time
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile

from emocaliber.io import images
from emocaliber.io.images import CODES, ImageError, ImageLimits, OpenedImage, open_image, open_images, read_image

ORIENTATION = 0x0112


def encode(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def noise(size: tuple[int, int] = (64, 48), seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))


def png(width: int, height: int, rows: bytes | None = None, depth: int = 8, colour: int = 0, extra: bytes = b"") -> bytes:
    """A PNG made by hand; without `rows` all of it is black, packed without ever holding the picture."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    packer = zlib.compressobj(9)
    if rows is None:
        row = bytes(1 + (width * depth + 7) // 8)
        pixels = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    else:
        pixels = packer.compress(rows) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def code_of(open_it: Callable[[], object]) -> str:
    with pytest.raises(ImageError) as caught:
        open_it()
    json.dumps(caught.value.as_row()).encode("ascii")
    assert caught.value.code in CODES
    assert caught.value.message.isprintable()
    assert str(caught.value) == caught.value.message
    return caught.value.code


def code_of_file(path: Path | bytes | str, limits: ImageLimits = images.DEFAULT_LIMITS) -> str:
    return code_of(lambda: open_image(path, limits))


def code_of_bytes(data: bytes, limits: ImageLimits = images.DEFAULT_LIMITS) -> str:
    return code_of(lambda: read_image(data, limits))


def pixel(opened: OpenedImage, x: int = 0, y: int = 0) -> tuple[int, ...]:
    assert opened.image.mode == "RGB"
    value = opened.image.getpixel((x, y))
    assert isinstance(value, tuple)
    return value


# What a name may lead to


def test_a_plain_file_opens_from_any_kind_of_path_without_notes(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(encode(noise(), "PNG"))
    for name in (path, str(path), os.fsencode(path)):
        opened = open_image(name)
        assert opened.notes == ()
        assert np.array_equal(np.asarray(opened.image), np.asarray(noise()))


def test_the_content_decides_not_the_suffix(tmp_path: Path) -> None:
    (tmp_path / "png.jpg").write_bytes(encode(noise(), "PNG"))
    (tmp_path / "text.jpg").write_text("Dear reader, this is no photograph.\n" * 10)
    assert open_image(tmp_path / "png.jpg").image.size == (64, 48)
    assert code_of_file(tmp_path / "text.jpg") == "unsupported_format"


def test_names_that_lead_nowhere(tmp_path: Path) -> None:
    (tmp_path / "dangling").symlink_to(tmp_path / "gone")
    (tmp_path / "round").symlink_to(tmp_path / "round")
    (tmp_path / "file").write_bytes(b"x")
    nowhere = (
        tmp_path / "gone",
        tmp_path / "dangling",
        tmp_path / "round",
        tmp_path / "file" / "b",
        tmp_path / ("x" * 300),
        "a\0b",
        "\ud800",
        "",
    )
    for name in nowhere:
        assert code_of_file(name) == "not_found", name


def test_a_pipe_never_blocks(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    [result] = open_images([tmp_path / "pipe"], timeout=5)  # a blocked thread would time out
    assert isinstance(result, ImageError)
    assert result.code == "not_regular"


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="no devices here")
def test_folders_and_devices_are_not_images(tmp_path: Path) -> None:
    for name in (tmp_path, Path("/dev/zero"), Path("/dev/null")):
        assert code_of_file(name) == "not_regular"


@pytest.mark.parametrize(
    ("number", "code"),
    [(errno.EACCES, "not_regular"), (errno.ENXIO, "not_regular"), (errno.EIO, "internal"), (errno.EMFILE, "internal")],
)
def test_what_the_operating_system_says_becomes_a_code(monkeypatch: pytest.MonkeyPatch, number: int, code: str) -> None:
    def refuse(path: str, *_: object) -> int:
        raise OSError(number, os.strerror(number), path)

    monkeypatch.setattr(os, "open", refuse)
    assert code_of_file("a\udce9.png") == code


def test_no_file_is_left_open(tmp_path: Path) -> None:
    (tmp_path / "bad.jpg").write_bytes(b"\xff\xd8\xff nonsense")
    (tmp_path / "good.gif").write_bytes(encode(noise(), "GIF"))
    before = len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").exists() else pytest.skip("no /proc")
    for _ in range(5):
        code_of_file(tmp_path / "bad.jpg")
        open_image(tmp_path / "good.gif")
        code_of_file(tmp_path)
    assert len(os.listdir("/proc/self/fd")) == before


def test_an_undecodable_name_is_opened_and_its_error_can_be_printed_and_written(tmp_path: Path) -> None:
    path = os.fsencode(tmp_path) + b"/caf\xe9\n\x1b[31m.png"
    try:
        Path(os.fsdecode(path)).write_bytes(encode(noise(), "PNG"))
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    assert open_image(path).image.size == open_image(os.fsdecode(path)).image.size == (64, 48)
    Path(os.fsdecode(path)).write_bytes(b"")
    with pytest.raises(ImageError) as caught:
        open_image(path)
    assert caught.value.message.encode("utf-8").isascii()
    assert "caf\\udce9\\n\\x1b[31m.png" in caught.value.message


def test_errors_survive_a_trip_between_processes() -> None:
    error = pickle.loads(pickle.dumps(ImageError("empty", "a.png: the file is empty.")))
    assert (error.code, str(error)) == ("empty", "a.png: the file is empty.")


# Limits


def test_size_limits_are_inclusive(tmp_path: Path) -> None:
    data = encode(noise(), "PNG")
    path = tmp_path / "a.png"
    path.write_bytes(data)
    assert open_image(path, ImageLimits(max_bytes=len(data), max_pixels=64 * 48)).image.size == (64, 48)
    assert code_of_file(path, ImageLimits(max_bytes=len(data) - 1)) == "too_large"
    assert code_of_bytes(data, ImageLimits(max_bytes=len(data) - 1)) == "too_large"
    assert code_of_file(path, ImageLimits(max_pixels=64 * 48 - 1)) == "too_many_pixels"
    path.write_bytes(b"")
    assert code_of_file(path) == code_of_bytes(b"") == "empty"


def test_a_bomb_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    bomb = png(9500, 9500, depth=1)
    assert len(bomb) < 100_000
    (tmp_path / "bomb.png").write_bytes(bomb)
    # A process of its own, as memory is counted by its high-water mark; Pillow's own warning must not reach stderr.
    script = (
        "import resource, sys; from emocaliber.io.images import *; from PIL import Image; Image.init()\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "before = peak()\n"
        "try: open_image(sys.argv[1])\n"
        "except ImageError as error: print(error.code, peak() - before)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(images.__file__).parents[2])}
    command = [sys.executable, "-c", script, str(tmp_path / "bomb.png")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    code, grown = done.stdout.split()
    assert code == "too_many_pixels"
    assert int(grown) * (1 if sys.platform != "darwin" else 1 / 1024) < 8_000  # kB; decoded it would be 90 MB or more
    assert done.stderr == ""


def test_the_limits_alone_say_how_many_pixels_are_too_many() -> None:
    data = png(13_500, 13_500, depth=1)  # over the limit at which Pillow itself refuses
    assert code_of_bytes(data) == "too_many_pixels"
    assert code_of_bytes(data[:-40], ImageLimits(max_pixels=10**9)) == "truncated"  # now it is decoded


def test_huge_canvases_in_other_headers_are_refused() -> None:
    gif = bytearray(encode(noise(), "GIF"))
    gif[6:10] = b"\xff\xff\xff\xff"
    bmp = bytearray(encode(noise(), "BMP"))
    bmp[18:26] = struct.pack("<ii", 60_000, 60_000)
    webp = b"VP8X" + struct.pack("<I", 10) + bytes(4) + b"\xff\x3f\x00\xff\x3f\x00" + encode(noise(), "WEBP")[12:]
    for data in (bytes(gif), bytes(bmp), b"RIFF" + struct.pack("<I", len(webp) + 4) + b"WEBP" + webp):
        assert code_of_bytes(data) in ("too_many_pixels", "corrupt")


def test_packed_text_in_a_png_cannot_fill_the_memory() -> None:
    body = b"k\0\0" + zlib.compress(bytes(50_000_000), 9)
    text = struct.pack(">I", len(body)) + b"zTXt" + body + struct.pack(">I", zlib.crc32(b"zTXt" + body))
    assert code_of_bytes(png(4, 4, extra=text)) == "corrupt"


def test_extreme_shapes_are_refused() -> None:
    assert read_image(png(190, 1)).image.size == (190, 1)
    assert code_of_bytes(png(191, 1)) == code_of_bytes(png(1, 191)) == code_of_bytes(png(4000, 20)) == "bad_aspect"


def test_the_max_side_hint_decodes_a_large_jpeg_smaller_but_never_below_it() -> None:
    data = encode(noise((1600, 1200)), "JPEG")
    assert read_image(data, ImageLimits(max_side=400)).image.size == (400, 300)
    assert read_image(data, ImageLimits(max_side=401)).image.size == (800, 600)
    assert read_image(data, ImageLimits(max_side=4000)).image.size == (1600, 1200)
    assert read_image(png(1600, 1200), ImageLimits(max_side=400)).image.size == (1600, 1200)


# Broken files


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP", "WEBP", "PPM", "TIFF"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
def test_a_cut_file_is_truncated_not_half_grey(kind: str, share: float) -> None:
    data = encode(noise((200, 150)), kind)
    assert code_of_bytes(data[: int(len(data) * share)]) == "truncated"


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP", "WEBP"])
def test_a_file_cut_within_its_header_is_truncated(kind: str) -> None:
    assert code_of_bytes(encode(noise(), kind)[:22]) == "truncated"


def test_a_cut_progressive_jpeg_is_truncated() -> None:
    data = encode(noise((200, 150)), "JPEG", progressive=True)
    assert code_of_bytes(data[: len(data) * 3 // 4]) == "truncated"


def test_damage_is_told_from_a_missing_end() -> None:
    data = bytearray(encode(noise(), "PNG"))
    data[len(data) // 2] ^= 0xFF
    assert code_of_bytes(bytes(data)) == "corrupt"
    assert code_of_bytes(b"\x89PNG\r\n\x1a\n" + bytes(40) + b"IEND") == "corrupt"


def test_whatever_a_decoder_raises_becomes_a_code(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = {
        ValueError: "corrupt", TypeError: "corrupt", IndexError: "corrupt", SyntaxError: "corrupt", RuntimeError: "corrupt",
        struct.error: "corrupt", RecursionError: "corrupt", NotImplementedError: "unsupported_format", MemoryError: "internal",
    }  # fmt: skip
    data = encode(noise(), "PNG")
    for kind, code in expected.items():

        def fail(_: object, kind: type[Exception] = kind) -> None:
            raise kind("made\x1bto\udce9fail")

        monkeypatch.setattr(ImageFile.ImageFile, "load", fail)
        assert code_of_bytes(data) == code


def test_formats_off_the_list_are_never_tried() -> None:
    for kind in ("ICO", "TGA", "EPS", "PCX", "SGI", "JPEG2000", "DDS"):
        assert code_of_bytes(encode(noise(), kind)) == "unsupported_format"


# What comes out


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_all_eight_orientations_show_the_same_picture(kind: str, orientation: int) -> None:
    colours = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255]], [[255, 255, 0], [0, 255, 255], [255, 0, 255]]], np.uint8)
    upright = np.kron(colours, np.ones((16, 16, 1), np.uint8))
    # How a camera stores what it sees so that the tag undoes it: the inverse of each tag's meaning.
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright, 1),
        7: upright[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    options = {"JPEG": {"quality": 100, "subsampling": 0}, "WEBP": {"lossless": True}}.get(kind, {})
    opened = read_image(encode(Image.fromarray(np.ascontiguousarray(stored)), kind, exif=exif, **options))
    assert opened.image.size == (48, 32)
    assert np.abs(np.asarray(opened.image).astype(int) - upright).max() <= (2 if kind == "JPEG" else 0)


def test_broken_exif_costs_the_orientation_not_the_picture() -> None:
    opened = read_image(encode(noise(), "JPEG", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff" + bytes(20)))
    assert opened.image.size == (64, 48)
    assert any("EXIF" in note for note in read_image(encode(noise(), "PNG", exif=b"Exif\0\0nonsense")).notes)


@pytest.mark.parametrize(("kind", "mode"), [("PNG", "RGBA"), ("PNG", "LA"), ("TIFF", "RGBA"), ("WEBP", "RGBA")])
def test_transparency_is_laid_on_white(kind: str, mode: str) -> None:
    image = Image.new(mode, (3, 1))
    black = (0,) * (len(mode) - 1)
    for x, alpha in enumerate((0, 128, 255)):
        image.putpixel((x, 0), (*black, alpha))
    opened = read_image(encode(image, kind, **({"lossless": True, "exact": True} if kind == "WEBP" else {})))
    assert [pixel(opened, x) for x in range(3)] == [(255,) * 3, (127,) * 3, (0,) * 3]


def test_a_palette_keeps_its_colours_and_its_transparent_entry_is_white() -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([200, 10, 20, 30, 200, 40])
    image.putpixel((1, 0), 1)
    for kind in ("PNG", "GIF"):
        assert pixel(read_image(encode(image, kind)), 0) == (200, 10, 20)
        opened = read_image(encode(image, kind, transparency=0))
        assert (pixel(opened, 0), pixel(opened, 1)) == ((255, 255, 255), (30, 200, 40))
    assert pixel(read_image(encode(image, "PNG", transparency=b"\x00\xff")), 0) == (255, 255, 255)


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_cmyk_becomes_rgb(kind: str) -> None:
    red, green, blue = pixel(read_image(encode(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), kind)))
    assert red > 230
    assert max(green, blue) < 25


def test_sixteen_bit_grey_is_scaled_not_clipped() -> None:
    values = (0, 257, 20_000, 40_000, 65_535)
    data = png(len(values), 1, b"\0" + struct.pack(">5H", *values), depth=16)
    assert [pixel(read_image(data), x)[0] for x in range(5)] == [0, 1, 78, 156, 255]
    tiff = encode(Image.fromarray(np.array([values], np.uint16)), "TIFF")
    assert [pixel(read_image(tiff), x)[0] for x in range(5)] == [0, 1, 78, 156, 255]


def test_sixteen_bit_colour_is_scaled_not_clipped() -> None:
    data = png(1, 1, b"\0" + struct.pack(">3H", 65_535, 32_896, 257), depth=16, colour=2)
    assert pixel(read_image(data)) == (255, 128, 1)


def test_wide_integers_and_floats_are_scaled_by_their_own_range() -> None:
    def greys(array: np.ndarray) -> list[int]:
        opened = read_image(encode(Image.fromarray(array), "TIFF"))
        return [pixel(opened, x)[0] for x in range(array.shape[1])]

    assert greys(np.array([[0.0, 0.5, 1.0]], np.float32)) == [0, 128, 255]
    assert greys(np.array([[0.0, 0.5]], np.float32)) == [0, 128]
    assert greys(np.array([[-10.0, 0.0, 10.0]], np.float32)) == [0, 128, 255]
    assert greys(np.array([[-1_000_000, 0, 1_000_000]], np.int32)) == [0, 128, 255]
    assert greys(np.array([[7.0, 7.0]], np.float32)) == [0, 0]
    assert code_of_bytes(encode(Image.fromarray(np.array([[np.inf, 0.0]], np.float32)), "TIFF")) == "corrupt"


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF"])
def test_of_an_animation_the_first_frame_is_used_and_said_so(kind: str) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "green", "blue")]
    opened = read_image(encode(frames[0], kind, save_all=True, append_images=frames[1:], **({"lossless": True} if kind == "WEBP" else {})))
    assert pixel(opened) == (255, 0, 0)
    assert any("frames" in note for note in opened.notes)


def test_a_broken_second_frame_does_not_cost_the_first() -> None:
    frames = [noise(seed=0), noise(seed=1)]
    data = encode(frames[0], "GIF", save_all=True, append_images=frames[1:])
    opened = read_image(data[: len(data) * 3 // 4])
    assert opened.image.size == (64, 48)
    assert opened.notes


def test_the_extra_pictures_of_a_phone_photo_are_not_frames() -> None:
    data = encode(noise(seed=0), "MPO", save_all=True, append_images=[noise(seed=1)])
    assert read_image(data).notes == ()


def test_no_metadata_comes_out() -> None:
    exif = Image.Exif()
    exif[0x010E] = "a private remark"
    assert read_image(encode(noise(), "JPEG", exif=exif, comment="another")).image.info == {}


# Warnings


def broken_apng() -> bytes:
    actl = struct.pack(">II", 0, 0)
    chunk = struct.pack(">I", 8) + b"acTL" + actl + struct.pack(">I", zlib.crc32(b"acTL" + actl))
    return png(4, 4, extra=chunk)


def test_pillows_warnings_become_notes_even_where_warnings_are_errors() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(2):
            assert any("APNG" in note for note in read_image(broken_apng()).notes)


def test_warnings_of_others_are_left_alone_and_settings_restored() -> None:
    show, filters = warnings.showwarning, list(warnings.filters)
    collector = images._PillowNotes()

    def warn_and_collect() -> None:
        warnings.warn("mine", UserWarning, stacklevel=1)
        with collector.collect():
            pass

    with pytest.warns(UserWarning, match="mine"), collector.collect() as notes:
        other = threading.Thread(target=warn_and_collect)
        other.start()
        other.join()
        warnings.warn_explicit("here", UserWarning, "x.py", 1, module="PIL.Image")  # the other's end was not this one's
    assert notes == ["here"]
    assert warnings.showwarning is show
    assert list(warnings.filters) == filters


# Many files


def test_many_files_give_one_result_each_in_order(tmp_path: Path) -> None:
    paths = []
    for number in range(12):
        paths.append(tmp_path / f"{number}.png")
        if number % 3:
            paths[-1].write_bytes(png(number, 1))
    for workers in (1, 2, 5, 50):
        results = list(open_images(paths, workers=workers))
        sizes = [result.image.width if isinstance(result, OpenedImage) else result.code for result in results]
        assert sizes == [number if number % 3 else "not_found" for number in range(12)]
    assert list(open_images([])) == []
    with pytest.raises(ValueError, match="workers"):
        list(open_images(paths, workers=0))


def test_a_slow_file_times_out_and_the_rest_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    release = threading.Event()
    real = images.open_image

    def slow_for_one(path: Path, limits: ImageLimits) -> OpenedImage:
        if path.name == "slow.png":
            release.wait(20)
        return real(path, limits)

    monkeypatch.setattr(images, "open_image", slow_for_one)
    paths = [tmp_path / name for name in ("a.png", "slow.png", "b.png")]
    for path in paths:
        path.write_bytes(png(4, 4))
    started = time.monotonic()
    results = list(open_images(paths, timeout=0.3))
    release.set()
    assert [type(result).__name__ for result in results] == ["OpenedImage", "ImageError", "OpenedImage"]
    assert isinstance(results[1], ImageError)
    assert (results[1].code, "slow.png" in str(results[1])) == ("timeout", True)
    assert time.monotonic() - started < 5


def test_look_ahead_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    started = []

    def remember(path: str, limits: ImageLimits) -> OpenedImage:
        started.append(path)
        return OpenedImage(Image.new("RGB", (1, 1)))

    monkeypatch.setattr(images, "open_image", remember)
    results = open_images((str(number) for number in range(100)), workers=3)
    next(results)
    next(results)
    time.sleep(0.05)
    assert len(started) <= 5


# Anything at all

SEEDS = [encode(noise((16, 12)), kind) for kind in ("PNG", "JPEG", "GIF", "WEBP", "TIFF", "BMP", "PPM", "AVIF")]
SEEDS.append(encode(noise((16, 12)), "TIFF", compression="tiff_lzw"))
SEEDS.append(encode(noise((16, 12)).convert("P"), "GIF", save_all=True, append_images=[noise((16, 12), 1).convert("P")]))


def opens_or_says_why(data: bytes) -> None:
    try:
        opened = read_image(data, ImageLimits(max_pixels=1_000_000))
    except ImageError as error:
        assert error.code in CODES
        assert error.code != "internal"
        assert error.message.isprintable()
    else:
        assert opened.image.mode == "RGB"


@given(st.binary(max_size=400))
@settings(deadline=None)
def test_random_bytes_raise_nothing_but_image_errors(data: bytes) -> None:
    opens_or_says_why(data)


@pytest.mark.slow
@given(st.data())
@settings(deadline=None, max_examples=400)
def test_damaged_images_raise_nothing_but_image_errors(draw: st.DataObject) -> None:
    data = bytearray(draw.draw(st.sampled_from(SEEDS)))
    for _ in range(draw.draw(st.integers(1, 6))):
        near_start = draw.draw(st.booleans())
        place = draw.draw(st.integers(0, min(len(data), 120 if near_start else len(data)) - 1))
        data[place : place + draw.draw(st.integers(1, 4))] = draw.draw(st.binary(max_size=6))
        if not data:
            break
    opens_or_says_why(bytes(data))
