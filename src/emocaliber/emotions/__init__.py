"""Emotions: labels and taxonomies, valence-arousal-dominance (VAD) values, and the emotion loop with its distance."""

from __future__ import annotations

from emocaliber.emotions.labels import ANY_ANSWER, Labels, mention_pattern
from emocaliber.emotions.lexicon import Lexicon, read_lexicon
from emocaliber.emotions.loop import VAD, Loop, shortest_loop
from emocaliber.emotions.taxonomy import BUILT_IN, Taxonomy, label_key, parse_taxonomy, taxonomy

__all__ = [
    "ANY_ANSWER",
    "BUILT_IN",
    "VAD",
    "Labels",
    "Lexicon",
    "Loop",
    "Taxonomy",
    "label_key",
    "mention_pattern",
    "parse_taxonomy",
    "read_lexicon",
    "shortest_loop",
    "taxonomy",
]
