"""Taxonomies of emotion (labels, families, aliases and VAD values), read from TOML files; and the normal form of labels."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from importlib import resources
from pathlib import Path
from typing import Any
from unicodedata import category, normalize

from emocaliber.emotions.loop import VAD, Loop, shortest_loop
from emocaliber.errors import UserError

_BACKTICK_AND_BRACKETS = "`<>"
_VARIATION_SELECTORS = dict.fromkeys((0xFE0E, 0xFE0F))  # they select the text or emoji form of a symbol


def _is_edge(character: str) -> bool:
    """Whether a character at either end of a label is ignored: punctuation, space, and invisible characters."""
    kind = category(character)
    return kind[0] in "PZ" or kind in ("Cc", "Cf") or character in _BACKTICK_AND_BRACKETS


_ASCII_EDGES = "".join(filter(_is_edge, map(chr, range(128))))


def normalised(text: str) -> str:
    """The text case-folded and in Unicode form NFKC, so that equivalent characters are equal."""
    if text.isascii():
        return text.casefold()
    return normalize("NFKC", normalize("NFKC", text).casefold()).translate(_VARIATION_SELECTORS)


def label_key(text: str) -> str:
    """The form in which labels of any script are compared: `normalised`, with single spaces and without punctuation at either end."""
    folded = normalised(text)
    if text.isascii():
        return " ".join(folded.strip(_ASCII_EDGES).split())
    first = next((place for place, character in enumerate(folded) if not _is_edge(character)), len(folded))
    last = next((place for place in range(len(folded), first, -1) if not _is_edge(folded[place - 1])), first)
    return " ".join(folded[first:last].split())


@dataclass(frozen=True)
class Taxonomy:
    """A closed set of emotion labels with their families, aliases and VAD values.

    `parents` maps each label to its family: all labels have one, or none has. A family may have the name of one of its labels (sadness in
    sadness). `aliases` maps other spellings to labels. `vad` may be incomplete; only `loop` needs all values. If `hierarchical`, the loop
    keeps each family together.

    Raises UserError, naming the field and the remedy, if the fields contradict each other.
    To move a label to another family: `replace(t, parents={**t.parents, "surprise": "negative"})`.
    """

    name: str
    labels: tuple[str, ...]
    parents: Mapping[str, str] = field(default_factory=dict, hash=False)
    aliases: Mapping[str, str] = field(default_factory=dict, hash=False)
    vad: Mapping[str, VAD] = field(default_factory=dict, hash=False)
    hierarchical: bool = False

    def __post_init__(self) -> None:
        _check_labels(self.labels)
        _check_aliases(self.aliases, self.labels)
        _check_parents(self.parents, self.labels)
        _check_vad(self.vad, self.labels)
        if self.hierarchical and not self.parents:
            raise UserError('loop: a hierarchical loop needs families; add a [parents] table or set loop = "flat"')

    def canonical(self, text: str) -> str | None:
        """The label that `text` names, directly or by an alias, ignoring case and surrounding punctuation; else None."""
        return self._spellings.get(label_key(text))

    @property
    def kind_of_loop(self) -> str:
        """ "flat" or "hierarchical", as in the taxonomy's file."""
        return "hierarchical" if self.hierarchical else "flat"

    def loop(self) -> Loop:
        """The emotion loop through all labels, computed once. Raises UserError if a label has no VAD value."""
        return self._loop

    def without_vad(self) -> tuple[str, ...]:
        """The labels without a VAD value."""
        return tuple(label for label in self.labels if label not in self.vad)

    def with_lexicon(self, lexicon: Mapping[str, VAD]) -> Taxonomy:
        """This taxonomy with missing VAD values taken from `lexicon`; existing values are kept.

        Raises UserError naming the labels that the lexicon lacks too.
        """
        found = {label: lexicon[label_key(label)] for label in self.without_vad() if label_key(label) in lexicon}
        filled = replace(self, vad={**self.vad, **found})
        filled._require_vad()
        return filled

    @cached_property
    def _spellings(self) -> dict[str, str]:
        return {label_key(label): label for label in self.labels} | {label_key(alias): label for alias, label in self.aliases.items()}

    @cached_property
    def _loop(self) -> Loop:
        self._require_vad()
        return shortest_loop({label: self.vad[label] for label in self.labels}, self.parents if self.hierarchical else None)

    def _require_vad(self) -> None:
        if missing := self.without_vad():
            raise UserError(
                f"taxonomy '{self.name}': no VAD value for {_listed(missing)}; add a line such as "
                f'"{missing[0]}" = [valence, arousal, dominance], each from -1 to 1, to its [vad] table, '
                "or give a lexicon that has the word"
            )


def _check_labels(labels: Sequence[str]) -> None:
    seen: dict[str, str] = {}
    for label in labels:
        if not label_key(label):
            raise UserError(f"labels: '{label}' has no letter or digit; a label must be a word")
        if earlier := seen.get(label_key(label)):
            raise UserError(f"labels: '{earlier}' and '{label}' are the same label (case and edges do not count); remove one")
        seen[label_key(label)] = label
    if len(labels) < 2:
        raise UserError(f"labels: {len(labels)} given; a taxonomy needs at least two")


def _check_aliases(aliases: Mapping[str, str], labels: Sequence[str]) -> None:
    own = {label_key(label): label for label in labels}
    seen: dict[str, str] = {}
    for alias, label in aliases.items():
        key = label_key(alias)
        if not key:
            raise UserError(f"aliases: '{alias}' has no letter or digit; an alias must be a word")
        if label not in labels:
            raise UserError(f"aliases: '{alias}' stands for '{label}', which is not a label; use one of {_listed(labels)}")
        if key in own:
            raise UserError(f"aliases: '{alias}' is the label '{own[key]}' itself; remove the alias")
        if key in seen:
            raise UserError(f"aliases: '{seen[key]}' and '{alias}' are the same alias (case and edges do not count); remove one")
        seen[key] = alias


def _check_parents(parents: Mapping[str, str], labels: Sequence[str]) -> None:
    for label, parent in parents.items():
        if label not in labels:
            raise UserError(f"parents: '{label}' is not a label; use one of {_listed(labels)}")
        if not label_key(parent):
            raise UserError(f"parents: the parent of '{label}' is '{parent}'; a parent must be a word")
        # A label that is a family must be its own parent; this rules out cycles and a third level.
        if parent in labels and parents.get(parent) != parent:
            raise UserError(
                f"parents: '{parent}' is the parent of '{label}' but not its own (a cycle or a third level); "
                f'write "{parent}" = "{parent}" or name the family differently'
            )
    if parents and (missing := [label for label in labels if label not in parents]):
        raise UserError(f"parents: none for {_listed(missing)}; give every label a parent, or remove the table")


def _check_vad(vad: Mapping[str, VAD], labels: Sequence[str]) -> None:
    for label, value in vad.items():
        if label not in labels:
            raise UserError(f"vad: '{label}' is not a label; use one of {_listed(labels)}")
        for axis, x in zip(VAD._fields, value, strict=True):
            if not (math.isfinite(x) and -1 <= x <= 1):
                raise UserError(f"vad: the {axis} of '{label}' is {x:g}; it must lie between -1 and 1 (a value x in 0..1 is 2x - 1 here)")


def _listed(words: Sequence[str]) -> str:
    return ", ".join(f"'{word}'" for word in words)


POLARITIES = ("positive", "negative")


def polarity_by_family(label: str, known: Taxonomy) -> str | None:
    """The polarity to which a label's families lead: `known`'s, then WebEmo's seven; None where they lead to none."""
    name: str | None = label
    for families in (known.parents, taxonomy("webemo-7").parents):
        if name is not None and name not in POLARITIES:
            name = families.get(name)
    return name if name in POLARITIES else None


# Reading taxonomies.

BUILT_IN = ("mikels-8", "webemo-25", "webemo-7", "polarity-2", "unbiasedemo-6")

# The two-class subtasks of VECBench share one taxonomy.
_ALSO_CALLED = {"webemo-2": "polarity-2", "fi-2": "polarity-2"}

_KEYS = ("name", "labels", "loop", "parents", "aliases", "vad")
_LOOPS = ("flat", "hierarchical")


def taxonomy(name_or_path: str | Path | Taxonomy) -> Taxonomy:
    """The built-in taxonomy of that name (in any case), or the one in that TOML file; a taxonomy is returned as it is.

    Raises UserError, naming file, field and remedy, for an unknown name or an invalid file.
    """
    if isinstance(name_or_path, Taxonomy):
        return name_or_path
    name = str(name_or_path).casefold()
    name = _ALSO_CALLED.get(name, name)
    if name in BUILT_IN:
        return _built_in(name)
    path = Path(name_or_path)
    if path.is_file():
        return parse_taxonomy(_text(path), str(path))
    if path.suffix == ".toml":
        raise UserError(f"{path}: no such file; give the path of a taxonomy file or one of {', '.join(BUILT_IN)}")
    raise UserError(f"unknown taxonomy '{name_or_path}'; give one of {', '.join(BUILT_IN)}, or the path of a TOML file")


def parse_taxonomy(text: str, source: str) -> Taxonomy:
    """The taxonomy in a TOML text. Raises UserError, whose message begins with `source`, for an invalid one."""
    try:
        return _from_table(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"{source}: not valid TOML: {error}") from None
    except UserError as error:
        raise UserError(f"{source}: {error}") from None


@cache
def _built_in(name: str) -> Taxonomy:
    file = resources.files("emocaliber.emotions") / "data" / f"{name}.toml"
    return parse_taxonomy(file.read_text("utf-8"), str(file))


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as a UTF-8 text file ({error})") from None


def _from_table(table: dict[str, Any]) -> Taxonomy:
    if unknown := [key for key in table if key not in _KEYS]:
        raise UserError(f"{unknown[0]}: unknown key; a taxonomy file has {', '.join(_KEYS)}")
    name = table.get("name")
    if not isinstance(name, str) or not name.strip():
        raise UserError('name: missing or not a text; write name = "my-taxonomy"')
    labels = table.get("labels")
    if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
        raise UserError('labels: missing or not a list of texts; write labels = ["joy", "fear"]')
    loop = table.get("loop", "flat")
    if loop not in _LOOPS:
        raise UserError(f"loop: {loop!r} is not a kind of loop; write one of {', '.join(_LOOPS)}")
    return Taxonomy(
        name=name,
        labels=tuple(labels),
        parents=_texts(table, "parents"),
        aliases=_texts(table, "aliases"),
        vad={label: _vad(label, value) for label, value in _table(table, "vad").items()},
        hierarchical=loop == "hierarchical",
    )


def _table(table: dict[str, Any], key: str) -> dict[str, Any]:
    inner = table.get(key, {})
    if not isinstance(inner, dict):
        raise UserError(f"{key}: not a table; write [{key}] and one line for each label below it")
    return inner


def _texts(table: dict[str, Any], key: str) -> dict[str, str]:
    inner = _table(table, key)
    for word, value in inner.items():
        if not isinstance(value, str):
            raise UserError(f"{key}: the value of '{word}' is {value!r}, not a text; write {word} = \"...\"")
    return inner


def _vad(label: str, value: object) -> VAD:
    if not isinstance(value, list) or len(value) != 3 or not all(type(x) in (int, float) for x in value):
        raise UserError(f"vad: '{label}' has {value!r}, not three numbers; write {label} = [valence, arousal, dominance]")
    return VAD(*map(float, value))
