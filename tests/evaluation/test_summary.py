from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr

from emocaliber.core.scoring import Outcome
from emocaliber.emotions.taxonomy import taxonomy
from emocaliber.evaluation.stated import METRICS, PENALISED
from emocaliber.evaluation.summary import summarise


def made(id: str, task: str = "FI-8", answer: str | None = "awe", truth: str = "awe", verb: float | None = 0.5, **fields: Any) -> Outcome:
    defaults: dict[str, Any] = {"malformed": None if answer else "ambiguous", "distance": None, "confidence": {"verb": verb}}
    return Outcome(id=id, task=task, ground_truth=truth, answer=answer, correct=answer == truth, **(defaults | fields))


def test_a_group_means_over_tasks_and_pools_over_samples() -> None:
    rows = [made("1"), made("2", task="EmoSet-8", answer="fear"), made("3", task="EmoSet-8"), made("4", task="EmoSet-8", answer="fear")]
    group = summarise(rows)["groups"]["ID VER"]
    assert group["accuracy"] == pytest.approx((1 + 1 / 3) / 2)
    assert group["accuracy_pooled"] == pytest.approx(2 / 4)
    assert group["f1_weighted"] == pytest.approx((1 + 0.5) / 2)
    assert group["f1_macro"] == pytest.approx((1 + 0.25) / 2)
    assert group["confidence"]["verb"]["brier"] == pytest.approx(0.25)
    assert group["n"] == 4


def test_a_custom_task_counts_overall_but_forms_no_group() -> None:
    summary = summarise([made("1"), made("2", task="Moods", answer="fear")])
    assert list(summary["groups"]) == ["ID VER"]
    assert list(summary["tasks"]) == ["FI-8", "Moods"]
    assert summary["overall"]["n"] == 2 and summary["overall"]["accuracy"] == 0.5


def test_malformed_answers_are_wrong_and_counted_by_reason() -> None:
    rows = [made("1"), made("2", answer=None, verb=None), made("3", answer=None, malformed="no_answer"), made("4", answer=None)]
    task = summarise(rows)["tasks"]["FI-8"]
    assert task["accuracy"] == 0.25
    assert (task["malformed"]["count"], task["malformed"]["share"]) == (3, 0.75)
    assert task["malformed"]["reasons"] == {"ambiguous": {"count": 2, "share": 0.5}, "no_answer": {"count": 1, "share": 0.25}}


def test_missing_confidences_lower_the_coverage_and_nothing_else() -> None:
    stated = summarise([made("1", verb=1.0), made("2", answer="fear", verb=None)])["tasks"]["FI-8"]["confidence"]["verb"]
    assert (stated["coverage"], stated["ece"], stated["brier"], stated["auroc"]) == (0.5, 0.0, 0.0, None)
    assert stated["undefined"]["auroc"] == "there is only one answer"


def test_penalised_metrics_count_missing_as_wrong_at_confidence_1() -> None:
    unread = made("3", answer=None, malformed="ambiguous", confidence={"verb": 0.3})
    rows = [made("1", verb=0.8), made("2", answer="fear", verb=None), unread]
    penalised = summarise(rows)["tasks"]["FI-8"]["confidence"]["verb"]["penalised"]
    assert penalised["brier"] == pytest.approx((0.2**2 + 1 + 1) / 3)
    assert penalised["auroc"] == 0.0
    assert penalised["ece"] == pytest.approx((0.2 + 1 + 1) / 3)


def test_every_estimated_number_has_its_interval_beside_it() -> None:
    random = np.random.default_rng(0)
    rows = [made(str(n), answer="awe" if random.random() < 0.6 else "fear", verb=round(random.random(), 2)) for n in range(200)]
    summary = summarise(rows)
    overall = summary["overall"]
    stated = overall["confidence"]["verb"]
    for holder, names in (
        (overall, ("accuracy", "accuracy_pooled", "f1_macro", "f1_weighted")),
        (overall["malformed"], ("share",)),
        (overall["emotion"], ("loop_distance", "polarity_flips")),
        (stated, [*(name for name in METRICS if not name.startswith("spiegelhalter")), "coverage"]),
        (stated["penalised"], PENALISED),
    ):
        for name in names:
            low, high = holder[f"{name}_ci"]
            assert low <= high and low <= holder[name] + 1e-9, name
    assert stated["ece_null"][0] < stated["ece_null"][1] < stated["ece"], "confidence is noise here"
    assert summary["settings"]["replicates"] == 1000 and summary["settings"]["level"] == 0.95


def intervals_of(summary: dict[str, Any]) -> dict[str, list[float] | None]:
    """Every interval of a summary by its path."""
    found: dict[str, list[float] | None] = {}

    def walk(part: object, path: str) -> None:
        for key, value in part.items() if isinstance(part, dict) else ():
            if key.endswith("_ci"):
                number = part[key.removesuffix("_ci")]
                assert value is None or value[0] <= number <= value[1], f"{path}.{key} excludes its number"
                found[f"{path}.{key}"] = value
            elif key != "undefined":
                walk(value, f"{path}.{key}")

    walk(summary, "")
    return found


@pytest.mark.parametrize("n", [1, 4, 12, 60])
@pytest.mark.parametrize("right", ["none", "half", "all"])
@pytest.mark.parametrize("confidence", ["one", "certain", "many"])
def test_no_interval_has_width_zero_or_excludes_its_number(n: int, right: str, confidence: str) -> None:
    hits = [right == "all" or (right == "half" and number % 2 == 0) for number in range(n)]
    stated = [{"one": 0.7, "certain": float(hit), "many": number / n}[confidence] for number, hit in enumerate(hits)]
    votes = {"awe": 3, "fear": 1}
    rows = [made(str(k), answer="awe" if hit else "fear", verb=c, votes=votes) for k, (hit, c) in enumerate(zip(hits, stated, strict=True))]
    found = intervals_of(summarise([*rows, *(replace(each, task="EmoSet-8") for each in rows[:3])], replicates=200))
    assert all(interval is None or interval[1] - interval[0] > 1e-3 for interval in found.values())
    assert found[".overall.accuracy_ci"] is not None
    assert (found[".tasks.FI-8.f1_weighted_ci"] is None) == (n < 10)


def test_a_missing_interval_has_its_reason() -> None:
    task = summarise([made(str(n), truth=truth) for n, truth in enumerate(["awe", "fear", "sadness"] * 4)], replicates=200)["tasks"]["FI-8"]
    assert task["f1_macro_ci"] is None and task["undefined"]["f1_macro_ci"] == "fewer than 5 samples per label"
    few = summarise([made(str(n)) for n in range(9)], replicates=200)
    stated = few["tasks"]["FI-8"]["confidence"]["verb"]
    assert stated["ece_ci"] is None and stated["undefined"]["ece_ci"] == "fewer than 10 images"
    assert few["overall"]["undefined"]["f1_weighted_ci"] == "fewer than 10 images"


def test_a_group_of_one_task_has_the_intervals_of_the_task() -> None:
    summary = summarise([made(str(n), answer="awe" if n % 3 else "fear") for n in range(30)], replicates=200)
    task, group = summary["tasks"]["FI-8"], summary["groups"]["ID VER"]
    assert group["accuracy_ci"] == group["accuracy_pooled_ci"] == task["accuracy_ci"]


def test_answers_to_shared_images_make_intervals_wider() -> None:
    rows = [made(str(n), answer="awe" if n // 4 % 2 else "fear", verb=n // 4 / 40) for n in range(160)]
    alone, shared = (
        summarise([replace(each, image=image(each)) for each in rows]) for image in (lambda o: o.id, lambda o: str(int(o.id) // 4))
    )
    widths = [
        [m[f"{name}_ci"][1] - m[f"{name}_ci"][0] for m, name in ((s["overall"], "accuracy"), (s["overall"]["confidence"]["verb"], "auroc"))]
        for s in (alone, shared)
    ]
    assert all(1.8 < wide / narrow < 2.3 for narrow, wide in zip(*widths, strict=True)), "four answers that are all alike count as one"


def test_the_five_steps_are_a_rate_of_their_own() -> None:
    rows = [made("1", format=True), made("2", format=False), made("3", answer=None, malformed="no_answer"), made("4", task="EmoSet-8")]
    summary = summarise(rows, replicates=200)
    task = summary["tasks"]["FI-8"]
    assert task["format"] == pytest.approx(1 / 3), "no text keeps to no steps"
    assert task["format_ci"][0] < 1 / 3 < task["format_ci"][1]
    unknown = summary["tasks"]["EmoSet-8"]
    assert unknown["format"] is None and unknown["undefined"]["format"] == "no outcome says whether its text keeps to the five steps"
    assert summary["overall"]["format"] == pytest.approx(1 / 3), "of the samples of which it is known"


def test_merging_two_files_gives_the_pooled_numbers() -> None:
    answers = ("fear", "awe", "awe")
    first, second = ([made(f"{part}{n}", verb=n / 20, answer=answers[(n + part) % 3]) for n in range(20)] for part in (0, 1))
    parts = [summarise(rows, replicates=20)["tasks"]["FI-8"] for rows in (first, second)]
    merged = summarise([*first, *second], replicates=20)["tasks"]["FI-8"]
    assert merged["accuracy"] == pytest.approx(np.mean([part["accuracy"] for part in parts]))
    assert merged["confidence"]["verb"]["brier"] == pytest.approx(np.mean([part["confidence"]["verb"]["brier"] for part in parts]))


def test_the_confusion_is_in_the_order_of_the_loop() -> None:
    rows = [made("1"), made("2", truth="fear", answer="sadness"), made("3", truth="fear", answer=None)]
    confusion = summarise(rows, replicates=20)["tasks"]["FI-8"]["emotion"]["confusion"]
    order = taxonomy("mikels-8").loop().order
    assert confusion["labels"] == [label for label in order if label in ("awe", "fear", "sadness")]
    assert confusion["rows"]["fear"] == {"sadness": 1, "malformed": 1}


def test_agreement_with_annotators_is_reported_for_votes() -> None:
    votes = {"awe": 3, "fear": 1}
    rows = [made("1", votes=votes, verb=0.9), made("2", votes=votes, answer="fear", verb=0.2), made("3", votes=votes, verb=0.7)]
    emotion = summarise(rows, replicates=50)["overall"]["emotion"]
    assert emotion["agreement"] == pytest.approx((0.75 + 0.25 + 0.75) / 3)
    assert emotion["agreement_best"] == pytest.approx(0.75)
    assert emotion["agreement_spearman"]["verb"]["value"] == pytest.approx(spearmanr([0.9, 0.2, 0.7], [0.75, 0.25, 0.75]).statistic)


def test_a_source_that_gave_nothing_is_shown_with_the_reason() -> None:
    rows = [made("1", confidence={"verb": None}), made("2", task="EmoSet-8", confidence={"ans": 0.5, "verb": None})]
    summary = summarise(rows)
    assert summary["settings"]["sources"] == ["verb", "ans"]
    ans = summary["tasks"]["FI-8"]["confidence"]["ans"]
    assert (ans["coverage"], ans["ece"], ans["undefined"]["ece"]) == (0.0, None, "no sample has a confidence")


def test_the_best_possible_stands_beside_the_numbers_where_the_truth_is_known() -> None:
    known = [made("1", posterior={"awe": 0.8, "fear": 0.2}), made("2", task="EmoSet-8", answer="fear", posterior={"awe": 0.6, "fear": 0.4})]
    overall = summarise(known)["overall"]
    best, same = overall["best_possible"], overall["best_possible_same_answers"]
    assert best["accuracy"] == pytest.approx(0.7) and best["accuracy_pooled"] == pytest.approx(0.7)
    assert best["confidence"]["posterior"]["brier"] == pytest.approx((0.16 + 0.24) / 2)
    assert same["accuracy"] == pytest.approx((0.8 + 0.4) / 2)
    assert same["confidence"]["posterior"]["brier"] == pytest.approx((0.2**2 + 0.4**2) / 2)


def test_the_best_possible_is_null_with_its_reason_where_the_truth_is_not_known_for_all() -> None:
    overall = summarise([made("1", posterior={"awe": 1.0}), made("2")])["overall"]
    assert overall["best_possible"] is None and overall["best_possible_same_answers"] is None
    assert overall["undefined"]["best_possible"] == "1 of 2 samples carry no posterior"


def test_nothing_to_summarise_is_an_error() -> None:
    with pytest.raises(ValueError, match="no outcomes"):
        summarise([])


outcome_lists = st.lists(
    st.builds(
        made,
        id=st.just(""),
        task=st.sampled_from(["FI-8", "FI-2", "Abstract-8", "Moods"]),
        answer=st.none() | st.sampled_from(["awe", "fear"]),
        verb=st.none() | st.floats(0, 1),
        posterior=st.just({"awe": 0.7, "fear": 0.3}),
    ),
    min_size=1,
    max_size=15,
).map(lambda rows: [Outcome(**{**row.to_row(), "id": str(number)}) for number, row in enumerate(rows)])  # type: ignore[arg-type]


@pytest.mark.slow
@settings(max_examples=50)
@given(outcome_lists, st.data())
def test_the_order_of_rows_changes_not_one_digit(rows: list[Outcome], data: st.DataObject) -> None:
    shuffled = data.draw(st.permutations(rows))
    assert json.dumps(summarise(shuffled, replicates=20)) == json.dumps(summarise(rows, replicates=20))


@pytest.mark.slow
@settings(max_examples=50)
@given(outcome_lists)
def test_every_number_is_defined_or_null_with_a_reason(rows: list[Outcome]) -> None:
    summary = summarise(rows, replicates=20)
    json.dumps(summary, allow_nan=False)
    for metrics in (*summary["tasks"].values(), *summary["groups"].values(), summary["overall"]):
        for holder in (metrics, *metrics["confidence"].values()):
            for name, value in holder.items():
                if isinstance(value, float) and name not in ("nll", "brier_skill", "spiegelhalter_z"):
                    assert 0 <= value <= 1
                if (
                    value is None
                    and not name.endswith("_null")
                    and (not name.endswith("_ci") or holder[name.removesuffix("_ci")] is not None)
                ):
                    assert holder["undefined"][name]
