"""The table of predictions, line by line as they come: fitted to a terminal, or in full as plain text."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from emocaliber.core.source_words import people_count
from emocaliber.io.rows import display_name
from emocaliber.predict.prediction import Prediction
from emocaliber.predict.predictor import Query
from emocaliber.render.layout import GAP, cells, fitted, padded, shortened, shortened_list
from emocaliber.render.terminal import styled

if TYPE_CHECKING:
    from rich.text import Text

_ALTERNATIVES, _LIKELY = 2, 0.05  # the most emotions beside the answer, and their least probability by the model itself
_ANSWERS = {True: "accepted", False: "abstain", None: ""}
_UNFAMILIAR = "unfamiliar picture"
_HEADER = ("image", "emotion", "confidence", "people", "answer", "alternatives")
_IMAGE, _EMOTION, _CONFIDENCE, _PEOPLE, _ANSWER, _LIST = range(len(_HEADER))
_SHORT_NAME, _SHORTEST_NAME = 22, 8  # cells
_STYLES = {"head": "bold", "emotion": "bold", "unfamiliar": "dim", "abstain": "yellow", "error": "red"}


class PredictionTable:
    """The lines of the table of the images called `names`, for a terminal of `width` cells; None: plain text in full.

    With `people` it has a column for the share of people who would give the answer, such as "7 of 10 (5 to 8)". Where the terminal is
    narrow, only one alternative is shown; then long names are shortened in the middle; then no alternative is shown, then no people.
    """

    def __init__(self, names: Sequence[str], query: Query, width: int | None, *, people: bool = False) -> None:
        self._names = {name: display_name(name) for name in names}
        self._decides, self._people = query.acceptance.decides, people
        self._width = width
        labels = sorted((cells(label) for label in query.candidates), reverse=True)
        every, one = (max(_list_width(labels[:number]), len(_UNFAMILIAR)) for number in (_ALTERNATIVES, 1))
        natural = [
            max(map(cells, ("image", *self._names.values()))),
            max(map(cells, ("emotion", *query.candidates))),
            len("confidence"),
            len("under 1 of 10 (0 to 3)") if people else 0,
            len("accepted") if self._decides else 0,
            every,
        ]
        order = ((_LIST, one + len(", …")), (_IMAGE, _SHORT_NAME), (_LIST, 0), (_PEOPLE, 0), (_IMAGE, _SHORTEST_NAME))
        self._widths = natural if width is None else fitted(natural, width, order)

    def head(self) -> str | Text:
        """The header."""
        return self._line(_HEADER, {column: _STYLES["head"] for column in range(len(_HEADER))})

    def lines(self, prediction: Prediction) -> Iterator[str | Text]:
        """The lines of one prediction: one, or several for the sentence of an error on a terminal."""
        name = self._names[prediction.image]
        if prediction.error:
            yield from self._failure(name, prediction.error.code, prediction.error.message.removeprefix(f"{name}: "))
            return
        # Without their percentages: those are the model's own, uncalibrated, and do not go with the confidence beside them.
        others = [label for label, probability in prediction.alternatives.items() if label != prediction.emotion and probability >= _LIKELY]
        parts = (
            name,
            prediction.emotion or "",
            "-" if prediction.confidence is None else f"{100 * prediction.confidence:.0f} %",
            _people(prediction),
            _ANSWERS[prediction.accepted],
            _UNFAMILIAR if prediction.unfamiliar else ", ".join(others[:_ALTERNATIVES]),
        )
        styles = {_EMOTION: _STYLES["emotion"]}
        if prediction.accepted is False:
            styles[_ANSWER] = _STYLES["abstain"]
        if prediction.unfamiliar:
            styles = {column: _STYLES["unfamiliar"] for column in range(len(_HEADER))}
        yield self._line(parts, styles)

    def _failure(self, name: str, code: str, sentence: str) -> Iterator[str | Text]:
        indent = self._widths[_IMAGE]
        if self._width is None:
            yield f"{padded(name, indent)}  {code}: {sentence}"
            return
        room = self._width - indent - GAP
        first, *further = textwrap.wrap(f"{code}: {sentence}", max(room, 20)) or [""]
        gap = " " * GAP
        yield styled([(padded(shortened(name, indent), indent) + gap, ""), (first, _STYLES["error"])])
        for line in further:
            yield styled([(" " * indent + gap, ""), (line, _STYLES["error"])])

    def _line(self, parts: Sequence[str], styles: dict[int, str]) -> str | Text:
        shown: list[tuple[str, str]] = []
        for column, (text, width) in enumerate(zip(parts, self._widths, strict=True)):
            if not width or (column == _ANSWER and not self._decides) or (column == _PEOPLE and not self._people):
                continue
            if self._width is not None:
                text = shortened_list(text, width) if column == _LIST else shortened(text, width)
            last = column == _LIST
            shown.append((text if last else padded(text, width, right=column == _CONFIDENCE) + " " * GAP, styles.get(column, "")))
        return styled(shown) if self._width is not None else "".join(text for text, _ in shown).rstrip()


def _people(prediction: Prediction) -> str:
    if prediction.people is None or prediction.people_low is None or prediction.people_high is None:
        return ""
    return people_count(prediction.people, prediction.people_low, prediction.people_high)


def _list_width(labels: Sequence[int]) -> int:
    """The cells that a list of labels of these widths takes."""
    return sum(labels) + len(", ") * (len(labels) - 1)
