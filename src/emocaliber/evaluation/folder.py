"""The folder that `score` writes: whether it may be written again, and what of an earlier score in it no longer holds."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from emocaliber.errors import UserError
from emocaliber.io.rows import display_name

METRICS = "metrics.json"
_KINDS = ("reliability", "risk_coverage", "confidence")
_FIGURES = (*_KINDS, *(f"{kind}_by_task" for kind in _KINDS), "confusion_*")  # `draw_figures` has these
_REMEDY = "give another folder with --out, or remove this one"


def check_folder(out: Path, source: Path | None) -> None:
    """Raises UserError if `out` holds another result than an earlier score of `source`; None stands for answers in memory.

    A run's folder and a file in it are one source.
    """
    if not (out / METRICS).exists():
        return
    summary = _summary(out)
    if summary is None:
        raise UserError(f"{display_name(out / METRICS)} was not written by `score`, and is not replaced; {_REMEDY}.")
    earlier = _source(summary, out)
    if not _same(earlier, source):
        held = f"answers of {display_name(earlier)}" if earlier else "answers that were in memory"
        raise UserError(f"{display_name(out)} holds the score of {held}, which is not replaced; {_REMEDY}.")


def remove_drawn(out: Path) -> list[Path]:
    """Removes the page and the figures of an earlier score in `out`, whose numbers are about to change; returns what it removed."""
    figures = out / "figures"
    drawn = [out / "report.html", *(file for name in _FIGURES for file in sorted(figures.glob(f"{name}.png")))]
    return _removed(out, drawn)


def remove_parity(out: Path) -> list[Path]:
    """Removes the numbers of the released scripts of an earlier score in `out`; returns what it removed."""
    return _removed(out, [out / "parity.md", out / "metrics_parity.json"])


def _removed(out: Path, files: list[Path]) -> list[Path]:
    found = [file for file in files if file.is_file()] if _summary(out) is not None else []
    for file in found:
        try:
            file.unlink()
        except OSError as error:
            raise UserError(f"{display_name(file)}: is of an earlier score and cannot be removed ({error.strerror or error}).") from error
    return found


def _summary(out: Path) -> Mapping[str, Any] | None:
    """The content of the folder's `metrics.json`; None if `score` did not write it."""
    try:
        summary = json.loads((out / METRICS).read_text("utf-8"))
    except (OSError, ValueError):
        return None
    whole = isinstance(summary, Mapping) and {"n", "tasks", "overall", "settings"} <= summary.keys()
    return summary if whole and isinstance(summary["settings"], Mapping) else None


def _source(summary: Mapping[str, Any], out: Path) -> Path | None:
    settings = summary["settings"]
    named = settings.get("read_from") or settings.get("responses")
    path = Path(named) if isinstance(named, str) else None
    return None if path == (out / "answers.jsonl").absolute() else path


def _same(earlier: Path | None, source: Path | None) -> bool:
    if earlier is None or source is None:
        return earlier is source
    one, other = earlier.resolve(), source.resolve()
    return one == other or one.parent == other or other.parent == one
