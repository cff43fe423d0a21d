"""Opens untrusted images: any file gives either an upright RGB image or an `ImageError` with a code of a closed list.

Checks run in this order: file type and size, on the open file and never by its name; format and number of pixels, from the header;
only then is anything decoded. Of the formats, `image_formats` knows.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import math
import os
import re
import stat
import threading
import time
import warnings
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, cast

from PIL import Image, ImageFile, UnidentifiedImageError

from emocaliber.io.image_formats import FORMATS, HEIF_EXTRA, decoded_by_rows, jpeg_reduction, kind_of, lacks_end, open_header
from emocaliber.io.rows import display_name

__all__ = ["CODES", "DEFAULT_LIMITS", "ImageError", "ImageLimits", "OpenedImage", "open_image", "open_images", "read_image"]

ImagePath = str | bytes | os.PathLike[str] | os.PathLike[bytes]

CODES = MappingProxyType(
    {
        "not_found": "the name leads to no file: missing, a dangling link or links in a circle",
        "not_regular": "a folder, pipe or device, or a file that this user may not read",
        "empty": "no bytes",
        "too_large": "more bytes than the limit",
        "too_many_pixels": "more pixels than the limit, by its header",
        "unsupported_format": "not an image of a format that is opened here",
        "corrupt": "begins like an image but cannot be decoded",
        "truncated": "an image whose end is missing",
        "bad_aspect": "longer and narrower than the limit",
        "timeout": "opening took longer than allowed",
        "internal": "the machine failed, not the file: an I/O error, out of memory",
    }
)


class ImageError(Exception):
    """Raised for an image that cannot be used: `code` is one of `CODES`, `message` a printable sentence with file name and remedy."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = display_name(message)  # a decoder's message may quote the file

    def __str__(self) -> str:
        return self.message

    def as_row(self) -> dict[str, str]:
        """The `error` field of a row."""
        return {"code": self.code, "message": self.message}


@dataclass(frozen=True)
class ImageLimits:
    """Limits on the images that are opened.

    `max_pixels` is the number of pixels that are decoded at once; that takes at most about 16 bytes of memory each. A JPEG may have
    `ROWS_ALLOWANCE` times as many if it is decoded row by row, `WHOLE_ALLOWANCE` times if its coefficients are held whole: it is decoded
    at 1/2, 1/4 or 1/8 of its size, and `max_pixels` holds for the result. `max_aspect` is longer side / shorter side; it stays below the
    200 of Qwen2.5-VL's processor, as scaling rounds.

    `max_side` is not a limit but a hint: a JPEG is decoded at 1/2, 1/4 or 1/8 of its size, which is much faster, and another image of more
    than `LARGE` pixels is reduced by a whole factor, if its longer side stays at least that long.
    """

    max_bytes: int = 100_000_000
    max_pixels: int = 64_000_000
    max_aspect: float = 190.0
    max_side: int | None = None


DEFAULT_LIMITS = ImageLimits()
ROWS_ALLOWANCE = 4
WHOLE_ALLOWANCE = 2  # 6 bytes for each pixel and at most 1/4 as many decoded; with a fourth channel it would be more than 16 bytes
LARGE = 16_000_000


@dataclass(frozen=True)
class OpenedImage:
    """An upright RGB image without metadata, with `notes` on how it was decoded (empty for most)."""

    image: Image.Image
    notes: tuple[str, ...] = ()


def open_image(path: ImagePath, limits: ImageLimits = DEFAULT_LIMITS) -> OpenedImage:
    """The image in a file, decoded as by `read_image`. Never blocks on a pipe or device. Raises ImageError and nothing else."""
    name = display_name(path)
    try:
        data = _read_file(path, name, limits)
    except (OSError, ValueError, MemoryError) as error:  # ValueError: a name with a null character or a lone surrogate
        raise not_readable(error, name) from error
    return read_image(data, limits, name=name)


def read_image(data: bytes, limits: ImageLimits = DEFAULT_LIMITS, *, name: str = "the image") -> OpenedImage:
    """The image in the bytes of a file; `name` is used in error messages.

    The image is turned upright by its EXIF orientation, transparency is put on white, more than 8 bits per channel are scaled down, and
    of an animation only the first frame is read, with a note. Raises ImageError and nothing else.
    """
    if not data:
        raise ImageError("empty", f"{name}: the file is empty; copy or download it again.")
    if len(data) > limits.max_bytes:
        raise _too_large(name, len(data), limits)
    header_accepted = False
    try:
        with _pillow_notes.collect() as notes, open_header(data) as file:
            header_accepted = True
            _check_size(file, data, limits, name)
            if file.format != "MPO" and _is_animated(file):  # the other images of an MPO are depth and gain maps, not frames
                notes.append("has several frames or pages; only the first was used")
            if _is_jpeg(file):
                _reduce_jpeg(file, limits, notes)
            file.load()
            if file.width * file.height > limits.max_pixels:  # a HEIC may turn out larger than its header says
                raise _too_many_pixels(name, file.size, limits, jpeg=False)
            by = max(file.size) // limits.max_side if limits.max_side and file.width * file.height > LARGE else 1
            image = file if by > 1 and file.mode == "RGB" and not file.has_transparency_data else _to_rgb(file)
            if by > 1:
                image = image.reduce(by)
            if (turn := _turn(file, notes)) is not None:
                image = image.transpose(turn)
    except ImageError:
        raise
    except ModuleNotFoundError as error:
        raise ImageError("unsupported_format", f"{name}: HEIC needs the package pillow-heif ({HEIF_EXTRA}); or save it as JPEG.") from error
    except Exception as error:  # decoders raise nearly everything: ValueError, TypeError, IndexError, SyntaxError, struct.error ...
        raise not_decodable(error, data, name, header_accepted=header_accepted) from error
    image.info.clear()
    return OpenedImage(image, tuple(dict.fromkeys(notes)))


def open_images(
    paths: Iterable[ImagePath], limits: ImageLimits = DEFAULT_LIMITS, *, workers: int = 2, timeout: float = 30.0
) -> Iterator[OpenedImage | ImageError]:
    """One result per path, in order, with up to `workers` images decoded ahead of the caller.

    At most `workers` + 1 images are in memory. A file not open within `timeout` seconds yields ImageError("timeout"), and the others
    continue. A running decoder cannot be stopped: its daemon thread keeps the memory of one image until it or the process ends.
    Raises ValueError for `workers` below 1.
    """
    if workers < 1:
        raise ValueError(f"workers must be at least 1, not {workers}")
    ahead: deque[_Opening] = deque()
    for path in paths:
        ready = ahead.popleft().result(timeout) if len(ahead) == workers else None
        ahead.append(_Opening(path, limits))  # before the yield, so that it runs while the caller uses the image
        if ready is not None:
            yield ready
    while ahead:
        yield ahead.popleft().result(timeout)


class _Opening(threading.Thread):
    """A thread that opens one file; a daemon, as threads of an executor would keep the process from ending."""

    def __init__(self, path: ImagePath, limits: ImageLimits) -> None:
        super().__init__(daemon=True)
        self._path, self._limits = path, limits
        self._outcome: OpenedImage | ImageError | None = None
        self._started_at = time.monotonic()
        self.start()

    def run(self) -> None:
        try:
            self._outcome = open_image(self._path, self._limits)
        except ImageError as error:
            self._outcome = ImageError(error.code, error.message)  # a new one, as the traceback would keep the bytes of the file alive

    def result(self, timeout: float) -> OpenedImage | ImageError:
        self.join(max(0.0, self._started_at + timeout - time.monotonic()))
        if self._outcome is not None:
            return self._outcome
        message = f"{display_name(self._path)}: not open after {timeout:g} s; save it anew as a plain JPEG or PNG, or allow more time."
        return ImageError("timeout", message)


def _read_file(path: ImagePath, name: str, limits: ImageLimits) -> bytes:
    # Non-blocking, so that a pipe without a writer opens at once. The type is checked on the open file, as the file behind a name
    # may be replaced between a check and the opening.
    flags = os.O_RDONLY
    for flag in ("O_NONBLOCK", "O_CLOEXEC", "O_NOCTTY", "O_BINARY"):
        flags |= getattr(os, flag, 0)
    descriptor = os.open(path, flags)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise not_regular(name)
        if status.st_size > limits.max_bytes:
            raise _too_large(name, status.st_size, limits)
        with open(descriptor, "rb", closefd=False) as file:
            return file.read(limits.max_bytes + 1)  # it may have grown since the check
    finally:
        os.close(descriptor)


def _check_size(file: ImageFile.ImageFile, data: bytes, limits: ImageLimits, name: str) -> None:
    (width, height), jpeg = file.size, _is_jpeg(file)
    most = limits.max_pixels
    if width * height > most and jpeg and len(file.getbands()) < 4:
        most *= ROWS_ALLOWANCE if decoded_by_rows(data, file.size) else WHOLE_ALLOWANCE
    if width * height > most:
        raise _too_many_pixels(name, file.size, limits, jpeg=jpeg)
    if max(file.size) > limits.max_aspect * min(file.size):
        message = f"{name}: {width} x {height} pixels is more than {limits.max_aspect:g} times as long as it is narrow; crop it."
        raise ImageError("bad_aspect", message)


def _is_jpeg(file: ImageFile.ImageFile) -> bool:
    return file.format in ("JPEG", "MPO")


def _reduce_jpeg(file: ImageFile.ImageFile, limits: ImageLimits, notes: list[str]) -> None:
    """Sets the scale at which a JPEG will be decoded: the smallest that keeps `max_side`, or the largest that keeps `max_pixels`."""
    width, height = file.size
    needed = jpeg_reduction(file.size, limits.max_pixels) or 8
    hint = max(1, max(file.size) // limits.max_side) if limits.max_side else 1
    if needed > hint:
        notes.append(f"has {width} x {height} pixels; decoded at 1/{needed} of its size")
    if (by := min(8, max(needed, hint))) > 1:
        file.draft(None, (max(1, width // by), max(1, height // by)))


def _is_animated(file: Image.Image) -> bool:
    try:
        return bool(getattr(file, "is_animated", False))
    except Exception:  # the second frame is broken; the first is still used
        return True


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        return _to_8_bits(image).convert("RGB")
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        paper = Image.new("RGB", image.size, "white")
        paper.paste(layer, mask=layer)
        return paper
    try:
        return image.convert("RGB")
    except ValueError as error:
        raise NotImplementedError(f"colour mode {image.mode}") from error


def _to_8_bits(image: Image.Image) -> Image.Image:
    """Greys of more than 8 bits scaled to 0..255: 16-bit ones from 0..65535, floats within 0..1 from there, others from their own range."""
    low, high = 0.0, 65535.0
    if image.mode in ("I", "F"):
        darkest, brightest = cast("tuple[float, float]", image.getextrema())
        if not (math.isfinite(darkest) and math.isfinite(brightest)):
            raise ValueError("pixels that are not finite numbers")
        usual = 65535.0 if image.mode == "I" else 1.0
        low, high = (0.0, usual) if darkest >= 0 and brightest <= usual else (darkest, brightest)
    gain = 255.0 / ((high - low) or 1.0)
    return image.convert("F").point(lambda value: value * gain + (0.5 - low * gain)).convert("L")


_TRANSPOSE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def _turn(file: Image.Image, notes: list[str]) -> Image.Transpose | None:
    """The transposition that makes the image upright, or None. Pillow has already turned a TIFF, and removed its EXIF tag."""
    try:
        orientation = file.getexif().get(0x0112)
    except Exception:  # broken EXIF data in an intact image
        notes.append("its EXIF data cannot be read; taken to be upright")
        return None
    return _TRANSPOSE.get(orientation) if isinstance(orientation, int) else None


def _too_large(name: str, size: int, limits: ImageLimits) -> ImageError:
    message = f"{name}: {size / 1e6:.1f} MB is over the limit of {limits.max_bytes / 1e6:g} MB; save it smaller."
    return ImageError("too_large", message)


def _too_many_pixels(name: str, size: tuple[int, int], limits: ImageLimits, *, jpeg: bool) -> ImageError:
    most = limits.max_pixels / 1e6
    others = f" ({ROWS_ALLOWANCE * most:g} million for a JPEG, {WHOLE_ALLOWANCE * most:g} for a progressive one)" if jpeg else ""
    limit = f"{most:g} million{others}"
    message = f"{name}: {size[0]} x {size[1]} pixels is over the limit of {limit}; scale it down, or raise the limit (--max-megapixels)."
    return ImageError("too_many_pixels", message)


class _PillowNotes:
    """Collects Pillow's warnings as notes, each in the thread that is decoding.

    `warnings.catch_warnings` changes the state of the whole process, so concurrent threads would undo each other's change. Here the first
    thread to enter makes the change, and the last one to leave reverts it.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._here = threading.local()

    @contextlib.contextmanager
    def collect(self) -> Iterator[list[str]]:
        notes: list[str] = []
        self._here.notes = notes
        with self._lock:
            self._inside += 1
            if self._inside == 1:
                self._swapped = warnings.catch_warnings()
                self._swapped.__enter__()
                warnings.filterwarnings("always", module=r"PIL\.")
                warnings.showwarning = functools.partial(self._show, warnings.showwarning)
        try:
            yield notes
        finally:
            self._here.notes = None
            with self._lock:
                self._inside -= 1
                if self._inside == 0:
                    self._swapped.__exit__(None, None, None)

    def _show(self, show: Any, message: Warning | str, *args: Any, **kwargs: Any) -> None:
        notes: list[str] | None = getattr(self._here, "notes", None)
        if notes is None:
            show(message, *args, **kwargs)
        else:
            notes.append(str(message))


_pillow_notes = _PillowNotes()


# Errors, from the exceptions of the operating system and of Pillow.


def not_regular(name: str) -> ImageError:
    """The error for a folder, pipe or device."""
    return ImageError("not_regular", f"{name}: not a regular file but a folder, pipe or device; give the image file itself.")


_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)


def is_address(name: str) -> bool:
    """Whether a name is an address of the web, not a path."""
    return _ADDRESS.match(name) is not None


def not_readable(error: Exception, name: str) -> ImageError:
    """The error for a file that could not be opened or read, from the exception of the operating system."""
    number = error.errno if isinstance(error, OSError) else None
    if number == errno.ELOOP:
        return ImageError("not_found", f"{name}: symbolic links that lead round in a circle; give the image file itself.")
    if is_address(name):
        return ImageError("not_found", f"{name}: an address on the network, from which nothing is fetched; download it, and name the file.")
    if number in (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.EINVAL) or isinstance(error, ValueError):
        return ImageError("not_found", f"{name}: there is no such file; check the name, or where its link points.")
    if number in (errno.EACCES, errno.EPERM):
        return ImageError("not_regular", f"{name}: this user may not read the file; change its permissions.")
    if number in (errno.ENXIO, errno.ENODEV, errno.EISDIR, errno.EOPNOTSUPP):  # a socket, a device without a driver
        return not_regular(name)
    reason = getattr(error, "strerror", None) or type(error).__name__
    return ImageError("internal", f"{name}: cannot be read ({reason}); try again.")


def not_decodable(error: Exception, data: bytes, name: str, *, header_accepted: bool) -> ImageError:
    """The error for bytes that could not be decoded, from Pillow's exception and whether Pillow had accepted the header."""
    kind = kind_of(data)
    if isinstance(error, MemoryError):
        return ImageError("internal", f"{name}: not enough memory to decode it; scale it down.")
    if isinstance(error, NotImplementedError):
        return ImageError("unsupported_format", f"{name}: a kind of image that is not supported ({error}); save it as JPEG or PNG.")
    if not header_accepted and kind is None:
        return ImageError("unsupported_format", f"{name}: not an image in a supported format ({', '.join(FORMATS)}); convert it.")
    if "truncated" in str(error).lower() or lacks_end(kind, data):
        return ImageError("truncated", f"{name}: the end of the image is missing; copy or download it again.")
    detail = "its header makes no sense" if isinstance(error, UnidentifiedImageError) else str(error) or type(error).__name__
    return ImageError("corrupt", f"{name}: the image is damaged ({detail}); copy or download it again, or save it anew.")
