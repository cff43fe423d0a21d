"""The candidate labels of a question, and how text is matched to them.

Users, models and files write labels in any case, script, punctuation and spelling. `Labels` is made once for a question and passed along
with it, so that the parser, the rewards, the targets, the metrics and the tables match labels in the same way.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import groupby
from typing import Self, overload
from unicodedata import category

from emocaliber.emotions.taxonomy import Taxonomy, label_key, normalised
from emocaliber.errors import UserError

# Scripts without spaces between words (Thai, Lao, Burmese, Khmer, Japanese, Chinese) or with attached particles (Korean).
_UNSPACED = r"\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\U00020000-\U0003134f"
_UNSPACED_CHARACTER = re.compile(f"[{_UNSPACED}]")
_CLAUSE_ENDS = frozenset(".,;:!?\u3001\u3002")  # and their full-width forms, which are normalised to these
_PAUSE = "."

# A negation covers this many words after it. Those of Japanese, Korean and Turkish, which follow the negated word, are not recognised.
_REACH = 3
_NEGATIONS = frozenset(
    (
        *("not", "no", "non", "never", "neither", "nor", "without", "hardly", "barely", "cannot"),
        *("pas", "ni", "sans", "nicht", "kein", "keine", "keinen", "ohne", "weder", "noch", "sin", "nunca", "senza", "não", "sem", "nem"),
        *("не", "нет", "без", "ни", "不", "没", "沒", "无", "無", "非", "别", "別"),
    )
)
_TURNS = frozenset(("but", "mais", "sondern", "sino", "ma", "mas", "\u0430", "но", "而", _PAUSE))


@dataclass(frozen=True)
class Labels(Sequence[str]):
    """The labels of a question, in their order and as spelt there; a sequence of strings. Empty where any answer is allowed.

    `taxonomy`, if there is one, gives other spellings of the labels (a label matches any of its aliases, and an alias given as a label
    matches the canonical name and all other aliases) and the distances on its emotion loop.

    Raises UserError, naming them, for two labels that are the same (by `label_key` or as aliases of each other), and for a label without a
    letter, digit or symbol.
    """

    names: tuple[str, ...] = ()
    taxonomy: Taxonomy | None = None

    def __post_init__(self) -> None:
        seen: dict[str, str] = {}
        for name in self.names:
            if not label_key(name):
                raise UserError(f"the label {name!r} has no letter, digit or symbol to tell it by; give it a name")
            keys = {label_key(name), label_key(self._canonical(name))}
            if other := next((seen[key] for key in keys if key in seen), None):
                raise UserError(f"the labels {other!r} and {name!r} are the same label; leave one out, or rename it")
            seen |= dict.fromkeys(keys, name)

    @classmethod
    def of(cls, names: Sequence[str], taxonomy: Taxonomy | None = None) -> Labels:
        """`names` as `Labels`; an instance of `Labels` is returned unchanged."""
        return names if isinstance(names, Labels) else _made(tuple(names), taxonomy)

    def only(self, names: Iterable[str]) -> Self:
        """The labels that are among `names`, in the order of this instance."""
        kept = set(names)
        return type(self)(tuple(name for name in self.names if name in kept), self.taxonomy)

    @overload
    def __getitem__(self, place: int) -> str: ...
    @overload
    def __getitem__(self, place: slice) -> tuple[str, ...]: ...
    def __getitem__(self, place: int | slice) -> str | tuple[str, ...]:
        return self.names[place]

    def __len__(self) -> int:
        return len(self.names)

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __hash__(self) -> int:
        return hash(self.names)

    def named(self, text: str) -> str | None:
        """The label of which the whole text is a spelling, ignoring case and surrounding punctuation; else None."""
        return self._as_spelt.get(text) or self._by_key.get(label_key(text))

    def mentioned(self, text: str) -> tuple[set[str], set[str]]:
        """The labels that occur in a text: (affirmed, negated as in "not sadness").

        Of overlapping spellings, the longest counts. Takes time linear in the length of the text.
        """
        words, place = _words(text), 0
        affirmed: set[str] = set()
        denied: set[str] = set()
        while place < len(words):
            found = next((each for each in self._by_first_word.get(words[place], ()) if _at(words, place, each[0])), None)
            if found:
                phrase, label = found
                (denied if _is_denied(words, place) else affirmed).add(label)
            place += len(phrase) if found else 1
        return affirmed, denied

    @cached_property
    def spellings(self) -> Mapping[str, str]:
        """Every spelling with its label; the labels themselves come first."""
        return dict(self._spellings())

    def possible_after(self, prefix: bytes) -> set[str]:
        """The labels that a text beginning with `prefix` can name, in any case.

        `prefix` is UTF-8, and may end within a character. An empty prefix gives no label.
        """
        if not prefix:
            return set()
        text, rest = _whole_characters(prefix)
        folded = text.casefold()
        return {label for name, label in self._by_folded.items() if _is_named(folded, name) or _can_continue_to(folded, rest, name)}

    def pattern(self, label: str) -> re.Pattern[str]:
        """A pattern that finds a label in running text: any spelling as whole words, in any case and with any space between them."""
        return mention_pattern(tuple(spelling for spelling, meant in self.spellings.items() if meant == label))

    def distance(self, a: str, b: str) -> float | None:
        """The distance of two labels on the taxonomy's emotion loop, in [0, 0.5]; None if it has no loop or lacks one of them."""
        if self.taxonomy is None or self.taxonomy.without_vad():
            return None
        first, second = self.taxonomy.canonical(a), self.taxonomy.canonical(b)
        return None if first is None or second is None else self.taxonomy.loop().distance(first, second)

    @cached_property
    def _by_key(self) -> dict[str, str]:
        return {label_key(spelling): label for spelling, label in self.spellings.items()}

    @cached_property
    def _as_spelt(self) -> dict[str, str]:
        return {spelling: self._by_key[label_key(spelling)] for spelling in self.spellings}

    @cached_property
    def _by_folded(self) -> dict[str, str]:
        return {spelling.casefold(): label for spelling, label in self.spellings.items()}

    @cached_property
    def _by_first_word(self) -> dict[str, list[tuple[tuple[str, ...], str]]]:
        found: dict[str, list[tuple[tuple[str, ...], str]]] = {}
        for spelling, label in self.spellings.items():
            if words := _words(spelling):
                found.setdefault(words[0], []).append((words, label))
        for each in found.values():
            each.sort(key=lambda item: -len(item[0]))  # stable, so a label's own spelling comes before another's alias
        return found

    def _spellings(self) -> Iterator[tuple[str, str]]:
        yield from zip(self.names, self.names, strict=True)
        if self.taxonomy is None:
            return
        own = {label_key(name) for name in self.names}
        by_canonical = {self._canonical(name): name for name in self.names}
        for canonical, name in by_canonical.items():
            others = (canonical, *(alias for alias, meant in self.taxonomy.aliases.items() if meant == canonical))
            yield from ((other, name) for other in others if label_key(other) not in own)

    def _canonical(self, name: str) -> str:
        """The taxonomy's spelling of a label; the label itself if it is not in the taxonomy."""
        return (self.taxonomy.canonical(name) if self.taxonomy else None) or name


ANY_ANSWER = Labels()


@lru_cache(maxsize=1024)
def _made(names: tuple[str, ...], taxonomy: Taxonomy | None) -> Labels:
    return Labels(names, taxonomy)


@lru_cache(maxsize=1024)
def mention_pattern(phrases: Sequence[str]) -> re.Pattern[str]:
    """A pattern that finds any of the phrases as whole words, in any case and with any space between words; never, if there are none."""

    def bounded(phrase: str) -> str:
        words = r"\s+".join(map(re.escape, phrase.split()))
        before = "" if _UNSPACED_CHARACTER.match(phrase) else r"(?<!\w)"
        after = "" if _UNSPACED_CHARACTER.match(phrase[-1]) else r"(?!\w)"
        return f"{before}{words}{after}"

    listed = "|".join(bounded(phrase.strip()) for phrase in phrases)
    return re.compile(f"(?:{listed})" if listed else r"(?!)", re.IGNORECASE)


def _is_named(folded: str, name: str) -> bool:
    """Whether the text `folded` begins with `name` as a whole word."""
    return folded.startswith(name) and (bool(_UNSPACED_CHARACTER.match(name[-1])) or not folded[len(name) : len(name) + 1].isalpha())


def _can_continue_to(folded: str, rest: bytes, name: str) -> bool:
    """Whether `folded`, followed by a character whose first bytes are `rest`, can continue to `name`."""
    following = name[len(folded) : len(folded) + 1]
    return name.startswith(folded) and (not rest or any(form.encode().startswith(rest) for form in (following, following.upper())))


def _whole_characters(prefix: bytes) -> tuple[str, bytes]:
    """The complete characters of a UTF-8 prefix, and the bytes of an incomplete last one."""
    text = prefix.decode("utf-8", "ignore")
    return text, prefix[len(text.encode()) :]


def _words(text: str) -> tuple[str, ...]:
    """The words of the normalised text: runs of letters, marks and digits.

    Symbols and characters of unspaced scripts are words of their own, ends of clauses are `_PAUSE`, other punctuation separates words.
    """
    words: list[str] = []
    for kind, characters in groupby(normalised(text), key=_kind):
        if kind == "letter":
            words.append("".join(characters))
        elif kind == "alone":
            words += characters
        elif kind == "pause":
            words.append(_PAUSE)
    return tuple(words)


@lru_cache(maxsize=4096)
def _kind(character: str) -> str:
    if _UNSPACED_CHARACTER.match(character):
        return "alone"
    if character in _CLAUSE_ENDS:
        return "pause"
    major = category(character)[0]
    return "letter" if major in "LMN" else "alone" if major == "S" and character not in "`<>" else "between"


def _at(words: Sequence[str], place: int, phrase: Sequence[str]) -> bool:
    return tuple(words[place : place + len(phrase)]) == tuple(phrase)


def _is_denied(words: Sequence[str], place: int) -> bool:
    """Whether a negation precedes the word at `place` within `_REACH` words, without an end of a clause or "but" in between."""
    for before in range(place - 1, max(place - _REACH, 0) - 1, -1):
        if words[before] in _TURNS:
            return False
        contracted = words[before] == "t" and before > 0 and words[before - 1].endswith("n")  # "isn't", "don't"
        if words[before] in _NEGATIONS or contracted:
            return True
    return False
