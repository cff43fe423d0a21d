"""The page of a result that is a table and one figure: a calibrator, a certificate, a watch."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from emocaliber.io.rows import write_atomically
from emocaliber.render.html import render_page
from emocaliber.render.table import Table


@dataclass(frozen=True)
class Drawn:
    """A figure: the name of its file, its PNG, what it shows in few words, and a sentence on how to read it."""

    file: str
    png: bytes
    shows: str
    reading: str


def write_page(
    folder: Path, title: str, *, about: str, lead: Sequence[str], table: Table, figure: Drawn, notice: str = "", notes: Sequence[str] = ()
) -> Path:
    """Writes the figure and `index.html`, a self-contained page, to a folder; returns the page.

    `about` stands below the title; `lead` are the sentences that say what came out, `notice` one that must not be missed.
    """
    write_atomically(folder / figure.file, figure.png)
    page = render_page(
        "trust/page",
        title=title,
        about=about,
        lead=lead,
        notice=notice,
        table=table,
        figure=figure,
        image=f"data:image/png;base64,{base64.b64encode(figure.png).decode()}",
        notes=notes,
    )
    write_atomically(folder / "index.html", page)
    return folder / "index.html"
