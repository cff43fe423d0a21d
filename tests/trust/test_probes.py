"""Probes: what each asks again about a sample."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emocaliber.core.tasks import TASKS, labels_of
from emocaliber.emotions.labels import Labels
from emocaliber.emotions.taxonomy import taxonomy
from emocaliber.errors import UserError
from emocaliber.trust.probes import (
    PROBES,
    REWORDED,
    FirstAnswer,
    ProbedSample,
    Variant,
    partners,
    probes_named,
    shuffled,
    synonyms_of,
    variant,
)

EIGHT = labels_of("EmoSet-8", taxonomy("mikels-8").labels)
SAMPLE = ProbedSample("a", "a.png", "EmoSet-8", EIGHT, "awe")
SURE = FirstAnswer(
    "awe",
    {"awe": 0.5, "fear": 0.2, "sadness": 0.1, "anger": 0.08, "disgust": 0.06, "amusement": 0.03, "excitement": 0.02, "contentment": 0.01},
)


def asked(name: str, sample: ProbedSample = SAMPLE, first: FirstAnswer = SURE, seed: int = 0) -> Variant:
    found = variant(PROBES[name], sample, first, None, seed)
    assert isinstance(found, Variant), found
    return found


def test_without_names_all_probes_are_asked_and_named_ones_come_in_the_usual_order() -> None:
    assert probes_named(None, labelled=False) == list(PROBES.values())
    assert [probe.name for probe in probes_named("flip, blank", labelled=True)] == ["blank", "flip"]


def test_a_misspelt_probe_is_answered_with_the_one_that_was_meant() -> None:
    with pytest.raises(UserError, match=r"no probe 'blurr'; the probes are blank, .*; did you mean blurred\?"):
        probes_named("blurr", labelled=True)
    with pytest.raises(UserError, match="no probe is named"):
        probes_named(" , ", labelled=True)


def test_a_probe_that_needs_labels_is_refused_for_pictures_without() -> None:
    with pytest.raises(UserError, match="no_truth needs the true labels"):
        probes_named("no_truth", labelled=False)


@given(labels=st.lists(st.text("abcdef", min_size=1), min_size=2, max_size=9, unique=True), seed=st.integers(0, 2**40))
def test_another_order_has_the_same_labels_and_is_never_the_old_one(labels: list[str], seed: int) -> None:
    other = shuffled(labels, seed)
    assert sorted(other) == sorted(labels)
    assert other != labels
    assert other == shuffled(labels, seed)


def test_the_order_of_a_sample_is_its_own_and_depends_on_nothing_but_its_id_and_the_seed() -> None:
    orders = {tuple(asked("order", replace(SAMPLE, id=str(number))).candidates) for number in range(20)}
    assert len(orders) > 15
    assert asked("order").candidates == asked("order", replace(SAMPLE, image="elsewhere.png")).candidates
    assert set(asked("order").candidates) == set(EIGHT)


def test_the_two_least_likely_candidates_are_left_out() -> None:
    assert [label for label in EIGHT if label not in asked("fewer").candidates] == ["contentment", "excitement"]


def test_the_answer_stays_a_candidate_even_where_it_was_the_least_likely() -> None:
    odd = FirstAnswer("contentment", SURE.alternatives)
    assert [label for label in EIGHT if label not in asked("fewer", first=odd).candidates] == ["amusement", "excitement"]


def test_without_probabilities_two_candidates_that_were_not_chosen_are_left_out() -> None:
    left_out = {
        tuple(label for label in EIGHT if label not in asked("fewer", first=FirstAnswer("awe", {}), seed=s).candidates) for s in range(30)
    }
    assert all(len(each) == 2 and "awe" not in each for each in left_out)
    assert len(left_out) > 5


def test_a_question_of_two_or_three_candidates_has_none_to_spare() -> None:
    three = replace(SAMPLE, task="custom", candidates=Labels.of(("awe", "fear", "joy")))
    two = replace(three, candidates=Labels.of(("awe", "fear")))
    assert variant(PROBES["fewer"], three, FirstAnswer("awe", {}), None, 0) == "too few candidates would be left"
    assert variant(PROBES["no_truth"], two, FirstAnswer("awe", {}), None, 0) == "too few candidates would be left"


def test_the_true_label_is_left_out_whatever_the_answer_was() -> None:
    assert list(asked("no_truth", first=FirstAnswer("fear", {})).candidates) == [label for label in EIGHT if label != "awe"]


def test_a_swapped_picture_is_of_another_file_and_of_another_label_where_there_is_one() -> None:
    labels = ["awe", "awe", "fear", "awe", "sadness", "fear"]
    samples = [ProbedSample(str(n), f"{n % 5}.png", "EmoSet-8", EIGHT, label) for n, label in enumerate(labels)]
    found = partners(samples, 0)
    assert found.keys() == {sample.id for sample in samples}
    for sample in samples:
        assert found[sample.id].truth != sample.truth
        assert found[sample.id].image != sample.image
    assert found == partners(samples[::-1], 0)


def test_of_pictures_with_one_label_or_without_any_other_files_are_partners_and_one_picture_has_none() -> None:
    same = [ProbedSample(str(n), f"{n}.png", "EmoSet-8", EIGHT, "awe") for n in range(3)]
    assert all(partner.id != sample for sample, partner in partners(same, 0).items())
    unknown = [replace(sample, truth=None) for sample in same]
    assert partners(unknown, 0).keys() == {"0", "1", "2"}
    assert partners([replace(sample, image="0.png") for sample in same], 0) == {}
    assert variant(PROBES["swapped"], SAMPLE, SURE, None, 0) == "there is no other picture"


@pytest.mark.parametrize("task", sorted(TASKS))
def test_every_label_of_every_task_has_a_synonym_that_is_no_other_candidate(task: str) -> None:
    labels = labels_of(task, taxonomy(TASKS[task].taxonomy).labels)
    words = synonyms_of(labels)
    assert words is not None
    assert all(labels.named(word) is None for word in words.values())
    assert len(Labels.of(tuple(words.values()))) == len(labels)


def test_a_synonym_that_is_another_candidate_is_not_used_and_unknown_labels_stay() -> None:
    assert synonyms_of(Labels.of(("love", "affection", "joy"))) == {"love": "love", "affection": "fondness", "joy": "happiness"}
    assert synonyms_of(Labels.of(("love", "spleen", "ennui"))) is None
    unknown = replace(SAMPLE, task="custom", candidates=Labels.of(("spleen", "ennui")))
    assert "no synonym" in str(variant(PROBES["synonyms"], unknown, FirstAnswer("ennui", {}), None, 0))


def test_a_synonym_means_the_samples_own_label() -> None:
    found = asked("synonyms")
    assert found.meaning[found.candidates.named("wonder") or ""] == "awe"


def test_the_question_in_other_words_asks_for_the_same_format_and_the_same_candidates() -> None:
    question = REWORDED.question("FI-2", ["positive", "negative"])
    assert "Name the sentiment" in question
    assert "'positive', 'negative'" in question
    assert question.endswith("<answer>{your final answer}</answer><confidence>{your confidence}</confidence>")
