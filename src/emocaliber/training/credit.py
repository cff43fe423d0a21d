"""Credit assignment in stage 3: which part of the reward each token is trained on.

`response` is equation 5: every token of a response has the response's advantage, the digits of the confidence included. These are then
reinforced for a right answer whatever confidence they state, and a lucky confidence reinforces the reasoning before it.

`decoupled`, ours, trains the answer and the confidence apart:

    tokens before the confidence:  A_i = Q_i - mean over the group of Q, with Q = R_format + R_correct (the floor if malformed)
    the first decimal:             maximise  sum over d of pi(d) s(d) + tau H(pi)
    the confidence's other tokens: nothing but the KL to the model that training started from

d runs over the ten first decimals, pi(d) are their probabilities at that place, s(d) = `decimal_rewards` their confidence rewards for the
answer given, averaged over the second decimal, and tau is `digit_entropy`. All decimals are credited exactly, not only the one that was
sampled. The objective is linear in s, so one label for each image is an unbiased estimate of it; where an answer is right with
probability q, its optimum is

    pi(d) proportional to exp(E[s(d)] / tau),   with the log-likelihood  c^(q / tau) (1 - c)^((1 - q) / tau)  at c = 0.d

a bump whose mode is q itself and whose variance is about tau q (1 - q). Without the entropy the optimum is a single decimal: what is
common to all images is then learnt first, and decimals of low probability, whose gradient is pi(d) times their advantage, are hardly
trained at all (docs/lab-notes.md).

The pi(d) come from the shared-prefix forward pass (`shared_prefix`), which this credit therefore needs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from statistics import fmean
from typing import Any

import torch

from emocaliber.confidence.rewards import RewardSettings, confidence_and_correctness, confidence_reward
from emocaliber.core.tasks import labels_of
from emocaliber.errors import UserError
from emocaliber.training.config import DECOUPLED, RESPONSE

DIGITS = range(10)
_OPENING = "<confidence>"

Stated = tuple[float, bool]  # a confidence, and whether the answer was right


def answer_advantages(group: Sequence[Stated | None], settings: RewardSettings) -> list[float]:
    """A_i of a group's responses from format and correctness alone; None stands for a malformed response, which has the floor."""
    earned = [settings.floor if each is None else settings.format_weight + settings.correct_weight * each[1] for each in group]
    return [each - fmean(earned) for each in earned]


@cache
def decimal_rewards(right: bool, settings: RewardSettings) -> tuple[float, ...]:
    """s(d): the weighted confidence reward of each first decimal 0 to 9, averaged over the second decimal."""
    return tuple(
        settings.confidence_weight * fmean(confidence_reward(right, first / 10 + second / 100, settings) for second in DIGITS)
        for first in DIGITS
    )


def decimal_objective(logps: torch.Tensor, rewards: torch.Tensor, entropy: float) -> torch.Tensor:
    """The objective (B,) of first decimals with log-probabilities `logps` and rewards `rewards`, both (B, 10).

    The expected reward under the decimals' probabilities, normalised over the ten, plus `entropy` times their entropy in nats.
    """
    log_odds = logps.log_softmax(1)
    return (log_odds.exp() * (rewards - entropy * log_odds)).sum(1)


def confidence_start(tokens: Sequence[int], tokenizer: Any) -> int:
    """The index of the first token of the last `<confidence>`; the number of tokens if there is none."""
    for place in range(len(tokens) - 1, -1, -1):
        if _OPENING in tokenizer.decode(tokens[place:]):
            return place
    return len(tokens)


def first_decimal(tokens: Sequence[int], start: int, tokenizer: Any) -> int:
    """The index of the first decimal of the confidence that starts at `start`; -1 if no "0." precedes one."""
    for place in range(start + 1, len(tokens)):
        if tokenizer.decode(tokens[start:place]).endswith(_OPENING + "0."):
            return place
    return -1


def decimal_tokens(tokenizer: Any) -> list[int]:
    """The token ids of the decimals 0 to 9. Raises UserError for a tokenizer in which they are not single tokens."""
    tokens = [tokenizer(f"0.{digit}", add_special_tokens=False)["input_ids"][-1] for digit in DIGITS]
    if [tokenizer.decode([token]) for token in tokens] != [str(digit) for digit in DIGITS]:
        raise UserError(f'credit = "{DECOUPLED}" needs a tokenizer with one token for each decimal; use credit = "response"')
    return tokens


class DecoupledCreditMixin:
    """`decoupled` credit for TRL's `GRPOTrainer`, a mixin to list before it and before `SharedPrefixMixin` in a class's bases.

    Inactive with `credit` "response".
    """

    def __init__(
        self,
        *args: Any,
        credit: str = RESPONSE,
        reward_settings: RewardSettings | None = None,
        digit_entropy: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        trainer: Any = self
        self._decoupled, self._digit_entropy = credit == DECOUPLED, digit_entropy
        self._reward_settings = reward_settings or RewardSettings()
        self._tokenizer = getattr(trainer.processing_class, "tokenizer", trainer.processing_class)
        self._digits = decimal_tokens(self._tokenizer) if self._decoupled else []

    def with_credit(self, batch: dict[str, Any], inputs: list[dict[str, Any]]) -> dict[str, Any]:
        return batch | self._credited(batch, inputs) if self._decoupled else batch

    def _credited(self, batch: Mapping[str, torch.Tensor], inputs: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        """What replaces the batch's advantages (B,): those of tokens (B, T), 0 on a well-formed confidence; with the index of each answer's
        first decimal, (B,), -1 for none, and s(d), (B, 10)."""
        trainer: Any = self
        settings = self._reward_settings
        answers = [ids[seen.bool()].tolist() for ids, seen in zip(batch["completion_ids"], batch["completion_mask"], strict=True)]
        stated = [
            confidence_and_correctness(text, labels_of(row["task"], row["candidates"]), row["ground_truth"], settings)
            for text, row in zip(self._tokenizer.batch_decode(answers, skip_special_tokens=True), inputs, strict=True)
        ]
        size = trainer.num_generations  # a process generates whole groups, which the configuration check ensures
        earned = [each for first in range(0, len(stated), size) for each in answer_advantages(stated[first : first + size], settings)]
        advantages = batch["advantages"].new_tensor(earned)[:, None].repeat(1, batch["completion_ids"].shape[1])
        decimals, rewards = [-1] * len(answers), advantages.new_zeros(len(answers), len(DIGITS))
        for row, (answer, each) in enumerate(zip(answers, stated, strict=True)):
            if each is not None:
                start = confidence_start(answer, self._tokenizer)
                advantages[row, start:] = 0
                decimals[row] = first_decimal(answer, start, self._tokenizer)
                rewards[row] = rewards.new_tensor(decimal_rewards(each[1], settings))
        return {"advantages": advantages, "decimals": torch.tensor(decimals, device=advantages.device), "decimal_rewards": rewards}

    def credited_loss(self, model: Any, inputs: dict[str, Any], loss: Callable[[], torch.Tensor]) -> torch.Tensor:
        if not self._decoupled:
            return loss()
        trainer: Any = self
        with trainer.query_alternatives(inputs["decimals"], self._digits) as found:
            whole = loss()
        if not found:
            raise UserError(
                f'credit = "{DECOUPLED}" needs groups that are read as one sequence, which is not possible here (see the warning above); '
                'use credit = "response"'
            )
        queried = inputs["decimals"] >= 0
        lengths = inputs["completion_mask"].sum(1)  # a token weighs one over its answer's length, as in equation 5
        objective = whole.new_zeros(len(lengths))
        objective[queried] = decimal_objective(found[0].alternatives, inputs["decimal_rewards"][queried], self._digit_entropy)
        steps: int = trainer.current_gradient_accumulation_steps
        credited: torch.Tensor = whole - (objective / lengths).mean() / steps
        return credited
