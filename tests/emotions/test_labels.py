"""The identity of a label: which texts name it, in which scripts and spellings, and which labels cannot be told apart."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emocaliber.emotions.labels import ANY_ANSWER, Labels, mention_pattern
from emocaliber.emotions.taxonomy import BUILT_IN, Taxonomy, label_key, taxonomy
from emocaliber.errors import UserError

EMOJI = ("😀", "😢", "❤")
MIKELS = Labels.of(taxonomy("mikels-8").labels, taxonomy("mikels-8"))


def test_labels_are_a_sequence_of_their_names_as_given() -> None:
    labels = Labels.of(["Joy", "Great Awe"])
    assert (list(labels), len(labels), labels[1], labels[:1], "Joy" in labels) == (["Joy", "Great Awe"], 2, "Great Awe", ("Joy",), True)
    assert Labels.of(labels) is labels
    assert Labels.of(["Joy", "Great Awe"]) == labels
    assert len({Labels.of(["Joy", "Great Awe"]), labels}) == 1
    assert not ANY_ANSWER


@given(st.text())
def test_a_key_is_the_key_of_itself_and_says_the_same_of_any_case_and_form(text: str) -> None:
    key = label_key(text)
    assert label_key(key) == key
    assert label_key(f" «{text}»! ") == key
    assert label_key(unicodedata.normalize("NFD", text)) == label_key(unicodedata.normalize("NFC", text))


@given(st.text(st.characters(max_codepoint=127)))
def test_the_short_way_for_plain_texts_gives_the_same_key(text: str) -> None:
    assert label_key(f"{text}\u2000") == label_key(text), "a space outside ASCII takes the long way"


@pytest.mark.parametrize("name", BUILT_IN)
def test_every_spelling_names_every_other_in_a_built_in_taxonomy(name: str) -> None:
    known = taxonomy(name)
    for alias, label in known.aliases.items():
        others = [each for each in known.labels if each != label]
        for candidate, said in ((label, alias), (alias, label)):
            labels = Labels.of([candidate, *others], known)
            assert labels.named(said.upper()) == candidate
            assert labels.spellings[said] == candidate
            assert labels.distance(candidate, others[0]) == known.loop().distance(label, others[0])


@pytest.mark.parametrize(
    ("names", "text", "label"),
    [
        (("радость", "страх"), "это РАДОСТЬ", "радость"),
        (("快乐", "恐惧"), "这张图是快乐的", "快乐"),
        (("楽しさ", "恐怖"), "恐怖です", "恐怖"),
        (("기쁨", "슬픔"), "기쁨을 느낀다", "기쁨"),
        (("ความสุข", "ความกลัว"), "ภาพนี้ให้ความกลัวมาก", "ความกลัว"),
        (("खुशी", "डर"), "यह खुशी है", "खुशी"),
        (("فرح", "خوف"), "إنه خوف.", "خوف"),
        (EMOJI, "clearly ❤️!", "❤"),
        (("self-doubt", "joy"), "some self doubt", "self-doubt"),
        (("joy", "joy of life"), "the joy of life", "joy of life"),
        (("not happy", "happy"), "not happy", "not happy"),
    ],
)
def test_a_label_is_found_among_other_words_in_any_script(names: tuple[str, ...], text: str, label: str) -> None:
    assert Labels.of(names).mentioned(text) == ({label}, set())


@pytest.mark.parametrize("text", ["awesome", "no danger", "unhappy", "joyful", "радостный"])
def test_a_label_inside_another_word_is_not_found(text: str) -> None:
    assert Labels.of(("awe", "anger", "happy", "joy", "радость")).mentioned(text) == (set(), set())


@pytest.mark.parametrize("text", ["not sadness", "It isn't really sadness", "pas sadness", "no great sadness", "neither sadness"])
def test_a_denied_label_is_told_apart(text: str) -> None:
    assert MIKELS.mentioned(text) == (set(), {"sadness"})


def test_a_denial_in_chinese_needs_no_space() -> None:
    assert Labels.of(("快乐", "恐惧")).mentioned("不是快乐") == (set(), {"快乐"})


@pytest.mark.parametrize("text", ["I am not sure, sadness", "not joyful but sadness", "What? No. Sadness", "no; more sadness"])
def test_a_negation_reaches_no_further_than_its_clause(text: str) -> None:
    assert MIKELS.mentioned(text) == ({"sadness"}, set())


@pytest.mark.parametrize(
    ("names", "known", "complaint"),
    [
        (("awe", "Awe "), None, "the labels 'awe' and 'Awe ' are the same label"),
        (("Happy", "Happy!"), None, "the labels 'Happy' and 'Happy!' are the same label"),
        ((":)", ":("), None, "the label ':)' has no letter, digit or symbol to tell it by"),
        (("joy", "?"), None, "the label '?' has no letter, digit or symbol to tell it by"),
        (("sadness", "sad"), "mikels-8", "the labels 'sadness' and 'sad' are the same label"),
    ],
)
def test_labels_that_cannot_be_told_apart_are_refused_by_name(names: tuple[str, ...], known: str | None, complaint: str) -> None:
    with pytest.raises(UserError) as refused:
        Labels.of(names, taxonomy(known) if known else None)
    assert complaint in str(refused.value)


def test_labels_of_ones_own_have_no_distance_without_a_loop() -> None:
    assert Labels.of(("calm", "tense")).distance("calm", "tense") is None
    assert Labels.of(("calm", "tense"), Taxonomy("moods", ("calm", "tense"))).distance("calm", "tense") is None
    assert MIKELS.distance("awe", "sad") == taxonomy("mikels-8").loop().distance("awe", "sadness")


def test_some_of_the_labels_keep_their_spellings() -> None:
    few = MIKELS.only({"sadness", "awe"})
    assert list(few) == ["awe", "sadness"]
    assert few.named("SAD") == "sadness"


@given(st.sampled_from([MIKELS, Labels.of(EMOJI), Labels.of(("Радость", "страх")), Labels.of(("快乐", "恐惧"))]), st.data())
def test_every_beginning_of_a_label_may_become_it_down_to_its_first_byte(labels: Labels, data: st.DataObject) -> None:
    spelling, label = data.draw(st.sampled_from(sorted(labels.spellings.items())))
    said = data.draw(st.sampled_from([spelling, spelling.upper(), spelling.capitalize()])).encode()
    length = data.draw(st.integers(1, len(said)))
    assert label in labels.possible_after(said[:length])
    assert labels.possible_after(b"") == set()
    assert labels.possible_after(b"zebra") == set()


def test_a_pattern_finds_any_spelling_as_a_whole_word_and_nothing_without_phrases() -> None:
    assert MIKELS.pattern("sadness").search("A SAD day")
    assert not MIKELS.pattern("sadness").search("saddle")
    assert Labels.of(("快乐", "恐惧")).pattern("快乐").search("很快乐的")
    assert mention_pattern(("ground truth",)).search("the Ground\n truth")
    assert not mention_pattern(()).search("anything")
