"""Stage 3's reward: format, correctness and confidence (section 3.3, equations 4 and 6), with the same parser and scorer as evaluation.

    R = format_weight * 1 + correct_weight * 1[right] + confidence_weight * S(c, right)        for a well-formed response, else the floor

S is one of `SCORES`. `incentives.py` finds the optimal confidence under a setting.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from emocaliber.core.response import Malformed, parse
from emocaliber.core.scoring import is_correct
from emocaliber.emotions.labels import Labels
from emocaliber.errors import UserError
from emocaliber.io.plugins import Registry

PARTS = ("format", "correct", "confidence")

# Scores of the probability given to the outcome: c if the answer is right, else 1 - c.
SCORES: Registry[Callable[[float], float]] = Registry("confidence reward")
SCORES.add("log_likelihood", math.log)  # equation 4
SCORES.add("brier", lambda given: -((1 - given) ** 2))  # equation 6; RLCR (Damani et al. 2025); SaySelf's quadratic reward (Xu et al. 2024)
SCORES.add("spherical", lambda given: given / math.hypot(given, 1 - given))  # Roby (1965)
SCORES.add("none", lambda given: 0.0)


@dataclass(frozen=True)
class RewardSettings:
    """The confidence score, the weight of each part, and the treatment of extreme and malformed confidences.

    The log-likelihood clips confidences to [`clip`, 1 - `clip`], to avoid log(0); with `open_interval`, confidences 0 and 1 are malformed
    instead. `malformed` is the total reward of a malformed answer. The paper's 0 would exceed that of a wrong answer at high confidence;
    the default (None) is the reward of the worst well-formed answer.
    """

    confidence: str = "log_likelihood"
    clip: float = 0.01
    malformed: float | None = None
    format_weight: float = 1.0
    correct_weight: float = 1.0
    confidence_weight: float = 1.0
    open_interval: bool = False

    def __post_init__(self) -> None:
        SCORES.named(self.confidence)
        if not 0 < self.clip < 0.5:
            raise UserError(
                f"clip must lie between 0 and 0.5, not {self.clip}; it keeps a wrong answer at confidence 1 from minus infinity"
            )
        for name in ("format_weight", "correct_weight", "confidence_weight"):
            if getattr(self, name) < 0:
                raise UserError(f"{name} must not be negative, not {getattr(self, name)}")

    @property
    def floor(self) -> float:
        """The reward of a malformed answer."""
        return self.malformed if self.malformed is not None else self.total(False, 1.0)

    def total(self, correct: bool, confidence: float) -> float:
        """The reward of a well-formed answer."""
        return self.format_weight + self.correct_weight * correct + self.confidence_weight * confidence_reward(correct, confidence, self)


PRESETS: Registry[RewardSettings] = Registry("reward preset")
PRESETS.add("default", RewardSettings())
PRESETS.add("paper", RewardSettings(malformed=0.0))  # equation 4 as printed
PRESETS.add("released", RewardSettings(confidence_weight=2.0, malformed=-5.0, open_interval=True))  # the authors' code
PRESETS.add("brier", RewardSettings(confidence="brier"))  # equation 6, the ablation of Table 9
PRESETS.add("rlcr", RewardSettings(confidence="brier", format_weight=0.0))  # correctness minus Brier (Damani et al. 2025)
PRESETS.add("spherical", RewardSettings(confidence="spherical"))
PRESETS.add("correctness", RewardSettings(confidence="none", confidence_weight=0.0))  # no confidence reward


def parse_reward(text: str) -> RewardSettings:
    """The settings that a text such as "paper" or "default correct_weight=2 malformed=-5" names: a preset, then changes.

    Raises UserError for a preset, a setting or a value that does not exist.
    """
    preset, *changes = text.split() or [""]
    chosen = PRESETS.named(preset)
    values: dict[str, Any] = {}
    for change in changes:
        name, _, value = change.partition("=")
        if name not in RewardSettings.__dataclass_fields__:
            raise UserError(f"a reward has no setting {name!r}; it has {', '.join(RewardSettings.__dataclass_fields__)}")
        values[name] = value if name == "confidence" else _flag(name, value) if name == "open_interval" else _number(name, value)
    return replace(chosen, **values)


def _number(name: str, value: str) -> float:
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise UserError(f"the reward's {name} must be a number, not {value!r}")
    return number


def _flag(name: str, value: str) -> bool:
    if value not in ("true", "false"):
        raise UserError(f"the reward's {name} must be true or false, not {value!r}")
    return value == "true"


def confidence_reward(correct: bool, confidence: float, settings: RewardSettings) -> float:
    """S of a confidence in [0, 1], unweighted."""
    clipped = min(max(confidence, settings.clip), 1 - settings.clip) if settings.confidence == "log_likelihood" else confidence
    return SCORES[settings.confidence](clipped if correct else 1 - clipped)


def confidence_and_correctness(
    text: str, candidates: Sequence[str], ground_truth: str, settings: RewardSettings
) -> tuple[float, bool] | None:
    """(confidence, correct?) of a well-formed response; None for a malformed one.

    A response is well-formed if `parse` accepts it with a confidence, within an `open_interval` if that is set.
    """
    labels = Labels.of(candidates)
    response = parse(text, labels, confidence="required")
    if isinstance(response, Malformed) or response.confidence is None:
        return None
    if settings.open_interval and response.confidence in (0.0, 1.0):
        return None
    return response.confidence, is_correct(response.answer, ground_truth, labels)


def reward(
    text: str, candidates: Sequence[str], ground_truth: str, settings: RewardSettings | None = None
) -> tuple[float, Mapping[str, float]]:
    """The total reward of a response, and its weighted `PARTS`; for a malformed one the format part is the floor and the others are 0."""
    settings = settings or RewardSettings()
    stated = confidence_and_correctness(text, candidates, ground_truth, settings)
    if stated is None:
        return settings.floor, dict(zip(PARTS, (settings.floor, 0.0, 0.0), strict=True))
    confidence, correct = stated
    scored = settings.confidence_weight * confidence_reward(correct, confidence, settings)
    parts = dict(zip(PARTS, (settings.format_weight, settings.correct_weight * correct, scored), strict=True))
    return sum(parts.values()), parts
