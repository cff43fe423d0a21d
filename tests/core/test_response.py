"""The one parser: what it reads, what it refuses and why, and that no text can make it fail or crawl."""

from __future__ import annotations

import gc
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emocaliber.core.response import (
    MAX_CHARACTERS,
    STEPS,
    Malformed,
    MalformedReason,
    Reasoning,
    Response,
    in_five_steps,
    parse,
    parse_with_format,
    question,
    render,
)
from emocaliber.emotions.labels import Labels
from emocaliber.emotions.taxonomy import taxonomy

CANDIDATES = ("amusement", "awe", "contentment", "excitement", "anger", "disgust", "fear", "sadness")
TAGS = [f"<{slash}{name}>" for name in ("think", *STEPS, "answer", "confidence") for slash in ("", "/")]
LABELS = Labels.of(CANDIDATES, taxonomy("mikels-8"))
REASONING = Reasoning("a snake", "nobody", "a dark forest", "close", "it threatens")
GOOD = render(Response(REASONING, "fear", 0.85))
UNSURE = render(Response(REASONING, "fear"))


def answering(answer: str) -> str:
    return UNSURE.replace("<answer>fear<", f"<answer>{answer}<")


def stating(confidence: str) -> str:
    return GOOD.replace("<confidence>0.85<", f"<confidence>{confidence}<")


def well_formed(parsed: Response | Malformed) -> Response:
    assert isinstance(parsed, Response), parsed
    return parsed


def reason(text: str, **settings: object) -> MalformedReason:
    parsed = parse(text, CANDIDATES, **settings)  # type: ignore[arg-type]
    assert isinstance(parsed, Malformed), parsed
    assert parsed.detail
    return parsed.reason


step_texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40).filter(
    lambda text: text.strip() and not any(tag in text for tag in TAGS)
)
confidences = st.one_of(st.none(), st.integers(0, 100).map(lambda k: k / 100))


@given(st.tuples(*[step_texts] * 5), st.sampled_from(CANDIDATES), confidences)
def test_what_is_rendered_is_read_back(steps: tuple[str, ...], answer: str, confidence: float | None) -> None:
    response = Response(Reasoning(*(step.strip() for step in steps)), answer, confidence)
    assert parse(render(response), CANDIDATES) == response


@given(st.text(), st.booleans())
def test_any_text_gives_a_response_or_a_reason(text: str, lenient: bool) -> None:
    assert isinstance(parse(text, CANDIDATES, lenient=lenient), Response | Malformed)


@st.composite
def mutations(draw: st.DrawFn) -> str:
    """A well-formed text of which pieces were cut off, deleted, repeated or swapped."""
    text = draw(st.sampled_from([GOOD, UNSURE]))
    for _ in range(draw(st.integers(1, 4))):
        a, b, c = sorted(draw(st.integers(0, len(text))) for _ in range(3))
        text = draw(st.sampled_from([text[:a], text[:a] + text[b:], text[:b] + text[a:], text[:a] + text[b:c] + text[a:b] + text[c:]]))
    return text


@given(mutations(), st.sampled_from(["required", "forbidden", "optional"]), st.booleans())
def test_any_damage_gives_a_response_or_a_reason(text: str, rule: str, lenient: bool) -> None:
    parsed = parse(text, CANDIDATES, confidence=rule, lenient=lenient)  # type: ignore[arg-type]
    if isinstance(parsed, Response):
        assert parsed.answer in CANDIDATES
        assert parsed.confidence is None or 0 <= parsed.confidence <= 1
        assert lenient or not parsed.lenient
    else:
        assert parsed.reason in MalformedReason


@given(st.lists(st.sampled_from([*TAGS, "fear", " ", "0.5"]), max_size=30))
def test_only_the_two_sequences_of_tags_are_responses(pieces: list[str]) -> None:
    parsed = parse("".join(pieces), CANDIDATES)
    if isinstance(parsed, Response):
        tags = [piece for piece in pieces if piece in TAGS]
        assert tags in (TAGS[:1] + TAGS[2:12] + TAGS[1:2] + TAGS[12:14], TAGS[:1] + TAGS[2:12] + TAGS[1:2] + TAGS[12:])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", MalformedReason.EMPTY),
        (" \n\t", MalformedReason.EMPTY),
        (GOOD.replace("a snake", "s" * MAX_CHARACTERS), MalformedReason.TOO_LONG),
        (GOOD[:40], MalformedReason.CUT_OFF),
        (GOOD[: GOOD.index("</confidence>")], MalformedReason.CUT_OFF),
        ("The image evokes fear.", MalformedReason.MISSING_TAG),
        (GOOD.replace("<human>nobody</human>", ""), MalformedReason.MISSING_TAG),
        (GOOD.replace("<confidence>", ""), MalformedReason.MISSING_TAG),
        (GOOD + GOOD, MalformedReason.REPEATED_TAG),
        (GOOD.replace("nobody", "<human>"), MalformedReason.REPEATED_TAG),
        (UNSURE.replace("human>", "x>").replace("element>", "human>").replace("x>", "element>"), MalformedReason.WRONG_ORDER),
        ("Sure! " + GOOD, MalformedReason.STRAY_TEXT),
        (GOOD + " I hope this helps.", MalformedReason.STRAY_TEXT),
        (GOOD.replace("</human>", "</human> and "), MalformedReason.STRAY_TEXT),
        (GOOD.replace("nobody", " \n "), MalformedReason.EMPTY_STEP),
        (answering("joy"), MalformedReason.NOT_A_CANDIDATE),
        (answering(""), MalformedReason.NOT_A_CANDIDATE),
        (answering("fear or anger"), MalformedReason.AMBIGUOUS),
        (stating("very sure"), MalformedReason.BAD_CONFIDENCE),
    ],
)
def test_every_refusal_says_why(text: str, expected: MalformedReason) -> None:
    assert reason(text) is expected


def test_a_confidence_can_be_required_forbidden_or_neither() -> None:
    assert reason(UNSURE, confidence="required") is MalformedReason.MISSING_CONFIDENCE
    assert reason(GOOD, confidence="forbidden") is MalformedReason.UNEXPECTED_CONFIDENCE
    assert well_formed(parse(UNSURE, CANDIDATES)).confidence is None
    assert well_formed(parse(GOOD, CANDIDATES)).confidence == 0.85


@pytest.mark.parametrize("said", ["Fear", "FEAR.", " fear! ", "**fear**", "'fear'", '"Fear"', "[fear]", "`fear`", "\nfear\n", "{fear}"])
def test_case_and_surrounding_punctuation_do_not_matter(said: str) -> None:
    assert well_formed(parse(answering(said), CANDIDATES)).answer == "fear"


def test_the_answer_is_spelt_as_the_candidate_was() -> None:
    assert well_formed(parse(answering("fear"), ("Fear", "Great Awe"))).answer == "Fear"
    assert well_formed(parse(answering("GREAT  awe"), ("Fear", "Great Awe"))).answer == "Great Awe"


def test_an_alias_is_its_candidate() -> None:
    assert well_formed(parse(answering("Sad."), LABELS)).answer == "sadness"
    assert isinstance(parse(answering("sad"), LABELS.only(["fear", "awe"])), Malformed), "sadness is no candidate here"
    assert reason(answering("sad")) is MalformedReason.NOT_A_CANDIDATE


@pytest.mark.parametrize("lenient", [False, True])
def test_a_candidate_inside_another_word_is_not_named(lenient: bool) -> None:
    assert reason(answering("no danger"), lenient=lenient) is MalformedReason.NOT_A_CANDIDATE
    assert reason(answering("awesome"), lenient=lenient) is MalformedReason.NOT_A_CANDIDATE


@pytest.mark.parametrize("lenient", [False, True])
def test_two_candidates_are_ambiguous(lenient: bool) -> None:
    assert reason(answering("awe and fear"), lenient=lenient) is MalformedReason.AMBIGUOUS
    both = parse(answering("sad, not angry: anger"), LABELS, lenient=lenient)
    assert isinstance(both, Malformed)
    assert both.reason is MalformedReason.AMBIGUOUS


def test_line_breaks_inside_and_between_tags_do_not_matter() -> None:
    spread = GOOD.replace("><", ">\n<").replace("nobody", "nobody\n\nat all").replace("0.85", "\n0.85\n")
    response = well_formed(parse(f"\n{spread}\n", CANDIDATES))
    assert (response.reasoning.human, response.answer, response.confidence) == ("nobody\n\nat all", "fear", 0.85)


@pytest.mark.parametrize(("written", "value"), [("0", 0), ("1", 1), ("0.5", 0.5), ("0.85", 0.85), ("1.00", 1), (" 0.125 ", 0.125)])
def test_a_confidence_is_a_decimal_between_0_and_1(written: str, value: float) -> None:
    assert well_formed(parse(stating(written), CANDIDATES)).confidence == value


@pytest.mark.parametrize(
    "written",
    [
        "",
        "NaN",
        "inf",
        "-inf",
        "1e-3",
        "-0.1",
        "+0.5",
        "1.01",
        "2",
        "101%",
        "0.8.5",
        "0x1",
        "\u0660.\u0665",
        "0.\uff15",
        "0.8 or 0.9",
        "9" * 400,
    ],
)
def test_what_is_not_a_fraction_is_never_a_confidence_and_costs_the_answer_only_in_a_strict_reading(written: str) -> None:
    assert reason(stating(written)) is MalformedReason.BAD_CONFIDENCE
    assert reason(stating(written), lenient=True, confidence="required") is MalformedReason.BAD_CONFIDENCE
    read = well_formed(parse(stating(written), CANDIDATES, lenient=True))
    assert (read.answer, read.confidence, len(read.lenient)) == ("fear", None, 1)


LOOSE = [("85%", 0.85), ("85 %", 0.85), ("0,85", 0.85), ("{0.85}", 0.85), (".85", 0.85), ("100%", 1)]


@pytest.mark.parametrize(("written", "value"), LOOSE)
def test_looser_confidences_are_read_only_leniently_and_said_so(written: str, value: float) -> None:
    assert reason(stating(written)) is MalformedReason.BAD_CONFIDENCE
    response = well_formed(parse(stating(written), CANDIDATES, lenient=True))
    assert response.confidence == pytest.approx(value)
    assert any("confidence" in note for note in response.lenient)


def test_a_lenient_reading_names_everything_it_forgave() -> None:
    text = "Sure! " + stating("85%").replace(">fear<", ">It is fear, surely<") + " Bye."
    response = well_formed(parse(text, CANDIDATES, lenient=True))
    assert (response.answer, response.confidence, len(response.lenient)) == ("fear", 0.85, 4)
    assert reason(text) is MalformedReason.STRAY_TEXT


def test_a_strict_response_read_leniently_has_nothing_to_forgive() -> None:
    assert parse(GOOD, CANDIDATES, lenient=True) == parse(GOOD, CANDIDATES)


N = MAX_CHARACTERS - 400


@pytest.mark.parametrize("lenient", [False, True])
@pytest.mark.parametrize(
    "text",
    [
        "<" * N,
        "<think" * (N // 6),
        "<think>" * (N // 7),
        "<answer>fear</answer>" * (N // 21),
        answering("fea" * (N // 3)),
        answering("fear " * (N // 5)),
        answering("." * N),
        answering("." * (N // 2) + "x" + "." * (N // 2)),
        stating("0" * N),
        stating("1" * N + "x"),
        stating("0." + "1" * N + "x"),
        stating("1" + " " * N + "x"),
        GOOD.replace("nobody", " \n" * (N // 2)),
    ],
    ids=lambda text: text[:12] + ".." + text[-12:],
)
def test_a_hostile_text_takes_no_more_time_than_its_length_asks_for(text: str, lenient: bool) -> None:
    assert len(text) <= MAX_CHARACTERS
    gc.collect()
    gc.disable()  # a collection of all that the other tests left behind is not the parser's time
    try:
        start = time.thread_time()
        parse(text, CANDIDATES, lenient=lenient)
        assert time.thread_time() - start < 0.5
    finally:
        gc.enable()


@pytest.mark.parametrize("bad", ["", "  ", "a <human> b", "</think>"])
def test_a_text_that_would_not_be_read_back_is_not_rendered(bad: str) -> None:
    with pytest.raises(ValueError, match="<human> must be some text"):
        render(Response(Reasoning("a", bad, "c", "d", "e"), "fear"))
    with pytest.raises(ValueError, match="<answer> must be some text"):
        render(Response(REASONING, bad))


@pytest.mark.parametrize("bad", [-0.01, 1.01, float("nan"), float("inf")])
def test_only_a_fraction_is_rendered_as_a_confidence(bad: float) -> None:
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        render(Response(REASONING, "fear", bad))


def test_the_question_is_the_released_cards() -> None:
    assert question(("amusement", "awe")) == (
        "Which emotion might this image evoke? Choose the most likely one from ['amusement', 'awe']. Think step by step. Respond in the "
        "format: <think>{your reasoning}</think><answer>{your final answer}</answer><confidence>{your confidence}</confidence>"
    )


def test_the_question_asks_about_sentiment_and_for_no_confidence_where_told() -> None:
    asked = question(("positive", "negative"), kind="sentiment", confidence=False)
    assert asked.startswith("Which sentiment might this image evoke? Choose the most likely one from ['positive', 'negative'].")
    assert asked.endswith("<answer>{your final answer}</answer>")


FREE = "The wood is dark.\n<think>A snake <element>lies</element> there.</think>\nSo: <answer>Fear.</answer>, <confidence>85%</confidence>"


def test_a_model_that_was_never_taught_the_steps_is_read_leniently_alone() -> None:
    assert isinstance(parse(FREE, CANDIDATES), Malformed)
    read = parse(FREE, CANDIDATES, lenient=True)
    assert isinstance(read, Response)
    assert (read.answer, read.confidence) == ("fear", 0.85)
    assert read.reasoning == Reasoning("", "", "", "", "The wood is dark. A snake lies there. So:")
    assert read.lenient[0] == "reasoning not in the five steps"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("fear", MalformedReason.MISSING_TAG),
        ("<answer>fear", MalformedReason.MISSING_TAG),
        ("<think>dark</think><answer>", MalformedReason.MISSING_TAG),
        ("<answer>fear</answer><answer>awe</answer>", MalformedReason.REPEATED_TAG),
        ("<answer>fear or awe</answer>", MalformedReason.AMBIGUOUS),
        ("<answer>joyful</answer>", MalformedReason.NOT_A_CANDIDATE),
        ("<answer>not fear</answer>", MalformedReason.NOT_A_CANDIDATE),
        ("<answer>It isn't fear.</answer>", MalformedReason.NOT_A_CANDIDATE),
        ("<answer>without any fear</answer>", MalformedReason.NOT_A_CANDIDATE),
        ("<answer>not fear but awe</answer>", MalformedReason.AMBIGUOUS),
        ("<answer>fear</answer><answer>not fear</answer>", MalformedReason.REPEATED_TAG),
    ],
)
def test_even_leniently_an_answer_names_exactly_one_candidate(text: str, reason: MalformedReason) -> None:
    read = parse(text, CANDIDATES, lenient=True)
    assert isinstance(read, Malformed)
    assert read.reason == reason


@pytest.mark.parametrize(
    "text",
    [
        "<answer>fear</answer><confidence>0.1</confidence><confidence>0.2</confidence>",
        "<answer>fear</answer><confidence>high</confidence>",
        "<answer>fear</answer><confidence>0.7",
        "<answer>I am not sure: fear</answer>",
        "<answer>This is not at all easy but fear</answer>",
        "<answer>fear</answer>. Once more: <answer>Fear!</answer>",
        "<think>It is\nnot clear.</think>\n<answer>\nfear\n</answer>",
    ],
)
def test_leniently_nothing_costs_an_answer_that_names_one_candidate(text: str) -> None:
    read = well_formed(parse(text, CANDIDATES, lenient=True))
    assert (read.answer, read.confidence) == ("fear", None)
    assert read.lenient
    assert isinstance(parse(text, CANDIDATES), Malformed)


@pytest.mark.parametrize("text", [GOOD, UNSURE, answering("joy"), answering("fear or awe"), stating("high"), GOOD.replace("><", "> <")])
def test_form_is_whether_the_five_steps_are_kept_whatever_is_answered(text: str) -> None:
    assert in_five_steps(text)


@pytest.mark.parametrize("text", ["", FREE, f"Sure! {GOOD}", GOOD[:-3], GOOD.replace("nobody", " "), "<answer>fear</answer>"])
def test_any_other_form_is_none(text: str) -> None:
    assert not in_five_steps(text)


@pytest.mark.parametrize("lenient", [True, False])
@pytest.mark.parametrize(
    "text",
    [GOOD, f"Sure! {GOOD}", f"{GOOD} Yes.", GOOD[:-3], answering("joy"), FREE, "", "<answer>fear</answer>", GOOD.replace("><", ">x<")],
)
def test_answer_and_form_are_read_at_once(text: str, lenient: bool) -> None:
    assert parse_with_format(text, CANDIDATES, lenient=lenient) == (parse(text, CANDIDATES, lenient=lenient), in_five_steps(text))


@given(st.text(max_size=60), st.sampled_from(CANDIDATES))
def test_any_thought_may_stand_before_a_lenient_answer(thought: str, label: str) -> None:
    read = parse(f"{thought}<answer>{label}</answer>", CANDIDATES, lenient=True)
    assert isinstance(read, Response)
    assert read.answer == label
