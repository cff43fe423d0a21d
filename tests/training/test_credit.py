"""Credit assignment: the same expected gradient with less variance, on exactly the tokens of the confidence."""

from __future__ import annotations

import itertools
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
    ConfidenceCreditMixin,
    confidence_advantages,
    confidence_start,
    decimal_advantages,
    decimal_surrogate,
    decimal_tokens,
    expected_decimal_rewards,
    first_decimal,
)
from emocaliber.training.run import run_stage
from microscopic import start_together

SETTINGS = RewardSettings()
ANSWERS, RIGHT = 3, 0  # three answers, of which the first is right
GROUP = 3
TEMPERATURE = 0.7


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


FIRST, SECOND = (1, 5, 9), (2, 7)  # decimals


def gradients_of_a_group(expected: bool, settings: RewardSettings) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Mean and variance of a group's gradients of the logits of answers (2), first decimals (2, 3) and second decimals (2, 3, 2), over all
    groups that can be drawn. An answer is right or wrong; the first decimal depends on it, and the second on both.
    """
    generator = torch.Generator().manual_seed(5)
    answer_odds = torch.tensor([0.6, 0.4], dtype=torch.float64)
    first_odds = torch.randn(2, len(FIRST), generator=generator, dtype=torch.float64).softmax(1)
    second_odds = torch.randn(2, len(FIRST), len(SECOND), generator=generator, dtype=torch.float64).softmax(2)
    mean, square = ([torch.zeros_like(odds) for odds in (answer_odds, first_odds, second_odds)] for _ in range(2))
    earned = torch.tensor(
        [[expected_decimal_rewards(a == RIGHT, settings)[digit] for digit in FIRST] for a in range(2)], dtype=torch.float64
    )
    for drawn in itertools.product(itertools.product(range(2), range(len(FIRST)), range(len(SECOND))), repeat=GROUP):
        chance = torch.stack([answer_odds[a] * first_odds[a, f] * second_odds[a, f, s] for a, f, s in drawn]).prod()
        stated = [(FIRST[f] / 10 + SECOND[s] / 100, a == RIGHT) for a, f, s in drawn]
        rewards = torch.tensor([settings.total(right, confidence) for confidence, right in stated], dtype=torch.float64)
        if expected:
            rewards += torch.stack([first_odds[a] @ earned[a] - earned[a, f] for a, f, _ in drawn])
        advantages = rewards - rewards.mean()
        gradient = [torch.zeros_like(odds) for odds in mean]
        for (a, f, s), advantage, causal, gains in zip(
            drawn, advantages, confidence_advantages(stated, settings), decimal_advantages(stated, settings), strict=True
        ):
            known = torch.tensor([gains[digit] for digit in FIRST], dtype=torch.float64) * expected
            scores = torch.eye(len(FIRST), dtype=torch.float64) - first_odds[a]  # row d: the gradient of log pi(d)
            gradient[0] += advantage * (torch.eye(2, dtype=torch.float64)[a] - answer_odds)
            gradient[1][a] += (causal - known[f]) * scores[f] + first_odds[a] * known @ scores
            gradient[2][a, f] += (causal - known[f]) * (torch.eye(len(SECOND), dtype=torch.float64)[s] - second_odds[a, f])
        for total, squares, one in zip(mean, square, gradient, strict=True):
            total += chance * one
            squares += chance * one**2
    return mean, [squares - total**2 for total, squares in zip(mean, square, strict=True)]


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["default", "brier", "released"])
def test_control_variates_keep_the_mean_and_reduce_the_variance(preset: str) -> None:
    mean, noise = gradients_of_a_group(False, PRESETS[preset])
    known_mean, less = gradients_of_a_group(True, PRESETS[preset])
    for ours, causal in zip(known_mean, mean, strict=True):
        assert causal.abs().max() > 0.001
        torch.testing.assert_close(ours, causal)
    for ours, causal, share in zip(less, noise, (0.9, 0.6, 0.1), strict=True):
        assert ours.sum() < share * causal.sum()


def test_the_natural_gradient_moves_every_logit_by_its_advantage_and_ascends() -> None:
    generator = torch.Generator().manual_seed(1)
    gains = torch.randn(4, 10, generator=generator, dtype=torch.float64)
    found = []
    for natural in (False, True):
        logits = torch.randn(4, 10, generator=torch.Generator().manual_seed(2), dtype=torch.float64, requires_grad=True)
        (step,) = torch.autograd.grad(decimal_surrogate(logits.log_softmax(1), gains, natural=natural).sum(), logits)
        found.append(step)
    torch.testing.assert_close(found[1], (gains - gains.mean(1, keepdim=True)) / 10)
    odds = logits.detach().softmax(1)
    mean = (odds * gains).sum(1, keepdim=True)
    torch.testing.assert_close(found[0], odds * (gains - mean))
    torch.testing.assert_close(10 * (found[0] * found[1]).sum(1), (odds * (gains - mean) ** 2).sum(1))


def test_the_natural_gradient_preserves_a_cold_starts_one_digit_discrimination() -> None:
    """Images right with probability 0.3 and 0.6, and a cold start that says nine more often of the second, as equation 2 teaches."""
    truth = torch.tensor([[0.3], [0.6]], dtype=torch.float64)
    earned = [torch.tensor(expected_decimal_rewards(right, SETTINGS), dtype=torch.float64) for right in (True, False)]
    gains = truth * earned[0] + (1 - truth) * earned[1]
    apart = []
    for natural in (False, True):
        odds = torch.cat([0 * truth, (1 - truth).expand(2, 5) / 5, (0 * truth).expand(2, 3), truth], 1)  # what is wrong is said less of
        logits = (0.5 * odds + 0.05).log().requires_grad_()
        for _ in range(500):
            stated = (logits.softmax(1) @ (torch.arange(10, dtype=torch.float64) / 10 + 0.05)).detach()
            if stated.mean() < truth.mean():
                break
            (step,) = torch.autograd.grad(decimal_surrogate(logits.log_softmax(1), gains, natural=natural).sum(), logits)
            logits = (logits + 0.2 * step).detach().requires_grad_()
        assert float(stated.mean()) == pytest.approx(0.45, abs=0.002)
        apart.append(float(stated[1] - stated[0]))
    assert 1.3 * apart[0] < apart[1] < 0.3


def test_a_decimals_advantage_is_its_expected_reward_less_the_mean_of_the_group() -> None:
    gains = decimal_advantages([(0.93, True), None, (0.42, False)], SETTINGS)
    assert gains[1] is None
    right = [sum(math.log(max(first / 10 + second / 100, 0.01)) for second in range(10)) / 10 for first in range(10)]
    assert gains[0] == pytest.approx([(each - math.log(0.42)) / 2 for each in right])
    assert sorted(gains[2], reverse=True) == gains[2], "where the answer is wrong, less is better"
    assert decimal_advantages([None, (0.93, True)], SETTINGS) == [None, [0.0] * 10]


def test_the_baseline_scores_the_groups_confidences_on_the_same_answer() -> None:
    stated = [(0.9, True), (0.5, False), None, (0.2, False)]
    found = confidence_advantages(stated, SETTINGS)
    rivals = [0.9, 0.5, 0.2]
    logs = [math.log(0.9) - sum(map(math.log, rivals)) / 3]
    logs += [math.log(1 - c) - sum(math.log(1 - rival) for rival in rivals) / 3 for c in (0.5, 0.2)]
    assert found.pop(2) is None
    assert found == pytest.approx(logs)
    assert min(logs) > 0, "sure where right, and less sure than others where wrong"


def test_a_confidence_equal_to_all_others_or_alone_has_no_advantage() -> None:
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
        batch = [inputs[name] for name in ("advantages", "completion_ids", "completion_mask")]
        torch.save(batch, folder / f"batch-{self.accelerator.process_index}.pt")
        return compute(self, model, inputs)

    GRPOTrainer._compute_loss = computing
    _train(folder, batch_size, "causal")


def _train(folder: Path, batch_size: int, credit: str) -> None:
    """One step of stage 3 from the shipped model."""
    config = Stage3Config(
        model=str(TINY),
        samples=str(folder / "scenes" / "samples.jsonl"),
        out=str(folder / "out"),
        learning_rate=1e-5,
        batch_size=batch_size,
        group_size=4,
        temperature=TEMPERATURE,
        max_steps=1,
        max_new_tokens=160,
        threads=1,
        credit=credit,
    )
    run_stage("stage3", config)


@pytest.mark.slow
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


@pytest.mark.slow
@pytest.mark.parametrize("credit", ["expected", "natural"])
def test_in_training_it_adds_the_control_variates(tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, credit: str) -> None:
    compute, compared = ConfidenceCreditMixin._compute_loss, []

    def plain(model: Any, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        """What has that gradient, answer by answer, from logits of whole sequences."""
        length, digits = batch["completion_ids"].shape[1], decimal_tokens(tokenizer)
        tokens, seen = (torch.cat([batch[f"prompt_{name}"], batch[f"completion_{name}"]], 1) for name in ("ids", "mask"))
        images = {name: batch[name] for name in ("pixel_values", "image_grid_thw", "mm_token_type_ids")}
        logps = (model(input_ids=tokens, attention_mask=seen, **images).logits[:, -length - 1 : -1] / TEMPERATURE).log_softmax(-1)
        unlucky, terms = torch.zeros(len(tokens)), []
        for row, (place, start) in enumerate(zip(batch["decimals"].tolist(), batch["confidence_starts"].tolist(), strict=True)):
            size = int(batch["completion_mask"][row].sum())
            chosen = logps[row, range(size), batch["completion_ids"][row, :size]]
            term = {"before": chosen[:start].sum() / size, "other": torch.zeros(())}
            if place >= 0:
                drawn = digits.index(int(batch["completion_ids"][row, place]))
                odds, gains = logps[row, place, digits].exp(), batch["decimal_gains"][row]
                unlucky[row] = ((odds / odds.sum()).detach() @ batch["decimal_scores"][row]) - batch["decimal_scores"][row, drawn]
                step = odds @ gains if credit == "expected" else (gains - gains.mean()) @ logps[row, place, digits] / 10
                term["other"] = (step - gains[drawn] * chosen[place:].sum()) / size
            terms.append(term)
        changes = [unlucky[row] - unlucky[row // 4 * 4 : row // 4 * 4 + 4].mean() for row in range(len(tokens))]
        return sum(change * term["before"] + term["other"] for change, term in zip(changes, terms, strict=True)) / len(tokens)

    def computing(self: Any, model: Any, batch: Any) -> torch.Tensor:
        losses = {}
        for self._credit in ("causal", credit):
            losses[self._credit] = compute(self, model, batch)
        parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        found = torch.autograd.grad(losses["causal"] - losses[credit], parameters, retain_graph=True, allow_unused=True)
        wanted = torch.autograd.grad(plain(model, batch), parameters, allow_unused=True)
        compared.extend((ours, theirs) for ours, theirs in zip(found, wanted, strict=True) if theirs is not None)
        assert (batch["decimals"] >= 0).sum() > 4, "the shipped model's answers are well-formed"
        return losses[credit]

    monkeypatch.setattr(ConfidenceCreditMixin, "_compute_loss", computing)
    list(draw_samples(tmp_path / "scenes", 4, seed=1, split="train", workers=1))
    _train(tmp_path, 8, credit)
    assert compared
    largest = max(theirs.abs().max() for _, theirs in compared)
    assert largest > 1e-5
    for ours, theirs in compared:
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-4 * float(largest))
