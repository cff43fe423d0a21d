"""The HTML page of `predict --report`, made from prediction rows."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from itertools import cycle, repeat
from pathlib import Path
from typing import Any

from emocaliber.core.response import STEPS
from emocaliber.io.rows import Row, display_name, write_atomically
from emocaliber.predict.prediction import status
from emocaliber.render.html import render_page, thumbnails

# The longer side of the thumbnails in pixels, by their number. 5,000 images make a page of 26 MB, which opens in seconds.
_THUMBNAILS = ((600, 280), (2000, 160), (6000, 96))
_SHADES = 12
_SHOWN_ALTERNATIVES = 5


def write_prediction_report(rows: Iterable[Row], folder: str | Path, *, model: str, notice: str | None = None) -> Path:
    """Writes `folder/index.html` from prediction rows, and returns its path.

    Images are opened again for their thumbnails; beyond 6,000 answered images there are none. The page is self-contained (see
    `render_page`). Raises UserError if it cannot be written.
    """
    rows = list(rows)
    answered = [row for row in rows if row["error"] is None]
    counts = Counter(row["emotion"] for row in answered)
    side = next((side for most, side in _THUMBNAILS if len(answered) <= most), None)
    page = render_page(
        "predict/page",
        percent=_percent,
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


def _percent(fraction: float) -> str:
    return "< 1 %" if 0 < fraction < 0.005 else f"{100 * fraction:.0f} %"


def _mean_confidence(rows: Sequence[Row]) -> float | None:
    stated = [row["confidence"] for row in rows if row["confidence"] is not None]
    return statistics.fmean(stated) if stated else None


def _cards(rows: Sequence[Row], side: int | None) -> Iterator[dict[str, Any]]:
    """The contents of the cards, one at a time."""
    pictures = thumbnails((row["image"] for row in rows), side) if side else repeat(None, len(rows))
    for row, thumbnail in zip(rows, pictures, strict=True):
        parent, _, name = display_name(row["image"]).rpartition("/")
        yield {"row": row, "thumbnail": thumbnail, "folder": parent, "name": name, "status": status(row)}
