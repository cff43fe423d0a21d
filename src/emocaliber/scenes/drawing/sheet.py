"""Contact sheets: many small pictures with captions in one image."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image, ImageDraw

MARGIN, CAPTION = 4, 14


def contact_sheet(pictures: Sequence[tuple[Image.Image, str]], columns: int) -> Image.Image:
    """The pictures in rows of `columns`, each with its caption below; every cell is as large as the largest picture.

    Raises ValueError without pictures or with `columns` below 1.
    """
    if not pictures or columns < 1:
        raise ValueError(f"a contact sheet needs at least one picture and one column, not {len(pictures)} and {columns}")
    width = max(picture.width for picture, _ in pictures) + MARGIN
    height = max(picture.height for picture, _ in pictures) + MARGIN + CAPTION
    rows = -(-len(pictures) // columns)
    sheet = Image.new("RGB", (columns * width + MARGIN, rows * height + MARGIN), "white")
    pen = ImageDraw.Draw(sheet)
    for i, (picture, caption) in enumerate(pictures):
        x, y = MARGIN + i % columns * width, MARGIN + i // columns * height
        sheet.paste(picture, (x, y))
        while caption and pen.textlength(caption) > width - MARGIN:
            caption = caption[:-1]
        pen.text((x, y + picture.height + 1), caption, fill="black")
    return sheet
