"""What can be wrong with an image: the closed list of codes, and how anything raised while opening one is turned into them."""

from __future__ import annotations

import errno
import re
from types import MappingProxyType

from PIL import UnidentifiedImageError

from emocaliber.rows import display_name

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

# Photographs come in these. Everything else Pillow can open (PostScript, fonts, microscope formats) is never reached.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "PPM")


class ImageError(Exception):
    """An image that cannot be used: `code` is one of `CODES`, `message` a printable sentence with the file's name and the remedy."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = display_name(message)  # what a decoder says may quote the file

    def __str__(self) -> str:
        return self.message

    def as_row(self) -> dict[str, str]:
        """The `error` field of a row."""
        return {"code": self.code, "message": self.message}


def not_regular(name: str) -> ImageError:
    """A file of another kind."""
    return ImageError("not_regular", f"{name}: not a regular file but a folder, pipe or device; give the image file itself.")


def not_readable(error: Exception, name: str) -> ImageError:
    """Why a file could not be opened or read, from what the operating system raised."""
    number = error.errno if isinstance(error, OSError) else None
    if number == errno.ELOOP:
        return ImageError("not_found", f"{name}: symbolic links that lead round in a circle; give the image file itself.")
    if number in (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.EINVAL) or isinstance(error, ValueError):
        return ImageError("not_found", f"{name}: there is no such file; check the name, or where its link points.")
    if number in (errno.EACCES, errno.EPERM):
        return ImageError("not_regular", f"{name}: this user may not read the file; change its permissions.")
    if number in (errno.ENXIO, errno.ENODEV, errno.EISDIR, errno.EOPNOTSUPP):  # a socket, a device without a driver
        return not_regular(name)
    reason = getattr(error, "strerror", None) or type(error).__name__
    return ImageError("internal", f"{name}: cannot be read ({reason}); try again.")


def not_decodable(error: Exception, data: bytes, name: str, *, header_accepted: bool) -> ImageError:
    """Why the bytes of an image could not be decoded, from what Pillow raised and whether it had accepted the header."""
    kind = match.lastgroup if (match := _SIGNATURES.match(data)) else None
    if isinstance(error, MemoryError):
        return ImageError("internal", f"{name}: not enough memory to decode it; scale it down.")
    if isinstance(error, NotImplementedError):
        return ImageError("unsupported_format", f"{name}: a kind of image that is not supported ({error}); save it as JPEG or PNG.")
    if not header_accepted and kind is None:
        return ImageError("unsupported_format", f"{name}: not an image in a supported format ({', '.join(FORMATS)}); convert it.")
    if "truncated" in str(error).lower() or _lacks_end(kind, data):
        return ImageError("truncated", f"{name}: the end of the image is missing; copy or download it again.")
    detail = "its header makes no sense" if isinstance(error, UnidentifiedImageError) else str(error) or type(error).__name__
    return ImageError("corrupt", f"{name}: the image is damaged ({detail}); copy or download it again, or save it anew.")


_SIGNATURES = re.compile(
    rb"(?P<JPEG>\xff\xd8\xff)|(?P<PNG>\x89PNG\r\n\x1a\n)|(?P<GIF>GIF8[79]a)|(?P<WEBP>RIFF....WEBP)"
    rb"|(?P<BMP>BM....\0\0\0\0)|(?P<TIFF>II\*\0|MM\0\*)|(?P<AVIF>....ftypavi[fs])",
    re.DOTALL,
)


def _lacks_end(kind: str | None, data: bytes) -> bool:
    """Whether a file known to be broken stops before its format's own end mark or stated length."""
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
