"""Scores of probes: shares, falls, intervals, verdicts, and what is left out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.stats import binomtest

from emocaliber.trust.probe_scores import Pair, ProbeResult, all_probes_note, score_probe, sentence_of, table_of
from emocaliber.trust.probes import PROBES


def row(image: str, answer: str | None = "awe", verb: float | None = 0.8, **further: Any) -> dict[str, Any]:
    return {"image": image, "answer": answer, "confidence": {"verb": verb}, "alternatives": {}, "correct": None, "error": None, **further}


def pairs(before: Any, after: Any, answers: Any = None) -> list[Pair]:
    answers = answers or ["awe"] * len(before)
    return [
        (row(str(n), verb=float(b)), row(str(n), answer, float(a)))
        for n, (b, a, answer) in enumerate(zip(before, after, answers, strict=True))
    ]


def score(name: str, some: list[Pair], source: str = "verb", **left_out: int) -> ProbeResult:
    return score_probe(PROBES[name], some, left_out, source, instead="norm")


def test_a_share_has_the_exact_binomial_interval() -> None:
    before, after = np.full(40, 0.8), np.where(np.arange(40) < 33, 0.3, 0.9)
    share = score("blank", pairs(before, after)).numbers["falls"]
    exact = binomtest(33, 40).proportion_ci(0.95, method="exact")
    assert share.value == pytest.approx(33 / 40)
    assert share.interval == pytest.approx((exact.low, exact.high))


def test_a_confidence_that_stays_as_it_is_has_not_fallen() -> None:
    result = score("blank", pairs(np.full(40, 0.8), np.full(40, 0.8)))
    assert result.numbers["falls"].value == 0
    assert result.verdict == "fails"


def test_the_mean_fall_is_signed_and_its_interval_allows_for_an_unseen_picture() -> None:
    random = np.random.default_rng(0)
    before, after = random.uniform(0.5, 1, 60), random.uniform(0, 0.5, 60)
    fall = score("noise", pairs(before, after)).numbers["mean_fall"]
    assert fall.value == pytest.approx((before - after).mean())
    assert fall.interval is not None
    # Wider than the textbook interval, as one unseen picture may do anything.
    half = 1.96 * (before - after).std(ddof=1) / np.sqrt(60)
    assert fall.interval[0] < fall.value - half
    assert fall.interval[1] > fall.value + half
    back = score("noise", pairs(after, before)).numbers["mean_fall"]
    assert back.value == pytest.approx(-fall.value)


def test_of_probes_that_must_change_nothing_the_change_counts_in_both_directions() -> None:
    result = score("flip", pairs([0.5, 0.5] * 20, [0.6, 0.4] * 20))
    assert result.numbers["mean_change"].value == pytest.approx(0.1)
    assert result.before == pytest.approx(result.after)


def test_without_two_candidates_a_confidence_may_rise_but_not_fall() -> None:
    up = score("fewer", pairs(np.full(100, 0.5), np.full(100, 0.9)))
    down = score("fewer", pairs(np.full(100, 0.9), np.full(100, 0.5)))
    assert (up.verdict, down.verdict) == ("passes", "fails")


@pytest.mark.parametrize(
    ("changed", "verdict"), [(0, "passes"), (4, "passes"), (10, "open"), (30, "fails")], ids=["none", "four", "ten", "thirty"]
)
def test_a_verdict_needs_the_whole_interval_on_one_side_of_the_mark(changed: int, verdict: str) -> None:
    answers = ["fear"] * changed + ["awe"] * (100 - changed)
    assert score("flip", pairs(np.full(100, 0.8), np.full(100, 0.8), answers)).verdict == verdict


def test_twenty_pictures_cannot_show_that_nothing_changes_but_can_show_that_it_does() -> None:
    assert score("flip", pairs([0.8] * 20, [0.8] * 20)).verdict == "open"
    assert score("flip", pairs([0.8] * 20, [0.8] * 20, ["fear"] * 20)).verdict == "fails"


def test_below_ten_pictures_nothing_has_an_interval_and_nothing_is_decided() -> None:
    result = score("blank", pairs([0.8] * 9, [0.1] * 9))
    assert result.verdict == "open"
    assert {(number.interval, number.why) for number in result.numbers.values()} == {(None, "fewer than 10 images")}


def test_questions_that_share_a_picture_count_less_than_pictures_of_their_own() -> None:
    falls = np.tile([0.3, 0.9], 30)
    own = score("blank", pairs(np.full(60, 0.8), falls))
    shared = [(dict(first, image=str(n % 12)), changed) for n, (first, changed) in enumerate(pairs(np.full(60, 0.8), falls))]
    again = score("blank", shared)

    def width(result: ProbeResult) -> float:
        ends = result.numbers["falls"].interval
        assert ends is not None
        return ends[1] - ends[0]

    assert width(again) > 1.5 * width(own)


def test_every_picture_that_is_left_out_is_counted_with_its_reason() -> None:
    good = pairs([0.8] * 12, [0.2] * 12)
    bad = [
        (row("x"), row("x", None, None, error={"code": "refused", "message": "no"})),
        (row("y"), row("y", None, None)),
        (row("z"), row("z", "awe", None)),
    ]
    result = score_probe(PROBES["blank"], [*good, *bad], {"there is no other picture": 2}, "verb", instead="norm")
    assert result.n == 12
    assert result.left_out == {
        "there is no other picture": 2,
        "the model or the picture failed": 1,
        "the answer cannot be read": 1,
        "there is no confidence": 1,
    }
    assert "blank: 2 left out as there is no other picture, 1 left out as" in table_of([result]).note


def test_a_probe_without_a_single_pair_has_a_reason_and_no_number() -> None:
    result = score_probe(PROBES["no_truth"], [], {"too few candidates would be left": 5}, "verb", instead="norm")
    assert (result.verdict, result.why, result.numbers) == ("not asked", "too few candidates would be left", {})
    assert result.as_dict()["mean_confidence_before"] is None
    assert sentence_of(result) == "Not asked: too few candidates would be left."


def test_where_a_calibrator_does_not_hold_both_answers_are_read_by_another_source_and_a_note_says_so() -> None:
    one = row("a", confidence={"calibrated": 0.4, "norm": 0.9})
    other = row("a", confidence={"norm": 0.7})
    result = score("no_truth", [(one, other)] * 12, "calibrated")
    assert (result.source, result.before, result.after) == ("norm", pytest.approx(0.9), pytest.approx(0.7))
    assert result.note == "both read by norm, as calibrated holds for whole lists of candidates only"
    kept = score("flip", [(one, one)] * 12, "calibrated")
    assert (kept.source, kept.note) == ("calibrated", None)


def test_of_a_swapped_picture_the_confidence_in_the_first_answer_counts() -> None:
    one = row("a", "awe", 0.8, alternatives={"awe": 0.7, "fear": 0.3})
    other = row("a", "fear", 0.99, alternatives={"fear": 0.9, "awe": 0.1})
    result = score("swapped", [(one, other)] * 30)
    assert result.numbers["falls"].value == 1
    assert result.numbers["mean_fall"].value == pytest.approx(0.6)


def test_without_probabilities_another_answer_to_a_swapped_picture_is_a_fall_of_unknown_size() -> None:
    result = score("swapped", pairs([0.8] * 30, [0.99] * 30, ["fear"] * 20 + ["awe"] * 10))
    assert result.numbers["falls"].value == pytest.approx(2 / 3)
    assert "mean_fall" not in result.numbers
    assert result.after is None
    assert result.note is not None


def test_sentences_say_what_came_out() -> None:
    assert (
        sentence_of(score("blank", pairs([0.8] * 20, [0.3] * 20)))
        == "The confidence falls on 100% of 20 pictures; on average it falls by 50.0 points."
    )
    assert (
        sentence_of(score("blank", pairs([0.3] * 20, [0.8] * 20)))
        == "The confidence falls on 0% of 20 pictures; on average it rises by 50.0 points."
    )
    assert (
        sentence_of(score("crop", pairs([0.3] * 20, [0.4] * 20)))
        == "The answer stays on 100% of 20 pictures; the confidence moves by 10.0 points on average."
    )
    assert (
        sentence_of(score("fewer", pairs([0.3] * 20, [0.4] * 20)))
        == "The answer stays on 100% of 20 pictures; the confidence rises by 10.0 points on average."
    )


def test_a_result_as_json_has_an_interval_and_a_mark_with_its_reason_beside_each_number() -> None:
    made = score("fewer", pairs([0.8] * 20, [0.8] * 20)).as_dict()
    assert made["mean_fall"] == 0
    assert made["mean_fall_mark"].startswith("below 0.1: ")
    assert len(made["mean_fall_ci"]) == len(made["same_answer_ci"]) == 2


def test_accuracies_are_told_where_the_truth_is_known_of_all() -> None:
    some = [(row(str(n), correct=n < 15), row(str(n), correct=n < 5)) for n in range(20)]
    assert score("blank", some).right == (0.75, 0.25)
    assert score("blank", [*some, (row("x"), row("x"))]).right is None


def test_the_same_answers_give_the_same_intervals() -> None:
    some = pairs(np.linspace(0.5, 0.9, 30), np.linspace(0.7, 0.1, 30))
    assert score("blank", some).as_dict() == score("blank", some).as_dict()


def test_verdicts_are_counted_in_words() -> None:
    results = [score("blank", pairs([0.8] * 40, [0.1] * 40)), score("flip", pairs([0.8] * 20, [0.8] * 20)), score("noise", [])]
    assert all_probes_note(results) == "1 passed, 1 open, 1 not asked of 3"
