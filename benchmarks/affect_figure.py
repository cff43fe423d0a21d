"""The figure of docs/affect.md: the likeliest label by valence and arousal, reliability on held-out pictures, and entropies of votes.

    python benchmarks/affect_figure.py FIGURE.png      # the first panel alone; `benchmarks/fit_affect.py --figure` draws all

The last line is one JSON object.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb

from emocaliber.emotions.affect import PICTURES, AffectModel, label_distribution
from emocaliber.emotions.colours import emotion_colour
from emocaliber.emotions.taxonomy import taxonomy
from emocaliber.evaluation.calibration import reliability_bins
from emocaliber.evaluation.metrics import Tally
from emocaliber.render.figure import BLUE, GREY, VERMILION, PanelFigure, png, style

Floats = npt.NDArray[np.float64]
_STEPS = 161


def affect_figure(
    model: AffectModel,
    named: Floats | None = None,
    first: npt.NDArray[np.int64] | None = None,
    entropies: Mapping[str, Floats] | None = None,
) -> bytes:
    """A PNG. `named` (pictures, 7) and `first` are held-out predictions and truths; `entropies` by collection and source."""
    with style():
        sheet = PanelFigure(3 if named is not None else 1, "What viewers feel and what they call it", width=3.0, height=2.8)
        _map(sheet.axes(0), model)
        if named is not None and first is not None and entropies is not None:
            _reliability(sheet.axes(1), named, first)
            _entropies(sheet.axes(2), entropies)
        return png(sheet.figure)


def _map(axes: Axes, model: AffectModel) -> None:
    labels = taxonomy("mikels-8")
    valence, arousal = np.meshgrid(np.linspace(-1, 1, _STEPS), np.linspace(-1, 1, _STEPS))
    shares = label_distribution(np.stack([valence, arousal], -1), labels, model=model)
    likeliest = shares.argmax(-1)
    colours = np.array([to_rgb(emotion_colour(label, labels).light) for label in labels.labels])
    paleness = ((1 - shares.max(-1)) * 0.9)[..., None]
    axes.imshow(colours[likeliest] * (1 - paleness) + paleness, origin="lower", extent=(-1, 1, -1, 1), aspect="auto")
    for i, label in enumerate(labels.labels):
        at = likeliest == i
        if at.sum() > 0.004 * at.size:
            axes.text(valence[at].mean(), arousal[at].mean(), label, ha="center", va="center", fontsize=7)
    ticks = (-1, -0.5, 0, 0.5, 1)
    axes.set(xlabel="Valence", ylabel="Arousal", xticks=ticks, yticks=ticks)
    axes.set_title("Likeliest of Mikels' eight (paler: fewer viewers)")


def _reliability(axes: Axes, named: Floats, first: npt.NDArray[np.int64]) -> None:
    bins = reliability_bins(Tally.of(np.clip(named.max(1), 0, 1), named.argmax(1) == first))
    x, y = np.array([each.confidence for each in bins]), np.array([each.accuracy for each in bins])
    ends = np.array([each.accuracy_ci for each in bins]).T
    axes.plot([0, 1], [0, 1], color=GREY, linestyle="--", linewidth=0.8)
    axes.errorbar(x, y, yerr=np.abs(ends - y), fmt="none", ecolor=BLUE, elinewidth=1, alpha=0.6)
    axes.scatter(x, y, s=[6 + 160 * each.n / len(first) for each in bins], color=BLUE, alpha=0.8, linewidths=0)
    axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="P(most named), likeliest of seven", ylabel="Named first")
    axes.set_title(f"EEmo-Bench, {len(first):,} pictures held out")


def _entropies(axes: Axes, entropies: Mapping[str, Floats]) -> None:
    edges = np.linspace(0, 2.1, 22)
    chosen = [(name, values) for name, values in entropies.items() if name.startswith("Flickr") and ("people" in name or "typical" in name)]
    for (name, values), colour in zip(chosen, (VERMILION, BLUE), strict=True):
        label = "Flickr-LDL: people" if "people" in name else "OASIS: P(label | VAD)"
        axes.hist(values, edges, weights=np.full(len(values), 1 / len(values)), histtype="step", color=colour, label=label)
    axes.set(xlabel="Entropy of 11 votes (nats)", ylabel="Share of pictures", ylim=(0, 0.24))
    axes.legend(loc="upper left")
    axes.set_title("How much viewers disagree")


def main() -> int:
    Path(sys.argv[1]).write_bytes(affect_figure(PICTURES))
    print(json.dumps({"figure": sys.argv[1]}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
