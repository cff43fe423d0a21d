"""The formats of image files: which decoder opens which bytes, read from the beginning of the file, before anything is decoded."""

from __future__ import annotations

import functools
import io
import re
import struct

from PIL import Image, ImageFile, UnidentifiedImageError

__all__ = ["FORMATS", "HEIF_EXTRA", "begins_like_heif", "decoded_by_rows", "jpeg_reduction", "kind_of", "lacks_end", "open_header"]

# Only these decoders of Pillow are used; those for PostScript, fonts or microscope formats are never reached.
_PILLOW = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "PPM")
FORMATS = (*_PILLOW, "HEIC")
HEIF_EXTRA = "pip install pillow-heif"

_SIGNATURES = re.compile(
    rb"(?P<JPEG>\xff\xd8\xff)|(?P<PNG>\x89PNG\r\n\x1a\n)|(?P<GIF>GIF8[79]a)|(?P<WEBP>RIFF....WEBP)"
    rb"|(?P<BMP>BM....\0\0\0\0)|(?P<TIFF>II\*\0|MM\0\*)|(?P<AVIF>....ftypavi[fs])",
    re.DOTALL,
)
# The brands that begin HEIC files. A file of the general brand mif1 or msf1 may also be an AVIF; then that is among its other brands.
_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1")


def kind_of(data: bytes) -> str | None:
    """The format whose signature the bytes begin with; None if there is none."""
    match = _SIGNATURES.match(data)
    return "HEIC" if begins_like_heif(data) else match.lastgroup if match else None


def begins_like_heif(data: bytes) -> bool:
    """Whether the bytes begin like a HEIC or HEIF file, as phones make them."""
    if data[4:8] != b"ftyp" or data[8:12] not in _HEIF_BRANDS:
        return False
    brands = data[16 : min(int.from_bytes(data[:4], "big"), 256)]
    return data[8:12] not in (b"mif1", b"msf1") or not (b"avif" in brands or b"avis" in brands)


def open_header(data: bytes) -> ImageFile.ImageFile:
    """The image file in the bytes, with its format and size read and nothing decoded.

    Unlike `Image.open`, this has no limit of pixels of its own: the caller checks the size. Raises UnidentifiedImageError if no decoder
    takes the bytes, ModuleNotFoundError for HEIC without pillow-heif, and whatever a decoder raises.
    """
    if begins_like_heif(data):
        from pillow_heif import HeifImageFile

        heif: ImageFile.ImageFile = HeifImageFile(io.BytesIO(data))
        return heif
    for name in _available_formats():
        factory, accept = Image.OPEN[name]
        if accept and accept(data[:16]) is not True:
            continue
        try:
            return factory(io.BytesIO(data), "")
        except (SyntaxError, IndexError, TypeError, struct.error):  # what decoders raise for a file that is not theirs
            continue
    raise UnidentifiedImageError("no decoder takes it")


@functools.cache
def _available_formats() -> tuple[str, ...]:
    Image.init()
    return tuple(name for name in _PILLOW if name in Image.OPEN)  # some builds of Pillow lack AVIF


# JPEG can be decoded at 1/2, 1/4 and 1/8 of its size, with that much less memory.

_STANDALONE = (0x01, *range(0xD0, 0xD9))  # markers without a length: TEM, RST0 to RST7, SOI
_FRAMES = (*range(0xC0, 0xC4), *range(0xC5, 0xC8), *range(0xC9, 0xCC), *range(0xCD, 0xD0))  # SOF0 to SOF15
_SEQUENTIAL = (0xC0, 0xC1)


def jpeg_reduction(size: tuple[int, int], most: int) -> int | None:
    """The smallest of 1, 2, 4 and 8 by which a JPEG of this size is decoded to at most `most` pixels; None if there is none."""
    return next((factor for factor in (1, 2, 4, 8) if -(-size[0] // factor) * -(-size[1] // factor) <= most), None)


def decoded_by_rows(data: bytes, size: tuple[int, int]) -> bool:
    """Whether libjpeg decodes this JPEG row by row, rather than hold the coefficients of the whole image, 2 bytes per pixel and channel.

    It does so for a sequential frame of this size (width, height) whose first scan has all channels. Progressive files, and files that give
    one scan to each channel, are held whole. The segments are walked as libjpeg walks them.
    """
    place, channels = 2, 0
    while (place := data.find(b"\xff", place)) >= 0:
        while data[place : place + 1] == b"\xff":
            place += 1
        marker = data[place] if place < len(data) else 0
        place += 1
        if marker == 0 or marker in _STANDALONE:
            continue
        segment = data[place : place + 8]
        if len(segment) < 8 or marker == 0xD9:  # the end of the image
            return False
        if marker == 0xDA:  # the start of the first scan
            return channels > 0 and segment[2] == channels
        if marker in _FRAMES:
            if marker not in _SEQUENTIAL or channels or (int.from_bytes(segment[5:7], "big"), int.from_bytes(segment[3:5], "big")) != size:
                return False
            channels = segment[7]
        place += max(2, int.from_bytes(segment[:2], "big"))
    return False


def lacks_end(kind: str | None, data: bytes) -> bool:
    """Whether a broken file of this kind ends before the end mark or the stated length of its format."""
    match kind:
        case "JPEG":
            return data.rfind(b"\xff\xd9") < max(0, data.rfind(b"\xff\xda"))
        case "PNG":
            return b"IEND" not in data
        case "GIF":
            return not data.endswith(b";")
        case "WEBP":
            return int.from_bytes(data[4:8], "little") + 8 > len(data)
        case "BMP":
            return int.from_bytes(data[2:6], "little") > len(data)
    return False
