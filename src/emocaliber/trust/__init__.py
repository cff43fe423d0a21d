"""A confidence to act on: calibrators fitted and judged on labelled answers, certified thresholds, and a watch that voids them."""
