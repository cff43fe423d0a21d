"""The page of `emocaliber serve`: plain files of this package, held in memory, behind a policy that allows nothing else."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from importlib import resources
from typing import NamedTuple

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from emocaliber.core.tasks import TASKS
from emocaliber.emotions.colours import emotion_colour
from emocaliber.emotions.taxonomy import taxonomy

TYPES = {
    **{".html": "text/html; charset=utf-8", ".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8"},
    **{".svg": "image/svg+xml", ".json": "application/json"},
}
# No script or style stands inside a page, nothing comes from elsewhere, no other page may frame it or take it over.
POLICY = "; ".join(
    (
        *("default-src 'none'", "script-src 'self'", "style-src 'self'", "img-src 'self' blob: data:", "connect-src 'self'"),
        *("base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'"),
    )
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cache-Control": "no-cache",  # kept by the browser, and asked about each time, so that an upgrade is seen at once
}
_SHARED = ("render/page/base.css", "render/page/rows.js")
_OWN = ("page.css", "page.js", "ask.js", "cards.js", "visit.js", "words.js", "icon.svg")


class Asset(NamedTuple):
    """A file of a page: its content, its type and the entity tag of the content."""

    content: bytes
    type: str
    tag: str

    @classmethod
    def of(cls, content: bytes, name: str) -> Asset:
        """The asset with the type that its name's suffix says."""
        return cls(content, TYPES[name[name.rindex(".") :]], f'"{hashlib.sha256(content).hexdigest()[:32]}"')

    def response(self, request: Request) -> Response:
        """The asset, or 304 if the browser has this very content already."""
        headers = {**HEADERS, "ETag": self.tag}
        given = {tag.strip().removeprefix("W/") for tag in request.headers.get("if-none-match", "").split(",")}
        if self.tag in given:
            return Response(status_code=304, headers=headers)
        return Response(self.content, media_type=self.type, headers=headers)


def page_routes(index: str, names: Iterable[str]) -> list[Route]:
    """The routes of a page: `index`, a file of this package's folder `serving/page`, at `/`, and the files it needs below `/page/`.

    Files are read once, here, so that no request can name another one.
    """
    package = resources.files("emocaliber")
    paths = [*_SHARED, *(f"serving/page/{name}" for name in names)]
    assets = {path.rpartition("/")[2]: Asset.of((package / path).read_bytes(), path) for path in paths}
    assets["palette.json"] = Asset.of(json.dumps(palette(), separators=(",", ":")).encode(), "palette.json")
    first = Asset.of((package / "serving" / "page" / index).read_bytes(), index)

    async def front(request: Request) -> Response:
        return first.response(request)

    async def file(request: Request) -> Response:
        asset = assets.get(request.path_params["name"])
        return asset.response(request) if asset else Response("there is no such file of the page", 404, HEADERS, "text/plain")

    return [Route("/", front), Route("/page/{name}", file)]


def routes(*_: object) -> list[Route]:
    """The routes of the page of `emocaliber serve`. It asks the server's own API, and so needs neither engine nor settings."""
    return page_routes("index.html", _OWN)


def palette() -> dict[str, list[str]]:
    """The colours of the labels of all tasks, on a light page and on a dark one."""
    known = {label: each for each in (taxonomy(task.taxonomy) for task in TASKS.values()) for label in each.labels}
    return {label: list(emotion_colour(label, each)) for label, each in known.items()}
