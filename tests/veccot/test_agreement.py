"""Audits by people: what the page shows and hides, and the agreement computed from its judgements."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score

from emocaliber.core.samples import Sample
from emocaliber.errors import UserError
from emocaliber.veccot.audit import attempt_key, audit_agreement, audit_page, cohens_kappa
from emocaliber.veccot.ledger import Attempt, Ledger
from small_ledger import ledger_of, record, sample


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    """60 accepted, 20 rejected, 5 failed attempts."""
    verdicts = [("accepted",)] * 60 + [("rejected",)] * 20 + [("failed",)] * 5
    return ledger_of(tmp_path / "ledger.sqlite", [(sample(tmp_path, n), verdict) for n, verdict in enumerate(verdicts)])


def attempts_of(ledger: Path) -> dict[str, Attempt]:
    with Ledger(ledger) as book:
        return {attempt_key(attempt): attempt for attempt in book.attempts()}


def keys_on(page: Path) -> list[str]:
    return re.findall(r'data-key="([0-9a-f]+)"', page.read_text("utf-8"))


def judge(ledger: Path, keys: list[str], verdict: Callable[[Attempt, int], str], out: Path) -> Path:
    attempts = attempts_of(ledger)
    made = [{"key": key, "verdict": verdict(attempts[key], place), "note": ""} for place, key in enumerate(keys)]
    out.write_text(json.dumps({"judgements": made}), "utf-8")
    return out


def test_half_of_the_page_was_accepted_and_half_rejected_and_none_failed(ledger: Path, tmp_path: Path) -> None:
    assert audit_page(ledger, tmp_path / "audit.html", n=30) == 30
    attempts = attempts_of(ledger)
    assert Counter(attempts[key].verdict for key in keys_on(tmp_path / "audit.html")) == {"accepted": 15, "rejected": 15}


def test_where_one_verdict_is_rare_the_other_fills_up(ledger: Path, tmp_path: Path) -> None:
    assert audit_page(ledger, tmp_path / "audit.html", n=70) == 70
    attempts = attempts_of(ledger)
    assert Counter(attempts[key].verdict for key in keys_on(tmp_path / "audit.html")) == {"accepted": 50, "rejected": 20}
    assert audit_page(ledger, tmp_path / "all.html", n=1000) == 80


def test_the_seed_decides_which_are_shown_and_in_which_order(ledger: Path, tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        audit_page(ledger, tmp_path / name, n=20, seed=seed)
    assert keys_on(tmp_path / "a") == keys_on(tmp_path / "b")
    assert set(keys_on(tmp_path / "a")) != set(keys_on(tmp_path / "c"))


def test_the_order_does_not_tell_the_verdict(tmp_path: Path) -> None:
    verdicts = [("accepted",)] * 200 + [("rejected",)] * 50
    path = ledger_of(tmp_path / "ledger.sqlite", [(sample(tmp_path, n, image="one.png"), verdict) for n, verdict in enumerate(verdicts)])
    attempts = attempts_of(path)
    places = []
    for seed in range(20):
        audit_page(path, tmp_path / "audit.html", n=20, seed=seed)
        places += [place for place, key in enumerate(keys_on(tmp_path / "audit.html")) if attempts[key].verdict == "accepted"]
    assert np.mean(places) == pytest.approx(9.5, abs=1.5)


def test_the_page_holds_everything_and_whatever_a_model_wrote_stays_text(tmp_path: Path) -> None:
    each = sample(tmp_path, 0, image="<img src=x onerror=alert(1)>.png")
    path = ledger_of(tmp_path / "ledger.sqlite", [(each, ())])
    with Ledger(path) as book:
        text = "</dd><script>alert('x')</script>"
        record(book, each, ["rejected"], recipe=next(iter(book.recipes())), response=text, checks=["</div><b>"])
    audit_page(path, tmp_path / "audit.html")
    page = (tmp_path / "audit.html").read_text("utf-8")
    assert page.count("<script>") == 1 and "onerror=alert(1)>" not in page and "</div><b>" not in page
    assert "default-src 'none'" in page and "data:image/jpeg;base64," in page
    assert not re.search(r'<[^>]*\s(src|href)=(?!"data:)', page.split("<script>")[0])


def test_a_lost_image_leaves_the_reasoning_to_judge(ledger: Path, tmp_path: Path) -> None:
    with Ledger(ledger) as book:
        for row in book.samples():
            Path(row["image"]).unlink()
    audit_page(ledger, tmp_path / "audit.html", n=4)
    assert (tmp_path / "audit.html").read_text("utf-8").count("the image cannot be opened") == 4


def test_a_ledger_without_reasonings_cannot_be_audited(tmp_path: Path) -> None:
    path = ledger_of(tmp_path / "ledger.sqlite", [(sample(tmp_path, 0), ("failed",))])
    with pytest.raises(UserError, match="holds no reasonings to judge"):
        audit_page(path, tmp_path / "audit.html")


tables = st.lists(st.integers(0, 40), min_size=4, max_size=4).filter(any)


@given(tables)
def test_kappa_is_scikit_learns(counts: list[int]) -> None:
    table = np.array(counts).reshape(2, 2)
    factory, people = np.repeat([[0, 0], [0, 1], [1, 0], [1, 1]], counts, axis=0).T
    ours = cohens_kappa(table)
    if len({*factory, *people}) < 2:
        assert np.isnan(ours)
    else:
        assert ours == pytest.approx(cohen_kappa_score(factory, people), abs=1e-12)


def test_the_confusion_the_shares_and_kappas_are_those_of_the_judgements(ledger: Path, tmp_path: Path) -> None:
    audit_page(ledger, tmp_path / "audit.html", n=40)
    keys = keys_on(tmp_path / "audit.html")
    seen: Counter[str] = Counter()

    def verdict(attempt: Attempt, _: int) -> str:
        """People reject 4 of the 20 accepted and accept 2 of the 20 rejected."""
        seen[attempt.verdict] += 1
        agree = seen[attempt.verdict] > (4 if attempt.verdict == "accepted" else 2)
        return "accept" if agree == (attempt.verdict == "accepted") else "reject"

    found = audit_agreement(ledger, judge(ledger, keys, verdict, tmp_path / "judgements.json"))
    assert found.confusion == {"accepted": {"accepted": 16, "rejected": 4}, "rejected": {"accepted": 2, "rejected": 18}}
    assert (found.kept_rightly.value, found.rejected_rightly.value, found.agreed.value) == (0.8, 0.9, 0.85)
    assert found.kappa == pytest.approx(0.7)
    factory, people = np.repeat([[0, 0], [0, 1], [1, 0], [1, 1]], [16, 4, 2, 18], axis=0).T
    weighted = cohen_kappa_score(factory, people, sample_weight=np.where(factory == 0, 60 / 20, 20 / 20))
    assert found.kappa_population == pytest.approx(weighted)
    assert found.kappa_ci and found.kappa_ci[0] < 0.7 < found.kappa_ci[1]
    assert (found.by_reason["length"].count, found.by_reason["length"].total) == (18, 20)
    assert json.loads(json.dumps(found.as_dict(), allow_nan=False))["kappa"] == found.kappa
    assert any("people reject too" in table.as_text() for table in found.tables())


def test_the_interval_of_kappa_covers_the_truth_about_as_often_as_it_says(ledger: Path, tmp_path: Path) -> None:
    """People agree with 90 % of what was accepted and 80 % of what was rejected; as many of either, so kappa is 0.7."""
    audit_page(ledger, tmp_path / "audit.html", n=40)
    keys = keys_on(tmp_path / "audit.html")
    rng, hits = np.random.default_rng(0), 0

    def verdict(attempt: Attempt, _: int) -> str:
        agrees = rng.random() < (0.9 if attempt.verdict == "accepted" else 0.8)
        return "accept" if agrees == (attempt.verdict == "accepted") else "reject"

    for _ in range(50):
        low, high = audit_agreement(ledger, judge(ledger, keys, verdict, tmp_path / "judgements.json")).kappa_ci or (1.0, 0.0)
        hits += low <= 0.7 <= high
    assert 42 <= hits <= 50


def test_all_verdicts_alike_have_no_kappa(tmp_path: Path) -> None:
    path = ledger_of(tmp_path / "ledger.sqlite", [(sample(tmp_path, n), ("accepted",)) for n in range(3)])
    found = audit_agreement(path, judge(path, list(attempts_of(path)), lambda *_: "accept", tmp_path / "judgements.json"))
    assert found.kappa is None and found.kappa_ci is None and found.kappa_population is None
    assert found.agreed.value == 1 and found.rejected_rightly.value is None
    assert any("–" in table.as_text() for table in found.tables())  # noqa: RUF001


BAD: list[tuple[Any, str]] = [
    ([1, 2], "no list 'judgements'"),
    ({"judgements": []}, "no list 'judgements' with anything in it"),
    ({"judgements": [5]}, "judgement 1: verdict must be 'accept' or 'reject', not None"),
    ({"judgements": [{"key": "x", "verdict": "maybe"}]}, "judgement 1: verdict must be 'accept' or 'reject', not 'maybe'"),
    (
        {"judgements": [{"key": "x", "verdict": "accept"}]},
        "judgement 1: .*has no attempt 'x'; the judgements must come from a page made of",
    ),
    ({"judgements": [{"key": ["x"], "verdict": "accept"}]}, "judgement 1: .*has no attempt"),
]


@pytest.mark.parametrize(("content", "sentence"), BAD)
def test_a_bad_judgements_file_gets_a_sentence(ledger: Path, tmp_path: Path, content: Any, sentence: str) -> None:
    (tmp_path / "judgements.json").write_text(json.dumps(content), "utf-8")
    with pytest.raises(UserError, match=rf"judgements\.json.*{sentence}"):
        audit_agreement(ledger, tmp_path / "judgements.json")


def test_no_json_no_file_and_a_repeated_judgement_get_sentences(ledger: Path, tmp_path: Path) -> None:
    (tmp_path / "page.html").write_bytes(b"<html>\xff")
    with pytest.raises(UserError, match=r"page\.html: not JSON"):
        audit_agreement(ledger, tmp_path / "page.html")
    with pytest.raises(UserError, match=r"none\.json: cannot be read"):
        audit_agreement(ledger, tmp_path / "none.json")
    key = next(iter(attempts_of(ledger)))
    with pytest.raises(UserError, match="'EmoSet-8/0' is judged twice"):
        audit_agreement(ledger, judge(ledger, [key, key], lambda *_: "accept", tmp_path / "twice.json"))


def test_judgements_of_another_recipe_are_of_other_attempts(ledger: Path, tmp_path: Path) -> None:
    with Ledger(ledger) as book:
        row = next(book.samples())
        record(book, Sample.from_row(row, "here"), ["accepted"], recipe=book.add_recipe({"prompt": "new"}))
    assert len(attempts_of(ledger)) == 86
