"""Tokens of a generation: their log-probabilities, the likeliest alternatives, their bytes, and seeded sampling.

`Recorder` and `Sampler` take part in the steps of `decode`; `Likeliest` and `TokenBytes` turn token ids into pieces.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, overload

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import decoders

TOP = 20  # alternatives recorded at each position


class Recorder:
    """Records the log-probabilities of the chosen, the `TOP` likeliest and the `watched` tokens at every step of `decode`.

    `watched`: token ids, (rows, watched), padded with -1. Scores are not changed. Parts after this one, such as a temperature, have no
    effect on what is recorded.
    """

    def __init__(self, watched: torch.Tensor) -> None:
        self._watched = watched
        self._count, self._rows = len(watched), torch.arange(len(watched))
        self._last = watched.new_empty(0)
        self._steps: list[tuple[torch.Tensor, torch.Tensor]] = []
        self._written: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = []  # rows, and what they were given while these were in work

    def scores(self, scores: torch.Tensor) -> torch.Tensor:
        self._last = scores.log_softmax(-1)
        return scores

    def chosen(self, tokens: torch.Tensor) -> None:
        ids = torch.cat([tokens[:, None], self._last.topk(min(TOP, self._last.shape[1])).indices, self._watched], 1)
        self._steps.append((ids, self._last.gather(1, ids.clamp_min(0))))

    def keep(self, rows: torch.Tensor) -> None:
        self._close()
        self._watched, self._rows = self._watched[rows], self._rows[rows.cpu()]

    def _close(self) -> None:
        ids, logprobs = (torch.stack(each, 1).cpu() for each in zip(*self._steps, strict=True))
        self._written.append((self._rows, ids, logprobs))
        self._steps = []

    def finish(self) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Token ids and log-probabilities, both (rows, steps, 1 + TOP + watched): the chosen token, the likeliest, the watched.

        Steps that a row no longer took have ids of -1.
        """
        self._close()
        steps, width = sum(ids.shape[1] for _, ids, _ in self._written), self._written[0][1].shape[2]
        ids = np.full((self._count, steps, width), -1, dtype=np.int64)
        logprobs = np.zeros(ids.shape, dtype=np.float32)
        start = 0
        for rows, some, theirs in self._written:
            ids[rows, start : start + some.shape[1]], logprobs[rows, start : start + some.shape[1]] = some.numpy(), theirs.numpy()
            start += some.shape[1]
        return ids, logprobs


@dataclass(frozen=True, eq=False)
class Likeliest(Sequence[Mapping[bytes, float]]):
    """The alternatives at each position of a response, pieces to log-probabilities, computed from a `Recorder`'s arrays on access.

    `ids` and `logprobs`: (steps, tokens) of one row; ids of -1 are left out.
    """

    ids: NDArray[np.int64]
    logprobs: NDArray[np.float32]
    token_bytes: TokenBytes

    def __len__(self) -> int:
        return len(self.ids)

    @overload
    def __getitem__(self, place: int) -> dict[bytes, float]: ...
    @overload
    def __getitem__(self, place: slice) -> Likeliest: ...
    def __getitem__(self, place: int | slice) -> dict[bytes, float] | Likeliest:
        if isinstance(place, slice):
            return Likeliest(self.ids[place], self.logprobs[place], self.token_bytes)
        pieces: dict[bytes, float] = {}
        for token, logprob in zip(self.ids[place].tolist(), self.logprobs[place].tolist(), strict=True):
            if token >= 0:
                pieces.setdefault(self.token_bytes.piece(token), logprob)
        return pieces


def first_tokens(names: Sequence[str], tokenizer: Any) -> list[int]:
    """The ids of the first tokens of the names, with and without a space before them; sorted."""
    spelt = [spelt for name in names for spelt in (name, f" {name}")]
    return sorted({ids[0] for ids in tokenizer(spelt, add_special_tokens=False)["input_ids"] if ids}) if spelt else []


# The bytes of tokens: a token may end within a character, so its decoded text is not enough.


def _byte_characters() -> dict[str, int]:
    """The characters of GPT-2's byte-level vocabulary with their bytes: printable ones stand for themselves, U+0100 on for the others."""
    printable = {*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)}
    others = (byte for byte in range(256) if byte not in printable)
    return {chr(byte): byte for byte in printable} | {chr(256 + place): byte for place, byte in enumerate(others)}


_BYTES = _byte_characters()


class TokenBytes:
    """The bytes of a tokenizer's tokens: exact for byte-level tokenizers (Qwen, InternVL), from decoded text for others."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._byte_level = isinstance(tokenizer.backend_tokenizer.decoder, decoders.ByteLevel)
        self._known: dict[int, bytes] = {}

    def piece(self, token: int) -> bytes:
        """The bytes of one token; empty for an id beyond the vocabulary."""
        if token not in self._known:
            self._known[token] = self._bytes_of(token)
        return self._known[token]

    def pieces(self, tokens: Sequence[int]) -> tuple[bytes, ...]:
        """The bytes of each token of a text; joined, they are what the tokenizer decodes."""
        pieces = tuple(self.piece(token) for token in tokens)
        if b"".join(pieces).decode(errors="replace") == self._decode(tokens):
            return pieces
        texts = [self._decode(tokens[:count]) for count in range(1, len(tokens) + 1)]
        return tuple(_growth(texts))

    def _bytes_of(self, token: int) -> bytes:
        if self._byte_level:
            written = self._tokenizer.convert_ids_to_tokens(token) or ""
            # Added tokens are plain text, which the byte-level decoder accepts as well.
            return bytes(_BYTES[each] for each in written) if all(each in _BYTES for each in written) else written.encode()
        before = self._tokenizer("a", add_special_tokens=False)["input_ids"]  # alone, a token would lose its leading space
        return self._decode([*before, token])[len(self._decode(before)) :].encode()

    def _decode(self, tokens: Sequence[int]) -> str:
        return str(self._tokenizer.decode(tokens, clean_up_tokenization_spaces=False))


def _growth(texts: Sequence[str]) -> list[bytes]:
    """The bytes that each text adds to the one before it. An incomplete character is added once it is complete."""
    pieces, said = [], ""
    for text in texts:
        whole = text if text is texts[-1] else text.rstrip("\ufffd")
        pieces.append(whole[len(said) :].encode())
        said = max(said, whole, key=len)
    return pieces


# Sampling.


class Sampler:
    """Sampling by the Gumbel-max trick: argmax(score / temperature + Gumbel noise) ~ softmax(score / temperature).

    A part of `decode`. Each row has its own generator, so that a sample depends on the seed of its request, not on the batch. Rows of
    temperature 0 stay greedy.
    """

    def __init__(self, temperatures: Sequence[float], seeds: Sequence[int], device: str) -> None:
        self._temperatures = torch.tensor([[each or 1.0] for each in temperatures], device=device)
        self._generators = [
            torch.Generator(device).manual_seed(seed) if temperature else None
            for temperature, seed in zip(temperatures, seeds, strict=True)
        ]

    def scores(self, scores: torch.Tensor) -> torch.Tensor:
        exponential = torch.ones_like(scores)
        for row, generator in enumerate(self._generators):
            if generator:
                exponential[row].exponential_(generator=generator)
        return scores / self._temperatures - exponential.log_()

    def chosen(self, tokens: torch.Tensor) -> None:
        pass

    def keep(self, rows: torch.Tensor) -> None:
        self._temperatures = self._temperatures[rows]
        self._generators = [self._generators[row] for row in rows.tolist()]
