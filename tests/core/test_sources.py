"""Confidence by source: each formula by hand, on replies whose tokens are written out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emocaliber.core.model import ModelError, Reply, Tokens
from emocaliber.core.sources import IN_EVERY_ROW, choice_at, confidences, consistency, evidence, p_true
from emocaliber.emotions.labels import Labels
from emocaliber.emotions.taxonomy import Taxonomy

LABELS = ("amusement", "anger", "awe", "fear")
Place = tuple[str, float, Mapping[str, float]]  # a token, its probability, and the alternatives


def tokens(places: Sequence[Place | str]) -> Tokens:
    """Tokens from their probabilities; a bare text is certain."""
    full: list[Place] = [(place, 1.0, {}) if isinstance(place, str) else place for place in places]
    return Tokens(
        tuple(text.encode() for text, _, _ in full),
        tuple(math.log(p) for _, p, _ in full),
        [{name.encode(): math.log(p) for name, p in ({text: chosen} | dict(others)).items()} for text, chosen, others in full],
    )


def reply(places: Sequence[Place | str]) -> Reply:
    made = tokens(places)
    return Reply(b"".join(made.pieces).decode(), 0.1, made)


HEAD = "<think><element>a snake</element><human>nobody</human><context>a wood</context><interaction>near</interaction><analysis>It evokes"
FIRST: Place = (" fear", 0.6, {" awe": 0.2, " Fear": 0.1, " feeling": 0.05, " a": 0.05})
AGAIN: Place = ("fear", 0.98, {"anger": 0.015, "awe": 0.005})
REPLY = reply(
    [HEAD, FIRST, ".", "</analysis></think>", "<answer>", AGAIN, "</answer>", "<confidence>", "0", ".",
     ("8", 0.5, {"4": 0.5}), ("5", 0.8, {"0": 0.2}), "</confidence>"]
)  # fmt: skip


PLAIN = IN_EVERY_ROW


def knowing(aliases: Mapping[str, str], labels: Sequence[str] = LABELS) -> Labels:
    """The labels, with other spellings of the first four."""
    return Labels.of(labels, Taxonomy("t", LABELS, aliases=aliases))


def read(each: Reply, labels: Sequence[str] = LABELS, aliases: Mapping[str, str] | None = None) -> dict[str, float | None]:
    return confidences(evidence(each, knowing(aliases or {}, labels)))


def test_every_source_by_hand() -> None:
    n, certain = 13, 9
    assert read(REPLY) == pytest.approx(
        {
            "verb": 0.85,
            "ans": 0.98,
            "avg": (certain + 0.6 + 0.98 + 0.5 + 0.8) / n,
            "commit": 0.6,
            # " Fear" is fear too, " feeling" and " a" are nobody's
            "norm": 0.7 / 0.9,
            "margin": (0.7 - 0.2) / 0.9,
            # 0.85 with its first decimal replaced is 0.45 half of the time, with its second 0.80 a fifth of the time
            "verb_mean": 0.85 - 0.5 * 0.4 - 0.2 * 0.05,
        }
    )


def test_a_reply_without_tokens_has_what_it_says_alone() -> None:
    assert read(Reply(REPLY.text, 0.1)) == {name: 0.85 if name == "verb" else None for name in PLAIN}


def test_what_the_eyes_read_is_found_by_any_spelling_of_the_label() -> None:
    shares = {"amusement": 0.1, "anger": 0.2, "awe": 0.3, "fear": 0.4}
    asked = evidence(replace(REPLY, readout=shares), knowing({}, ("Amusement", "Anger", "Awe", "Fear")))
    assert confidences(asked)["readout"] == 0.4


@pytest.mark.parametrize("bad", [Reply("no tags", 0.1), Reply("", 0.1, error=ModelError("timeout", "it took too long"))])
def test_a_reply_that_cannot_be_read_has_no_confidence(bad: Reply) -> None:
    assert read(bad) == dict.fromkeys(PLAIN)


def test_a_model_not_trained_on_the_format_is_parsed_only_leniently() -> None:
    free = reply(["It is dark.", "<answer>", AGAIN, "</answer>", "<confidence>0.5</confidence>"])
    assert evidence(free, LABELS, lenient=False) is None
    understood = evidence(free, LABELS)
    assert understood is not None
    assert confidences(understood)["commit"] == pytest.approx(0.98), "the first mention is the answer itself"


def test_the_decisive_token_is_the_first_that_leaves_one_candidate() -> None:
    split = tokens(["<answer>", ("a", 0.7, {"fear": 0.3}), ("we", 0.6, {"nger": 0.3, "musement": 0.1}), "</answer>"])
    choice = choice_at(len("<answer>"), split, Labels.of(LABELS))
    assert choice is not None
    assert choice.decisive == pytest.approx(0.6)
    assert choice.path == pytest.approx(0.42)
    assert choice.distribution == pytest.approx({"amusement": 0.07, "anger": 0.21, "awe": 0.42, "fear": 0.3})


def test_a_label_that_begins_another_is_told_apart_by_what_follows() -> None:
    labels = Labels.of(("fear", "fearful"))
    whole = choice_at(0, tokens([("fear", 0.9, {}), ("<", 0.6, {"ful": 0.4})]), labels)
    longer = choice_at(0, tokens([("fear", 0.9, {}), ("ful", 0.4, {"<": 0.6})]), labels)
    assert whole is not None and longer is not None
    assert whole.distribution == pytest.approx({"fear": 0.6, "fearful": 0.4}) == longer.distribution
    assert (whole.decisive, longer.decisive) == pytest.approx((0.6, 0.4))


def test_a_token_may_begin_before_the_name() -> None:
    choice = choice_at(1, tokens([(">fear", 0.8, {">awe": 0.1, "awe": 0.1})]), Labels.of(LABELS))
    assert choice is not None
    assert choice.distribution == pytest.approx({"amusement": 0, "anger": 0, "awe": 1 / 9, "fear": 8 / 9})


def test_an_alias_counts_for_its_label() -> None:
    choice = choice_at(0, tokens([("terror", 0.5, {"fear": 0.25, "awe": 0.25})]), knowing({"terror": "fear"}))
    assert choice is not None
    assert choice.distribution["fear"] == pytest.approx(0.75)


@pytest.mark.parametrize("places", [["joy"], ["a"], ["j", "oy"], [" "]])
def test_where_no_candidate_is_named_there_is_no_choice(places: list[str]) -> None:
    assert choice_at(0, tokens(places), Labels.of(LABELS)) is None


@given(st.text(max_size=30), st.integers(0, 60), st.lists(st.integers(1, 5), max_size=12))
def test_any_text_cut_anywhere_gives_a_choice_or_none(text: str, start: int, cuts: list[int]) -> None:
    data, pieces = (text + "fear").encode(), list[bytes]()
    for size in cuts:
        pieces.append(data[:size])
        data = data[size:]
    made = Tokens((*pieces, data), (-0.5,) * (len(pieces) + 1), [{piece: -0.5, b"x": -1.0} for piece in (*pieces, data)])
    choice = choice_at(start, made, Labels.of(LABELS))
    if choice:
        assert sum(choice.distribution.values()) == pytest.approx(1)
        assert 0 < choice.path <= choice.decisive <= 1


@given(st.integers(0, 9), st.integers(0, 9), st.lists(st.floats(0.01, 1), min_size=20, max_size=20))
def test_the_mean_over_independent_digits_is_exact(tens: int, ones: int, weights: list[float]) -> None:
    first = {str(digit): weight / sum(weights[:10]) for digit, weight in enumerate(weights[:10])}
    second = {str(digit): weight / sum(weights[10:]) for digit, weight in enumerate(weights[10:])}
    said = reply(
        [HEAD, FIRST, ".</analysis></think><answer>fear</answer><confidence>0.", (str(tens), first[str(tens)], first),
         (str(ones), second[str(ones)], second), "</confidence>"]
    )  # fmt: skip
    expected = sum(int(d) * p for d, p in first.items()) / 10 + sum(int(d) * p for d, p in second.items()) / 100
    assert read(said)["verb_mean"] == pytest.approx(expected)


def test_the_mean_reads_numbers_of_any_tokens_and_stays_within_0_and_1() -> None:
    head = [HEAD, FIRST, ".</analysis></think><answer>fear</answer><confidence"]
    glued = reply([*head, (">0", 0.75, {">1": 0.25, "</": 0.1}), ".", ("85", 0.5, {"95": 0.5, "xx": 0.3}), "</confidence>"])
    # ">1" would make 1.85, which is 1
    assert read(glued)["verb_mean"] == pytest.approx(0.85 + 0.25 * 0.15 + 0.5 * 0.1)


@given(st.floats(0.2, 3), st.lists(st.floats(0.01, 1), min_size=10, max_size=10))
def test_the_mean_is_that_of_samples_at_the_temperature_of_training(temperature: float, weights: list[float]) -> None:
    digits = {str(digit): weight / sum(weights) for digit, weight in enumerate(weights)}
    said = reply([HEAD, FIRST, ".</analysis></think><answer>fear</answer><confidence>0.", ("3", digits["3"], digits), "</confidence>"])
    assert said.tokens
    trained = replace(said, tokens=replace(said.tokens, rollout_temperature=temperature))
    sharper = {digit: p ** (1 / temperature) for digit, p in digits.items()}
    assert read(trained)["verb_mean"] == pytest.approx(sum(int(d) * p for d, p in sharper.items()) / sum(sharper.values()) / 10)


def test_consistency_is_the_share_that_agrees_and_silence_does_not() -> None:
    assert consistency("fear", ["fear", "awe", None, "fear"]) == 0.5
    assert consistency("fear", []) is None


def test_p_true_weighs_true_against_false() -> None:
    said = reply([("True", 0.6, {"true": 0.1, "False": 0.2, "The": 0.1})])
    assert p_true(said) == pytest.approx(0.7 / 0.9)
    assert p_true(reply([("Maybe", 0.999, {"True": 0.0005})])) is None
    assert p_true(Reply("True", 0.1)) is None


def test_what_lites_eyes_read_is_a_source_of_its_own_that_other_rows_do_not_have() -> None:
    shares = dict(zip(LABELS, (0.1, 0.2, 0.3, 0.4), strict=True))
    assert confidences(evidence(replace(REPLY, readout=shares), LABELS))["readout"] == 0.4  # the answer is fear
    assert "readout" not in confidences(evidence(REPLY, LABELS)) and "readout" not in confidences(None)
