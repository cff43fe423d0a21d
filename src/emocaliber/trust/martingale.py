"""Sequential tests whose false-alarm rate holds over the whole stream, however often one looks: conformal martingales and betting.

Conformal test martingales: Vovk, Nouretdinov, Gammerman, "Testing exchangeability on-line" (ICML 2003); betting by an estimated density:
Fedorova et al. (ICML 2012); betting on a mean: Waudby-Smith and Ramdas (JRSS B, 2024). Ville's inequality: the capital of a player who
bets on a fair game ever reaches 1/alpha with probability at most alpha. Everything is an array with any leading axes, so that one stream
and a thousand simulated ones run through the same code.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

HALF_LIVES = (16, 64, 256)  # of the density estimates, in rows: short ones learn a change quickly, long ones see a small one
PRIOR = 6.0  # rows that the prior of a density estimate, the uniform density, counts for
EVEN = np.linspace(0, 1, 17)
TAILS = np.array([0, 0.002, 0.006, 0.02, 0.06, 0.2, 0.5, 0.8, 0.94, 0.98, 0.994, 0.998, 1.0])
PARTITIONS = (EVEN, TAILS)  # of [0, 1], on which densities are histograms: the second one sees what was rare become frequent
EXPERTS = len(PARTITIONS) * len(HALF_LIVES)
SHORTFALLS = (0.03, 0.06, 0.1, 0.15, 0.25)  # below the promised accuracy, on which `promise_returns` bets
_AT_START = 0.5  # the share of the capital that is at stake from the first row on
_MOST = 1e200  # capital is not counted beyond


def uniform(seed: str, name: str, row: int) -> float:
    """A number in [0, 1) that depends on its arguments alone, so that a restarted watch draws what it drew before."""
    digest = blake2b(f"{seed}/{name}/{row}".encode(), digest_size=8).digest()
    return (int.from_bytes(digest, "big") >> 11) / 2**53


def conformal_p(counts: NDArray[Any], cell: Ints, u: Floats) -> Floats:
    """The smoothed conformal p-value of a value in `cell` (shape ...) against those counted in `counts` (shape ..., cells).

    Cells are ordered: a low p-value is a high cell. With u uniform in [0, 1), and the value's cell counted afterwards, the p-values of
    successive exchangeable rows are independent and uniform, whatever their distribution, and for any size of the first counts.
    """
    upward = np.cumsum(counts[..., ::-1], axis=-1)[..., ::-1]
    at = cell[..., None]
    above_or_in = np.take_along_axis(upward, at, -1)[..., 0]
    within = np.take_along_axis(counts, at, -1)[..., 0]
    p: Floats = (above_or_in - within + u * (within + 1)) / (upward[..., 0] + 1)
    return p


@dataclass
class DensityBets:
    """Bets on p-values by histograms of the past ones, which forget: one expert for each partition and half-life.

    `counts` holds for each partition the decayed counts, shape (..., half-lives, bins); `n` the decayed number of p-values, by half-life.
    """

    counts: list[Floats]
    n: Floats

    @classmethod
    def start(cls, shape: Sequence[int] = ()) -> DensityBets:
        """Bets for p-values of this shape, of which none was seen."""
        return cls([np.zeros((*shape, len(HALF_LIVES), len(edges) - 1)) for edges in PARTITIONS], np.zeros(len(HALF_LIVES)))

    def returns(self, p: Floats) -> Floats:
        """What each expert's stake is multiplied by, shape (..., EXPERTS): its density at `p` (...). It integrates to 1 over [0, 1]."""
        found = []
        for edges, counts in zip(PARTITIONS, self.counts, strict=True):
            place = _bin_of(p, edges)
            width = np.diff(edges)[place][..., None]
            seen = np.take_along_axis(counts, place[..., None, None], -1)[..., 0]
            found.append((seen + PRIOR * width) / ((self.n + PRIOR) * width))
        return np.concatenate(found, axis=-1)

    def learn(self, p: Floats) -> None:
        """Counts p-values; called after `returns`, as a bet must not know its outcome."""
        decay = 0.5 ** (1 / np.array(HALF_LIVES))
        self.n = self.n * decay + 1
        for edges, counts in zip(PARTITIONS, self.counts, strict=True):
            counts *= decay[:, None]
            place = np.broadcast_to(_bin_of(p, edges)[..., None, None], (*counts.shape[:-1], 1))
            np.put_along_axis(counts, place, np.take_along_axis(counts, place, -1) + 1, -1)


def _bin_of(p: Floats, edges: Floats) -> Ints:
    return np.asarray(np.clip(np.searchsorted(edges, p, side="right") - 1, 0, len(edges) - 2), np.int64)


def promise_returns(right: Floats, accuracy: float) -> Floats:
    """What a bet on each shortfall is multiplied by when an answer is right (1) or wrong (0), shape (..., bets).

    Each is the likelihood ratio of a lower accuracy to `accuracy`; where the true accuracy is at least that, it expects at most 1.
    """
    lower = np.array([accuracy - gap if accuracy > 2 * gap else accuracy / 2 for gap in SHORTFALLS])
    ratios: Floats = np.where(np.asarray(right)[..., None] > 0, lower / accuracy, (1 - lower) / (1 - accuracy))
    return ratios


@dataclass
class Capital:
    """The capital of a player who shares it among experts, and starts anew with part of it at every row: a mixture over change points.

    Half is at stake from row 0 on; of the other half, row t gets the share h / ((t + h) (t + h + 1)), with h the `patience`. So a change
    after t rows costs about 2 log(t) in log capital, and none is too late. `stakes` has shape (..., experts). `excess` and `since` are
    CUSUM statistics of each expert, from which `change` reads the row at which a change began; they take no part in the test.
    """

    stakes: Floats
    excess: Floats
    since: Ints
    rows: int = 0
    patience: float = 100.0

    @classmethod
    def start(cls, experts: int, shape: Sequence[int] = (), patience: float = 100.0) -> Capital:
        """A capital of 1."""
        whole = (*shape, experts)
        return cls(np.full(whole, _AT_START / experts), np.zeros(whole), np.zeros(whole, np.int64), 0, patience)

    @property
    def wealth(self) -> Floats:
        """The capital, shape (...); it starts at 1, and expects at most that where nothing has changed."""
        total: Floats = self._in_hand(self.rows) + self.stakes.sum(axis=-1)
        return np.minimum(total, _MOST)

    @property
    def change(self) -> Ints:
        """The row, counted from 0, after which the most successful expert won: the estimated start of a change, shape (...)."""
        best = self.excess.argmax(axis=-1)
        return np.asarray(np.take_along_axis(self.since, best[..., None], -1)[..., 0], np.int64)

    def bet(self, returns: Floats) -> None:
        """One row: new money goes to all experts, then each stake is multiplied by its return."""
        fresh = (self._in_hand(self.rows) - self._in_hand(self.rows + 1)) / self.stakes.shape[-1]
        self.stakes = np.minimum((self.stakes + fresh) * returns, _MOST)
        self.excess = np.maximum(self.excess + np.log(np.maximum(returns, 1e-300)), 0.0)
        self.rows += 1
        self.since = np.where(self.excess > 0, self.since, self.rows)

    def _in_hand(self, row: int) -> float:
        return (1 - _AT_START) * self.patience / (row + self.patience)

    def to_dict(self) -> dict[str, Any]:
        """The capital as JSON, exactly."""
        arrays = {name: getattr(self, name).tolist() for name in ("stakes", "excess", "since")}
        return arrays | {"rows": self.rows, "patience": self.patience}

    @classmethod
    def from_dict(cls, kept: Mapping[str, Any]) -> Capital:
        """The inverse of `to_dict`."""
        since = np.array(kept["since"], np.int64)
        return cls(np.array(kept["stakes"]), np.array(kept["excess"]), since, int(kept["rows"]), float(kept["patience"]))


@dataclass
class ConformalTest:
    """A test of whether rows go on like the reference: values in ordered cells, of which `counts` (..., cells) counts all seen so far."""

    counts: Floats
    bets: DensityBets
    capital: Capital

    @classmethod
    def start(cls, reference: Sequence[float] | Floats, shape: Sequence[int] = ()) -> ConformalTest:
        """The test against a reference, given by its number of rows in each cell; `shape` is that of the streams."""
        counts = np.broadcast_to(np.asarray(reference, np.float64), (*shape, np.shape(reference)[-1])).copy()
        return cls(counts, DensityBets.start(shape), Capital.start(EXPERTS, shape))

    def see(self, cell: Ints, u: Floats) -> Floats:
        """Takes one row's cells (...), with numbers uniform in [0, 1); returns the capital (...)."""
        p = conformal_p(self.counts, cell, u)
        self.capital.bet(self.bets.returns(p))
        self.bets.learn(p)
        at = cell[..., None]
        np.put_along_axis(self.counts, at, np.take_along_axis(self.counts, at, -1) + 1, -1)
        return self.capital.wealth

    def rest(self) -> None:
        """Takes a row that says nothing: no bet is won or lost. Those that say something must be exchangeable among themselves."""
        self.capital.bet(np.ones_like(self.capital.stakes))

    def to_dict(self) -> dict[str, Any]:
        """The test as JSON, exactly."""
        bets = {"counts": [counts.tolist() for counts in self.bets.counts], "n": self.bets.n.tolist()}
        return {"counts": self.counts.tolist(), "bets": bets, "capital": self.capital.to_dict()}

    @classmethod
    def from_dict(cls, kept: Mapping[str, Any]) -> ConformalTest:
        """The inverse of `to_dict`."""
        bets = DensityBets([np.array(counts) for counts in kept["bets"]["counts"]], np.array(kept["bets"]["n"]))
        return cls(np.array(kept["counts"]), bets, Capital.from_dict(kept["capital"]))
