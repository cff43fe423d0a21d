"""Confidence: stage 2's targets (equation 2), stage 3's rewards (equations 4 and 6), and the incentives that a reward sets."""

from __future__ import annotations

from emocaliber.confidence.rewards import (
    PARTS,
    PRESETS,
    RewardSettings,
    confidence_and_correctness,
    confidence_reward,
    parse_reward,
    reward,
)
from emocaliber.confidence.targets import confidence_target

__all__ = [
    "PARTS",
    "PRESETS",
    "RewardSettings",
    "confidence_and_correctness",
    "confidence_reward",
    "confidence_target",
    "parse_reward",
    "reward",
]
