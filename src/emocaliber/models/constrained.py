"""Constrained decoding: where a response names its emotion, it can name none but the candidates.

A `Grammar` is a sequence of parts: free text up to a closing text, and one of several texts. `five_steps` is the grammar of checkpoints
trained here, whose responses then always parse; `worded` is that of a model whose steps have a fixed wording; `answer_only` constrains no
more than the content of `<answer>`, for all others. Where a model keeps to the grammar by itself, its text stays the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import pairwise

import torch

from emocaliber.core.response import STEPS
from emocaliber.emotions.labels import Labels
from emocaliber.models.tokens import TokenBytes

_OVER = {step: f"</{step}><{following}>".encode() for step, following in pairwise(STEPS)} | {STEPS[-1]: b"</analysis></think><answer>"}
_SOMETHING = b"."  # stands for all free text before the beginning of its closing text
_SPACE = bytes((*range(9, 14), *range(28, 33)))  # what `str.strip` takes for white space in ASCII; `bytes.strip` knows fewer
_SPARE = 8  # tokens, for texts that are not written in their longest ones


@dataclass(frozen=True)
class Choice:
    """One of several texts. With `word`, what follows must not continue it as a word. `optional`: it and all after it may be left out."""

    texts: tuple[bytes, ...]
    word: bool = False
    optional: bool = False

    @cached_property
    def whole(self) -> frozenset[bytes]:
        return frozenset(self.texts)

    @cached_property
    def _begun(self) -> frozenset[bytes]:
        return frozenset(text[:size] for text in self.texts for size in range(len(text)))

    def continues(self, said: bytes) -> bool:
        """Whether one of the texts begins with `said`, and is longer."""
        return said in self._begun


@dataclass(frozen=True)
class Free:
    """Some text (or none, if it may be `empty`), and then `close`. The text holds no "<", unless it may hold any `tags`; then `close` need
    not come."""

    close: bytes
    tags: bool = False
    empty: bool = False

    def reduced(self, said: bytes) -> bytes:
        """What of `said` decides how it can go on: whether there is some text, and the beginning of `close` at its end."""
        size = next(size for size in range(min(len(said), len(self.close) - 1), -1, -1) if said.endswith(self.close[:size]))
        before = said[: len(said) - size]
        return (_SOMETHING if before.strip(_SPACE) else b"") + said[len(said) - size :]


_CONFIDENCE = (
    Choice((b"<confidence>",), optional=True),
    Choice(tuple(b"%.2f</confidence>" % (hundredths / 100) for hundredths in range(101))),
)
State = tuple[int, bytes]  # the number of the part, and what of its text decides how it can go on
START: State = (0, b"")


@dataclass(frozen=True, eq=False)  # compared by identity: the functions below make each grammar once
class Grammar:
    """A sequence of parts. After the last one the text is over if it is `closed`, and free otherwise."""

    parts: tuple[Choice | Free, ...]
    closed: bool

    def after(self, state: State, text: bytes) -> State | None:
        """The state after `text`; None if it breaks the grammar."""
        for byte in text:
            following = self._after(state, bytes((byte,)))
            if following is None:
                return None
            state = following
        return state

    def _after(self, state: State, byte: bytes) -> State | None:
        place, said = state
        if place == len(self.parts):
            return None if self.closed else state
        part, longer = self.parts[place], said + byte
        if isinstance(part, Choice):
            if longer in part.whole or part.continues(longer):
                over = longer in part.whole and not part.word and not part.continues(longer)
                return (place + 1, b"") if over else (place, longer)
            complete = said in part.whole and not (part.word and _continues_word(byte))
            return self._after((place + 1, b""), byte) if complete else None
        if longer.endswith(part.close) and (part.tags or part.empty or longer.startswith(_SOMETHING)):
            return place + 1, b""
        reduced = part.reduced(longer)
        closing = reduced.removeprefix(_SOMETHING)
        stray = b"<" in longer.removesuffix(closing) or (closing == reduced and closing.startswith(b"<") and not part.empty)
        return None if stray and not part.tags else (place, reduced)

    def may_end(self, state: State) -> bool:
        """Whether the text may end in this state."""
        place, said = state
        if place == len(self.parts):
            return True
        part = self.parts[place]
        return part.tags if isinstance(part, Free) else part.optional and not said

    def rest(self, state: State) -> Sequence[bytes]:
        """The texts that the part of this state may still need; for a free part, the rest of its closing text. None after the last part."""
        place, said = state
        if place == len(self.parts):
            return ()
        part = self.parts[place]
        if isinstance(part, Choice):
            return [text[len(said) :] for text in part.texts if text.startswith(said)]
        return [part.close[len(said.removeprefix(_SOMETHING)) :]]


@lru_cache(maxsize=1024)
def five_steps(labels: Labels, commits_after: tuple[str, ...] = (), *, brief: bool = False) -> Grammar:
    """The grammar of a five-step response with one of `labels` as its answer, and, if the model goes on, a confidence of two decimals.

    `commits_after`: words of the analysis after which it names its emotion, too; with `brief`, it adds nothing there, and the answer
    repeats that emotion.
    """
    named = tuple(label.encode() for label in labels)
    over = _OVER[STEPS[-1]]
    parts: list[Choice | Free] = [Choice((b"<think><element>",))]
    parts += [Free(_OVER[step]) for step in STEPS[:-1]]
    parts += [Free(f" {words}".encode(), empty=True) for words in commits_after]
    if commits_after and brief:
        parts.append(Choice(tuple(b" " + name + b"." + over + name + b"</answer>" for name in named)))
    elif commits_after:
        parts += [Choice(tuple(b" " + name for name in named), word=True), Free(over, empty=True), _answers(labels)]
    else:
        parts += [Free(over), _answers(labels)]
    return Grammar((*parts, *_CONFIDENCE), closed=True)


EMOTION = "{emotion}"  # stands in a wording where the emotion is named
Wording = tuple[tuple[tuple[str, ...], ...], ...]  # for each step its parts, in order, each of them one of several texts


@lru_cache(maxsize=1024)
def worded(labels: Labels, wording: Wording, *, brief: bool = False) -> Grammar:
    """The grammar of `five_steps` for a model whose steps have a fixed wording, in which the analysis names the emotion.

    With `brief`, nothing but a full stop follows the emotion there, and the answer repeats it.
    """
    parts: list[Choice | Free] = [Choice((b"<think><element>",))]
    for step, texts in zip(STEPS, wording, strict=True):
        parts += [Choice(tuple(filled for text in each for filled in _filled(text, labels))) for each in texts]
        parts.append(Choice((_OVER[step],)))
    if brief:
        place = next(number for number, each in enumerate(wording[-1]) if any(EMOTION in text for text in each))
        kept = parts[: len(parts) - 1 - len(wording[-1]) + place]
        tails = [f"{label}.".encode() + _OVER[STEPS[-1]] + f"{label}</answer>".encode() for label in labels]
        heads = [text.partition(EMOTION)[0].encode() for text in wording[-1][place]]
        parts = [*kept, Choice(tuple(head + tail for head in heads for tail in tails))]
    else:
        parts.append(_answers(labels))
    return Grammar((*parts, *_CONFIDENCE), closed=True)


def _filled(text: str, labels: Labels) -> list[bytes]:
    return [text.replace(EMOTION, label).encode() for label in labels] if EMOTION in text else [text.encode()]


def _answers(labels: Labels) -> Choice:
    return Choice(tuple(f"{label}</answer>".encode() for label in labels))


@lru_cache(maxsize=1024)
def answer_only(labels: Labels) -> Grammar:
    """The grammar of any text in which `<answer>`, where it first comes, holds one of `labels`."""
    return Grammar((Free(b"<answer>", tags=True), _answers(labels)), closed=False)


class Vocabulary:
    """The tokens of a vocabulary of `size` tokens by their bytes, without those in `unused`; `ends` end a text."""

    def __init__(self, token_bytes: TokenBytes, size: int, ends: Sequence[int], unused: Iterable[int] = ()) -> None:
        left_out = {*unused, *ends}
        self.ends, self.piece = ends, token_bytes.piece
        self._tokens = {token: piece for token in range(size) if token not in left_out and (piece := self.piece(token))}
        self._by_first: dict[int, list[int]] = {}
        self._by_piece: dict[bytes, int] = {}
        for token, piece in self._tokens.items():
            self._by_first.setdefault(piece[0], []).append(token)
            self._by_piece.setdefault(piece, token)

    def allowed(self, grammar: Grammar, state: State, *, hurry: bool) -> tuple[list[int], bool]:
        """Tokens, and whether they are the ones allowed in this state (else, those forbidden).

        In a `hurry`, free text ends, and texts are written in their longest tokens.
        """
        ends = list(self.ends) if grammar.may_end(state) else []
        rest = grammar.rest(state)
        if not rest:
            return (ends, True) if grammar.closed else ([], False)
        place, said = state
        part = grammar.parts[place]
        pieces = self._tokens.items()
        if hurry and (isinstance(part, Choice) or said.startswith(_SOMETHING)):
            first = {longest for text in rest if (longest := self._longest(text)) is not None}
            if first:
                return sorted(first), True
        if isinstance(part, Choice) or (b"<" in said and not part.tags):
            firsts = {text[0] for text in rest if text}
            if isinstance(part, Choice) and said in part.whole:
                firsts = set(range(256))
            likely = [token for first in firsts for token in self._by_first.get(first, ())]
            return sorted(ends + [token for token in likely if grammar.after(state, self._tokens[token]) is not None]), True
        risky = (token for token, piece in pieces if (b"<" in piece and not part.tags) or part.close in said + piece)
        broken = [token for token in risky if grammar.after(state, self._tokens[token]) is None]
        return sorted(broken + ([] if ends else list(self.ends))), False

    def length(self, text: bytes) -> int:
        """The number of tokens of `text`, written in the longest ones."""
        count = 0
        while text:
            longest = self._longest(text)
            text = text[len(self._tokens[longest]) if longest is not None else 1 :]
            count += 1
        return count

    def _longest(self, text: bytes) -> int | None:
        """The longest token that `text` begins with."""
        return next((self._by_piece[text[:end]] for end in range(len(text), 0, -1) if text[:end] in self._by_piece), None)


class ConstrainedDecoding:
    """Keeps each row of a batch to its grammar (None: to none), within its limit of tokens. One instance serves one call of `decode`."""

    def __init__(self, grammars: Sequence[Grammar | None], limits: Sequence[int], vocabulary: Vocabulary) -> None:
        self._grammars, self._limits, self._vocabulary = list(grammars), list(limits), vocabulary
        self._states: list[State | None] = [START if grammar else None for grammar in grammars]
        self._count = 0
        self._masks: dict[tuple[Grammar, State, bool], torch.Tensor] = {}
        self._needed: dict[
            tuple[Grammar, int], int
        ] = {}  # no cache around a method: that cycle would keep the masks until a full collection

    def scores(self, scores: torch.Tensor) -> torch.Tensor:
        constrained = [
            (row, self._mask(grammar, state, limit, scores))
            for row, (grammar, state, limit) in enumerate(zip(self._grammars, self._states, self._limits, strict=True))
            if grammar and state
        ]
        if len(constrained) == len(scores):
            return scores.masked_fill(torch.stack([mask for _, mask in constrained]), float("-inf"))
        for row, mask in constrained:
            scores[row].masked_fill_(mask, float("-inf"))
        return scores

    def chosen(self, tokens: torch.Tensor) -> None:
        self._count += 1
        for row, (grammar, state, token) in enumerate(zip(self._grammars, self._states, tokens.tolist(), strict=True)):
            if grammar and state:
                over = token in self._vocabulary.ends
                self._states[row] = None if over else grammar.after(state, self._vocabulary.piece(token))

    def keep(self, rows: torch.Tensor) -> None:
        kept = rows.tolist()
        self._grammars, self._limits = ([each[row] for row in kept] for each in (self._grammars, self._limits))
        self._states = [self._states[row] for row in kept]

    def _mask(self, grammar: Grammar, state: State, limit: int, scores: torch.Tensor) -> torch.Tensor:
        """The tokens that are forbidden in a state, (vocabulary,)."""
        hurry = grammar.closed and limit - self._count <= self._most_needed(grammar, state[0]) + _SPARE
        key = grammar, state, hurry
        if key not in self._masks:
            tokens, only_these = self._vocabulary.allowed(grammar, state, hurry=hurry)
            only_these = only_these and bool(tokens)
            mask = torch.full(scores.shape[1:], only_these, dtype=torch.bool)
            mask[torch.tensor(tokens, dtype=torch.long)] = not only_these
            self._masks[key] = mask.to(scores.device)
        return self._masks[key]

    def _most_needed(self, grammar: Grammar, place: int) -> int:
        """The most tokens that the part at `place` and all after it need; free text may be left out."""
        if place == len(grammar.parts):
            return 0
        if (grammar, place) not in self._needed:
            here = max(map(self._vocabulary.length, grammar.rest((place, b""))), default=0) + 1
            self._needed[grammar, place] = here + self._most_needed(grammar, place + 1)
        return self._needed[grammar, place]


def _continues_word(byte: bytes) -> bool:
    return byte.isalnum() or byte >= b"\x80"
