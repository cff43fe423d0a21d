"""A confidence reward of one's own, and a preset that uses it: half of Brier's, half of the log-likelihood's.

emocaliber rewards --preset mixed --plugin examples/plugins/own_reward.py
"""

import math

from emocaliber.confidence.rewards import PRESETS, SCORES, RewardSettings


@SCORES.register("mixed")
def mixed(given):
    return -((1 - given) ** 2) / 2 + math.log(max(given, 0.01)) / 2


PRESETS.add("mixed", RewardSettings(confidence="mixed"))
