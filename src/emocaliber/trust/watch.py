"""A watch over a stream of answers: have they, or their accuracy, changed since the certificate was made? No files are read here."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path, PurePath
from typing import Any, Self

import numpy as np

from emocaliber.core.scoring import is_correct
from emocaliber.core.tasks import labels_of
from emocaliber.errors import UserError, did_you_mean
from emocaliber.trust.martingale import SHORTFALLS, Capital, ConformalTest, promise_returns, uniform
from emocaliber.trust.observation import Observation, Reference, Usual, observe

PROMISE = "promise"
FORMAT = 1
PATIENCE = 300.0  # labels: they are fewer than rows, and an accuracy shows slowly
_CHART_POINTS = 600

WORDS: Mapping[str, str] = {
    "confidence": "the distribution of the confidence",
    "answers": "the mix of answers",
    "malformed": "the share of rows without an answer",
    "unfamiliar": "the share of pictures in which the model recognises nothing",
    "brightness": "the brightness of the pictures",
    "contrast": "the contrast of the pictures",
    "saturation": "the saturation of the pictures",
    "size": "the size of the pictures",
    "embedding": "the distance of the embeddings from what was usual",
    PROMISE: "the accuracy of accepted answers",
}


@dataclass(frozen=True)
class Promise:
    """What a certificate promises: accepted answers are right in at least `accuracy`; `thresholds` on the confidence by task."""

    accuracy: float
    thresholds: Mapping[str, float | None]

    def accepts(self, seen: Observation) -> bool:
        """Whether the answer counts as accepted: as its row says, or else by the threshold."""
        if seen.answer is None:
            return False
        if seen.accepted is not None:
            return seen.accepted
        threshold = self.thresholds.get(seen.task)
        return threshold is not None and seen.confidence is not None and seen.confidence >= threshold


@dataclass(frozen=True)
class Alarm:
    """An alarm: `tests` moved (the surest first), with evidence `wealth` of the first one.

    Without any change the chance of an alarm, ever, is at most `alpha`. `since` is the row (of `promise`, the label) from which on the
    change is estimated, `row` that of the alarm; both count from 1.
    """

    tests: tuple[str, ...]
    since: int
    row: int
    wealth: float
    alpha: float
    at: str

    @property
    def counted(self) -> str:
        """What `since` and `row` count: "row", or "label"."""
        return "label" if self.tests[0] == PROMISE else "row"

    @property
    def sentence(self) -> str:
        """What moved, since when and how sure, in words."""
        first, *others = (WORDS[test] for test in self.tests)
        moved = f"{first} fell below what was promised" if self.tests[0] == PROMISE else f"{first} moved"
        also = f" (and {', '.join(others)})" if others else ""
        wealth = f"{self.wealth:,.0f}" if self.wealth < 1e6 else f"{self.wealth:.1e}"
        return (
            f"{moved}{also} since about {self.counted} {self.since:,}, seen at {self.counted} {self.row:,}: evidence of {wealth} to 1, "
            f"where a stream without change raises any alarm, ever, with probability at most {self.alpha:g}"
        )


def alarm_lines(tests: Sequence[str], alpha: float, *, promise: bool) -> dict[str, float]:
    """The capital at which each test raises the alarm, so that by the union bound some test does without a change in at most `alpha`.

    The union bound holds whatever the tests have in common; an average of their capitals would need them to be fair games together.
    """
    found = {name: len(tests) / (alpha / 2 if promise else alpha) for name in tests}
    return found | ({PROMISE: 2 / alpha} if promise else {})


@dataclass
class Watch:
    """Sequential tests of a stream of rows against a `reference`, and of a certificate's `promise`, at one `alpha` over the whole stream.

    `see` takes rows, `label` takes true labels whenever they come. Each test raises the alarm when its capital reaches its line: the
    promise has half of `alpha`, the others share the rest equally (all of it without a promise). `alarm` is the first one.
    """

    reference: Reference
    promise: Promise | None = None
    alpha: float = 0.05
    seed: int = 0
    tests: dict[str, ConformalTest] = field(default_factory=dict)
    kept: Capital = field(default_factory=lambda: Capital.start(len(SHORTFALLS), patience=PATIENCE))
    rows: int = 0
    labels: int = 0
    right: int = 0
    accepted: int = 0
    waiting: dict[str, list[str]] = field(default_factory=dict, repr=False)
    early: dict[str, str] = field(default_factory=dict, repr=False)
    alarm: Alarm | None = None
    chart: dict[str, Any] = field(default_factory=dict, repr=False)

    @classmethod
    def start(
        cls,
        reference: Reference,
        promise: Promise | None = None,
        *,
        alpha: float = 0.05,
        only: Sequence[str] = (),
        seed: int = 0,
    ) -> Self:
        """A watch before its first row; `only` names the tests to make of those that the reference allows, by default all.

        Raises UserError for an alpha outside (0, 1) and for a test that the reference does not allow.
        """
        if not 0 < alpha < 1:
            raise UserError(f"alpha is {alpha:g}; it must be between 0 and 1, such as 0.05")
        for name in only:
            if name not in reference.counts:
                meant = did_you_mean(name, reference.counts)
                raise UserError(f"the reference has nothing for the test {name!r}; it has {', '.join(reference.counts)}{meant}")
        tests = {name: ConformalTest.start(counts) for name, counts in reference.counts.items() if name in only or not only}
        return cls(reference, promise, alpha, seed, tests)

    @property
    def lines(self) -> dict[str, float]:
        """The capital at which each test raises the alarm: see `alarm_lines`."""
        return alarm_lines(tuple(self.tests), self.alpha, promise=self.promise is not None)

    @property
    def wealth(self) -> dict[str, float]:
        """The capital of each test: 1 at the start, and the evidence against "nothing has changed", to 1."""
        found = {name: float(test.capital.wealth) for name, test in self.tests.items()}
        return found | ({PROMISE: float(self.kept.wealth)} if self.promise else {})

    def see(self, row: Mapping[str, Any], where: str | None = None, folder: Path | None = None) -> Alarm | None:
        """Takes the next row, of `predict` or `respond`; returns an alarm if this row raises the first one.

        `where` is the row's place in messages, `folder` that of its picture. Raises UserError, without counting the row, for one that
        cannot be read, or is of another model, question or source of confidence.
        """
        where = where or f"row {self.rows + 1}"
        seen = observe(row, where, self.reference.source)
        self.reference.check(seen, where)
        cells = self.reference.cells(seen, where, folder or Path())
        for name, test in self.tests.items():
            if (cell := cells[name]) is None:
                test.rest()
            else:
                test.see(np.array(cell), np.array(uniform(f"{self.seed}/{self.reference.mark}", name, self.rows)))
        self.rows += 1
        if self.promise and self.promise.accepts(seen):
            self.accepted += 1
            self.waiting[seen.id] = [seen.task, seen.answer or ""]
            if seen.id in self.early:
                self._judge(seen.id, self.early.pop(seen.id))
        self._draw()
        return self._raised()

    def label(self, id: str, truth: str) -> Alarm | None:
        """Takes the true label of a row by its id, that is its image for rows of `predict`; returns an alarm if it raises the first one.

        Labels may come before their row. Those of answers that were not accepted are kept, and change nothing. Raises UserError for a
        label that is none of the question's.
        """
        if self.promise:
            if (known := self._named(id)) is None:
                self.early[id] = truth
            else:
                self._judge(known, truth)
        return self._raised()

    def _named(self, id: str) -> str | None:
        """The waiting row with this id, or else the only one whose file has this name."""
        if id in self.waiting:
            return id
        same = [each for each in self.waiting if PurePath(each).name == PurePath(id).name] if id not in self.early else []
        return same[0] if len(same) == 1 else None

    def _judge(self, id: str, truth: str) -> None:
        task, answer = self.waiting[id]
        labels = labels_of(task, self.reference.labels[task])
        if labels.named(truth) is None:
            raise UserError(f"the label of '{id}' is '{truth}', which is none of {', '.join(labels)}.")
        del self.waiting[id]
        right = is_correct(answer, truth, labels)
        self.labels, self.right = self.labels + 1, self.right + right
        if self.promise:
            self.kept.bet(promise_returns(np.array(float(right)), self.promise.accuracy))

    def _raised(self) -> Alarm | None:
        lines, wealth = self.lines, self.wealth
        over = sorted((name for name in lines if wealth[name] >= lines[name]), key=lambda name: wealth[name] / lines[name], reverse=True)
        if self.alarm or not over:
            return None
        first = over[0]
        capital = self.kept if first == PROMISE else self.tests[first].capital
        since, row = min(int(capital.change) + 1, capital.rows), capital.rows
        at = datetime.now(UTC).isoformat(timespec="seconds")
        self.alarm = Alarm(tuple(over), since, row, wealth[first], self.alpha, at)
        self._draw(now=True)
        return self.alarm

    def _draw(self, *, now: bool = False) -> None:
        """Keeps points of the chart: of a long stream, every second, fourth, ... row."""
        chart = self.chart or {"stride": 1, "rows": [], "log_wealth": {name: [] for name in self.lines}}
        self.chart = chart
        if now or self.rows % chart["stride"] == 0:
            chart["rows"].append(self.rows)
            for name, wealth in self.wealth.items():
                chart["log_wealth"][name].append(round(math.log(wealth), 4))
        if len(chart["rows"]) > _CHART_POINTS:
            chart["stride"] *= 2
            chart["rows"] = chart["rows"][1::2]
            chart["log_wealth"] = {name: points[1::2] for name, points in chart["log_wealth"].items()}

    def settings(self) -> dict[str, Any]:
        """What one watch differs from another in: a state goes on only with the same."""
        promise = {"accuracy": self.promise.accuracy, "thresholds": dict(self.promise.thresholds)} if self.promise else None
        return {"alpha": self.alpha, "seed": self.seed, "tests": list(self.tests), "promise": promise, "reference": self.reference.mark}

    def to_dict(self) -> dict[str, Any]:
        """The watch as JSON: `from_dict` goes on as if there had been no interruption, to the last bit."""
        names = ("rows", "labels", "right", "accepted", "waiting", "early", "chart")
        reference = dict(vars(self.reference)) | {"usual": vars(self.reference.usual) if self.reference.usual else None}
        return {
            "format": FORMAT,
            "settings": self.settings(),
            "reference": reference,
            "tests": {name: test.to_dict() for name, test in self.tests.items()},
            "kept": self.kept.to_dict(),
            "alarm": vars(self.alarm) if self.alarm else None,
            **{name: getattr(self, name) for name in names},
        }

    @classmethod
    def from_dict(cls, kept: Mapping[str, Any], name: str = "state") -> Self:
        """The inverse of `to_dict`. Raises UserError, calling it `name`, for what is no state of a watch."""
        try:
            if kept["format"] != FORMAT:
                raise ValueError(f"its format is {kept['format']}, not {FORMAT}")
            settings, known = kept["settings"], dict(kept["reference"])
            usual = Usual(*(tuple(known["usual"][part]) for part in ("mean", "spread", "edges"))) if known["usual"] else None
            counts = {test: tuple(cells) for test, cells in known["counts"].items()}
            labels = {task: tuple(each) for task, each in known["labels"].items()}
            alarm = Alarm(**kept["alarm"] | {"tests": tuple(kept["alarm"]["tests"])}) if kept["alarm"] else None
            names = ("rows", "labels", "right", "accepted", "waiting", "early", "chart")
            return cls(
                reference=Reference(**known | {"usual": usual, "counts": counts, "labels": labels}),
                promise=Promise(**settings["promise"]) if settings["promise"] else None,
                alpha=settings["alpha"],
                seed=settings["seed"],
                tests={test: ConformalTest.from_dict(each) for test, each in kept["tests"].items()},
                kept=Capital.from_dict(kept["kept"]),
                alarm=alarm,
                **{each: kept[each] for each in names},
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise UserError(f"{name}: not the state of a watch ({error}); name another file as --state, or remove this one.") from error
