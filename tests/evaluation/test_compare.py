from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from emocaliber.core.scoring import Outcome
from emocaliber.errors import UserError
from emocaliber.evaluation.compare import Difference, compare, comparison_table, mcnemar


def system(right: np.ndarray, confidence: float | np.ndarray = 0.5, tasks: tuple[str, ...] = ("FI-8", "EmoSet-8")) -> list[Outcome]:
    stated = np.broadcast_to(confidence, len(right)).tolist()
    return [
        Outcome(f"{n:07}", tasks[n % len(tasks)], "awe", "awe" if hit else "fear", bool(hit), None, 0.0, {"verb": stated[n]})
        for n, hit in enumerate(right)
    ]


def varied(n: int, seed: int = 0, tasks: tuple[str, ...] = ("FI-8", "EmoSet-8")) -> list[Outcome]:
    """Answers of which 60 in 100 are right, at two-decimal confidences."""
    random = np.random.default_rng(seed)
    return system(random.random(n) < 0.6, np.round(random.random(n), 2), tasks)


def find(differences: list[Difference], scope: str, metric: str) -> Difference:
    (found,) = [each for each in differences if each.scope == scope and each.metric == metric]
    return found


def test_mcnemar_counts_only_the_discordant_samples() -> None:
    a = [True] * 8 + [False] * 2 + [True] * 50
    b = [False] * 8 + [True] * 2 + [True] * 50
    assert mcnemar(a, b) == pytest.approx(2 * (1 + 10 + 45) / 2**10)
    assert mcnemar(a, a) == 1.0


def test_the_same_samples_under_another_task_are_pointed_out() -> None:
    with pytest.raises(UserError, match="first calls the task 'custom' and the second 'EmoSet-8'; score both with the same --task"):
        compare(varied(40, tasks=("custom",)), varied(40, tasks=("EmoSet-8",)))


RENAMED: dict[str, Callable[[int], str | None]] = {
    "as they are": lambda n: f"images/{n * 7919 % 400_009}.jpg",
    "absolute": lambda n: f"/data/images/{n * 7919 % 400_009}.jpg",
    "in another order": lambda n: f"{-n % 400_009}.png",
    "missing": lambda n: None,
    "missing in part": lambda n: f"/data/images/{n * 7919 % 400_009}.jpg" if n % 2 else None,
}


@pytest.mark.slow
@pytest.mark.parametrize("n", [4, 400, 50_001])
@pytest.mark.parametrize("name", RENAMED)
def test_a_system_never_differs_from_itself_whatever_its_images_are_called(n: int, name: str) -> None:
    first = [replace(each, image=RENAMED["as they are"](int(each.id))) for each in varied(n)]
    second = [replace(each, image=RENAMED[name](int(each.id))) for each in first]
    for each in compare(first, second[::-1], replicates=200):
        assert each.difference in (0.0, None)
        assert each.interval == ((0.0, 0.0) if each.difference == 0 else None)
        assert each.p is None and each.p_holm is None


@pytest.mark.slow
@pytest.mark.parametrize("per_image", [1, 2])
@pytest.mark.parametrize("n", [400, 50_001])
def test_interval_and_test_agree_on_systems_that_differ_in_one_percent_of_answers(n: int, per_image: int) -> None:
    images = [f"{number // per_image}.jpg" for number in range(n)]
    first = [replace(each, image=image) for each, image in zip(varied(n, tasks=("FI-8",)), images, strict=True)]
    worse = np.array([each.correct for each in first])
    lost, won = np.flatnonzero(worse)[: round(0.007 * n)], np.flatnonzero(~worse)[: round(0.003 * n)]
    worse[lost], worse[won] = False, True
    stated = np.array([each.confidence["verb"] for each in first])
    second = system(worse, np.minimum(np.round(stated + 0.01, 2), 1), ("FI-8",))
    for metric in ("accuracy", "brier"):
        found = find(compare(first, second, replicates=500), "FI-8", metric)
        low, high = found.interval or (1, -1)
        assert found.p is not None and low <= (found.difference or 0) <= high
        assert (low > 0 or high < 0) == (found.p < 0.05), metric
    assert find(compare(first, second, replicates=200), "FI-8", "accuracy").test == ("mcnemar" if per_image == 1 else "permutation")


def test_a_better_system_is_found_and_pairing_makes_the_interval_narrow() -> None:
    random = np.random.default_rng(0)
    worse = random.random(600) < 0.5
    better = worse | (random.random(600) < 0.1)
    found = find(compare(system(worse), system(better)), "overall", "accuracy_pooled")
    assert found.difference == pytest.approx(better.mean() - worse.mean())
    assert found.test == "mcnemar" and found.p is not None and found.p < 1e-6
    low, high = found.interval or (0.0, 0.0)
    assert 0 < low < found.difference < high
    assert high - low < 0.6 * (2 * 1.96 * np.sqrt(2 * 0.25 / 600)), "two unpaired systems would differ by this much"


@pytest.mark.slow
def test_without_a_difference_few_tables_have_a_star() -> None:
    random = np.random.default_rng(5)
    starred = 0
    for seed in range(60):
        a, b = (system(random.random(60) < 0.5, np.round(random.random(60), 1)) for _ in range(2))
        starred += any(each.p_holm is not None and each.p_holm < 0.05 for each in compare(a, b, replicates=200, seed=seed))
    assert starred <= 8, "two tables, at 5 % each"


def test_a_large_difference_has_a_star_in_every_metric_of_a_small_sample() -> None:
    a, b = system(np.arange(40) < 8), system(np.arange(40) < 36)
    stars = {each.metric for each in compare(a, b) if each.p_holm is not None and each.p_holm < 0.05}
    assert stars == {"accuracy", "accuracy_pooled", "f1_macro", "f1_weighted", "aurc"}


def test_one_number_has_one_verdict() -> None:
    random = np.random.default_rng(1)
    a, b = (system(random.random(48) < share, tasks=("FI-8",)) for share in (0.4, 0.7))
    found = compare(a, b)
    same = [each for each in found if each.metric in ("accuracy", "accuracy_pooled")]
    assert [each.scope for each in same] == ["FI-8", "ID VER", "ID VER", "overall", "overall"]
    assert len({(each.interval, each.test, each.p, each.p_holm) for each in same}) == 1


def test_the_mean_over_tasks_of_one_size_is_the_pooled_number() -> None:
    random = np.random.default_rng(2)
    a, b = (system(random.random(48) < share) for share in (0.4, 0.7))
    found = compare(a, b)
    mean, pooled = find(found, "ID VER", "accuracy"), find(found, "ID VER", "accuracy_pooled")
    assert mean.p is not None and replace(pooled, metric="accuracy") == mean and mean.test == "mcnemar"
    unequal = compare(a[:47], b[:47])
    assert find(unequal, "ID VER", "accuracy").test == "permutation" and find(unequal, "ID VER", "accuracy_pooled").test == "mcnemar"


def test_a_difference_in_macro_f1_has_no_interval_with_few_samples_per_label() -> None:
    def of_labels(n: int, seed: int) -> list[Outcome]:
        labels, random = ("awe", "fear", "sadness", "anger"), np.random.default_rng(seed)
        said = [(labels[k % 4], labels[k % 4 if random.random() < 0.5 else (k + 1) % 4]) for k in range(n)]
        return [Outcome(f"{k:03}", "FI-8", truth, answer, truth == answer, None, None, {}) for k, (truth, answer) in enumerate(said)]

    few, enough = (find(compare(of_labels(n, 0), of_labels(n, 1)), "FI-8", "f1_macro") for n in (19, 20))
    assert few.interval is None and few.p is not None
    assert enough.interval is not None


def test_identical_metrics_of_two_systems_are_not_tested() -> None:
    a, b = system(np.arange(40) < 20), system(np.arange(40) < 34)
    found = compare(a, b)
    alike = [each for each in found if each.metric in ("malformed", "brier")]
    assert all((each.note, each.interval, each.p, each.p_holm) == ("alike", (0.0, 0.0), None, None) for each in alike)
    tested = [each.p_holm / each.p for each in found if each.source is None and each.p is not None and each.p_holm is not None]
    assert max(tested) <= 10, "three numbers of two tasks, and four of both together"


def test_few_differing_images_are_too_few_for_a_test() -> None:
    a = np.arange(12) < 2
    few = find(compare(system(a, tasks=("FI-8",)), system(np.arange(12) < 7, tasks=("FI-8",))), "FI-8", "accuracy")
    assert (few.note, few.p, few.p_holm) == ("too few", 2 / 2**5, None)
    enough = find(compare(system(a, tasks=("FI-8",)), system(np.arange(12) < 8, tasks=("FI-8",))), "FI-8", "accuracy")
    assert (enough.note, enough.p) == (None, 2 / 2**6)


def test_answers_to_one_image_are_swapped_together() -> None:
    right = np.repeat(np.arange(8) < 7, 6)
    images = [f"{number // 6}.jpg" for number in range(48)]
    a = [replace(each, image=image) for each, image in zip(system(~right, tasks=("FI-8",)), images, strict=True)]
    b = [replace(each, image=image) for each, image in zip(system(right, tasks=("FI-8",)), images, strict=True)]
    found = find(compare(a, b), "FI-8", "accuracy")
    assert found.test == "permutation"
    assert found.p == pytest.approx(2 * 9 / 2**8, abs=0.02), "eight images, seven for one and one for the other"


def test_systems_that_disagree_about_shared_images_are_not_compared() -> None:
    a = [replace(each, image=f"{int(each.id) // 2}.jpg") for each in varied(40)]
    b = [replace(each, image=f"{each.id}.jpg") for each in a]
    with pytest.raises(UserError, match="sample '0000000' of FI-8 shares its image with another sample in the first of the two alone"):
        compare(a, b)
    with pytest.raises(UserError, match="in the second of the two alone; answers to one image are not independent"):
        compare(b, a)


def test_other_samples_cannot_be_compared() -> None:
    a = system(np.ones(4, dtype=bool))
    with pytest.raises(UserError, match="1 samples are not in the second, among them '0000003'"):
        compare(a, a[:3])
    with pytest.raises(UserError, match="1 samples are not in the first, among them '0000003'"):
        compare(a[:3], a)
    with pytest.raises(UserError, match="more often in one of the two"):
        compare([*a, a[0]], a)
    with pytest.raises(UserError, match="'0000003' of EmoSet-8 has the truth 'awe' in the first and 'fear' in the second"):
        compare(a, [*a[:3], replace(a[3], ground_truth="fear")])


def test_a_source_of_confidence_that_one_system_lacks_is_not_compared() -> None:
    a, b = varied(40), varied(40, seed=1)
    both = [replace(each, confidence=each.confidence | {"ans": 0.5}) for each in b]
    assert {each.source for each in compare(a, both)} == {None, "verb"}
    silent = [replace(each, confidence={"verb": None}) for each in b]
    assert {each.source for each in compare(a, silent)} == {None}


def test_the_first_confidences_of_two_systems_are_compared_whatever_they_are_called() -> None:
    a, b = varied(40), varied(40, seed=1)
    renamed = [replace(each, confidence={"confidence": each.confidence["verb"]}) for each in b]
    found = compare(a, renamed)
    assert {each.source for each in found} == {None, "verb | confidence"}
    expected = [(each.metric, each.a, each.b, each.p) for each in compare(a, b) if each.source == "verb"]
    assert [(each.metric, each.a, each.b, each.p) for each in found if each.source is not None] == expected


def test_the_table_shows_every_scope_with_its_numbers() -> None:
    random = np.random.default_rng(0)
    worse = random.random(300) < 0.4
    text = comparison_table(compare(system(worse), system(worse | (random.random(300) < 0.4), 0.8)), a="one", b="two")
    assert "Answers" in text and "Confidence: verb" in text
    assert "EmoSet-8" in text and "ID VER" in text and "Overall" in text
    assert "<0.001" in text and "*" in text and "A: one" in text


def test_the_table_says_where_there_are_too_few_images() -> None:
    lines = comparison_table(compare(system(np.arange(12) < 2), system(np.arange(12) < 5)), a="one", b="two").splitlines()
    (accuracy,) = [line for line in lines if line.startswith("FI-8") and "Accuracy" in line]
    assert accuracy.endswith("too few")
    (malformed,) = [line for line in lines if line.startswith("FI-8") and "Malformed" in line]
    assert malformed.split("[0.00, 0.00]")[1].split() == ["–", "–"]  # noqa: RUF001
