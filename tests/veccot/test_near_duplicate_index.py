"""MinHash sketches estimate the similarity of two texts, and no accepted text is missed."""

from __future__ import annotations

import random

import pytest

from emocaliber.veccot.checks import NearDuplicateIndex

_WORDS = [first + middle + last for first in "bdfgklmprst" for middle in "aeiou" for last in "nrstl"]


def text(seed: int, words: int = 80) -> list[str]:
    return random.Random(seed).choices(_WORDS, k=words)


def jaccard(one: list[str], other: list[str]) -> float:
    runs = [{tuple(words[place : place + 3]) for place in range(len(words) - 2)} for words in (one, other)]
    return len(runs[0] & runs[1]) / len(runs[0] | runs[1])


@pytest.mark.parametrize("changed", [0, 1, 3, 8, 20, 80])
def test_the_similarity_is_the_jaccard_index_within_its_error(changed: int) -> None:
    errors = []
    for seed in range(30):
        one = text(seed)
        other = text(seed + 1000)[:changed] + one[changed:]
        index = NearDuplicateIndex()
        index.add("one", " ".join(one))
        nearest = index.nearest("other", " ".join(other))
        assert nearest is not None or jaccard(one, other) < 0.1
        errors.append((nearest[1] if nearest else 0.0) - jaccard(one, other))
    assert abs(sum(errors) / len(errors)) < 0.02
    assert max(map(abs, errors)) < 0.15


def test_the_nearest_of_many_is_found_whatever_their_number() -> None:
    index = NearDuplicateIndex()
    for number in range(3000):
        index.add(f"s{number}", " ".join(text(number)))
    for number in (0, 1023, 1024, 2999):
        assert index.nearest("new", " ".join(["One", *text(number)[1:]])) == (f"s{number}", pytest.approx(0.97, abs=0.06))


def test_case_and_punctuation_do_not_make_a_text_new() -> None:
    index = NearDuplicateIndex()
    index.add("one", "A red kite, high above the meadow.")
    assert index.nearest("two", "a RED kite - high above, the meadow!") == ("one", 1.0)


def test_a_sample_has_one_text_and_is_not_compared_with_itself() -> None:
    index = NearDuplicateIndex()
    assert index.nearest("one", "whatever it says") is None
    index.add("one", " ".join(text(1)))
    assert index.nearest("one", " ".join(text(1))) is None
    index.add("one", " ".join(text(2)))
    assert (index.nearest("two", " ".join(text(1))) or ("", 0.0))[1] < 0.2
    assert index.nearest("two", " ".join(text(2))) == ("one", 1.0)


@pytest.mark.parametrize("short", ["", "one", "one two", "…"])
def test_short_texts_have_a_sketch_too(short: str) -> None:
    index = NearDuplicateIndex()
    index.add("one", short)
    assert index.nearest("two", short) == ("one", 1.0)
