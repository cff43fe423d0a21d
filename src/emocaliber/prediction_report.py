"""The page of `predict --report`: one HTML file with everything in it, made from prediction rows."""

from __future__ import annotations

import base64
import hashlib
import io
import statistics
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from itertools import cycle
from pathlib import Path
from typing import Any

from PIL import Image

from emocaliber.images import ImageError, Limits, open_images
from emocaliber.prediction import status
from emocaliber.response import STEPS
from emocaliber.rows import Row, display_name, write_atomically

# The longer side of the thumbnails, in pixels, by how many there are. 5,000 images make a page of 26 MB, which opens in seconds.
_THUMBNAILS = ((600, 280), (2000, 160), (6000, 96))
_SHADES = 12
_SHOWN_ALTERNATIVES = 5


def write_report(rows: Iterable[Row], folder: str | Path, *, model: str, notice: str | None = None) -> Path:
    """Writes `folder/index.html` from prediction rows and returns its path. The images are opened again for their thumbnails.

    The page needs no network and allows none: a content security policy forbids everything but its own style, script and thumbnails.
    Raises UserError if it cannot be written.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=PackageLoader("emocaliber", "report_page"), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"percent": _percent, "printable": display_name}
    parts = {part: Markup(_source(environment, f"page.{part}")) for part in ("css", "js")}
    rows = list(rows)
    answered = [row for row in rows if row["error"] is None]
    counts = Counter(row["emotion"] for row in answered)
    side = next((side for most, side in _THUMBNAILS if len(answered) <= most), None)
    page = environment.get_template("page.html").render(
        **parts,
        policy=Markup(f"default-src 'none'; img-src data:; style-src {_hash(parts['css'])}; script-src {_hash(parts['js'])}"),
        model=model,
        notice=notice,
        tasks=sorted({row["task"] for row in rows}),
        made=datetime.now().astimezone(),
        total=len(rows),
        answered=len(answered),
        counts=counts.most_common(),
        shades=dict(zip((emotion for emotion, _ in counts.most_common()), cycle(range(_SHADES)), strict=False)),
        statuses=Counter(map(status, rows)),
        mean_confidence=_mean_confidence(answered),
        thumbnails_left_out=side is None,
        cards=_cards(answered, side),
        failed=[row for row in rows if row["error"] is not None],
        steps=STEPS,
        most=_SHOWN_ALTERNATIVES,
    )
    path = Path(folder) / "index.html"
    write_atomically(path, page)
    return path


def _source(environment: Any, name: str) -> str:
    return str(environment.loader.get_source(environment, name)[0])


def _hash(source: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()}'"


def _percent(fraction: float) -> str:
    return "< 1 %" if 0 < fraction < 0.005 else f"{100 * fraction:.0f} %"


def _mean_confidence(rows: Sequence[Row]) -> float | None:
    stated = [row["confidence"] for row in rows if row["confidence"] is not None]
    return statistics.fmean(stated) if stated else None


def _cards(rows: Sequence[Row], side: int | None) -> Iterator[dict[str, Any]]:
    """What each card shows, made one at a time: only thumbnails, not pictures, pile up."""
    if side is None:
        thumbnails: Iterable[str | None] = (None for _ in rows)
    else:
        opened = open_images((row["image"] for row in rows), Limits(max_side=2 * side))
        thumbnails = (None if isinstance(each, ImageError) else _data_uri(each.image, side) for each in opened)
    for row, thumbnail in zip(rows, thumbnails, strict=True):
        parent, _, name = display_name(row["image"]).rpartition("/")
        yield {"row": row, "thumbnail": thumbnail, "folder": parent, "name": name, "status": status(row)}


def _data_uri(image: Image.Image, side: int) -> str:
    file = io.BytesIO()
    image.thumbnail((side, side))
    image.save(file, "JPEG", quality=80, optimize=True)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"
