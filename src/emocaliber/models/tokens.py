"""What a generation says about its tokens: how likely each was, and what else could have stood there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, overload

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import decoders
from transformers import LogitsProcessor

TOP = 20


class Recorder(LogitsProcessor):  # type: ignore[misc]
    """Keeps, while `generate` runs, the log-probabilities of the chosen token, the `TOP` likeliest and the `watched` ones at every step.

    `watched` has token ids for each row; -1 watches nothing. No score is changed; what comes after it, such as a temperature, is not seen.
    """

    def __init__(self, watched: torch.Tensor) -> None:
        self._watched = watched
        self._last: torch.Tensor | None = None
        self._chosen: list[tuple[torch.Tensor, torch.Tensor]] = []
        self._others: list[tuple[torch.Tensor, torch.Tensor]] = []

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        self._close(input_ids)
        self._last = scores.log_softmax(-1)
        ids = torch.cat([self._last.topk(min(TOP, scores.shape[1])).indices, self._watched], 1)
        self._others.append((ids, self._last.gather(1, ids.clamp_min(0))))
        return scores

    def _close(self, input_ids: torch.Tensor) -> None:
        if self._last is not None:
            ids = input_ids[:, -1:]
            self._chosen.append((ids, self._last.gather(1, ids)))

    def finish(self, sequences: torch.Tensor) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Token ids and their log-probabilities, both (rows, steps, tokens): the chosen one, the likeliest, the watched."""
        self._close(sequences)
        steps = [[torch.cat(pair, 1) for pair in zip(*both, strict=True)] for both in zip(self._chosen, self._others, strict=True)]
        ids, logprobs = (torch.stack(each, 1).cpu().numpy() for each in zip(*steps, strict=True))
        return ids, logprobs


@dataclass(frozen=True, eq=False)
class Likeliest(Sequence[Mapping[bytes, float]]):
    """At each place of a response, pieces to log-probabilities: made of a `Recorder`'s (steps, tokens) only where they are asked for."""

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
    """The tokens with which the names begin, bare and after a space."""
    spelt = [spelt for name in names for spelt in (name, f" {name}")]
    return sorted({ids[0] for ids in tokenizer(spelt, add_special_tokens=False)["input_ids"] if ids}) if spelt else []


# The bytes of tokens. A token may end in the middle of a character, so its text alone does not say what it is.


def _byte_characters() -> dict[str, int]:
    """The characters for which GPT-2's byte-level vocabulary writes bytes: printable ones for themselves, from U+0100 on for the others."""
    printable = {*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)}
    others = (byte for byte in range(256) if byte not in printable)
    return {chr(byte): byte for byte in printable} | {chr(256 + place): byte for place, byte in enumerate(others)}


_BYTES = _byte_characters()


class TokenBytes:
    """Says which bytes the tokens of a tokenizer stand for: exactly for byte-level ones (Qwen, InternVL), from decoded text for others."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._byte_level = isinstance(tokenizer.backend_tokenizer.decoder, decoders.ByteLevel)
        self._known: dict[int, bytes] = {}

    def piece(self, token: int) -> bytes:
        """The bytes of one token; none for an id beyond the vocabulary."""
        if token not in self._known:
            self._known[token] = self._spell(token)
        return self._known[token]

    def pieces(self, tokens: Sequence[int]) -> tuple[bytes, ...]:
        """The bytes of the tokens of a text, which join to what the tokenizer decodes."""
        pieces = tuple(self.piece(token) for token in tokens)
        if b"".join(pieces).decode(errors="replace") == self._decode(tokens):
            return pieces
        texts = [self._decode(tokens[:count]) for count in range(1, len(tokens) + 1)]
        return tuple(_growth(texts))

    def _spell(self, token: int) -> bytes:
        if self._byte_level:
            written = self._tokenizer.convert_ids_to_tokens(token) or ""
            # Added tokens are written as they are, as the byte-level decoder takes them too.
            return bytes(_BYTES[each] for each in written) if all(each in _BYTES for each in written) else written.encode()
        before = self._tokenizer("a", add_special_tokens=False)["input_ids"]  # alone, a token would lose its leading space
        return self._decode([*before, token])[len(self._decode(before)) :].encode()

    def _decode(self, tokens: Sequence[int]) -> str:
        return str(self._tokenizer.decode(tokens, clean_up_tokenization_spaces=False))


def _growth(texts: Sequence[str]) -> list[bytes]:
    """What each text adds to the one before it. A character that is not yet whole is added when it is."""
    pieces, said = [], ""
    for text in texts:
        whole = text if text is texts[-1] else text.rstrip("\ufffd")
        pieces.append(whole[len(said) :].encode())
        said = max(said, whole, key=len)
    return pieces


# Sampling that depends on a request's own seed alone, whatever else is in its batch.


class Sampler(LogitsProcessor):  # type: ignore[misc]
    """Makes greedy decoding sample (Gumbel-max): score / temperature + Gumbel noise, each row from a generator of its own.

    The likeliest of the scores so disturbed has the probability that softmax(score / temperature) gives it. Rows of temperature 0 are left
    as they are.
    """

    def __init__(self, temperatures: Sequence[float], seeds: Sequence[int], device: str) -> None:
        self._temperatures = torch.tensor([[each or 1.0] for each in temperatures], device=device)
        rows = enumerate(zip(temperatures, seeds, strict=True))
        self._drawn = [(row, torch.Generator(device).manual_seed(seed)) for row, (temperature, seed) in rows if temperature]

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        exponential = torch.ones_like(scores)
        for row, generator in self._drawn:
            exponential[row].exponential_(generator=generator)
        return scores / self._temperatures - exponential.log_()


# One seed from several, without any heavy import.


def mixed_seed(*parts: int) -> int:
    """One seed of 63 bits from several numbers; nearby ones give unrelated seeds."""
    return int.from_bytes(blake2b(repr(parts).encode(), digest_size=8).digest()) >> 1
