"""Stage 1: structured reasoning (section 3.1, eq. 1). Cross-entropy on the whole response; the vision encoder is frozen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from emocaliber.core.prompts import EMOCALIBER, load_prompt
from emocaliber.core.response import Malformed, parse, render
from emocaliber.core.scoring import is_correct
from emocaliber.core.tasks import labels_of
from emocaliber.errors import UserError
from emocaliber.training.collate import TrainingExample
from emocaliber.training.config import Stage1Config
from emocaliber.training.samples import training_rows
from emocaliber.training.trainer import load_for_training, train_supervised, within_max_length


def train(config: Stage1Config) -> Path:
    """Trains the scaffold model on the teacher's responses (`response` of each row) and returns its folder.

    Without `config.reasoning` the target is the label alone, and rows need no response.
    """
    examples = [response_example(row, f"{config.samples}, line {line}", config) for line, row in enumerate(training_rows(config), start=1)]
    model, processor = load_for_training(config)
    return train_supervised(config, model, processor, within_max_length(examples, processor, config.max_length))


def response_example(row: dict[str, Any], where: str, config: Stage1Config) -> TrainingExample:
    """The training example of a row. Raises UserError as `teacher_response` does."""
    prompt = EMOCALIBER if config.reasoning else load_prompt("direct")
    return TrainingExample(
        row["image"],
        prompt.question(row["task"], row["candidates"], confidence=False),
        teacher_response(row, where) if config.reasoning else f"<answer>{row['ground_truth']}</answer>",
        told=tuple(row.get("told", ())),
        sample=row["id"],
    )


def teacher_response(row: dict[str, Any], where: str) -> str:
    """The target response of a row, its label spelt like the candidate.

    Raises UserError, naming `where`, if it is malformed, states a confidence, or answers with another label than the row's.
    """
    labels = labels_of(row["task"], row["candidates"])
    response = parse(row.get("response") or "", labels, confidence="forbidden")
    if isinstance(response, Malformed):
        raise UserError(f"{where}: response cannot be a training target ({response.reason}): {response.detail}")
    if not is_correct(response.answer, row["ground_truth"], labels):
        raise UserError(f"{where}: response answers {response.answer!r}, but ground_truth is {row['ground_truth']!r}; filter such rows out")
    verbatim = f"<answer>{response.answer}</answer>" in row["response"]
    return str(row["response"]) if verbatim else render(response)
