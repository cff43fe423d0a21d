"""Credit assignment: the answer's tokens have the answer's advantage, and the first decimal is trained exactly, with its entropy."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from emocaliber.confidence.rewards import PRESETS, RewardSettings
from emocaliber.errors import UserError
from emocaliber.io.rows import read_rows
from emocaliber.models import TINY
from emocaliber.models.processor import load_processor
from emocaliber.scenes.dataset import draw_samples
from emocaliber.training.config import Stage3Config
from emocaliber.training.credit import (
    DecoupledCreditMixin,
    answer_advantages,
    confidence_start,
    decimal_objective,
    decimal_rewards,
    decimal_tokens,
    first_decimal,
)
from emocaliber.training.run import run_stage
from microscopic import start_together

SETTINGS = RewardSettings()
GROUP, TEMPERATURE, ENTROPY = 4, 0.7, 0.05


def test_an_answer_is_credited_without_its_confidence() -> None:
    assert answer_advantages([(0.9, True), (0.1, True), (0.9, False), (0.2, False)], SETTINGS) == pytest.approx([0.5, 0.5, -0.5, -0.5])
    found = answer_advantages([(0.9, True), None], SETTINGS)
    assert found == pytest.approx([(2 - SETTINGS.floor) / 2, (SETTINGS.floor - 2) / 2])
    weighted = RewardSettings(correct_weight=3.0)
    assert answer_advantages([(0.9, True), (0.9, False)], weighted) == pytest.approx([1.5, -1.5])


def test_a_decimals_reward_is_the_mean_over_its_ten_numbers() -> None:
    right = [sum(math.log(max(first / 10 + second / 100, 0.01)) for second in range(10)) / 10 for first in range(10)]
    assert decimal_rewards(True, SETTINGS) == pytest.approx(right)
    assert sorted(decimal_rewards(False, SETTINGS), reverse=True) == list(decimal_rewards(False, SETTINGS)), "less is better when wrong"
    assert decimal_rewards(True, PRESETS["released"]) == pytest.approx([2 * each for each in right])


def trained_on(probability: float, entropy: float, settings: RewardSettings, steps: int = 2500) -> torch.Tensor:
    """The distribution over the ten first decimals that the expected objective leads to where answers are right with this probability."""
    rewards = sum(
        odds * torch.tensor(decimal_rewards(right, settings), dtype=torch.float64)
        for right, odds in ((True, probability), (False, 1 - probability))
    )
    logits = torch.zeros(1, 10, dtype=torch.float64, requires_grad=True)
    for _ in range(steps):
        (step,) = torch.autograd.grad(decimal_objective(logits.log_softmax(1), rewards[None], entropy).sum(), logits)
        logits = (logits + step).detach().requires_grad_()
    return logits.detach().softmax(1)[0]


@pytest.mark.parametrize("preset", ["default", "brier", "spherical"])
@pytest.mark.parametrize("probability", [0.15, 0.35, 0.55, 0.85])
def test_with_entropy_the_optimum_is_a_bump_whose_mode_is_the_probability(preset: str, probability: float) -> None:
    found = trained_on(probability, ENTROPY, PRESETS[preset])
    rewards = sum(
        odds * torch.tensor(decimal_rewards(right, PRESETS[preset]), dtype=torch.float64)
        for right, odds in ((True, probability), (False, 1 - probability))
    )
    torch.testing.assert_close(found, (rewards / ENTROPY).softmax(0), rtol=0, atol=0.005)
    assert int(found.argmax()) == int(10 * probability)
    assert found.max() < 0.9, "its neighbours keep a probability, and go on learning"


def test_without_entropy_one_decimal_is_left() -> None:
    assert trained_on(0.55, 0.0, SETTINGS, steps=20000).max() > 0.9


def test_the_objective_is_linear_in_the_reward_so_that_one_label_is_unbiased() -> None:
    logps = torch.randn(1, 10, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    right, wrong = (torch.tensor([decimal_rewards(each, SETTINGS)], dtype=torch.float64) for each in (True, False))
    mean = 0.3 * decimal_objective(logps, right, ENTROPY) + 0.7 * decimal_objective(logps, wrong, ENTROPY)
    torch.testing.assert_close(mean, decimal_objective(logps, 0.3 * right + 0.7 * wrong, ENTROPY))


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


def test_the_first_decimal_is_found_behind_the_point(tokenizer: Any) -> None:
    text = "<think>0.5 <confidence>0.1.</think><answer>awe</answer><confidence>0.43</confidence>"
    tokens = tokenizer(text, add_special_tokens=False)["input_ids"]

    def place_of(tokens: list[int]) -> int:
        return first_decimal(tokens, confidence_start(tokens, tokenizer), tokenizer)

    place = place_of(tokens)
    assert tokenizer.decode(tokens[place:]) == "43</confidence>"
    assert place_of(tokenizer("<answer>awe</answer><confidence>1.00</confidence>")["input_ids"]) == -1
    assert place_of(tokenizer("<answer>awe</answer>")["input_ids"]) == -1


def test_decimals_must_be_single_tokens(tokenizer: Any) -> None:
    assert tokenizer.decode(decimal_tokens(tokenizer)) == "0123456789"

    class Merging:
        """A tokenizer with one token for 0.d."""

        def __call__(self, text: str, **_: Any) -> dict[str, list[int]]:
            return {"input_ids": [int(text[-1])]}

        def decode(self, tokens: Sequence[int]) -> str:
            return f"0.{tokens[0]}"

    with pytest.raises(UserError, match="one token for each decimal"):
        decimal_tokens(Merging())


def _train_and_record(folder: Path, batch_size: int) -> None:
    """One step of stage 3 from the shipped model; what each process learns from goes to `folder/batch-RANK.pt`."""
    from trl import GRPOTrainer

    compute = GRPOTrainer._compute_loss

    def computing(self: Any, model: Any, inputs: Any) -> Any:
        names = ("advantages", "completion_ids", "completion_mask", "decimals", "decimal_rewards")
        torch.save([inputs[name] for name in names], folder / f"batch-{self.accelerator.process_index}.pt")
        return compute(self, model, inputs)

    GRPOTrainer._compute_loss = computing
    _train(folder, batch_size)


def _train(folder: Path, batch_size: int) -> None:
    """One step of stage 3 with decoupled credit from the shipped model."""
    config = Stage3Config(
        model=str(TINY),
        samples=str(folder / "scenes" / "samples.jsonl"),
        out=str(folder / "out"),
        learning_rate=1e-5,
        batch_size=batch_size,
        group_size=GROUP,
        temperature=TEMPERATURE,
        max_steps=1,
        max_new_tokens=160,
        threads=1,
        credit="decoupled",
        digit_entropy=ENTROPY,
    )
    run_stage("stage3", config)


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_in_training_the_confidence_is_not_credited_to_the_reasoning_nor_the_answer_to_the_confidence(
    tokenizer: Any, tmp_path: Path, processes: int
) -> None:
    list(draw_samples(tmp_path / "scenes", 4, seed=1, split="train", workers=1))
    assert set(start_together(processes, _train_and_record, tmp_path, 8 // processes)) == {0}
    batches = [torch.load(tmp_path / f"batch-{rank}.pt") for rank in range(processes)]
    rows = list(read_rows(tmp_path / "out" / "rollouts.jsonl"))
    stated = [None if row["malformed"] else (row["confidence"], row["correct"]) for row in rows]
    credits = [each for first in (0, GROUP) for each in answer_advantages(stated[first : first + GROUP], SETTINGS)]
    assert len(rows) == 8
    assert sum(each is not None for each in stated) > 4, "the shipped model's answers are well-formed"
    answers = [answer for batch in batches for answer in zip(*batch, strict=True)]
    for each, credit, (advantages, ids, mask, decimal, rewards) in zip(stated, credits, answers, strict=True):
        text, tokens = "", ids[mask.bool()].tolist()
        for advantage, token in zip(advantages[mask.bool()].tolist(), tokens, strict=True):
            text += tokenizer.decode([token])
            in_confidence = each is not None and "<confidence>" in text
            assert advantage == pytest.approx(0 if in_confidence else credit, abs=1e-5)
        if each is not None:
            assert tokenizer.decode(tokens[decimal]) == f"{each[0]:.2f}"[2]
            assert rewards.tolist() == pytest.approx(decimal_rewards(each[1], SETTINGS))


@pytest.mark.slow
def test_in_training_the_first_decimals_gradient_is_that_of_whole_sequences(
    tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compute, compared = DecoupledCreditMixin.credited_loss, []

    def plain(model: Any, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        """The decimals' part of the objective, answer by answer, from logits of whole sequences."""
        length, digits = batch["completion_ids"].shape[1], decimal_tokens(tokenizer)
        tokens, seen = (torch.cat([batch[f"prompt_{name}"], batch[f"completion_{name}"]], 1) for name in ("ids", "mask"))
        images = {name: batch[name] for name in ("pixel_values", "image_grid_thw", "mm_token_type_ids")}
        logits = model(input_ids=tokens, attention_mask=seen, **images).logits[:, -length - 1 : -1] / TEMPERATURE
        total = torch.zeros(())
        for row, place in enumerate(batch["decimals"].tolist()):
            if place >= 0:
                pi = logits[row, place, digits].softmax(0)
                gain = pi @ batch["decimal_rewards"][row] - ENTROPY * (pi * pi.log()).sum()
                total = total + gain / batch["completion_mask"][row].sum()
        return total / len(tokens)

    def computing(self: Any, model: Any, batch: Any, loss: Any) -> torch.Tensor:
        losses = {}
        for self._decoupled in (False, True):
            losses[self._decoupled] = compute(self, model, batch, loss)
        parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        found = torch.autograd.grad(losses[False] - losses[True], parameters, retain_graph=True, allow_unused=True)
        wanted = torch.autograd.grad(plain(model, batch), parameters, allow_unused=True)
        compared.extend((ours, theirs) for ours, theirs in zip(found, wanted, strict=True) if theirs is not None)
        assert (batch["decimals"] >= 0).sum() > 4, "the shipped model's answers are well-formed"
        return losses[True]

    monkeypatch.setattr(DecoupledCreditMixin, "credited_loss", computing)
    list(draw_samples(tmp_path / "scenes", 4, seed=1, split="train", workers=1))
    _train(tmp_path, 8)
    assert compared
    largest = max(theirs.abs().max() for _, theirs in compared)
    assert largest > 1e-5
    for ours, theirs in compared:
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-4 * float(largest))


@pytest.mark.slow
def test_without_a_shared_prefix_it_stops_with_a_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from emocaliber.training.seam import SharedPrefixMixin

    monkeypatch.setattr(SharedPrefixMixin, "_unsupported", lambda self: "for a test")
    list(draw_samples(tmp_path / "scenes", 4, seed=1, split="train", workers=1))
    with pytest.raises(UserError, match='credit = "decoupled" needs groups that are read as one sequence'):
        _train(tmp_path, 8)
