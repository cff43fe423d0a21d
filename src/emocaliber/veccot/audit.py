"""The audit by people: a page on which they judge the factory's texts blindly, and the agreement of their verdicts with the factory's."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from heapq import nsmallest
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emocaliber.core.response import STEPS, Response, parse
from emocaliber.core.samples import Sample
from emocaliber.errors import UserError
from emocaliber.io.rows import display_name, opened, write_atomically
from emocaliber.render.html import render_page, thumbnails
from emocaliber.render.table import NONE, Table, with_interval
from emocaliber.veccot.ledger import Attempt, Ledger
from emocaliber.veccot.stats import Share, most_frequent

_SIDE = 640  # pixels of the pictures, in which a face can be read; 100 of them make a page of some 8 MB


def audit_page(ledger: Path, out: Path, n: int = 100, seed: int = 0) -> int:
    """Writes a page with `n` of the ledger's reasonings to the file `out`; returns how many they are, as there may be fewer.

    Half are drawn at random from the accepted attempts and half from the rejected ones, more of one if there are too few of the other, and
    shown in random order. The page is self-contained, and saves people's judgements as a file for `audit_agreement`.
    Raises UserError if the ledger has no reasonings, or the page cannot be written.
    """
    with Ledger(ledger) as book:
        chosen = _stratified_sample(book, n, seed)
        wanted = {attempt.sample for attempt in chosen}
        rows = {row["id"]: row for row in book.samples() if row["id"] in wanted}
    if not chosen:
        raise UserError(f"{display_name(ledger)} holds no reasonings to judge; `emocaliber cot build` makes them")
    samples = [Sample.from_row(rows[attempt.sample], f"{display_name(ledger)}, sample {attempt.sample!r}") for attempt in chosen]
    page = render_page("veccot/audit_page", items=list(_items(chosen, samples)), seed=seed, ledger=ledger.name)
    write_atomically(out, page)
    return len(chosen)


def attempt_key(attempt: Attempt) -> str:
    """The key of an attempt on the page and in the file of judgements."""
    name = repr((attempt.sample, attempt.recipe, attempt.number))
    return blake2b(name.encode("utf-8", "backslashreplace"), digest_size=12).hexdigest()


def auditable(attempts: Iterable[Attempt]) -> Iterator[Attempt]:
    """The attempts with a text that the factory accepted or rejected."""
    return (attempt for attempt in attempts if attempt.response is not None and attempt.verdict != "failed")


def _stratified_sample(book: Ledger, n: int, seed: int) -> list[Attempt]:
    """A sample stratified by verdict, in random order."""
    accepted, rejected = (
        nsmallest(n, (each for each in auditable(book.attempts()) if each.verdict == verdict), key=lambda each: _rank(seed, "draw", each))
        for verdict in ("accepted", "rejected")
    )
    few = max(min(len(rejected), n // 2), n - len(accepted))
    # The order has a hash of its own: the smallest of many ranks are smaller than those of few, and would reveal the verdicts.
    return sorted([*accepted[: n - few], *rejected[:few]], key=lambda each: _rank(seed, "order", each))


def _rank(seed: int, purpose: str, attempt: Attempt) -> bytes:
    return blake2b(f"{seed}/{purpose}/{attempt_key(attempt)}".encode(), digest_size=16).digest()


def _items(attempts: Iterable[Attempt], samples: Iterable[Sample]) -> Iterator[dict[str, Any]]:
    """The template's fields of each attempt."""
    samples = list(samples)
    pictures = thumbnails((sample.image for sample in samples), _SIDE)
    for attempt, sample, thumbnail in zip(attempts, samples, pictures, strict=True):
        parsed = parse(attempt.response or "", sample.candidates)
        read = parsed if isinstance(parsed, Response) else None
        yield {
            "key": attempt_key(attempt),
            "sample": sample.id,
            "task": sample.task,
            "image": Path(sample.image).name,
            "label": sample.ground_truth,
            "answer": read.answer if read else sample.ground_truth,
            "steps": [(step, getattr(read.reasoning, step)) for step in STEPS] if read else [],
            "response": attempt.response,
            "thumbnail": thumbnail,
            "verdict": attempt.verdict,
            "reasons": attempt.reasons,
        }


# The agreement of the factory's verdicts with people's.

_REPLICATES = 10_000
_VERDICTS = ("accepted", "rejected")
_WORDS = {"accept": "accepted", "reject": "rejected"}


@dataclass(frozen=True)
class Agreement:
    """`confusion[factory's verdict][people's verdict]` and statistics of it; `population` is the ledger's number of attempts by verdict.

    `kappa` is Cohen's (1960) on the judged attempts, which are stratified by verdict; `kappa_population` weights them by `population`. Both
    have 95 % bootstrap intervals, and are None if both sides gave one and the same verdict only. `by_reason` is, for each reason of
    rejection, the share of judged attempts that people rejected too.
    """

    confusion: Mapping[str, Mapping[str, int]]
    population: Mapping[str, int]
    kappa: float | None
    kappa_ci: tuple[float, float] | None
    kappa_population: float | None
    kappa_population_ci: tuple[float, float] | None
    by_reason: Mapping[str, Share]

    @property
    def kept_rightly(self) -> Share:
        """The share of the factory's accepted texts that people accept."""
        return Share(self.confusion["accepted"]["accepted"], sum(self.confusion["accepted"].values()))

    @property
    def rejected_rightly(self) -> Share:
        """The share of the factory's rejected texts that people reject."""
        return Share(self.confusion["rejected"]["rejected"], sum(self.confusion["rejected"].values()))

    @property
    def agreed(self) -> Share:
        """The share of judged texts on which factory and people agree."""
        kept, rejected = self.kept_rightly, self.rejected_rightly
        return Share(kept.count + rejected.count, kept.total + rejected.total)

    def as_dict(self) -> dict[str, Any]:
        """For a JSON file."""
        return {
            "confusion": {verdict: dict(row) for verdict, row in self.confusion.items()},
            "population": dict(self.population),
            "kappa": self.kappa,
            "kappa_ci": self.kappa_ci,
            "kappa_population": self.kappa_population,
            "kappa_population_ci": self.kappa_population_ci,
            "agreed": self.agreed.as_dict(),
            "kept_rightly": self.kept_rightly.as_dict(),
            "rejected_rightly": self.rejected_rightly.as_dict(),
            "by_reason": {check: share.as_dict() for check, share in self.by_reason.items()},
        }

    def tables(self) -> list[Table]:
        """The confusion, kappa and the shares, and the reasons."""
        rows = [(verdict, *(f"{self.confusion[verdict][other]:,}" for other in _VERDICTS)) for verdict in _VERDICTS]
        kappas = (
            ("kappa, of those judged", _kappa_text(self.kappa, self.kappa_ci)),
            ("kappa, by the ledger's numbers", _kappa_text(self.kappa_population, self.kappa_population_ci)),
        )
        shares = (
            ("agreement, %", self.agreed),
            ("of what it accepted, people accept, %", self.kept_rightly),
            ("of what it rejected, people reject, %", self.rejected_rightly),
        )
        reasons = [(check, f"{share.total:,}", _share_text(share)) for check, share in self.by_reason.items()]
        return [
            Table(("the factory", "people accept", "people reject"), rows, title="Verdicts"),
            Table(("agreement", "value"), [*kappas, *((name, _share_text(share)) for name, share in shares)], title="Agreement"),
            *([Table(("reason", "judged", "people reject too, %"), reasons, title="Reasons of rejection")] if reasons else []),
        ]


def audit_agreement(ledger: Path, judgements: Path) -> Agreement:
    """The agreement of the ledger's verdicts with those in a file that the audit page saved.

    Raises UserError, naming file, place and field, if it is no such file, is of another ledger, or judges an attempt twice.
    """
    with Ledger(ledger) as book:
        attempts = {attempt_key(attempt): attempt for attempt in auditable(book.attempts())}
    verdicts = _read(judgements, attempts, display_name(ledger))
    population = Counter[str](attempt.verdict for attempt in attempts.values())
    counts = np.zeros((2, 2), dtype=np.int64)
    reasons: Counter[str] = Counter()
    shared: Counter[str] = Counter()
    for key, verdict in verdicts.items():
        counts[_VERDICTS.index(attempts[key].verdict), _VERDICTS.index(verdict)] += 1
        checks = {reason.check for reason in attempts[key].reasons}
        reasons.update(checks)
        shared.update(checks if verdict == "rejected" else ())
    weights = np.array([population[verdict] for verdict in _VERDICTS]) / np.maximum(counts.sum(axis=1), 1)
    replicates = _replicates(counts)
    kappa, weighted = (_defined(cohens_kappa(table)) for table in (counts, counts * weights[:, None]))
    return Agreement(
        confusion={verdict: dict(zip(_VERDICTS, row, strict=True)) for verdict, row in zip(_VERDICTS, counts.tolist(), strict=True)},
        population={verdict: population[verdict] for verdict in _VERDICTS},
        kappa=kappa,
        kappa_ci=None if kappa is None else _interval(cohens_kappa(replicates)),
        kappa_population=weighted,
        kappa_population_ci=None if weighted is None else _interval(cohens_kappa(replicates * weights[:, None])),
        by_reason={check: Share(shared[check], total) for check, total in most_frequent(reasons)},
    )


def cohens_kappa(table: NDArray[Any]) -> NDArray[np.float64]:
    """Cohen's kappa of tables (..., 2, 2), one rater's verdicts by the other's; NaN where both give all the same verdict."""
    total = table.sum(axis=(-2, -1))
    with np.errstate(invalid="ignore", divide="ignore"):
        observed = (table[..., 0, 0] + table[..., 1, 1]) / total
        expected = (table.sum(axis=-1) * table.sum(axis=-2)).sum(axis=-1) / np.square(total, dtype=np.float64)
        kappa: NDArray[np.float64] = np.asarray((observed - expected) / (1 - expected))
    return kappa


def _replicates(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Bootstrap replicates (B, 2, 2) of the table. Row sums are fixed by the stratified sample, so each row is binomial."""
    drawn = counts.sum(axis=1)
    kept = np.random.default_rng(0).binomial(drawn, counts[:, 0] / np.maximum(drawn, 1), size=(_REPLICATES, 2))
    return np.stack([kept, drawn - kept], axis=-1)


def _interval(values: NDArray[np.float64]) -> tuple[float, float]:
    low, high = np.nanquantile(values, (0.025, 0.975)).tolist()
    return low, high


def _defined(value: NDArray[np.float64]) -> float | None:
    return None if np.isnan(value) else float(value)


def _kappa_text(value: float | None, ends: tuple[float, float] | None) -> str:
    return NONE if value is None or ends is None else f"{value:.3f} [{ends[0]:.3f}, {ends[1]:.3f}]"


def _share_text(share: Share) -> str:
    return with_interval(share.value, share.interval)


def _read(path: Path, attempts: Mapping[str, Attempt], ledger: str) -> dict[str, str]:
    """The verdict on each attempt, by its key."""
    name = display_name(path)
    with opened(path) as file:
        try:
            found = json.load(file)
        except (ValueError, RecursionError) as error:
            raise UserError(f"{name}: not JSON ({error}); give the file that the audit page downloads") from error
    made = found.get("judgements") if isinstance(found, dict) else None
    if not isinstance(made, list) or not made:
        raise UserError(f"{name}: no list 'judgements' with anything in it; give the file that the audit page downloads")
    verdicts: dict[str, str] = {}
    for number, each in enumerate(made, 1):
        where = f"{name}, judgement {number}"
        key, verdict = (each.get("key"), each.get("verdict")) if isinstance(each, dict) else (None, None)
        if verdict not in _WORDS:
            raise UserError(f"{where}: verdict must be 'accept' or 'reject', not {verdict!r}")
        if not isinstance(key, str) or key not in attempts:
            raise UserError(f"{where}: {ledger} has no attempt {key!r}; the judgements must come from a page made of this ledger")
        if key in verdicts:
            raise UserError(f"{where}: {attempts[key].sample!r} is judged twice; keep one of the two")
        verdicts[key] = _WORDS[verdict]
    return verdicts
