"""The audit: a page on which people judge reasonings that the factory has judged, without being told how."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from hashlib import blake2b
from heapq import nsmallest
from pathlib import Path
from typing import Any

from emocaliber.errors import UserError
from emocaliber.html_page import render_page, thumbnails
from emocaliber.response import STEPS, Response, parse
from emocaliber.rows import display_name, write_atomically
from emocaliber.vecbench import Sample
from emocaliber.veccot.ledger import Attempt, Ledger

_SIDE = 640  # pixels of the pictures, in which a face can be read; 100 of them make a page of some 8 MB


def audit_page(ledger: Path, out: Path, n: int = 100, seed: int = 0) -> int:
    """Writes a page with `n` of the ledger's reasonings to the file `out`; returns how many they are, as there may be fewer.

    Half are drawn at random from the attempts that were accepted and half from those rejected, or more of one where the other has too few,
    and shown in random order. The page holds everything itself, and gives people's judgements as a file for `agreement`.
    Raises UserError where the ledger has no reasonings, or the page cannot be written.
    """
    with Ledger(ledger) as book:
        chosen = _drawn(book, n, seed)
        wanted = {attempt.sample for attempt in chosen}
        rows = {row["id"]: row for row in book.samples() if row["id"] in wanted}
    if not chosen:
        raise UserError(f"{display_name(ledger)} holds no reasonings to judge; `emocaliber cot build` makes them")
    samples = [Sample.from_row(rows[attempt.sample], f"{display_name(ledger)}, sample {attempt.sample!r}") for attempt in chosen]
    page = render_page("veccot/audit_page", items=list(_items(chosen, samples)), seed=seed, ledger=ledger.name)
    write_atomically(out, page)
    return len(chosen)


def attempt_key(attempt: Attempt) -> str:
    """What an attempt is called on the page and in its judgements."""
    name = repr((attempt.sample, attempt.recipe, attempt.number))
    return blake2b(name.encode("utf-8", "backslashreplace"), digest_size=12).hexdigest()


def judged(attempts: Iterable[Attempt]) -> Iterator[Attempt]:
    """Those that can be audited: attempts with a text that the factory accepted or rejected."""
    return (attempt for attempt in attempts if attempt.response is not None and attempt.verdict != "failed")


def _drawn(book: Ledger, n: int, seed: int) -> list[Attempt]:
    """A sample stratified by verdict, in random order."""
    accepted, rejected = (
        nsmallest(n, (each for each in judged(book.attempts()) if each.verdict == verdict), key=lambda each: _rank(seed, "draw", each))
        for verdict in ("accepted", "rejected")
    )
    few = max(min(len(rejected), n // 2), n - len(accepted))
    # Another hash for the order: the smallest of many ranks are smaller than those of few, so the first would tell which is which.
    return sorted([*accepted[: n - few], *rejected[:few]], key=lambda each: _rank(seed, "order", each))


def _rank(seed: int, purpose: str, attempt: Attempt) -> bytes:
    return blake2b(f"{seed}/{purpose}/{attempt_key(attempt)}".encode(), digest_size=16).digest()


def _items(attempts: Iterable[Attempt], samples: Iterable[Sample]) -> Iterator[dict[str, Any]]:
    """What the page shows of each attempt."""
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
