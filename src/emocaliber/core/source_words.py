"""What each source of confidence, and a share of people, is in words for readers of pages, tables and figures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class SourceWords(NamedTuple):
    """A short `name`, the title of its `axis` without a unit, and a `sentence` that begins with "the"."""

    name: str
    axis: str
    sentence: str


SOURCE_WORDS: Mapping[str, SourceWords] = {
    "verb": SourceWords("stated confidence", "Stated confidence", "the number that the model states in its answer"),
    "ans": SourceWords("answer token", "Probability of the answer token", "the probability of the answer's first decisive token"),
    "avg": SourceWords("mean token probability", "Mean token probability", "the mean probability of all tokens of the response"),
    "commit": SourceWords(
        "commitment",
        "Probability where first named",
        "the probability of the emotion at the place where the response first names it",
    ),
    "norm": SourceWords(
        "commitment among the labels",
        "Share where first named",
        "the probability of the emotion at the place where the response first names it, as a share of all labels",
    ),
    "margin": SourceWords(
        "margin",
        "Lead over the next label",
        "the lead of the likeliest label over the next one where the response first names an emotion; it is no probability",
    ),
    "verb_mean": SourceWords(
        "mean stated confidence",
        "Mean stated confidence",
        "the confidence that the model states, averaged over the numbers that it might have stated, by their probability",
    ),
    "readout": SourceWords(
        "readout",
        "Share by the readout",
        "the share of people who would name the emotion, by the valence and arousal that the model's eyes read of the image",
    ),
    "calibrated": SourceWords(
        "calibrated confidence",
        "Calibrated confidence",
        "the probability that the answer is right, from how often answers with such confidences were right on other images",
    ),
    "consistency": SourceWords("consistency", "Share of equal answers", "the share of other sampled answers that say the same"),
    "p_true": SourceWords("P(true)", "P(true)", "the probability with which the model, asked whether its answer is right, says yes"),
    "probability": SourceWords("probability", "Probability of the answer", "the probability of the answer among all labels"),
    "chance": SourceWords("chance", "Chance", "the confidence of a guess, as the model was not taught these labels"),
    "confidence": SourceWords("confidence", "Confidence", "the confidence given with each answer"),
}


def source_words(source: str) -> SourceWords:
    """The words for a source; one of your own is called by its name."""
    return SOURCE_WORDS.get(source) or SourceWords(source, source[:1].upper() + source[1:], f"the confidence called {source} in the rows")


def people_count(share: float, low: float, high: float) -> str:
    """A share of people with its interval as "7 of 10 (5 to 8)", rounded; without the interval where it rounds to one number."""
    said, least, most = (f"{10 * part:.0f}" for part in (share, low, high))
    shown = "under 1" if said == "0" else said
    return f"{shown} of 10" + ("" if least == most else f" ({least} to {most})")


def people_words(share: float | None, low: float | None, high: float | None) -> str | None:
    """A share of people in words, "about 7 of 10 people would say so (5 to 8)"; None where it is not known."""
    if share is None or low is None or high is None:
        return None
    count, of, interval = people_count(share, low, high).partition(" of 10")
    return f"about {count}{of} people would say so{interval}".replace("about under", "under")
