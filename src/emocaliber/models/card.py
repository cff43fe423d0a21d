"""The card of a checkpoint trained here, `emocaliber.json` beside its weights: its name, notice, tasks, settings and recalibrations."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from emocaliber.core.model import Recalibration
from emocaliber.emotions.taxonomy import label_key

CARD = "emocaliber.json"
# Keys of the card.
TRAINED_AT = "rollout_temperature"  # the temperature of stage 3's roll-outs
COMMITS_AFTER = "commits_after"  # words of the analysis after which it names the emotion
FIXED_QUESTIONS = "fixed_questions"  # whether the model understands no questions but those of its tasks
UNFAMILIAR = "unfamiliar"  # the words by which its first step says that it recognises nothing
RECALIBRATION = "recalibration"  # the recalibrations of its stated confidence


def read_card(folder: str | Path) -> dict[str, Any]:
    """The card of a checkpoint trained here (`emocaliber.json`); empty for other checkpoints."""
    card = Path(folder) / CARD
    return dict(json.loads(card.read_text(encoding="utf-8"))) if card.is_file() else {}


def write_card(folder: str | Path, card: Mapping[str, Any]) -> None:
    """Writes the card of the checkpoint in `folder`."""
    (Path(folder) / CARD).write_text(json.dumps(card, indent=1) + "\n", encoding="utf-8")


class DescribedByCard:
    """A model as its checkpoint's card describes it; `describe` sets what follows.

    `tasks` are those it was trained on, `confidence_source` the source of its confidence, `unfamiliar` the words by which it says that it
    recognises nothing in an image; None where the card does not say.
    """

    name: str
    tasks: tuple[str, ...] | None
    confidence_source: str | None
    unfamiliar: str | None
    stated_confidence: StatedConfidence
    fixed_questions: bool

    def describe(self, card: Mapping[str, Any], name: str, *, constrained: bool = False) -> None:
        """Reads a card; `name` is that of a checkpoint without one.

        Only where decoding is `constrained` can a model of fixed questions be asked for other labels than theirs (see `TaughtQuestions`).
        """
        self.name = card.get("name", name)
        self.tasks = tuple(card["tasks"]) if "tasks" in card else None
        self.confidence_source = card.get("confidence_source")
        self.unfamiliar = card.get(UNFAMILIAR)
        self.stated_confidence = StatedConfidence(card)
        self.fixed_questions = constrained and bool(card.get(FIXED_QUESTIONS))


class StatedConfidence:
    """How to read a checkpoint's stated confidence, by its card: the sampling temperature of its training, and its recalibrations.

    Each recalibration was fitted on one question, identified by its set of labels.
    """

    def __init__(self, card: Mapping[str, Any]) -> None:
        self.rollout_temperature: float = card.get(TRAINED_AT, 1.0)
        self.recalibrations: Mapping[frozenset[str], Recalibration] = {
            question_key(each["labels"]): Recalibration(each["temperature"], each["bias"]) for each in _fitted(card)
        }

    def of(self, candidates: Sequence[str]) -> dict[str, Any]:
        """The fields of `Tokens` in the answer to a question with these candidates."""
        return {"rollout_temperature": self.rollout_temperature, "recalibration": self.recalibrations.get(question_key(candidates))}


def question_key(labels: Sequence[str]) -> frozenset[str]:
    """The identity of a question for recalibration: its labels, in any order and spelling."""
    return frozenset(map(label_key, labels))


def _fitted(card: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """The recalibrations of a card. One of an older form, which does not name the labels it was fitted on, is not used."""
    held = card.get(RECALIBRATION)
    return held if isinstance(held, list) else []


def notice_of(card: Mapping[str, Any], temperature: float) -> str | None:
    """What users must know of a checkpoint, one sentence a line; None if nothing.

    That is the notice of its card, a recalibration that cannot be used, and a `temperature` other than that of the training of its
    confidence. A card that names a `confidence_source` was measured on greedy answers, so temperature 0 needs no notice.
    """
    notice, trained = card.get("notice"), card.get(TRAINED_AT)
    sentences = [notice] if notice else []
    if isinstance(card.get(RECALIBRATION), dict):
        sentences.append("the card does not name the labels of its recalibration, which is therefore not used; export the checkpoint again")
    if trained is not None and trained != temperature and not (temperature == 0 and "confidence_source" in card):
        sentences.append(
            f"the model's confidence was trained on answers sampled at temperature {trained:g}, and it is used at {temperature:g}, "
            f"where its accuracy differs: the stated confidence may be too low or too high; give temperature={trained:g} to sample as in "
            "training, or recalibrate it (`emocaliber train export --held-out SAMPLES`)"
        )
    return "\n".join(sentences) or None
