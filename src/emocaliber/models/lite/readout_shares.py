"""What a lite model's eyes read of an image, as shares of people: a source of confidence that its text has no part in."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from emocaliber.emotions.affect import label_distribution
from emocaliber.emotions.labels import Labels
from emocaliber.models.lite.vision import AFFECT, LiteVision

_RATED = AFFECT[:2]  # valence and arousal
_MOST = 0.95  # of their absolute values: a regression may read more than a rating can be


@contextmanager
def readouts_of(model: Any) -> Iterator[list[torch.Tensor]]:
    """A list to which each look of the model's eyes adds what they read of its images, (n, 12); none, if it has no readout row."""
    found: list[torch.Tensor] = []
    eyes = getattr(getattr(model, "model", None), "visual", None)
    if not isinstance(eyes, LiteVision) or eyes.readout is None:
        yield found
        return
    hook = eyes.register_forward_hook(lambda _eyes, _inputs, output: found.append(output.readout))
    try:
        yield found
    finally:
        hook.remove()


def readout_shares(readouts: torch.Tensor, asked: Sequence[Labels]) -> list[dict[str, float] | None]:
    """For each image, a row of `readouts` (n, 12), the share of people who would name each of its labels; the shares sum to 1.

    None for labels that are not of one taxonomy: nothing is known of them. See `emocaliber.emotions.affect`.
    """
    rated = readouts[:, : len(_RATED)].double().cpu().numpy().clip(-_MOST, _MOST)
    found: list[dict[str, float] | None] = [None] * len(asked)
    for labels in set(asked):
        known = labels.taxonomy
        column = {labels.named(name): place for place, name in enumerate(known.labels)} if known else {}
        if known is None or not set(labels) <= set(column):
            continue
        places = [place for place, each in enumerate(asked) if each == labels]
        shares = label_distribution(rated[places], known)[:, [column[name] for name in labels]]
        for place, row in zip(places, (shares / shares.sum(1, keepdims=True)).tolist(), strict=True):
            found[place] = dict(zip(labels, row, strict=True))
    return found
