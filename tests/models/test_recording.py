"""What is kept of a generation: the chosen tokens, the likeliest and the watched ones, at every step."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from emocaliber.models.tokens import TOP, Likeliest, Recorder, TokenBytes, first_tokens


def test_the_recorder_keeps_what_was_chosen_what_was_likeliest_and_what_is_watched() -> None:
    torch.manual_seed(0)
    recorder = Recorder(torch.tensor([[3, 1], [2, -1]]))
    scores = torch.randn(3, 2, 40)  # three steps, two rows
    chosen = torch.tensor([[4, 0, 2], [1, 1, 3]])
    for step, given_scores in enumerate(scores):
        assert recorder.scores(given_scores) is given_scores
        recorder.chosen(chosen[:, step])
    ids, logprobs = recorder.finish()
    expected = scores.log_softmax(-1).transpose(0, 1)
    assert ids.shape == logprobs.shape == (2, 3, 1 + TOP + 2)
    assert ids[:, :, 0].tolist() == chosen.tolist()
    assert ids[:, :, 1 : 1 + TOP].tolist() == expected.topk(TOP).indices.tolist()
    assert ids[:, :, 1 + TOP :].tolist() == [[[3, 1]] * 3, [[2, -1]] * 3]
    assert logprobs == pytest.approx(expected.gather(2, torch.tensor(ids).clamp_min(0)).numpy())


def test_a_small_vocabulary_is_kept_whole() -> None:
    recorder = Recorder(torch.empty(1, 0, dtype=torch.long))
    recorder.scores(torch.randn(1, 5))
    recorder.chosen(torch.tensor([3]))
    ids, _ = recorder.finish()
    assert sorted(ids[0, 0, 1:].tolist()) == [0, 1, 2, 3, 4]


def test_rows_that_are_over_have_no_tokens_while_the_others_are_written() -> None:
    recorder = Recorder(torch.tensor([[7], [8], [9]]))
    recorder.scores(torch.zeros(3, 30))
    recorder.chosen(torch.tensor([1, 2, 3]))
    recorder.keep(torch.tensor([0, 2]))
    recorder.scores(torch.zeros(2, 30))
    recorder.chosen(torch.tensor([4, 5]))
    ids, _ = recorder.finish()
    assert ids[:, :, 0].tolist() == [[1, 4], [2, -1], [3, 5]]
    assert ids[:, :, -1].tolist() == [[7, 7], [8, -1], [9, 9]]


def test_the_likeliest_pieces_are_made_from_their_ids(tokenizer: Any) -> None:
    word, digit = (int(tokenizer(text)["input_ids"][0]) for text in (" a", "8"))
    ids, logprobs = torch.tensor([[word, digit, word], [digit, -1, -1]]), torch.tensor([[-0.5, -1.0, -0.5], [-2.0, 0.0, 0.0]])
    likeliest = Likeliest(ids.numpy(), logprobs.numpy(), TokenBytes(tokenizer))
    assert list(likeliest) == [{b" a": -0.5, b"8": -1.0}, {b"8": -2.0}]
    assert likeliest[-1] == {b"8": -2.0}
    assert list(likeliest[1:]) == [{b"8": -2.0}]
    assert len(likeliest) == 2
    with pytest.raises(IndexError):
        likeliest[2]


def test_first_tokens_are_those_of_the_names_bare_and_after_a_space(tokenizer: Any) -> None:
    names = ("fear", "awe", "joy")
    expected = {tokenizer(f"{space}{name}")["input_ids"][0] for name in names for space in ("", " ")}
    assert set(first_tokens(names, tokenizer)) == expected
    assert first_tokens((), tokenizer) == []
