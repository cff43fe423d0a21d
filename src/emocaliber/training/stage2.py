"""Stage 2: verbalized confidence (section 3.2). The scaffold model answers unseen samples, equation 2 gives each answer's target
confidence, and the loss is the cross-entropy on `<confidence>x.xx</confidence>` and the end of the turn alone (equation 3).

`targets` replaces equation 2 by a probability that the answer is right (`confidence/targets.py`): then the decimals learn a narrow bump
around it, so that the number that is decoded greedily is a calibrated one. With targets = "given" no scaffold is asked: the rows
bring answers with the confidence that each should state, as the released stage-2 file does.

Two settings, both 0 in the paper, are for small models. `anchor` adds the divergence from the scaffold on its own answer, without which a
small model forgets how to answer. `smoothing` is label smoothing over the decimals: equation 2 gives no target between 0.5 and about 0.9,
and a model trained on its targets alone would give the other values no probability, so that stage 3 could not explore them.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from emocaliber.confidence.calibrator import cross_fitted, usable_sources
from emocaliber.confidence.targets import confidence_target, decimal_targets
from emocaliber.core.prompts import EMOCALIBER
from emocaliber.core.response import Malformed, Response, parse, render
from emocaliber.core.samples import Fields, Sample
from emocaliber.core.scoring import agreement, is_correct, people_shares
from emocaliber.core.tasks import labels_of
from emocaliber.emotions.labels import Labels
from emocaliber.errors import UserError
from emocaliber.inference.engine import question_for, respond_into
from emocaliber.inference.plan import identity_of_model, questions
from emocaliber.io.datasets import rows_file
from emocaliber.io.rows import display_name, read_rows, write_rows
from emocaliber.io.workspace import Workspace, record_of
from emocaliber.models.card import TRAINED_AT, read_card
from emocaliber.models.local import LocalModel
from emocaliber.training.collate import TrainingExample
from emocaliber.training.config import EQUATION_2, GIVEN, VOTES, Stage2Config
from emocaliber.training.distributed import on_main_process, partial_state, print_once
from emocaliber.training.samples import training_rows
from emocaliber.training.trainer import load_for_training, train_supervised, within_max_length

SCAFFOLD = "scaffold.jsonl"  # the file in OUT with the scaffold's answers


def train(config: Stage2Config) -> Path:
    """Trains the cold-start model and returns its folder. The scaffold's answers are kept in `OUT/scaffold.jsonl`."""
    rows = training_rows(config)
    if config.targets == GIVEN:
        model, processor = load_for_training(config)
        given = within_max_length(given_examples(rows), processor, config.max_length)
        return train_supervised(config, model, processor, given, anchor=config.anchor, smoothing=config.smoothing)
    answers = scaffold_answers(config, [Sample.from_row(row, config.samples) for row in rows])
    stated = states_confidence(config.model)
    examples = confidence_examples(answers, config.targets, width=config.target_width, seed=config.seed, stated=stated)
    if not examples:
        raise UserError(
            f"none of the {len(answers):,} answers in {config.out}/scaffold.jsonl is well-formed, so there is nothing to train on: "
            f"{config.model} must answer in the format of stage 1 (train it longer, or raise max_new_tokens), then remove that file"
        )
    print_once(f"stage 2: {len(examples):,} of {len(answers):,} scaffold answers are well-formed and become training examples")
    model, processor = load_for_training(config)
    fitting = within_max_length(examples, processor, config.max_length)
    return train_supervised(config, model, processor, fitting, anchor=config.anchor, smoothing=config.smoothing)


def given_examples(rows: Iterable[dict[str, Any]]) -> list[TrainingExample]:
    """The training examples of rows whose `response` states the confidence to learn. Raises UserError for a row without one."""
    examples = []
    for row in rows:
        response = parse(row.get("response") or "", labels_of(row["task"], row["candidates"]), confidence="required")
        if isinstance(response, Malformed) or response.confidence is None:
            why = f"{response.reason}: {response.detail}" if isinstance(response, Malformed) else "no confidence"
            raise UserError(f'sample {row["id"]!r}: targets = "{GIVEN}" needs a response that states its confidence ({why})')
        answer = _Answer(row, replace(response, confidence=None), labels_of(row["task"], row["candidates"]))
        examples.append(answer.example(response.confidence))
    return examples


def scaffold_answers(config: Stage2Config, samples: list[Sample]) -> list[dict[str, Any]]:
    """The scaffold's response rows for `samples`, with absolute image paths. Rows of an earlier run with the same settings are reused.

    Each of several processes answers a share, in a file of its own on a shared file system; the main process joins the files.
    """
    file, state = Path(config.out) / SCAFFOLD, partial_state()
    on_main_process(lambda: _check_scaffold(config, samples, file))
    if state.num_processes == 1:
        _answer(config, samples, file)
        return list(read_rows(file))
    known = {row["id"]: row for row in read_rows(file)} if file.is_file() else {}
    files = [file.with_name(f"scaffold-{rank + 1}-of-{state.num_processes}.jsonl") for rank in range(state.num_processes)]
    missing = [sample for sample in samples if sample.id not in known]
    _answer(config, missing[state.process_index :: state.num_processes], files[state.process_index])
    state.wait_for_everyone()
    if state.is_main_process and missing:
        known |= {row["id"]: row for share in files for row in read_rows(share)}
        write_rows(file, [known[sample.id] for sample in samples])
    state.wait_for_everyone()
    return list(read_rows(file))


def _check_scaffold(config: Stage2Config, samples: list[Sample], file: Path) -> None:
    """Raises UserError if the answers in `file` were made with other inference settings.

    These settings are recorded beside it, apart from the training's, so that another training run can reuse the answers.
    """
    folder = rows_file(config.samples).absolute().parent
    digest = hashlib.sha256("".join(f"{json.dumps(sample.to_row(folder))}\n" for sample in samples).encode()).hexdigest()
    names = ("temperature", "seed", "max_new_tokens", "min_pixels", "max_pixels")
    workspace = Workspace(
        record_of(file),
        {
            "model": identity_of_model(config.model),
            "settings": {name: getattr(config, name) for name in names},
            "prompt": {"name": EMOCALIBER.name, "questions": questions(samples, EMOCALIBER, confidence=states_confidence(config.model))},
            "samples": digest,
        },
        path=file,
        remedy=f"Give the same settings, or remove {display_name(file.with_name('scaffold*'))} to ask again",
        contents=("model.sha256", "model.commit"),
        places={"model.name": "model.sha256"},
    )
    answered = any(each.stat().st_size for each in file.parent.glob(f"{file.stem}*.jsonl"))
    if answered and not workspace.check():
        print_once(f"stage 2: {display_name(file)} has no record of the settings of its answers; they are used as they are")
    else:
        workspace.write()


def _answer(config: Stage2Config, samples: list[Sample], file: Path) -> None:
    """Appends the scaffold's missing answers to `samples` to `file`."""

    def scaffold() -> LocalModel:
        return LocalModel(
            config.model,
            batch_size=config.inference_batch,
            temperature=config.temperature,
            seed=config.seed,
            max_new_tokens=config.max_new_tokens,
            min_pixels=config.min_pixels or None,
            max_pixels=config.max_pixels or None,
        )

    respond_into(file, samples, scaffold, label="scaffold answers", confidence=states_confidence(config.model))


def states_confidence(model: str) -> bool:
    """Whether a model has learnt to state its confidence already, by its card. It is then asked for one, and another replaces it."""
    card = read_card(model)
    return TRAINED_AT in card or "confidence_source" in card


@dataclass(frozen=True)
class _Answer:
    """A well-formed scaffold answer, with its row and the labels of its question."""

    row: dict[str, Any]
    response: Response
    labels: Labels

    @classmethod
    def read(cls, row: dict[str, Any], *, stated: bool) -> _Answer | None:
        """The answer of a row, without its confidence, which it must have if one is `stated`; None if it is malformed."""
        labels = labels_of(row["task"], row["candidates"])
        response = parse(row["response"] or "", labels, confidence="required" if stated else "forbidden")
        return None if isinstance(response, Malformed) else cls(row, replace(response, confidence=None), labels)

    @property
    def is_right(self) -> bool:
        return is_correct(self.response.answer, self.row["ground_truth"], self.labels)

    def example(self, number: float, decimals: tuple[tuple[float, ...], ...] = ()) -> TrainingExample:
        """The training example in which this answer is followed by a stated confidence."""
        return TrainingExample(
            self.row["image"],
            question_for(self.row["task"], self.row["candidates"], confidence=True),
            completion=f"<confidence>{number:.2f}</confidence>",
            prefix=render(self.response),
            decimals=decimals,
            sample=self.row["id"],
        )


def confidence_examples(
    rows: Iterable[dict[str, Any]], targets: str, *, width: float, seed: int, stated: bool = False
) -> list[TrainingExample]:
    """The training examples of the well-formed ones among scaffold answers, with the confidence targets called `targets`.

    With "eq2" the number is equation 2's target. With "calibrated" and "votes" the number is drawn from a bump of this `width` around the
    target, reproducibly by `seed` and the sample's id, and its decimals learn that bump. `stated`: the answers state a confidence already,
    which is replaced. Raises UserError for answers without what these targets need: token probabilities, or votes or a posterior.
    """
    answers = [answer for row in rows if (answer := _Answer.read(row, stated=stated)) is not None]
    if targets == EQUATION_2:
        return [each.example(_equation_2(each)) for each in answers]
    probabilities = _agreements(answers) if targets == VOTES else _calibrated(answers, seed)
    return [_bump_example(each, probability, width, seed) for each, probability in zip(answers, probabilities, strict=True)]


def _equation_2(answer: _Answer) -> float:
    return confidence_target(answer.response.answer, answer.row["ground_truth"], answer.row["confidence"]["avg"], answer.labels)


def _calibrated(answers: Sequence[_Answer], seed: int) -> list[float]:
    """P(right) of each answer, from its own token probabilities, by calibrators that were fitted on other answers."""
    sources = usable_sources([each.row["confidence"] for each in answers])
    if answers and not sources:
        raise UserError("targets = 'calibrated' needs the token probabilities of the scaffold's answers, which this model does not give")
    evidence = [(" ".join(sorted(each.labels)), each.row["confidence"], each.is_right) for each in answers]
    return cross_fitted(evidence, sources, seed=seed)


def _agreements(answers: Sequence[_Answer]) -> list[float]:
    found = []
    for each in answers:
        fields = Fields(each.row, f"sample {each.row['id']!r}")
        shares = people_shares(fields.posterior("posterior", each.labels), fields.votes("votes", each.labels))
        share = agreement(each.response.answer, shares)
        if share is None:
            raise UserError(f"sample {each.row['id']!r} has neither votes nor a posterior, which targets = 'votes' needs; give others")
        found.append(share)
    return found


def _bump_example(answer: _Answer, probability: float, width: float, seed: int) -> TrainingExample:
    bump = decimal_targets(probability, width)
    rng = random.Random(f"{seed} {answer.row['id']}")
    [first] = rng.choices(range(10), bump.first)
    [second] = rng.choices(range(10), bump.second[first])
    return answer.example(first / 10 + second / 100, (bump.first, bump.second[first]))
