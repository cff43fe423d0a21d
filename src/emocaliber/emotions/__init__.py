"""Emotions: taxonomies, valence-arousal-dominance values, and the emotion loop with its distance."""

from __future__ import annotations

from emocaliber.emotions.lexicon import Lexicon, read_lexicon
from emocaliber.emotions.loop import Loop, shortest_loop
from emocaliber.emotions.taxonomy import Taxonomy, fold
from emocaliber.emotions.taxonomy_files import BUILT_IN, parse_taxonomy, taxonomy
from emocaliber.emotions.vad import VAD

__all__ = ["BUILT_IN", "VAD", "Lexicon", "Loop", "Taxonomy", "fold", "parse_taxonomy", "read_lexicon", "shortest_loop", "taxonomy"]
