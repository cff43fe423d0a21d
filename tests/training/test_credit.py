"""Causal credit: the same gradient on average, with less noise, and exactly the tokens of the confidence."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from emocaliber.confidence import PRESETS, RewardSettings
from emocaliber.models import TINY
from emocaliber.models.processor import load_processor
from emocaliber.rows import read_rows
from emocaliber.scenes import draw_samples
from emocaliber.training.config import Stage3Config
from emocaliber.training.credit import confidence_advantages, confidence_start
from emocaliber.training.run import run_stage
from microscopic import start_together

SETTINGS = RewardSettings()
ANSWERS, RIGHT = 3, 0  # three answers, of which the first is right
GROUP = 3


def response_advantages(group: list[tuple[float, bool]], settings: RewardSettings) -> list[float]:
    """Equation 5."""
    rewards = [settings.total(right, confidence) for confidence, right in group]
    return [each - sum(rewards) / len(rewards) for each in rewards]


def estimates(credit: Any, settings: RewardSettings, confidences: Sequence[float]) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and variance of a group's gradient of the logits of confidences (answers, confidences), over all groups that can be drawn."""
    generator = torch.Generator().manual_seed(3)
    answer_odds = torch.randn(ANSWERS, generator=generator, dtype=torch.float64).softmax(0)
    odds = torch.randn(ANSWERS, len(confidences), generator=generator, dtype=torch.float64).softmax(1)
    mean = square = torch.zeros(ANSWERS, len(confidences), dtype=torch.float64)
    for drawn in itertools.product(itertools.product(range(ANSWERS), range(len(confidences))), repeat=GROUP):
        chance = torch.stack([answer_odds[answer] * odds[answer, place] for answer, place in drawn]).prod()
        advantages = credit([(confidences[place], answer == RIGHT) for answer, place in drawn], settings)
        gradient = torch.zeros_like(mean)
        for (answer, place), advantage in zip(drawn, advantages, strict=True):
            score = -odds[answer].clone()  # d log softmax
            score[place] += 1
            gradient[answer] += advantage * score / GROUP
        mean, square = mean + chance * gradient, square + chance * gradient**2
    return mean, square - mean**2


@pytest.mark.parametrize("preset", ["default", "brier", "spherical", "released"])
@pytest.mark.parametrize(("confidences", "noise_left"), [((0.1, 0.5, 0.9), 1.0), ((0.4, 0.5, 0.6), 0.4)], ids=["far apart", "close"])
def test_the_expected_gradient_is_that_of_equation_5_and_its_variance_is_less(
    preset: str, confidences: Sequence[float], noise_left: float
) -> None:
    paper_mean, paper_variance = estimates(response_advantages, PRESETS[preset], confidences)
    mean, variance = estimates(confidence_advantages, PRESETS[preset], confidences)
    assert mean.abs().max() > 0.001
    torch.testing.assert_close(mean, paper_mean)
    assert variance.sum() < noise_left * paper_variance.sum()


def test_a_confidence_is_compared_with_what_the_group_would_have_had_for_the_same_answer() -> None:
    stated = [(0.9, True), (0.5, False), None, (0.2, False)]
    found = confidence_advantages(stated, SETTINGS)
    rivals = [0.9, 0.5, 0.2]
    logs = [math.log(0.9) - sum(map(math.log, rivals)) / 3]
    logs += [math.log(1 - c) - sum(math.log(1 - rival) for rival in rivals) / 3 for c in (0.5, 0.2)]
    assert found.pop(2) is None
    assert found == pytest.approx(logs)
    assert min(logs) > 0, "sure where right, and less sure than others where wrong"


def test_one_that_agrees_with_all_others_or_is_alone_hears_nothing() -> None:
    assert confidence_advantages([(0.4, True), (0.4, False)], SETTINGS) == pytest.approx([0, 0])
    assert confidence_advantages([None, (0.7, True)], SETTINGS) == [None, pytest.approx(0)]
    assert confidence_advantages([None, None], SETTINGS) == [None, None]


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return load_processor(TINY).tokenizer


def test_the_confidence_begins_with_its_tag(tokenizer: Any) -> None:
    text = "<think>I see <confidence>.</think><answer>awe</answer><confidence>0.43</confidence>"
    tokens = [*tokenizer(text, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
    start = confidence_start(tokens, tokenizer)
    assert tokenizer.decode(tokens[start:-1]) == "<confidence>0.43</confidence>"
    assert confidence_start(tokens[:5], tokenizer) == 5
    assert confidence_start([], tokenizer) == 0


def _train_and_record(folder: Path, batch_size: int) -> None:
    """One step of stage 3 from the shipped model; what each process learns from goes to `folder/batch-RANK.pt`."""
    from trl import GRPOTrainer

    compute = GRPOTrainer._compute_loss

    def computing(self: Any, model: Any, inputs: Any) -> Any:
        batch = [inputs[name] for name in ("advantages", "completion_ids", "completion_mask")]
        torch.save(batch, folder / f"batch-{self.accelerator.process_index}.pt")
        return compute(self, model, inputs)

    GRPOTrainer._compute_loss = computing
    config = Stage3Config(
        model=str(TINY),
        samples=str(folder / "scenes" / "samples.jsonl"),
        out=str(folder / "out"),
        learning_rate=1e-5,
        batch_size=batch_size,
        group_size=4,
        max_steps=1,
        max_new_tokens=160,
        threads=1,
        credit="causal",
    )
    run_stage("stage3", config)


@pytest.mark.parametrize("processes", [1, 2])
def test_in_training_the_tokens_of_the_confidence_have_its_advantage_and_all_others_the_responses(
    tokenizer: Any, tmp_path: Path, processes: int
) -> None:
    list(draw_samples(tmp_path / "scenes", 4, seed=1, split="train", workers=1))
    assert set(start_together(processes, _train_and_record, tmp_path, 8 // processes)) == {0}
    batches = [torch.load(tmp_path / f"batch-{rank}.pt") for rank in range(processes)]
    rows = list(read_rows(tmp_path / "out" / "rollouts.jsonl"))
    stated = [None if row["malformed"] else (row["confidence"], row["correct"]) for row in rows]
    credits = [each for first in (0, 4) for each in confidence_advantages(stated[first : first + 4], SETTINGS)]
    assert len(rows) == 8
    assert sum(each is not None for each in credits) > 4, "the shipped model's answers are well-formed"
    answers = [answer for batch in batches for answer in zip(*batch, strict=True)]
    for row, credit, (advantages, ids, mask) in zip(rows, credits, answers, strict=True):
        text = ""
        for advantage, token in zip(advantages[mask.bool()].tolist(), ids[mask.bool()].tolist(), strict=True):
            text += tokenizer.decode([token])
            in_confidence = credit is not None and "<confidence>" in text
            assert advantage == pytest.approx(credit if in_confidence else row["advantage"], abs=1e-5)
