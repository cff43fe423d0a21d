"""What the token probabilities of a generation say: of every token, at the answer, and over the candidates."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from transformers import LogitsProcessor


class Recorder(LogitsProcessor):  # type: ignore[misc]
    """Keeps, while `generate` runs, the log-probability of each chosen token and of each `watched` token at every step.

    It changes no score. Custom processors run before the temperature, so the probabilities are the model's own.
    """

    def __init__(self, watched: Sequence[int]) -> None:
        self._watched = torch.tensor(watched, dtype=torch.long)
        self._chosen: list[torch.Tensor] = []
        self._candidates: list[torch.Tensor] = []
        self._last: torch.Tensor | None = None

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        self._close(input_ids)
        self._last = scores.float().log_softmax(-1)
        self._candidates.append(self._last[:, self._watched.to(scores.device)].cpu())
        return scores

    def _close(self, input_ids: torch.Tensor) -> None:
        if self._last is not None:
            self._chosen.append(self._last.gather(1, input_ids[:, -1:]).squeeze(1).cpu())

    def finish(self, sequences: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Log-probabilities of the chosen tokens (rows, steps) and of the watched ones (rows, steps, watched)."""
        self._close(sequences)
        return torch.stack(self._chosen, 1), torch.stack(self._candidates, 1)


def first_tokens(candidates: Sequence[str], tokenizer: Any) -> dict[bool, list[int]]:
    """The first token of each candidate, bare (False) and after a space (True)."""

    def first(text: str) -> int:
        return int(tokenizer(text, add_special_tokens=False)["input_ids"][0])

    return {False: [first(name) for name in candidates], True: [first(f" {name}") for name in candidates]}


def token_at(position: int, ids: Sequence[int], tokenizer: Any) -> int:
    """The index of the token of `ids` that holds the character at `position` of their decoded text."""
    low, high = 0, len(ids)
    while low < high:  # the text of a longer prefix is never shorter
        middle = (low + high) // 2
        if len(tokenizer.decode(ids[: middle + 1])) > position:
            high = middle
        else:
            low = middle + 1
    return low


def place_of_commitment(text: str, answer: str) -> int | None:
    """Where `text` first names `answer` as a whole word, in any case; None if it never does."""
    match = re.search(rf"(?<!\w){re.escape(answer)}(?!\w)", text, re.IGNORECASE)
    return match.start() if match else None


def distribution(logps: torch.Tensor, chosen: int, candidates: Sequence[str], firsts: Mapping[bool, list[int]]) -> dict[str, float] | None:
    """P(candidate) at one step, from the log-probabilities `logps` of both spellings' first tokens, as `first_tokens` orders them.

    The spelling is the one of the `chosen` token. None where two candidates begin with the same token: one step cannot tell them apart.
    """
    spaced = chosen in firsts[True]
    ids = firsts[spaced]
    if chosen not in ids or len(set(ids)) < len(ids):
        return None
    values = logps[len(ids) :] if spaced else logps[: len(ids)]
    return dict(zip(candidates, values.softmax(0).tolist(), strict=True))
