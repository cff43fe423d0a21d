"""Confidence: what it should be taught to be (targets) and what it is rewarded for (rewards)."""

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
