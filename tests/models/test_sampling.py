"""What a row samples has the probabilities of its temperature, and depends on its own seed alone."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from emocaliber.models.tokens import Sampler

SCORES = torch.tensor([1.0, 0.0, -1.0, 0.5, -torch.inf])


def drawn(temperatures: list[float], seeds: list[int], steps: int = 8) -> torch.Tensor:
    """The tokens chosen, (rows, steps)."""
    sampler = Sampler(temperatures, seeds, "cpu")
    scores = SCORES.repeat(len(seeds), 1)
    return torch.stack([sampler.scores(scores.clone()).argmax(-1) for _ in range(steps)], 1)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_tokens_are_drawn_as_often_as_their_temperature_says(temperature: float) -> None:
    count = 4000
    tokens = drawn([temperature] * (count // 8), list(range(count // 8))).flatten()
    share = torch.bincount(tokens, minlength=5) / count
    expected = (SCORES / temperature).softmax(-1)
    assert (share - expected).abs().max() < 4 * (0.25 / count) ** 0.5
    assert share[-1] == 0, "what is suppressed is never drawn"


@given(rows=st.lists(st.tuples(st.sampled_from([0.0, 0.7, 1.0]), st.integers(0, 2**63 - 1)), min_size=1, max_size=6))
def test_a_row_draws_the_same_in_any_company(rows: list[tuple[float, int]]) -> None:
    together = drawn([temperature for temperature, _ in rows], [seed for _, seed in rows])
    for (temperature, seed), tokens in zip(rows, together, strict=True):
        assert torch.equal(drawn([temperature], [seed])[0], tokens)


def test_at_temperature_0_scores_stay_as_they_are() -> None:
    scores = torch.randn(2, 7)
    assert torch.equal(Sampler([0.0, 1.0], [1, 2], "cpu").scores(scores)[0], scores[0])
    assert not torch.equal(Sampler([0.0, 1.0], [1, 2], "cpu").scores(scores)[1], scores[1])
