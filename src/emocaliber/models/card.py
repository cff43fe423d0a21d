"""The card of a checkpoint trained here, `emocaliber.json` beside its weights: its name, notice, tasks, settings and calibrators."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from emocaliber.core.calibrators import Calibrators
from emocaliber.core.response import Response
from emocaliber.errors import UserError
from emocaliber.io.rows import display_name

CARD = "emocaliber.json"
NOTICE = "NOTICE"  # beside the card: the licence notice of others' weights that the checkpoint holds
# Keys of the card.
TRAINED_AT = "rollout_temperature"  # the temperature of stage 3's roll-outs
COMMITS_AFTER = "commits_after"  # words of the analysis after which it names the emotion
WORDING = "wording"  # all that its steps can say: for each its parts, in order, each a list of texts (see `constrained.worded`)
FIXED_QUESTIONS = "fixed_questions"  # whether the model understands no questions but those of its tasks
UNFAMILIAR = "unfamiliar"  # the words by which its first step says that it recognises nothing
GUESSES_UNFAMILIAR = "guesses_unfamiliar"  # whether its calibrators hold for familiar pictures alone, and its answers to others are guesses
CALIBRATION = "calibration"  # its calibrators, with the content of a calibrator.json
EARLIER = "recalibration"  # the key of an earlier form, which is not used
_AGAIN = "`emocaliber train export --held-out SAMPLES`"


def read_card(folder: str | Path) -> dict[str, Any]:
    """The card of a checkpoint trained here (`emocaliber.json`); empty for other checkpoints."""
    card = Path(folder) / CARD
    return dict(json.loads(card.read_text(encoding="utf-8"))) if card.is_file() else {}


def write_card(folder: str | Path, card: Mapping[str, Any]) -> None:
    """Writes the card of the checkpoint in `folder`."""
    (Path(folder) / CARD).write_text(json.dumps(card, indent=1) + "\n", encoding="utf-8")


def read_calibrators(file: str | os.PathLike[str]) -> Calibrators:
    """The calibrators in a file of `emocaliber calibrate fit`. Raises UserError, naming it, where it cannot be read."""
    name = display_name(file)
    try:
        content = json.loads(Path(file).read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{name}: cannot be read ({error.strerror}); name the file that `emocaliber calibrate fit --out` wrote") from error
    except ValueError as error:
        raise UserError(f"{name}: this is not JSON ({error}); name the file that `emocaliber calibrate fit --out` wrote") from error
    return Calibrators.from_json(content, name)


class DescribedByCard:
    """A model as its checkpoint's card describes it; `describe` sets what follows.

    `tasks` are those it was trained on, `confidence_source` the source of its confidence, `unfamiliar` the words by which it says that it
    recognises nothing in an image (its answer is then a guess if it `guesses_unfamiliar`), `calibrators` those of its confidence; None
    where the card does not say. `rollout_temperature` is the
    sampling temperature at which its confidence was trained.
    """

    name: str
    tasks: tuple[str, ...] | None
    confidence_source: str | None
    unfamiliar: str | None
    guesses_unfamiliar: bool
    calibrators: Calibrators | None
    rollout_temperature: float
    fixed_questions: bool

    def describe(self, card: Mapping[str, Any], name: str, *, constrained: bool = False) -> None:
        """Reads a card; `name` is that of a checkpoint without one.

        Only where decoding is `constrained` can a model of fixed questions be asked for other labels than theirs (see `TaughtQuestions`).
        Raises UserError for calibrators that cannot be read.
        """
        self.name = card.get("name", name)
        self.tasks = tuple(card["tasks"]) if "tasks" in card else None
        self.confidence_source = card.get("confidence_source")
        self.unfamiliar = card.get(UNFAMILIAR)
        self.guesses_unfamiliar = bool(card.get(GUESSES_UNFAMILIAR))
        self.calibrators = calibrators_of(card, self.name)
        self.rollout_temperature = card.get(TRAINED_AT, 1.0)
        self.fixed_questions = constrained and bool(card.get(FIXED_QUESTIONS))


GUESSED = "nothing in the picture is familiar to the model, and its calibrators were fitted on familiar pictures"


def says_unfamiliar(model: Any, response: Response | None) -> bool | None:
    """Whether a response says that the model recognises nothing in the image; None where the model's card has no words for it."""
    words: str | None = getattr(model, "unfamiliar", None)
    return words in response.reasoning.element.casefold() if words and response else None


def is_guess(model: Any, response: Response | None) -> bool:
    """Whether the answer is a guess, to be given the confidence of chance, as the calibrators hold for familiar pictures alone."""
    return bool(says_unfamiliar(model, response)) and bool(getattr(model, "guesses_unfamiliar", False))


def calibrators_of(card: Mapping[str, Any], name: str) -> Calibrators | None:
    """The calibrators in the card of the checkpoint called `name`; None without any. Raises UserError where they cannot be read."""
    return Calibrators.from_json(card[CALIBRATION], f"the card of {name}, '{CALIBRATION}'") if CALIBRATION in card else None


def notice_of(card: Mapping[str, Any], temperature: float) -> str | None:
    """What users must know of a checkpoint, one sentence a line; None if nothing.

    That is the notice of its card, a calibration of an earlier form, and a `temperature` other than that of the training of its
    confidence. A card that names a `confidence_source` was measured on greedy answers, so temperature 0 needs no notice.
    """
    notice, trained = card.get("notice"), card.get(TRAINED_AT)
    sentences = [notice] if notice else []
    if EARLIER in card and CALIBRATION not in card:
        sentences.append(f"the card's '{EARLIER}' is of an earlier form and is not used; calibrate it again ({_AGAIN})")
    if trained is not None and trained != temperature and not (temperature == 0 and "confidence_source" in card):
        sentences.append(
            f"the model's confidence was trained on answers sampled at temperature {trained:g}, and it is used at {temperature:g}, "
            f"where its accuracy differs: the stated confidence may be too low or too high; give temperature={trained:g} to sample as in "
            f"training, or calibrate it ({_AGAIN})"
        )
    return "\n".join(sentences) or None
