"""Every source of confidence is explained to readers."""

from __future__ import annotations

from emocaliber.core.source_words import SOURCE_WORDS, source_words
from emocaliber.core.sources import SOURCES


def test_every_source_has_words_of_its_own() -> None:
    assert SOURCES.keys() <= SOURCE_WORDS.keys()
    sentences = [words.sentence for words in SOURCE_WORDS.values()]
    assert len(set(sentences)) == len(sentences) and all(sentence.startswith("the ") for sentence in sentences)


def test_a_source_of_ones_own_is_called_by_its_name() -> None:
    assert "entropy" in source_words("entropy").sentence and source_words("entropy").axis == "Entropy"
