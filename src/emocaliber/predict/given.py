"""What Python programs give as images: paths, bytes, open files, Pillow images, arrays and tensors; one or many."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any, BinaryIO, Protocol

import numpy as np
from PIL import Image, ImageOps

from emocaliber.errors import UserError
from emocaliber.io.images import DEFAULT_LIMITS, ImageError, ImageLimits, OpenedImage, is_address, read_image
from emocaliber.io.inputs import find_images
from emocaliber.io.rows import display_name

UNNAMED = "-"
_KINDS = "a path, the bytes of an image file, an open file, a Pillow image, a NumPy array or a torch tensor"


class Array(Protocol):
    """Anything that NumPy makes an array of: its own arrays, torch tensors, JAX arrays."""

    def __array__(self) -> Any: ...


ImageSource = str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryIO | Image.Image | Array


def key_of(image: ImageSource) -> str:
    """The name of an image in its prediction: its path as given, or "-"."""
    if isinstance(image, str | os.PathLike):
        return os.fspath(image)
    name = getattr(image, "name", None) if hasattr(image, "read") else None
    return name if isinstance(name, str) else UNNAMED


def to_open(image: ImageSource, limits: ImageLimits = DEFAULT_LIMITS) -> str | OpenedImage | ImageError:
    """The path of an image that is a file, or else the image itself, within `limits`; an error if it cannot be decoded.

    An array has the shape (height, width), (height, width, channels) or (channels, height, width) with 1, 3 or 4 channels, and integers
    from 0 to 255 or fractions from 0 to 1. Raises TypeError for anything that is no image, and UserError for an array of another shape or
    range.
    """
    if isinstance(image, str | os.PathLike):
        path = os.fspath(image)
        if not isinstance(path, str):
            raise TypeError(f"a path must be text, not {type(path).__name__}")
        return path
    try:
        if isinstance(image, bytes | bytearray | memoryview):
            return read_image(bytes(image), limits)
        if isinstance(image, Image.Image):
            return _from_pillow(image)
        if hasattr(image, "read"):
            return _from_file(image, limits)
        if hasattr(image, "__array__"):
            return _from_pillow(_from_array(image))
    except ImageError as error:
        return error
    raise TypeError(f"an image must be {_KINDS}, not {type(image).__name__}; for several images, use predict_many")


def refuse_address(image: object) -> None:
    """Raises UserError for an address of the web."""
    if isinstance(image, str) and is_address(image):
        raise UserError(f"{display_name(image)} is an address, and nothing is downloaded here; give a file, or the bytes of one")


def each_image(images: ImageSource | Iterable[ImageSource]) -> Iterable[ImageSource]:
    """The single images of `images`: folders and globs give the files in them, arrays of four dimensions the images along the first.

    Anything but an iterable is one image. Raises UserError as `find_images` does and for an address, TypeError for what is neither.
    """
    if isinstance(images, str | os.PathLike):
        return list(_files(images))
    single: Any = images
    if hasattr(images, "columns") and hasattr(images, "to_dict"):
        raise TypeError('a DataFrame is no list of images; give the column that holds their paths, such as df["path"]')
    if isinstance(images, bytes | bytearray | memoryview | Image.Image) or hasattr(images, "read"):
        return [single]
    if hasattr(images, "__array__"):
        if np.asarray(single.detach().cpu() if hasattr(single, "detach") else single).dtype.kind in "OUST":  # paths, as of a pandas column
            return each_image(list(single))
        return [single] if len(single.shape) < 4 else list(single)
    if not isinstance(images, Iterable):
        raise TypeError(f"images must be {_KINDS}, or an iterable of these, not {type(images).__name__}")
    if isinstance(images, list | tuple | set | frozenset | dict):
        return [found for image in images for found in _expanded(image)]
    return (found for image in images for found in _expanded(image))


def _expanded(image: ImageSource) -> Iterator[ImageSource]:
    if isinstance(image, str | os.PathLike):
        yield from _files(image)
    else:
        yield image


def _files(path: str | os.PathLike[str]) -> Iterator[str]:
    refuse_address(path)
    name = os.fspath(path)
    yield from [name] if name == "-" else (each for each in find_images([name], io.BytesIO()) if isinstance(each, str))


def _from_file(file: Any, limits: ImageLimits) -> OpenedImage:
    data = file.read(limits.max_bytes + 1)
    if not isinstance(data, bytes):
        raise TypeError("the file is open as text; open it with open(path, 'rb')")
    return read_image(data, limits)


def _from_array(image: Any) -> Image.Image:
    array = np.asarray(image.detach().cpu() if hasattr(image, "detach") else image)
    if array.dtype.kind not in "biuf":
        raise TypeError(f"an image must be {_KINDS}, not an array of {array.dtype}; for several images, use predict_many")
    if array.ndim == 4:
        raise UserError(f"an array of shape {array.shape} holds several images; use predict_many")
    if array.ndim == 3 and array.shape[-1] not in (1, 3, 4) and array.shape[0] in (1, 3, 4):
        array = np.moveaxis(array, 0, -1)
    if array.ndim == 3 and array.shape[-1] == 1:
        array = array[..., 0]
    if array.size == 0 or array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[-1] not in (3, 4)):
        raise UserError(
            f"an array of shape {array.shape} is no image; give (height, width), (height, width, 3 or 4) or (3 or 4, height, width)"
        )
    if array.dtype.kind == "b":
        array = array.astype(np.uint8) * 255
    elif array.dtype != np.uint8:
        lowest, highest = array.min(), array.max()
        most = 1 if array.dtype.kind == "f" else 255
        if not (lowest >= 0 and highest <= most):
            raise UserError(
                f"an array of {array.dtype} with values from {lowest:g} to {highest:g} is no image; "
                "give integers from 0 to 255 or fractions from 0 to 1"
            )
        array = np.rint(array * (255 / most)).astype(np.uint8)
    return Image.fromarray(np.ascontiguousarray(array))


def _from_pillow(image: Image.Image) -> OpenedImage:
    """A Pillow image as upright RGB, converted like an image file by way of one in memory."""
    file = io.BytesIO()
    try:
        upright = ImageOps.exif_transpose(image)
        if upright.mode in ("I", "I;16", "F"):
            upright.save(file, "TIFF")
        else:
            keeps = upright.mode in ("1", "L", "LA", "P", "RGB", "RGBA")
            (upright if keeps else upright.convert("RGB")).save(file, "PNG", compress_level=1)
    except Exception as error:  # Pillow reads files late, and decoders raise nearly everything
        raise ImageError("corrupt", f"the image cannot be decoded ({error}); open the file anew.") from error
    return read_image(file.getvalue(), replace(DEFAULT_LIMITS, max_bytes=sys.maxsize))
