"""The probes: what each changes of a picture or its question, and what a trustworthy confidence must then do.

`variant` gives the changed question about a sample, or says why there is none. `probing` asks, `probe_scores` counts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal
from zlib import crc32

import numpy as np

from emocaliber.core.model import mixed_seed
from emocaliber.core.prompts import EMOCALIBER, Prompt, listed
from emocaliber.emotions.labels import Labels
from emocaliber.emotions.taxonomy import label_key
from emocaliber.errors import UserError, did_you_mean
from emocaliber.trust.perturbations import PERTURBATIONS, Perturbation

Must = Literal["fall", "follow", "stay", "not fall"]

ORIGINAL = "original"  # the name of the unchanged question in rows

WORDS: Mapping[Must, str] = {
    "fall": "the confidence falls",
    "follow": "the confidence in the first answer falls",
    "stay": "the answer stays, the confidence hardly moves",
    "not fall": "the answer stays, the confidence does not fall",
}


@dataclass(frozen=True)
class Probe:
    """A probe: what it asks again, in words (`asks`), and what the confidence `must` do. `needs_truth`: it needs labelled samples."""

    name: str
    must: Must
    asks: str
    needs_truth: bool = False


PROBES: Mapping[str, Probe] = {
    probe.name: probe
    for probe in (
        Probe("blank", "fall", "the mean colour of the picture"),
        Probe("noise", "fall", "random pixels"),
        Probe("blurred", "fall", "the picture under a strong blur"),
        Probe("mosaic", "fall", "the picture in large blocks"),
        Probe("swapped", "follow", "another sample's picture"),
        Probe("no_truth", "fall", "the candidates without the true label", needs_truth=True),
        Probe("flip", "stay", "the mirror image"),
        Probe("crop", "stay", "95 % of width and height"),
        Probe("jpeg", "stay", "the picture as a JPEG of quality 50"),
        Probe("order", "stay", "the candidates in another order"),
        Probe("synonyms", "stay", "another word for each candidate"),
        Probe("wording", "stay", "the question in other words"),
        Probe("fewer", "not fall", "the question without the two least likely candidates"),
    )
}


def probes_named(names: str | None, *, labelled: bool) -> list[Probe]:
    """The probes of a list with commas, in their usual order; all for None.

    Raises UserError for an unknown name, an empty list, and a probe that needs labels where there are none.
    """
    if names is None:
        return list(PROBES.values())
    wanted = {name.strip() for name in names.split(",") if name.strip()}
    if not wanted:
        raise UserError(f"no probe is named; give some of {', '.join(PROBES)}")
    for name in sorted(wanted - PROBES.keys()):
        raise UserError(f"there is no probe {name!r}; the probes are {', '.join(PROBES)}{did_you_mean(name, PROBES)}")
    chosen = [probe for name, probe in PROBES.items() if name in wanted]
    for probe in chosen:
        if probe.needs_truth and not labelled:
            raise UserError(f"the probe {probe.name} needs the true labels, and these are pictures without; give samples, or leave it out")
    return chosen


@dataclass(frozen=True)
class ProbedSample:
    """A picture with its question, and the true label where it is known (`truth`)."""

    id: str
    image: str
    task: str
    candidates: Labels
    truth: str | None = None


@dataclass(frozen=True)
class Variant:
    """A question about a picture: the file `image`, changed by `change`, and the candidates as they are asked.

    `meaning` maps each of these to the sample's own label. `reworded`: asked in other words.
    """

    image: str
    candidates: Labels
    meaning: Mapping[str, str]
    change: Perturbation | None = None
    reworded: bool = False


@dataclass(frozen=True)
class FirstAnswer:
    """What the unchanged question got: the answer, and the probability of each label, likeliest first, where the model gives them."""

    answer: str
    alternatives: Mapping[str, float]


def unchanged(sample: ProbedSample) -> Variant:
    """The sample's own question."""
    return Variant(sample.image, sample.candidates, {label: label for label in sample.candidates})


def variant(probe: Probe, sample: ProbedSample, first: FirstAnswer, partner: ProbedSample | None, seed: int) -> Variant | str:
    """The question that a probe asks about a sample whose own question got `first`; or the reason why there is none, in words.

    `partner` is the sample whose picture `swapped` shows.
    """
    image, labels = sample.image, sample.candidates
    if probe.name in PERTURBATIONS:
        return Variant(image, labels, {label: label for label in labels}, PERTURBATIONS[probe.name])
    if probe.name == "swapped":
        return "there is no other picture" if partner is None else Variant(partner.image, labels, {label: label for label in labels})
    if probe.name == "wording":
        return Variant(image, labels, {label: label for label in labels}, reworded=True)
    if probe.name == "synonyms":
        words = synonyms_of(labels)
        return "most of the candidates have no synonym in the list of this package" if words is None else _relabelled(image, labels, words)
    if probe.name == "order":
        return _relabelled(image, labels, {label: label for label in shuffled(labels, seed_of(sample, seed))})
    if probe.name == "no_truth":
        return _without(sample, [] if sample.truth is None else [sample.truth], least=2)
    return _without(sample, _least_likely(sample, first, seed), least=2)


def seed_of(sample: ProbedSample, seed: int) -> int:
    """The seed of all that is drawn for a sample: it depends on its id, not on its place."""
    return mixed_seed(seed, crc32(sample.id.encode("utf-8", "surrogatepass")))


def shuffled(labels: Sequence[str], seed: int) -> list[str]:
    """The labels in another order than they are in: drawn, and turned by one place if the draw is the old order."""
    drawn = [labels[place] for place in np.random.default_rng(seed).permutation(len(labels))]
    return drawn if drawn != list(labels) else [*drawn[1:], drawn[0]]


def partners(samples: Sequence[ProbedSample], seed: int) -> dict[str, ProbedSample]:
    """For each sample, by id, another whose picture it is asked about: of another true label if there is one, else of another file.

    Samples without any such partner are left out.
    """
    order = sorted(samples, key=lambda sample: seed_of(sample, seed))
    found = {}
    for place, sample in enumerate(order):
        others = (order[(place + step) % len(order)] for step in range(1, len(order)))
        partner = None
        for other in others:
            if other.image != sample.image:
                partner = partner or other
                if sample.truth is None or other.truth != sample.truth:
                    partner = other
                    break
        if partner:
            found[sample.id] = partner
    return found


def _relabelled(image: str, labels: Labels, words: Mapping[str, str]) -> Variant:
    """The question with a word for each label, in the order of `words`, which maps labels to words."""
    asked = Labels.of(list(words.values()), labels.taxonomy)
    return Variant(image, asked, {word: label for label, word in words.items()})


def _without(sample: ProbedSample, leave: Sequence[str], *, least: int) -> Variant | str:
    kept = sample.candidates.only(label for label in sample.candidates if label not in leave)
    if not leave or len(kept) < least:
        return "too few candidates would be left"
    return Variant(sample.image, kept, {label: label for label in kept})


def _least_likely(sample: ProbedSample, first: FirstAnswer, seed: int) -> list[str]:
    """The two least likely labels; without probabilities, two drawn from those that were not chosen."""
    if len(first.alternatives) == len(sample.candidates):
        return [label for label in first.alternatives if label != first.answer][-2:]
    others = [label for label in sample.candidates if label != first.answer]
    return [others[place] for place in np.random.default_rng(seed_of(sample, seed)).permutation(len(others))[:2]]


# Other words.

_SYNONYMS: Mapping[str, str] = {
    **{"amusement": "fun", "awe": "wonder", "contentment": "satisfaction", "excitement": "thrill", "anger": "fury"},
    **{"disgust": "revulsion", "fear": "dread", "sadness": "sorrow", "joy": "happiness", "love": "affection", "surprise": "astonishment"},
    **{"confusion": "bewilderment", "affection": "fondness", "cheerfulness": "merriment", "disappointment": "disillusionment"},
    **{"enthrallment": "rapture", "envy": "jealousy", "exasperation": "frustration", "gratitude": "thankfulness", "horror": "terror"},
    **{"irritability": "grumpiness", "lust": "desire", "neglect": "abandonment", "nervousness": "anxiety", "optimism": "hopefulness"},
    **{"pride": "self-esteem", "rage": "wrath", "relief": "reassurance", "shame": "humiliation", "suffering": "agony"},
    **{"sympathy": "compassion", "zest": "gusto", "positive": "pleasant", "negative": "unpleasant", "neutral": "indifferent"},
}


def synonyms_of(labels: Labels) -> dict[str, str] | None:
    """A word for each label: its synonym, or itself where that is missing or means another label. None if most stay the same."""
    words: dict[str, str] = {}
    for label in labels:
        other = _SYNONYMS.get(label_key(label), label)
        words[label] = label if labels.named(other) or other in words.values() else other
    same = sum(word == label for label, word in words.items())
    return None if 2 * same > len(labels) else words


def _in_other_words(candidates: Sequence[str], noun: str, confidence: bool) -> str:
    """The question of the model card in other words, with the same format."""
    form = EMOCALIBER.write(candidates, noun, confidence).partition("Respond in the format: ")[2]
    return (
        f"A person looks at this picture. Name the {noun} that it most probably calls forth in them; it must be one of "
        f"[{listed(candidates)}]. Reason in steps before you answer. Respond in the format: {form}"
    )


REWORDED = Prompt("reworded", "this package", False, _in_other_words)
