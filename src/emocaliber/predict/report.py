"""The HTML page of `predict --report`, made from prediction rows."""

from __future__ import annotations

import os
import statistics
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from itertools import accumulate, repeat, takewhile
from pathlib import Path
from typing import Any, NamedTuple

from emocaliber.core.response import STEPS
from emocaliber.core.source_words import people_words, source_words
from emocaliber.core.sources import margin, norm
from emocaliber.core.tasks import taxonomy_of
from emocaliber.emotions.colours import emotion_styles
from emocaliber.io.rows import Row, display_name, write_atomically
from emocaliber.predict.prediction import status
from emocaliber.render.html import file_link, render_page, script_data, thumbnails

# The longer side of the thumbnails in pixels, by their number. 5,000 images make a page of 36 MB, which opens in seconds.
_THUMBNAILS = ((600, 280), (2000, 160), (6000, 96))
_SHOWN_ALTERNATIVES = 5
_BINS = 20  # of the histogram


class Kept(NamedTuple):
    """At a least confidence of `threshold`: the share of answers kept, and their mean confidence (None if none is kept)."""

    threshold: float
    share: float
    mean: float | None


def write_prediction_report(
    rows: Iterable[Row], folder: str | Path, *, model: str, notice: str | None = None, certificate: str | None = None
) -> Path:
    """Writes `folder/index.html` from prediction rows, and returns its path. `certificate` are the terms of the one that was given, if any.

    Images are opened again for their thumbnails; beyond 6,000 answered images there are none. The page is self-contained (see
    `render_page`), but for links to the images. Raises UserError if it cannot be written.
    """
    rows = list(rows)
    answered = [row for row in rows if row["error"] is None]
    counts = Counter(row["emotion"] for row in answered)
    tasks = sorted({row["task"] for row in rows})
    labels = list(dict.fromkeys([*counts, *(other["emotion"] for row in answered for other in row["alternatives"] or ())]))
    confidences = [row["confidence"] for row in answered if row["confidence"] is not None]
    sources = list(dict.fromkeys(row["confidence_source"] for row in answered))
    common = _common_folder([display_name(row["image"]) for row in rows])
    side = next((side for most, side in _THUMBNAILS if len(answered) <= most), None)
    page = render_page(
        "predict/page",
        scripts=["render/page/rows.js"],
        styles=emotion_styles(labels, taxonomy_of(tasks[0]) if len(tasks) == 1 else None),
        percent=_percent,
        model=model,
        notice=notice,
        certificate=certificate,
        ids=sorted({row["certificate"] for row in rows if row.get("certificate")}),
        uncertified=sorted({row["uncertified"] for row in rows if row.get("uncertified")}),
        tasks=tasks,
        made=datetime.now().astimezone(),
        total=len(rows),
        answered=len(answered),
        counts=counts.most_common(),
        shades={label: place for place, label in enumerate(labels)},
        statuses=Counter(map(status, rows)),
        flags={flag: sum(row.get(flag) is True for row in answered) for flag in ("unfamiliar", "untaught")},
        mean_confidence=statistics.fmean(confidences) if confidences else None,
        sources=list(map(source_words, sources)),
        has_alternatives=any(row["alternatives"] for row in answered),
        same_as_alternatives=sources == [norm.__name__],
        columns=_columns(answered, [emotion for emotion, _ in counts.most_common()]),
        kept=kept_by_threshold(confidences),
        is_probability=margin.__name__ not in sources,
        common=common,
        thumbnails_left_out=side is None,
        cards=_cards(rows, side, common, Path(folder)),
        failed=[row for row in rows if row["error"] is not None],
        has_people=any(row.get("people") is not None for row in answered),
        people_words=people_words,
        steps=STEPS,
        most=_SHOWN_ALTERNATIVES,
        data=script_data(rows),
    )
    path = Path(folder) / "index.html"
    write_atomically(path, page)
    return path


def kept_by_threshold(confidences: Sequence[float]) -> list[Kept]:
    """The answers kept at each least confidence 0, 0.01 .. 1 (those that `min_confidence` would accept); empty without confidences.

    No truth is known, so accuracy is not. For a calibrated confidence, the mean of those kept is the accuracy to expect.
    """
    ordered = sorted(confidences, reverse=True)
    sums = [0.0, *accumulate(ordered)]
    points = []
    for hundredths in range(101) if ordered else ():
        n = sum(confidence >= hundredths / 100 for confidence in ordered)
        points.append(Kept(hundredths / 100, n / len(ordered), sums[n] / n if n else None))
    return points


def _columns(rows: Sequence[Row], emotions: Sequence[str]) -> list[list[tuple[str, int]]]:
    """The histogram of confidence: for each of 20 bins, the emotions with their counts, in the order given. 1 is in the last bin."""
    bins: list[Counter[str]] = [Counter() for _ in range(_BINS)]
    for row in rows:
        if row["confidence"] is not None:
            bins[min(int(row["confidence"] * _BINS), _BINS - 1)][row["emotion"]] += 1
    return [[(emotion, inside[emotion]) for emotion in emotions if inside[emotion]] for inside in bins]


def _percent(fraction: float) -> str:
    return "< 1 %" if 0 < fraction < 0.005 else f"{100 * fraction:.0f} %"


def _common_folder(names: Sequence[str]) -> str:
    """The folder that all names lie in, with its slash; "" if there is none."""
    levels = zip(*(name.split("/")[:-1] for name in names), strict=False)
    return "".join(f"{level[0]}/" for level in takewhile(lambda level: len(set(level)) == 1, levels))


def _cards(rows: Sequence[Row], side: int | None, common: str, folder: Path) -> Iterator[dict[str, Any]]:
    """The contents of the cards of the answered rows, one at a time; `place` is that among all rows."""
    answered = [(place, row) for place, row in enumerate(rows) if row["error"] is None]
    pictures = thumbnails((row["image"] for _, row in answered), side) if side else repeat(None, len(answered))
    for (place, row), thumbnail in zip(answered, pictures, strict=True):
        inside, _, name = display_name(row["image"]).removeprefix(common).rpartition("/")
        link = file_link(os.path.abspath(row["image"]), folder.absolute()) if os.path.isfile(row["image"]) else None
        yield {
            **{"row": row, "place": place, "thumbnail": thumbnail, "link": link, "folder": inside, "name": name},
            **{"status": status(row), "unfamiliar": row.get("unfamiliar"), "untaught": row.get("untaught")},
        }
