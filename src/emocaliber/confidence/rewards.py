"""Stage 3's reward: format, correctness and confidence (section 3.3, equations 4 and 6), on the one parser and the one scorer."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from emocaliber.errors import UserError
from emocaliber.response import Malformed, parse
from emocaliber.scoring import is_correct

PARTS = ("format", "correct", "confidence")
ConfidenceReward = Literal["log_likelihood", "brier"]


@dataclass(frozen=True)
class RewardSettings:
    """Which confidence reward, and how far a stated confidence is believed.

    `clip` keeps log(0) out: a confidence counts as at least `clip` and at most 1 - `clip`. A malformed answer gets `malformed` in all: with
    the paper's 0 it would beat a wrong answer at high confidence, so the default is what the worst well-formed answer gets, log(clip) + 1.
    """

    confidence: ConfidenceReward = "log_likelihood"
    clip: float = 0.01
    malformed: float | None = None

    def __post_init__(self) -> None:
        kinds = get_args(ConfidenceReward)
        if self.confidence not in kinds:
            raise UserError(f"there is no confidence reward {self.confidence!r}; choose one of {', '.join(kinds)}")
        if not 0 < self.clip < 0.5:
            raise UserError(
                f"clip must lie between 0 and 0.5, not {self.clip}; it keeps a wrong answer at confidence 1 from minus infinity"
            )

    @property
    def floor(self) -> float:
        """The reward of a malformed answer."""
        return self.malformed if self.malformed is not None else 1 + confidence_reward(False, 1.0, self)


def confidence_reward(correct: bool, confidence: float, settings: RewardSettings) -> float:
    """R_conf: the log-likelihood of the outcome (equation 4), or minus the Brier score (equation 6)."""
    if settings.confidence == "brier":
        return -((float(correct) - confidence) ** 2)
    believed = min(max(confidence, settings.clip), 1 - settings.clip)
    return math.log(believed if correct else 1 - believed)


def reward(
    text: str,
    candidates: Sequence[str],
    ground_truth: str,
    settings: RewardSettings | None = None,
    *,
    aliases: Mapping[str, str] | None = None,
) -> tuple[float, Mapping[str, float]]:
    """R = R_format + R_correct + R_conf of one response, and these `PARTS`.

    R_format is 1 for a response that `parse` accepts with a confidence; for anything else it is the floor, and the other parts are 0.
    """
    settings = settings or RewardSettings()
    response = parse(text, candidates, aliases=aliases, confidence="required")
    if isinstance(response, Malformed) or response.confidence is None:
        return settings.floor, dict(zip(PARTS, (settings.floor, 0.0, 0.0), strict=True))
    correct = is_correct(response.answer, ground_truth)
    parts = dict(zip(PARTS, (1.0, float(correct), confidence_reward(correct, response.confidence, settings)), strict=True))
    return sum(parts.values()), parts
