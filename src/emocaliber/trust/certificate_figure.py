"""The figure of a certificate: accuracy against coverage, with its lower band, the target and what was certified."""

from __future__ import annotations

from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from emocaliber.render.figure import BLUE, GREY, VERMILION, PanelFigure, style
from emocaliber.trust.certificate_file import Certificate


def certificate_figure(certificate: Certificate) -> Figure:
    """Accuracy of the most confident answers against the share of answers accepted, for all answers together."""
    what, curve = certificate.pooled, certificate.curve
    level = f"{100 * (1 - what.delta):g} %"
    legend = [
        Line2D([], [], color=BLUE, label="Accuracy of what is accepted"),
        Patch(color=BLUE, alpha=0.18, linewidth=0, label=f"{level} lower bound of one point"),
        Line2D([], [], color=GREY, linestyle="--", label="Target"),
        Line2D([], [], color=VERMILION, marker="o", linestyle="", label="Certified"),
    ]
    with style():
        shown = legend if what.certified else legend[:3]
        sheet = PanelFigure(1, "What is accepted, and how often it is right", legend=shown, width=4.6, height=2.8)
        axes = sheet.axes(0)
        coverage = [point["coverage"] for point in curve]
        low = [point["low"] for point in curve]
        axes.plot(coverage, [point["accuracy"] for point in curve], color=BLUE, linewidth=1.2)
        axes.fill_between(coverage, low, [point["accuracy"] for point in curve], color=BLUE, alpha=0.18, linewidth=0)
        axes.axhline(what.accuracy, color=GREY, linewidth=0.8, linestyle="--")
        if what.accepted_accuracy is not None:
            axes.plot([what.coverage], [what.accepted_accuracy], color=VERMILION, marker="o", markersize=5, clip_on=False, zorder=3)
        axes.set(xlim=(0, 1), ylim=(min([0.5, what.accuracy, *low[3:]]), 1), xlabel="Share of answers accepted", ylabel="Accuracy")
    return sheet.figure


def how_to_read(certificate: Certificate) -> str:
    """One sentence on how to read the figure."""
    point = (
        f"the red point is the certified threshold, {certificate.threshold:.6g}"
        if certificate.threshold is not None
        else "no threshold could be certified"
    )
    return (
        "From left to right the threshold falls and more answers are accepted; the line is how often they were right here, the band how "
        f"low that might be in truth for one threshold chosen beforehand, and {point}."
    )
