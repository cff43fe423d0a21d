"""The page of fitted calibrators: their table, and reliability before and after."""

from __future__ import annotations

from pathlib import Path

from emocaliber.trust.calibrate import Calibration
from emocaliber.trust.calibration_table import calibration_table, people_sentences
from emocaliber.trust.pages import Drawn, write_page

_READING = (
    "Each point is the answers of a tenth of the confidence scale: how sure the model was, across, and how often it was right, upwards, "
    "with its 95 % interval; the larger the point, the more answers. On the dashed line a confidence is what it says; below it, too high."
)


def write_calibration_page(found: Calibration, folder: str | Path) -> Path:
    """Writes `reliability.png` and `index.html` to a folder; returns the page."""
    from emocaliber.trust.calibration_figure import reliability_figure

    content = found.content
    return write_page(
        Path(folder),
        "Confidence before and after calibration",
        about=f"Model {(content['model'] or {}).get('name') or 'not named'} · {len(content['questions'])} questions with a calibrator",
        lead=(),
        table=calibration_table(content),
        figure=Drawn("reliability.png", reliability_figure(found.judged), "Reliability before and after", _READING),
        notes=[*people_sentences(content), *found.notes],
    )
