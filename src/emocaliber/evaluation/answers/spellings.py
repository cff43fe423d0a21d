"""Labels that may be misspelt, and the known tasks whose labels a file has: sentences for the person who scores it."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from emocaliber.core.tasks import TASKS, taxonomy_of
from emocaliber.emotions.labels import Labels
from emocaliber.emotions.taxonomy import label_key

_NEAR = 0.8  # difflib's ratio: "amusment" has 0.94 with "amusement", "fear" 0.29 with "anger"
_SHOWN = 3
_LONGEST = 3  # words


def misspelt_answers(said: Iterable[str | None], labels: Labels) -> str | None:
    """A sentence about answers that are none of the labels but near one; None if there are none."""
    counts = Counter(text for text in said if text and len(text.split()) <= _LONGEST)
    near = [(text, count, found) for text, count in counts.most_common() if not labels.named(text) and (found := _nearest(text, labels))]
    if not near:
        return None
    shown = ", ".join(f"{text!r} ({_times(count)}, near {found!r})" for text, count, found in near[:_SHOWN])
    more = f", and {len(near) - _SHOWN} more" if len(near) > _SHOWN else ""
    return f"answers that may be misspelt: {shown}{more}; as they stand, they count as wrong"


def misspelt_truths(truths: Iterable[str]) -> Iterator[str]:
    """A sentence about each label that occurs once among the truths and is near another one, which occurs more often."""
    first: dict[str, str] = {}
    counts = Counter(label_key(first.setdefault(label_key(text), text)) for text in truths)
    often = [first[key] for key, count in counts.items() if count > 1]
    for key, count in counts.items():
        if count == 1 and (near := _nearest(first[key], often)):
            yield f"a truth that may be misspelt: {first[key]!r} (once, near {near!r}); as it stands, it is a label of its own"


def known_tasks(truths: Iterable[str]) -> str | None:
    """A sentence that names the known tasks of which all truths are labels; None without one, or with less than half of its labels."""
    found = {label_key(text) for text in truths}
    labels = {name: {label_key(label) for label in known.labels} for name in TASKS if (known := taxonomy_of(name))}
    fitting = {name: keys for name, keys in labels.items() if found <= keys and 2 * len(found) >= len(keys)}
    if not fitting:
        return None
    fewest = min(map(len, fitting.values()))
    first, *others = [name for name, keys in fitting.items() if len(keys) == fewest]
    also = f" (and {', '.join(others)})" if others else ""
    return f"the true labels are those of {first}{also}: --task {first} reads their other spellings too"


def _nearest(text: str, labels: Sequence[str]) -> str | None:
    keys = {label_key(label): label for label in labels}
    close = difflib.get_close_matches(label_key(text), [key for key in keys if key != label_key(text)], n=1, cutoff=_NEAR)
    return keys[close[0]] if close else None


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count:,} times"
