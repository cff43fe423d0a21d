"""A ledger's numbers: counted by hand, and shown whole."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from PIL import Image

from emocaliber.core.samples import Sample
from emocaliber.veccot.ledger import Ledger
from emocaliber.veccot.stats import Share, ledger_stats, stats_figure, stats_tables
from small_ledger import ledger_of, record, sample


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    """Of EmoSet-8: two accepted (at once; at the third try), one rejected, one failed. Of FI-2: one rejected, then failed; one untried."""
    emotions = [sample(tmp_path, number, label="awe" if number < 2 else "fear") for number in range(4)]
    signs = [sample(tmp_path, number, "FI-2", "positive") for number in range(2)]
    verdicts = [("accepted",), ("rejected", "failed", "accepted"), ("rejected",), ("failed",), ("rejected", "failed"), ()]
    return ledger_of(tmp_path / "ledger.sqlite", list(zip([*emotions, *signs], verdicts, strict=True)))


def test_a_sample_counts_as_the_best_of_its_attempts(ledger: Path) -> None:
    found = ledger_stats(ledger)
    assert {state: found["samples"][state] for state in ("n", "accepted", "rejected", "failed", "untried")} == {
        "n": 6,
        "accepted": 2,
        "rejected": 2,
        "failed": 1,
        "untried": 1,
    }
    assert list(found["tasks"]) == ["EmoSet-8", "FI-2"]
    assert found["tasks"]["EmoSet-8"]["labels"]["awe"]["accepted"] == 2
    assert found["tasks"]["FI-2"]["accepted_share"] == 0


def test_shares_are_of_the_samples_tried_and_have_intervals(ledger: Path) -> None:
    found = ledger_stats(ledger)["samples"]
    assert found["accepted_share"] == 2 / 5
    low, high = found["accepted_share_ci"]
    assert 0 < low < 0.4 < high < 1


def test_attempts_reasons_tokens_and_cost_are_sums_over_all_attempts(ledger: Path) -> None:
    found = ledger_stats(ledger)
    assert found["attempts"] == {"n": 8, "accepted": 2, "rejected": 3, "failed": 3}
    assert found["attempts_needed"] == {"1": 1, "3": 1}
    assert found["reasons"]["length"]["count"] == found["reasons"]["length"]["total"] == 3
    assert found["used"] == {"prompt_tokens": 7200, "completion_tokens": 800, "cost": 2.0, "seconds": 16}
    assert found["per_accepted"]["cost"] == 1.0


def test_words_are_those_of_the_response_that_will_be_exported(tmp_path: Path) -> None:
    each = sample(tmp_path, 0)
    path = ledger_of(tmp_path / "ledger.sqlite", [(each, ("accepted",))])
    assert ledger_stats(path)["words"]["element"]["mean"] == 5  # A red kite number 1.
    with Ledger(path) as book:
        text = next(book.attempts()).response
        assert text
        record(book, each, ["accepted"], recipe=book.add_recipe({}), response=text.replace("A red kite", "A kite"))
    assert ledger_stats(path)["words"]["element"] == {"mean": 4, "low": 4, "median": 4, "high": 4}


def test_recipes_stand_beside_each_other(ledger: Path, tmp_path: Path) -> None:
    with Ledger(ledger) as book:
        fresh = book.add_recipe({"prompt": "better"})
        record(book, Sample.from_row(next(book.samples()), "here"), ["accepted"], recipe=fresh, teacher="other")
    found = ledger_stats(ledger)["recipes"]
    assert [each["accepted"] for each in found.values()] == [2, 1]
    assert found[fresh]["teacher"] == "other"


def test_the_numbers_are_json_and_the_figure_has_the_same_bytes_again(ledger: Path) -> None:
    found = ledger_stats(ledger)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert stats_figure(found) == stats_figure(found)
    assert stats_figure(found).startswith(b"\x89PNG")


def test_a_ledger_of_untried_samples_has_no_shares_and_still_a_table_and_a_figure(tmp_path: Path) -> None:
    found = ledger_stats(ledger_of(tmp_path / "ledger.sqlite", [(sample(tmp_path, 0), ())]))
    assert found["samples"]["accepted_share"] is None and found["per_accepted"] is None and found["words"] == {}
    assert any("untried" in table.as_text() for table in stats_tables(found))
    assert stats_figure(found).startswith(b"\x89PNG")
    assert all(table.rows for table in stats_tables(found))


def test_a_figure_has_panels_only_for_what_happened(tmp_path: Path, ledger: Path) -> None:
    smooth = ledger_stats(ledger_of(tmp_path / "smooth.sqlite", [(sample(tmp_path, 0, label="awe"), ("accepted",))]))
    heights = [Image.open(io.BytesIO(stats_figure(found))).height for found in (smooth, ledger_stats(ledger))]
    assert not smooth["reasons"] and heights[0] < 0.7 * heights[1], "three panels in one row, four in two"


def test_the_interval_is_exact_at_the_ends() -> None:
    from scipy.stats import binomtest

    for count, total in ((0, 5), (5, 5), (3, 10), (9990, 10000)):
        exact = binomtest(count, total).proportion_ci(method="exact")
        assert Share(count, total).interval == pytest.approx((exact.low, exact.high))
