"""Reader of the NRC VAD lexicon, versions 1 and 2.1, from the user's own copy: its licence forbids shipping it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from emocaliber.emotions.loop import VAD
from emocaliber.errors import UserError

_AXES = tuple(VAD._fields)
_BY_FIRST_COLUMN = {"word": "v1", "term": "v2.1"}


@dataclass(frozen=True)
class Lexicon(Mapping[str, VAD]):
    """VAD values by lower-case word, on the scale -1..1.

    `version` is "v1" or "v2.1"; `detected_by` says whether it was detected by the "header" or by the "range" of the numbers.
    """

    values_by_word: Mapping[str, VAD]
    version: str
    detected_by: str

    def __getitem__(self, word: str) -> VAD:
        return self.values_by_word[word]

    def __iter__(self) -> Iterator[str]:
        return iter(self.values_by_word)

    def __len__(self) -> int:
        return len(self.values_by_word)

    def describe(self) -> str:
        """One line with the version, how it was detected, and the number of words."""
        scale = "0..1, converted by 2x - 1" if self.version == "v1" else "-1..1"
        return f"NRC VAD {self.version} by its {self.detected_by} ({scale}), {len(self):,} word{'' if len(self) == 1 else 's'}"


def read_lexicon(path: str | Path) -> Lexicon:
    """The lexicon in a tab-separated file `word, valence, arousal, dominance`, with or without a header.

    The header tells the versions apart: `Word` opens version 1 (0..1), `term` opens version 2.1 (-1..1). Without a header
    any negative number means version 2.1. Version 1 is converted by 2x - 1. Raises UserError naming the file and the line.
    Source: Saif M. Mohammad, "Obtaining Reliable Human Ratings of Valence, Arousal, and Dominance", ACL 2018; v2: arXiv:2503.23547.
    """
    path = Path(path)
    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as a UTF-8 text file ({error})") from None
    header = [cell.strip().casefold() for cell in lines[0].split("\t")] if lines else []
    has_header = tuple(header[1:]) == _AXES
    rows = [_row(path, number, line) for number, line in enumerate(lines, 1) if line.strip() and not (has_header and number == 1)]
    if not rows:
        raise UserError(f"{path}: no words in it; expected lines of word, valence, arousal, dominance separated by tabs")
    named = _BY_FIRST_COLUMN.get(header[0]) if has_header else None
    version = named or ("v2.1" if any(min(value) < 0 for _, _, value in rows) else "v1")
    return Lexicon(_on_scale(path, rows, version), version, "header" if named else "range")


_Row = tuple[int, str, VAD]


def _row(path: Path, number: int, line: str) -> _Row:
    cells = [cell.strip() for cell in line.split("\t")]
    if len(cells) != 4 or not cells[0]:
        raise UserError(f"{path}, line {number}: {line!r} is not word, valence, arousal, dominance separated by tabs")
    try:
        value = VAD(*map(float, cells[1:]))
    except ValueError:
        raise UserError(f"{path}, line {number}: {', '.join(cells[1:])} are not three numbers") from None
    return number, cells[0].casefold(), value


def _on_scale(path: Path, rows: list[_Row], version: str) -> dict[str, VAD]:
    low = 0 if version == "v1" else -1
    values: dict[str, VAD] = {}
    for number, word, value in rows:
        for axis, x in zip(_AXES, value, strict=True):
            if not (math.isfinite(x) and low <= x <= 1):
                raise UserError(f"{path}, line {number}: the {axis} of '{word}' is {x:g}, outside {low}..1, the scale of NRC VAD {version}")
        # Rounding keeps 2 * 0.929 - 1 at the 0.858 that version 2.1 prints.
        scaled = VAD(*(round(2 * x - 1, 9) for x in value)) if version == "v1" else value
        if values.setdefault(word, scaled) != scaled:
            raise UserError(f"{path}, line {number}: '{word}' has another value on an earlier line; keep one of the two")
    return values
