"""What token probabilities are read from: the right token, the right word, the right distribution."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from emocaliber.models.recording import Recorder, distribution, first_tokens, place_of_commitment, token_at

TEXTS = st.text(alphabet=st.one_of(st.sampled_from("aeé日本🙂👩‍👩‍👧 \n0."), st.characters(codec="utf-8")), min_size=1)


@given(text=TEXTS)
def test_the_token_at_a_place_is_the_first_whose_text_reaches_beyond_it(tokenizer: Any, text: str) -> None:
    ids = tokenizer(text)["input_ids"]
    decoded = tokenizer.decode(ids)
    lengths = [len(tokenizer.decode(ids[: count + 1])) for count in range(len(ids))]
    for position in range(len(decoded)):
        assert token_at(position, ids, tokenizer) == next(i for i, length in enumerate(lengths) if length > position)


def test_the_token_of_an_answer_is_found_behind_characters_of_many_bytes(tokenizer: Any) -> None:
    text = "日本の🙂 café<answer>fear</answer>"
    ids = tokenizer(text)["input_ids"]
    place = text.index("<answer>") + len("<answer>")
    assert tokenizer.decode(ids[token_at(place, ids, tokenizer) :]) == "fear</answer>"


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("It evokes fear.", 10),
        ("FEAR comes first, fear later.", 0),
        ("A fearful face, fearless, no_fear, and fear", 39),
        ("fear", 0),
        ("A fearful face.", None),
        ("unfear", None),
        ("", None),
        ("<answer>fear</answer>", 8),
    ],
)
def test_a_response_commits_itself_where_it_first_names_the_whole_word(text: str, place: int | None) -> None:
    assert place_of_commitment(text, "fear") == place


def test_an_answer_is_no_pattern() -> None:
    assert place_of_commitment("abc a.c", "a.c") == 4


NAMES = ("fear", "awe", "joy")
FIRSTS = {False: [5, 6, 7], True: [15, 16, 17]}
LOGPS = torch.tensor([-1.0, -2.0, -3.0, -0.5, -4.0, -0.25])


@pytest.mark.parametrize(("chosen", "logps"), [(6, [-1.0, -2.0, -3.0]), (17, [-0.5, -4.0, -0.25])])
def test_the_distribution_is_a_softmax_over_the_spelling_that_was_chosen(chosen: int, logps: list[float]) -> None:
    shares = distribution(LOGPS, chosen, NAMES, FIRSTS)
    total = sum(map(math.exp, logps))
    assert shares == pytest.approx({name: math.exp(logp) / total for name, logp in zip(NAMES, logps, strict=True)})


@given(logps=st.lists(st.floats(-50, 0), min_size=6, max_size=6), chosen=st.sampled_from([5, 6, 7, 15, 16, 17]))
def test_the_distribution_sums_to_one(logps: list[float], chosen: int) -> None:
    shares = distribution(torch.tensor(logps), chosen, NAMES, FIRSTS)
    assert shares is not None
    assert sum(shares.values()) == pytest.approx(1, abs=1e-5)


def test_there_is_no_distribution_where_one_token_starts_two_candidates_or_none() -> None:
    assert distribution(LOGPS, 5, NAMES, {False: [5, 5, 7], True: [15, 16, 17]}) is None
    assert distribution(LOGPS, 99, NAMES, FIRSTS) is None


def test_first_tokens_are_those_of_the_names_bare_and_after_a_space(tokenizer: Any) -> None:
    firsts = first_tokens(NAMES, tokenizer)
    for name, bare, spaced in zip(NAMES, firsts[False], firsts[True], strict=True):
        assert bare == tokenizer(name)["input_ids"][0]
        assert spaced == tokenizer(f" {name}")["input_ids"][0]
        assert bare != spaced


def test_the_recorder_keeps_the_log_probabilities_of_what_was_chosen_and_what_is_watched() -> None:
    torch.manual_seed(0)
    recorder = Recorder([3, 1])
    scores = torch.randn(3, 2, 5)  # three steps, two rows
    chosen = torch.tensor([[4, 0, 2], [1, 1, 3]])
    sequences = torch.tensor([[9], [9]])
    for step, given_scores in enumerate(scores):
        assert recorder(sequences, given_scores) is given_scores
        sequences = torch.cat([sequences, chosen[:, step : step + 1]], 1)
    kept, watched = recorder.finish(sequences)
    logps = scores.log_softmax(-1).transpose(0, 1)
    assert torch.allclose(kept, logps.gather(2, chosen[:, :, None])[:, :, 0])
    assert torch.allclose(watched, logps[:, :, [3, 1]])
