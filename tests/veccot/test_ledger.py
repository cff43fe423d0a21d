"""The ledger keeps every attempt, counts every dollar once, and knows what is left to do."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from emocaliber.core.model import ModelError
from emocaliber.errors import UserError
from emocaliber.veccot.ledger import UNREADABLE, Attempt, AttemptCounts, Ledger, RejectionReason, ReplyCost, Totals

ROWS = [{"id": f"s{number}", "image": f"/images/{number}.png", "task": "EmoSet-8", "ground_truth": "awe"} for number in range(4)]


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    book = Ledger(tmp_path / "ledger.db", create=True)
    book.add_samples(ROWS)
    return book


def attempt(
    ledger: Ledger, sample: str, verdict: str = "accepted", code: str | None = None, recipe: str = "first", cost: float = 0.0
) -> Attempt:
    name = ledger.add_recipe({"name": recipe})
    made = Attempt(
        sample=sample,
        number=ledger.attempt_counts(sample, name).attempts + 1,
        recipe=name,
        teacher="seed",
        prompt_hash="p",
        response=None if code else "text",
        error=ModelError(code, "why") if code else None,
        judge="gpt",
        judgement=None if code else {"hallucination": {"rating": 5, "reason": "fine"}},
        verdict="failed" if code else verdict,  # type: ignore[arg-type]
        reasons=(RejectionReason("form", "no tags"), RejectionReason("length", "short")) if verdict == "rejected" and not code else (),
        cost=cost,
        at="2026-01-01T00:00:00+00:00",
    )
    return ledger.record(made)


def todo(ledger: Ledger, recipe: str = "first", max_attempts: int = 3) -> list[str]:
    return [row["id"] for row in ledger.todo(ledger.add_recipe({"name": recipe}), max_attempts)]


def test_an_attempt_is_read_back_as_it_was_recorded(ledger: Ledger) -> None:
    made = [attempt(ledger, "s0", "rejected"), attempt(ledger, "s1", code="timeout"), attempt(ledger, "s0")]
    assert list(ledger.attempts()) == made
    assert list(ledger.attempts("another")) == []
    with Ledger(ledger.path) as again:
        assert list(again.attempts(made[0].recipe)) == made
        assert list(again.samples()) == ROWS


def test_todo_leaves_out_what_is_accepted_given_up_or_cannot_succeed(ledger: Ledger) -> None:
    attempt(ledger, "s0")
    attempt(ledger, "s1", code="refused")
    attempt(ledger, "s2", "rejected")
    attempt(ledger, "s2", "rejected")
    assert todo(ledger) == ["s3", "s2"]
    assert todo(ledger, max_attempts=2) == ["s3"]


def test_todo_has_transient_failures_however_often(ledger: Ledger) -> None:
    for _ in range(5):
        attempt(ledger, "s0", code="timeout")
        attempt(ledger, "s1", code=UNREADABLE)
    assert todo(ledger) == ["s0", "s1", "s2", "s3"]
    name = ledger.add_recipe({"name": "first"})
    assert ledger.attempt_counts("s1", name) == AttemptCounts(attempts=5, rejected=0, unreadable=5)


def test_todo_puts_those_with_fewest_rejections_first(ledger: Ledger) -> None:
    attempt(ledger, "s0", "rejected")
    attempt(ledger, "s0", "rejected")
    attempt(ledger, "s1", "rejected")
    assert todo(ledger) == ["s2", "s3", "s1", "s0"]


def test_another_recipe_starts_afresh_beside_the_old_attempts(ledger: Ledger) -> None:
    attempt(ledger, "s0")
    attempt(ledger, "s1", code="refused")
    assert todo(ledger, "second") == ["s0", "s1", "s2", "s3"]
    attempt(ledger, "s0", recipe="second")
    assert len(list(ledger.attempts())) == 3
    assert list(ledger.recipes().values()) == [{"name": "first"}, {"name": "second"}]


def test_what_is_accepted_is_each_samples_newest_in_the_order_of_the_samples(ledger: Ledger) -> None:
    attempt(ledger, "s2")
    attempt(ledger, "s0")
    newest = attempt(ledger, "s2", recipe="second")
    attempt(ledger, "s2", "rejected", recipe="third")
    found = list(ledger.accepted())
    assert [row["id"] for row, _ in found] == ["s0", "s2"]
    assert found[1] == (ROWS[2], newest)


def test_a_reply_is_paid_for_once_however_many_attempts_use_it(ledger: Ledger) -> None:
    first = attempt(ledger, "s0", code="timeout")
    bill = ReplyCost("reply", 10, 5, 0.25)
    paid = ledger.record(replace(first, number=2), [bill, ReplyCost("other", 1, 1, 0.5)])
    again = ledger.record(replace(first, number=3), [bill])
    assert (paid.cost, paid.prompt_tokens, paid.completion_tokens) == (0.75, 11, 6)
    assert (again.cost, again.prompt_tokens) == (0.0, 0)
    assert ledger.totals().cost == 0.75


def test_the_totals_count_each_sample_once_and_each_reason(ledger: Ledger) -> None:
    attempt(ledger, "s0", "rejected", cost=0.5)
    attempt(ledger, "s0", cost=0.25)
    attempt(ledger, "s1", "rejected")
    attempt(ledger, "s1", code="timeout")
    attempt(ledger, "s2", code="timeout")
    assert ledger.totals() == Totals(4, 1, 1, 1, 5, 0, 0, 0.75, {"form": 2, "length": 2})


def test_an_attempt_cannot_be_recorded_twice(ledger: Ledger) -> None:
    made = attempt(ledger, "s0")
    with pytest.raises(sqlite3.IntegrityError):
        ledger.record(made, [ReplyCost("reply", 1, 1, 1.0)])
    assert ledger.totals().cost == 0, "nothing of the second is there, its bill neither"


def test_samples_may_move_but_not_change(ledger: Ledger) -> None:
    ledger.add_samples([ROWS[0] | {"image": "/elsewhere/0.png"}])
    assert next(ledger.samples())["image"] == "/elsewhere/0.png"
    with pytest.raises(UserError, match="holds another sample 's1'"):
        ledger.add_samples([{**ROWS[0], "id": "new"}, ROWS[1] | {"ground_truth": "fear"}])
    assert len(list(ledger.samples())) == 4, "all or none"


def test_recording_while_reading_changes_nothing_that_is_read(ledger: Ledger) -> None:
    seen = []
    for row in ledger.todo(ledger.add_recipe({"name": "first"}), 3):
        seen.append(row["id"])
        attempt(ledger, row["id"])
    assert seen == ["s0", "s1", "s2", "s3"]


def test_notes_are_kept(ledger: Ledger) -> None:
    assert ledger.noted("batch") is None
    ledger.note("batch", "one")
    ledger.note("batch", "two")
    assert ledger.noted("batch") == "two"


@pytest.mark.parametrize("content", [b"", b"not a database, but some text that is long enough", None])
def test_a_file_that_is_no_ledger_is_refused_in_a_sentence(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "other.db"
    if content is None:
        other = sqlite3.connect(path)
        other.execute("CREATE TABLE t (x)")
        other.close()
    elif content:
        path.write_bytes(content)
    with pytest.raises(UserError, match=r"other.db: (there is no such ledger|cannot be opened as a ledger)"):
        Ledger(path)


def test_what_was_recorded_survives_a_kill(tmp_path: Path) -> None:
    script = f"""
import os, sys
sys.path[:0] = {[str(Path(__file__).parent), *sys.path]!r}
from test_ledger import ROWS, attempt
from emocaliber.veccot.ledger import Ledger
book = Ledger({str(tmp_path / "killed.db")!r}, create=True)
book.add_samples(ROWS)
attempt(book, "s0", cost=0.5)
os.kill(os.getpid(), 9)
"""
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == -9
    with Ledger(tmp_path / "killed.db") as book:
        assert [json.loads(json.dumps(row)) for row, _ in book.accepted()] == [ROWS[0]]
        assert book.totals().cost == 0.5
