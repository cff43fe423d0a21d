"""Constrained decoding: whatever a model would write, it names one of the candidates."""

from __future__ import annotations

import gc
import random
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from emocaliber.core.model import Model, Request
from emocaliber.core.response import Response, parse
from emocaliber.emotions.labels import Labels
from emocaliber.models import TINY
from emocaliber.models.constrained import EMOTION, START, ConstrainedDecoding, Grammar, Vocabulary, answer_only, five_steps, worded
from emocaliber.models.local import LocalModel
from emocaliber.models.tokens import TokenBytes

WORDS = ("joy", "joyful", "joy of life", "sad", "sadness", "喜び", "怒り", "радость", "злость", "ความสุข", "calm!", "c++", "😀", "É", "e")


def written(grammar: Grammar, vocabulary: Vocabulary, limit: int, seed: int, end: int) -> list[int]:
    """The tokens that a model of random scores writes under the grammar."""
    decoding = ConstrainedDecoding([grammar], [limit], vocabulary)
    generator = torch.Generator().manual_seed(seed)
    said: list[int] = []
    while len(said) < limit and end not in said:
        token = decoding.scores(torch.randn((1, end + 1), generator=generator)).argmax(-1)
        decoding.chosen(token)
        said += token.tolist()
    return said


@pytest.fixture(scope="module")
def parts(tokenizer: Any) -> tuple[TokenBytes, Vocabulary, int]:
    token_bytes, size = TokenBytes(tokenizer), len(tokenizer)
    return token_bytes, Vocabulary(token_bytes, size, [size]), size


def test_its_masks_are_freed_without_a_garbage_collection(parts: tuple[TokenBytes, Vocabulary, int]) -> None:
    _, vocabulary, end = parts
    decoding = ConstrainedDecoding([five_steps(Labels.of(["joy", "sad"]))], [100], vocabulary)
    decoding.scores(torch.zeros((1, end + 1)))
    left = weakref.ref(decoding)
    gc.disable()
    try:
        del decoding
        assert left() is None  # a server answers for days, and full collections are rare
    finally:
        gc.enable()


@settings(max_examples=60, deadline=None)
@given(names=st.lists(st.sampled_from(WORDS), min_size=2, max_size=9, unique=True), brief=st.booleans(), seed=st.integers(0, 1000))
def test_a_model_of_random_scores_writes_a_response_that_parses(
    parts: tuple[TokenBytes, Vocabulary, int], names: list[str], brief: bool, seed: int
) -> None:
    token_bytes, vocabulary, end = parts
    grammar = five_steps(Labels.of(names), ("evokes",), brief=brief)
    tokens = written(grammar, vocabulary, 400, seed, end)
    text = b"".join(token_bytes.pieces([token for token in tokens if token != end])).decode(errors="replace")
    response = parse(text, names)
    assert isinstance(response, Response), (response, text)
    assert response.answer in names
    said = response.reasoning.analysis.partition("evokes ")[2]
    assert any(said.startswith(name) for name in names)
    if brief:
        assert said == f"{response.answer}."


def test_text_that_keeps_to_the_grammar_is_not_touched() -> None:
    grammar = five_steps(Labels.of(["awe", "awe and fear"]), ("evokes",))
    steps = b"".join(b"<%s>some text</%s>" % (step, step) for step in (b"element", b"human", b"context", b"interaction"))
    head = b"<think>" + steps + b"<analysis>It evokes "
    for named, answer in ((b"awe.", b"awe"), (b"awe, at a guess.", b"awe and fear"), (b"awe and fear", b"awe")):
        tail = b"</analysis></think><answer>" + answer + b"</answer>"
        state = grammar.after(START, head + named + tail)
        assert state and grammar.may_end(state), "a confidence may be left out"
        assert (state := grammar.after(state, b"<confidence>0.85</confidence>")) and grammar.may_end(state)
        assert grammar.after(state, b" ") is None
    for broken in (
        head + b"awesome",
        head + b"fear",
        head + b"awe</think>",
        b"<think><element></element>",
        b"<think><element>a<b",
        b"<think><element>\x1e </element>",
    ):
        assert grammar.after(START, broken) is None


def test_other_models_write_what_they_like_but_for_the_answer() -> None:
    grammar = answer_only(Labels.of(["awe", "fear"]))
    state = grammar.after(START, b"I <b>think</b>: <answer>a")
    assert state and not grammar.may_end(state)
    assert grammar.after(state, b"nger") is None
    state = grammar.after(state, b"we</answer> or so <answer>anger</answer>")
    assert state and grammar.may_end(state)


def test_answers_to_taught_questions_stay_the_same_and_no_other_question_is_malformed(tiny_model: Model) -> None:
    """`tiny` with and without constraints on its own questions, and constrained on random sets of labels it was never taught."""
    constrained = LocalModel(TINY, free=False)
    examples = Path(__file__).parents[2] / "examples" / "images"
    from PIL import Image

    from emocaliber.predict.predictor import Predictor, Query

    pictures = [Image.open(path).convert("RGB") for path in sorted(examples.glob("*.png"))]
    for task in ("EmoSet-8", "WebEmo-25"):
        free, kept = (list(Predictor(model).ask(pictures, Query.of(task))) for model in (tiny_model, constrained))
        assert [each.response for each in free] == [each.response for each in kept]
    rng = random.Random(0)
    for _ in range(4):
        names = rng.sample(WORDS, rng.randint(2, 9))
        for each in Predictor(constrained).predict_many(pictures, labels=names):
            assert each.error is None and each.emotion in names
            assert (each.untaught, each.confidence, each.confidence_source) == (True, pytest.approx(1 / len(names), abs=1e-6), "chance")


def test_some_of_the_labels_of_a_taught_question_are_asked_for_by_that_question() -> None:
    from emocaliber.predict.predictor import Predictor

    predictor = Predictor(LocalModel(TINY, free=False))
    pictures = sorted((Path(__file__).parents[2] / "examples" / "images").glob("*.png"))
    with pytest.warns(UserWarning, match="is asked that of EmoSet-8, and answers among these labels only"):
        some = list(predictor.predict_many(pictures, labels="Awe,FEAR,sadness"))
    for whole, part in zip(predictor.predict_many(pictures), some, strict=True):
        assert part.confidence_source == "norm" and part.untaught is False
        if whole.emotion in ("awe", "fear", "sadness"):
            assert part.emotion and part.emotion.casefold() == whole.emotion
        assert part.emotion in ("Awe", "FEAR", "sadness")


def test_a_limit_of_tokens_ends_free_text_in_time(parts: tuple[TokenBytes, Vocabulary, int]) -> None:
    token_bytes, vocabulary, end = parts
    for seed in range(5):
        tokens = written(five_steps(Labels.of(["awe", "joy of life"])), vocabulary, 120, seed, end)
        text = b"".join(token_bytes.pieces(tokens[: tokens.index(end)])).decode(errors="replace")
        assert isinstance(parse(text, ["awe", "joy of life"]), Response)


def test_requests_without_candidates_are_free() -> None:
    from PIL import Image

    request = Request(Image.new("RGB", (56, 56)), "What is it?")
    free, kept = (next(iter(LocalModel(TINY, free=free, max_new_tokens=8).answer([request]))).text for free in (True, False))
    assert free == kept


WORDING = (
    (("The picture shows ",), ("a cat.", "a cat or dog.", "nothing.")),
    (("Nobody can be seen.", "Somebody can be seen."),),
    (("The setting says little.",),),
    (("It weighs most.",),),
    ((f"It evokes {EMOTION}", f"At a guess it evokes {EMOTION}"), (": it feels fine.", ".")),
)


@settings(max_examples=60, deadline=None)
@given(names=st.lists(st.sampled_from(WORDS), min_size=2, max_size=9, unique=True), brief=st.booleans(), seed=st.integers(0, 1000))
def test_a_model_of_fixed_wording_says_nothing_else(
    parts: tuple[TokenBytes, Vocabulary, int], names: list[str], brief: bool, seed: int
) -> None:
    token_bytes, vocabulary, end = parts
    tokens = written(worded(Labels.of(names), WORDING, brief=brief), vocabulary, 400, seed, end)
    response = parse(b"".join(token_bytes.pieces([token for token in tokens if token != end])).decode(errors="replace"), names)
    assert isinstance(response, Response)
    said = response.reasoning
    assert said.element in {f"The picture shows {thing}" for thing in WORDING[0][1]}
    assert said.human in WORDING[1][0] and said.context == "The setting says little." and said.interaction == "It weighs most."
    heads = ("It evokes ", "At a guess it evokes ")
    if brief:
        assert said.analysis in {f"{head}{response.answer}." for head in heads}
    else:
        assert said.analysis in {head + name + tail for head in heads for name in names for tail in WORDING[4][1]}
