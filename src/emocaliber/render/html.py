"""Self-contained HTML pages: style, script and thumbnails are inside, and a content security policy forbids all else."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from PIL import Image

from emocaliber.io.images import ImageError, ImageLimits, ImagePath, open_images
from emocaliber.io.rows import display_name

if TYPE_CHECKING:
    from markupsafe import Markup

# The style of all pages; the `page.css` of a page follows it. Every `page.html` extends the `base.html` beside it.
_BASE = "render/page/base.css"
_NO_SCRIPT = "'none'"


def render_page(folder: str, *, styles: str = "", scripts: Sequence[str] = (), **values: Any) -> str:
    """The page from `page.html`, `page.css` and perhaps `page.js` in a folder of this package. `values` are escaped in the template.

    `styles` is CSS for this page alone, put after the others; `scripts` are files of this package that `page.js` needs. The template also
    gets `css`, `js` and `policy`, a content security policy that forbids everything else.
    """
    from markupsafe import Markup

    css = Markup(_source(_BASE) + _source(f"{folder}/page.css") + styles)
    js = Markup(_script(f"{folder}/page.js") + "".join(map(_source, scripts)))
    policy = Markup(f"default-src 'none'; img-src data:; style-src {_hash(css)}; script-src {_hash(js) if js else _NO_SCRIPT}")
    page: str = _environment().get_template(f"{folder}/page.html").render(css=css, js=js, policy=policy, **values)
    return page


def render_fragment(template: str, **values: Any) -> str:
    """Part of a page, for a notebook: a template of this package with `values`, which are escaped."""
    return str(_environment().get_template(template).render(**values))


def thumbnails(paths: Iterable[ImagePath], side: int) -> Iterator[str | None]:
    """A JPEG data URI for each image, with sides of at most `side` pixels; None for an image that cannot be opened.

    Images are opened one at a time.
    """
    for opened in open_images(paths, ImageLimits(max_side=2 * side)):
        yield None if isinstance(opened, ImageError) else thumbnail(opened.image, side)


def thumbnail(image: Image.Image, side: int) -> str:
    """A JPEG data URI of the image, which is scaled down in place to sides of at most `side` pixels."""
    file = io.BytesIO()
    image.thumbnail((side, side))
    image.save(file, "JPEG", quality=80, optimize=True)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"


def script_data(data: object) -> Markup:
    """`data` as JSON for a script element of type `application/json`; "<" is escaped, so that no text in it can end the element."""
    from markupsafe import Markup

    return Markup(json.dumps(data, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c"))


def file_link(path: str | Path, folder: str | Path) -> str:
    """The relative URL of a file from a page in `folder`; a `file:` URL from another drive. No name can make it a URL of another scheme."""
    try:
        return quote(Path(os.path.relpath(path, folder)).as_posix(), errors="surrogateescape")
    except ValueError:  # Windows: the page and the file are on different drives
        return Path(path).absolute().as_uri()


@cache
def _environment() -> Any:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    loader = PackageLoader("emocaliber", "")
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["printable"] = display_name
    return environment


def _source(name: str) -> str:
    environment = _environment()
    return str(environment.loader.get_source(environment, name)[0])


def _script(name: str) -> str:
    """The script of a page; empty for a page without one."""
    from jinja2 import TemplateNotFound

    try:
        return _source(name)
    except TemplateNotFound:
        return ""


def _hash(source: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()}'"
