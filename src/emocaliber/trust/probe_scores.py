"""What the answers to a probe say: the share of pictures that react as they must, how far the confidence moves, and the verdict."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from emocaliber.core.calibrators import CALIBRATED
from emocaliber.core.sources import norm
from emocaliber.evaluation.bootstrap import Resampling, ResamplingUnits
from emocaliber.evaluation.intervals import IntervalEstimate, bootstrap_estimate, proportion
from emocaliber.evaluation.metrics import Floats
from emocaliber.io.rows import Row
from emocaliber.render.table import Table, interval, percent
from emocaliber.trust.probes import WORDS, Must, Probe

REPLICATES = 1000
SMALL = 0.005  # a mean change that is none in whole percent
FALLS, STAYS, MOVES = 0.5, 0.9, 0.1  # the marks; docs/calibrate-probe.md has their reasons

Verdict = Literal["passes", "fails", "open", "not asked"]

# The mark of each number, by what the probe demands: the value, whether to lie above it, and why.
REASONS: Mapping[str, str] = {
    "falls": "a confidence that moves without regard to the picture falls on half of the pictures at most",
    "mean_fall": "the pictures on which it rises must not outweigh those on which it falls",
    "same_answer": "one changed answer in ten is the most that a user who asks twice will forgive",
    "mean_change": "that is the width of a bin of the reliability diagram, so most answers stay in theirs",
    "mean_fall_at_most": "that is the width of a bin of the reliability diagram",
}


@dataclass(frozen=True)
class Measured:
    """A number with its 95 % interval (or the reason `why` there is none), and the mark that it must lie `above`, or else below."""

    value: float
    interval: tuple[float, float] | None
    why: str | None
    mark: float
    above: bool

    @property
    def verdict(self) -> Verdict:
        """ "passes" with the whole interval on the right side of the mark, "fails" on the wrong side, else "open"."""
        if self.interval is None:
            return "open"
        low, high = self.interval
        right, wrong = (low > self.mark, high < self.mark) if self.above else (high < self.mark, low > self.mark)
        return "passes" if right else "fails" if wrong else "open"


@dataclass(frozen=True)
class ProbeResult:
    """A probe's `numbers` over `n` pictures, by name; `before` and `after` are mean confidences by `source`.

    `by_label`: they are probabilities of the first answer. `right`: the accuracies before and after; None where true labels are not known,
    and for another sample's picture.

    `why` says in words why nothing was measured. `left_out` counts pictures that are not among the n, by reason. `note` is a remark.
    """

    probe: Probe
    n: int = 0
    numbers: Mapping[str, Measured] = field(default_factory=dict)
    before: float | None = None
    after: float | None = None
    source: str | None = None
    by_label: bool = False
    right: tuple[float, float] | None = None
    why: str | None = None
    left_out: Mapping[str, int] = field(default_factory=dict)
    note: str | None = None

    @property
    def verdict(self) -> Verdict:
        """That of its numbers: the worst, where "fails" is worse than "open"."""
        verdicts = {number.verdict for number in self.numbers.values()}
        return next((each for each in ("fails", "open", "passes") if each in verdicts), "not asked")

    def as_dict(self) -> dict[str, Any]:
        """The result for JSON: beside each number `X` its interval `X_ci`, mark `X_mark` and verdict `X_verdict`."""
        numbers: dict[str, Any] = {}
        for name, number in self.numbers.items():
            side = "above" if number.above else "below"
            numbers |= {name: number.value, f"{name}_ci": number.interval and list(number.interval)}
            numbers |= {f"{name}_mark": f"{side} {number.mark:g}: {self.reason(name)}", f"{name}_verdict": number.verdict}
            numbers |= {f"{name}_ci_missing": number.why} if number.why else {}
        return {
            "asks": self.probe.asks,
            "must": WORDS[self.probe.must],
            "verdict": self.verdict,
            "n": self.n,
            **numbers,
            "mean_confidence_before": self.before,
            "mean_confidence_after": self.after,
            "accuracy_before": self.right and self.right[0],
            "accuracy_after": self.right and self.right[1],
            "source": self.source,
            "why_not": self.why,
            "left_out": dict(self.left_out),
            "note": self.note,
        }

    def reason(self, name: str) -> str:
        """Why the mark of a number is where it is."""
        return REASONS["mean_fall_at_most" if name == "mean_fall" and self.probe.must == "not fall" else name]


Pair = tuple[Row, Row]  # the row of a picture's own question, and that of the changed one


@dataclass(frozen=True)
class Compared:
    """A pair of answers about `image`: whether the answer is the `same`, and the confidences `before` and `after`.

    `after` is None where only this is known: the answer is another one, so the confidence in the first is less. `right`: whether each
    answer is right; None where that is not known.
    """

    image: str
    same: bool
    before: float
    after: float | None
    right: tuple[bool, bool] | None = None

    def reacts(self, must: Must) -> bool:
        """Whether the confidence falls, or the answer stays, as the probe demands; how far the confidence moves is not judged here."""
        return self.same if must in ("stay", "not fall") else self.after is None or self.after < self.before


def compare(probe: Probe, pair: Pair, source: str, *, by_label: bool = False) -> Compared | str:
    """The pair compared by a source, or why it cannot be, in words.

    `by_label`: by the probability of the first answer, where a response first names an emotion.
    """
    first, changed = pair
    if changed["error"] is not None:
        return "the model or the picture failed"
    if changed["answer"] is None:
        return "the answer cannot be read"
    same = first["answer"] == changed["answer"]
    if by_label:
        if not (first["alternatives"] and changed["alternatives"]):
            return "there are no probabilities"
        its = first["answer"]
        return Compared(first["image"], same, first["alternatives"][its], changed["alternatives"].get(its, 0.0))
    before, after = (row["confidence"].get(source) for row in pair)
    if before is None or after is None:
        return "there is no confidence"
    if probe.must == "follow":
        return Compared(first["image"], same, before, after if same else None)
    known = first["correct"] is not None and changed["correct"] is not None
    return Compared(first["image"], same, before, after, (first["correct"], changed["correct"]) if known else None)


def score_probe(
    probe: Probe, pairs: Sequence[Pair], left_out: Mapping[str, int], source: str, *, instead: str, seed: int = 0
) -> ProbeResult:
    """The result of a probe from its pairs of rows; `left_out` counts pictures for which it could not be asked, by reason.

    Confidences are read by `source`. Where `source` is `calibrated`, and no changed question has a calibrator, both are read by
    `instead`. Pairs that cannot be compared are counted in the result's `left_out`.
    """
    out: Counter[str] = Counter(left_out)
    by_label = probe.must == "follow" and any(first["alternatives"] and changed["alternatives"] for first, changed in pairs)
    used = source
    if source == CALIBRATED and not any(changed["confidence"].get(source) is not None for _, changed in pairs):
        used = instead
    used = norm.__name__ if by_label else used
    kept: list[Compared] = []
    for pair in pairs:
        compared = compare(probe, pair, used, by_label=by_label)
        if isinstance(compared, str):
            out[compared] += 1
        else:
            kept.append(compared)
    if not kept:
        why = out.most_common(1)[0][0] if out else "there is no picture"
        return ProbeResult(probe, why=why, left_out=dict(out))
    numbers = _numbers(probe, kept, seed)
    known = [each.after for each in kept if each.after is not None]
    right = np.array([each.right for each in kept if each.right is not None], dtype=float)
    return ProbeResult(
        probe,
        n=len(kept),
        numbers=numbers,
        before=float(np.mean([each.before for each in kept])),
        after=float(np.mean(known)) if len(known) == len(kept) else None,
        source=used,
        by_label=by_label,
        right=(float(right[:, 0].mean()), float(right[:, 1].mean())) if len(right) == len(kept) else None,
        left_out=dict(out),
        note=_note(source, used, by_label, complete=len(known) == len(kept)),
    )


def _numbers(probe: Probe, kept: Sequence[Compared], seed: int) -> dict[str, Measured]:
    images = [each.image for each in kept]
    weights, distinct = _weights(images, seed), len(set(images))
    reacts = np.array([each.reacts(probe.must) for each in kept])
    falls = np.array([each.before - each.after for each in kept if each.after is not None])
    if probe.must in ("fall", "follow"):
        numbers = {"falls": _share(reacts, weights, distinct, FALLS)}
        if falls.size == len(kept):
            numbers["mean_fall"] = _mean(falls, weights, distinct, 0.0, above=True)
        return numbers
    numbers = {"same_answer": _share(reacts, weights, distinct, STAYS)}
    if probe.must == "stay":
        return numbers | {"mean_change": _mean(np.abs(falls), weights, distinct, MOVES, above=False, least=0.0)}
    return numbers | {"mean_fall": _mean(falls, weights, distinct, MOVES, above=False)}


def _note(source: str, used: str, by_label: bool, *, complete: bool) -> str | None:
    if by_label:
        return "read as the probability of the first answer where a response first names an emotion, as no other source gives one for it"
    if used != source:
        return f"both read by {used}, as {source} holds for whole lists of candidates only"
    if not complete:
        return "another answer counts as a fall; how far is not known, as the model gives no probabilities of other labels"
    return None


def _weights(images: Sequence[str], seed: int) -> Floats:
    """(R, n): how often each pair counts in each replicate, when images are drawn with replacement."""
    places = np.arange(len(images))
    return Resampling(ResamplingUnits(images, ["probe"] * len(images)), REPLICATES, seed).counts(places, places, len(images))


def _replicates(values: Floats, weights: Floats) -> Floats:
    means: Floats = weights @ values / weights.sum(axis=1)
    return means


def _share(holds: np.ndarray[Any, Any], weights: Floats, images: int, mark: float) -> Measured:
    values = holds.astype(float)
    few = bootstrap_estimate(float(values.mean()), _replicates(values, weights), images)  # says whether the images are too few
    estimate = few if few.interval is None else proportion(few.value, few.replicates, values.size, images)
    return _measured(estimate, mark, above=True)


def _mean(values: Floats, weights: Floats, images: int, mark: float, *, above: bool, least: float = -1.0) -> Measured:
    ends = (least, 1.0)
    estimate = bootstrap_estimate(float(values.mean()), _replicates(values, weights), images, unseen=ends, within=ends)
    return _measured(estimate, mark, above=above)


def _measured(estimate: IntervalEstimate, mark: float, *, above: bool) -> Measured:
    return Measured(estimate.value, estimate.interval, estimate.why, mark, above)


# For people.


def sentence_of(result: ProbeResult) -> str:
    """What came out, as a sentence, with changes of the confidence in percentage points."""
    if result.why is not None:
        return f"Not asked: {result.why}."
    share, *moved = result.numbers.values()
    on = f"on {share.value:.0%} of {result.n:,} pictures"
    change = moved[0].value if moved else 0.0
    by = f"by {100 * abs(change):.1f} points"
    way = f"rises {by}" if change < 0 else f"falls {by}"
    if abs(change) < SMALL or result.probe.must == "stay":
        way = f"moves {by}"
    if result.probe.must in ("fall", "follow"):
        what = "The confidence in the first answer" if result.probe.must == "follow" else "The confidence"
        return f"{what} falls {on}" + (f"; on average it {way}." if moved else ".")
    return f"The answer stays {on}; the confidence {way} on average."


def table_of(results: Iterable[ProbeResult]) -> Table:
    """The results as a table: shares and confidences in percent, each with its interval."""
    rows, remarks = [], []
    for result in results:
        share, *moved = result.numbers.values() if result.numbers else (None,)
        rows.append(
            [
                result.probe.name,
                WORDS[result.probe.must],
                result.verdict,
                f"{result.n:,}",
                f"{percent(share.value)} {interval(share.interval)}" if share else percent(None),
                f"{percent(moved[0].value)} {interval(moved[0].interval)}" if moved else percent(None),
                _from_to(result.before, result.after),
                _from_to(*(result.right or (None, None))),
            ]
        )
        left = ", ".join(f"{count:,} left out as {reason}" for reason, count in result.left_out.items()) if result.numbers else ""
        remarks += [f"{result.probe.name}: {words}" for words in (result.why, result.note, left) if words]
    shares = (
        "holds: share of pictures on which the confidence falls, or the answer stays; moves: mean fall, or mean absolute change, of the "
        "confidence; right: accuracy"
    )
    header = ["probe", "must", "verdict", "pictures", "holds", "moves", "confidence", "right"]
    return Table(header, rows, note="\n".join([shares, *remarks]), words=3, fit=((1, 12), (7, 0), (6, 0), (1, 0)))


def _from_to(before: float | None, after: float | None) -> str:
    return percent(None) if before is None else f"{percent(before)} → {percent(after)}"


def all_probes_note(results: Sequence[ProbeResult]) -> str:
    """How many probes pass, fail, are open and were not asked, in words."""
    counts = Counter(result.verdict for result in results)
    order: tuple[Verdict, ...] = ("passes", "fails", "open", "not asked")
    words = {"passes": "passed", "fails": "failed", "open": "open", "not asked": "not asked"}
    return ", ".join(f"{counts[each]} {words[each]}" for each in order if counts[each]) + f" of {len(results)}"
