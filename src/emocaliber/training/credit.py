"""Credit assignment in stage 3: which part of the reward each token's advantage holds.

`response` is equation 5: every token of a response has the response's advantage, the digits of the confidence included. These are then
reinforced for a right answer whatever confidence they state.

`causal` credits the confidence with its own part of the reward alone, as the answer precedes it. With R the reward, S its confidence part,
and j over the responses of the group that state a confidence:

    A(tokens before the confidence of response i) = R_i - mean over the group of R
    A(tokens of the confidence c_i)               = S(c_i, right_i) - mean over j of S(c_j, right_i)

The baseline of the second line scores the group's confidences on response i's answer. It may depend on everything before the confidence
without biasing the gradient (Williams 1992; Schulman et al. 2016). Malformed responses keep their advantage on all tokens.

`expected` is an expected (all-action) advantage over the first decimal: once an answer is known to be right or wrong, so is the reward of
every confidence. With d over the ten first decimals, pi(d) their probabilities and s(d) their rewards for the given answer, averaged over
the second decimal:

    tokens before the confidence:      R_i + sum over d of pi(d) s(d) - s(drawn) replaces R_i
    the first decimal and those after: g(drawn) is subtracted from their advantage, where g(d) is the advantage that s(d) gives
    the first decimal:                 sum over d of g(d) grad pi(d) is added to its gradient

The three terms are control variates whose sum has expectation 0 (Gu et al. 2017); they remove most of the variance of sampling one decimal
of ten. The pi(d) come from the shared-prefix forward pass (`shared_prefix`); without it, `expected` is `causal`.

`natural` is `expected` with a natural-gradient step (Amari 1998; Kakade 2001) on the first decimal. A policy gradient moves a decimal's
logit in proportion to its probability, so decimals of low probability are hardly trained however large their advantage. The natural
gradient moves every decimal's logit by its advantage:

    the first decimal:                 sum over d of (g(d) - mean over d of g) grad log pi(d) / 10

It is an ascent direction too, as its inner product with the gradient is the variance of g under pi, and its flow is mirror ascent, towards
pi(d) exp(t g(d)).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from functools import cache
from statistics import fmean
from typing import Any

import torch

from emocaliber.confidence.rewards import RewardSettings, confidence_and_correctness, confidence_reward
from emocaliber.core.tasks import labels_of
from emocaliber.errors import UserError
from emocaliber.training.config import EXPECTED_CREDITS
from emocaliber.training.shared_prefix import Logps

DIGITS = range(10)
_OPENING = "<confidence>"

Stated = tuple[float, bool]  # a confidence, and whether the answer was right


def confidence_advantages(group: Sequence[Stated | None], settings: RewardSettings) -> list[float | None]:
    """The `causal` advantage of each confidence of a group; None for a malformed response."""
    confidences = [each[0] for each in group if each is not None]

    def advantage(confidence: float, right: bool) -> float:
        baseline = fmean(confidence_reward(right, other, settings) for other in confidences)
        return settings.confidence_weight * (confidence_reward(right, confidence, settings) - baseline)

    return [None if each is None else advantage(*each) for each in group]


@cache
def expected_decimal_rewards(right: bool, settings: RewardSettings) -> tuple[float, ...]:
    """The confidence reward of each first decimal 0 to 9, weighted, averaged over the second decimal: s(d)."""
    return tuple(
        settings.confidence_weight * fmean(confidence_reward(right, first / 10 + second / 100, settings) for second in DIGITS)
        for first in DIGITS
    )


def decimal_advantages(group: Sequence[Stated | None], settings: RewardSettings) -> list[list[float] | None]:
    """g(d): the advantage that each response of a group would have with each first decimal, (10,); None for a malformed one."""

    def gains(own: int, right: bool) -> list[float]:
        others = [each[0] for place, each in enumerate(group) if each is not None and place != own]
        if not others:
            return [0.0] * len(DIGITS)
        baseline = settings.confidence_weight * fmean(confidence_reward(right, other, settings) for other in others)
        return [len(others) / (len(others) + 1) * (score - baseline) for score in expected_decimal_rewards(right, settings)]

    return [None if each is None else gains(place, each[1]) for place, each in enumerate(group)]


def decimal_surrogate(logps: torch.Tensor, gains: torch.Tensor, *, natural: bool) -> torch.Tensor:
    """The surrogate objective (B,) whose gradient is the first decimal's step, from `logps` and advantages `gains`, both (B, 10)."""
    return ((gains - gains.mean(1, keepdim=True)) * logps).mean(1) if natural else (logps.exp() * gains).sum(1)


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
        raise UserError('credit = "expected" or "natural" needs a tokenizer with one token for each decimal; use credit = "causal"')
    return tokens


class ConfidenceCreditMixin:
    """Credit assignment for TRL's `GRPOTrainer`, a mixin to list before it and before `SharedPrefixMixin` in a class's bases."""

    def __init__(self, *args: Any, credit: str = "response", reward_settings: RewardSettings | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        trainer: Any = self
        self._credit, self._reward_settings = credit, reward_settings or RewardSettings()
        self._tokenizer = getattr(trainer.processing_class, "tokenizer", trainer.processing_class)
        self._digits = decimal_tokens(self._tokenizer) if credit in EXPECTED_CREDITS else []

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        batch: dict[str, Any] = super()._generate_and_score_completions(inputs)  # type: ignore[misc]
        return batch if self._credit == "response" else batch | self._credited(batch, inputs)

    def _credited(self, batch: Mapping[str, torch.Tensor], inputs: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        """The batch's token advantages (B, T), from its response advantages (B,).

        For `expected` and `natural` credit also the indices of the confidence and of its first decimal, (B,), -1 for none, and the
        advantage g(d) and reward s(d) of each decimal, (B, 10).
        """
        trainer: Any = self
        settings = self._reward_settings
        answers = [ids[seen.bool()].tolist() for ids, seen in zip(batch["completion_ids"], batch["completion_mask"], strict=True)]
        stated = [
            confidence_and_correctness(text, labels_of(row["task"], row["candidates"]), row["ground_truth"], settings)
            for text, row in zip(self._tokenizer.batch_decode(answers, skip_special_tokens=True), inputs, strict=True)
        ]
        size = trainer.num_generations  # a process generates whole groups, which the configuration check ensures
        groups = [stated[first : first + size] for first in range(0, len(stated), size)]
        credits = [each for group in groups for each in confidence_advantages(group, settings)]
        starts = [
            len(answer) if each is None else confidence_start(answer, self._tokenizer) for answer, each in zip(answers, stated, strict=True)
        ]
        advantages = batch["advantages"][:, None].expand(batch["completion_ids"].shape).clone()
        for row, (start, credit) in enumerate(zip(starts, credits, strict=True)):
            if credit is not None:
                advantages[row, start:] = credit
        if self._credit == "causal":
            return {"advantages": advantages}
        zeros = [0.0] * len(DIGITS)
        gains = [each or zeros for group in groups for each in decimal_advantages(group, settings)]
        scores = [zeros if each is None else expected_decimal_rewards(each[1], settings) for each in stated]
        decimals = [first_decimal(answer, start, self._tokenizer) for answer, start in zip(answers, starts, strict=True)]
        device = advantages.device
        return {
            "advantages": advantages,
            "confidence_starts": torch.tensor(starts, device=device),
            "decimals": torch.tensor(decimals, device=device),
            "decimal_gains": advantages.new_tensor(gains),
            "decimal_scores": advantages.new_tensor(scores),
        }

    def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> torch.Tensor:
        trainer: Any = self
        query = trainer.query_alternatives(inputs["decimals"], self._digits) if self._credit in EXPECTED_CREDITS else nullcontext()
        with query as found:
            loss: torch.Tensor = super()._compute_loss(model, inputs)  # type: ignore[misc]
        return loss - self._control_variates(found[0], inputs) / trainer.current_gradient_accumulation_steps if found else loss

    def _control_variates(self, found: Logps, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """The objective's extra terms: control variates and the first decimals' step.

        Each token is weighted as in equation 5: by one over the length of its answer, then averaged over answers.
        """
        trainer: Any = self
        tokens, seen = inputs["completion_ids"], inputs["completion_mask"]
        logps = found.chosen.new_zeros(tokens.shape).masked_scatter(seen.bool(), found.chosen)
        old = inputs.get("old_per_token_logps")
        ratios = (logps - (logps.detach() if old is None else old)).exp()

        queried = inputs["decimals"] >= 0
        places, gains, scores = inputs["decimals"][queried][:, None], inputs["decimal_gains"][queried], inputs["decimal_scores"][queried]
        pi = found.alternatives.detach().exp()  # (queried, 10), like `gains`, `scores` and `drawn`
        drawn = (tokens[queried].gather(1, places) == torch.tensor(self._digits, device=tokens.device)).float()
        step, gained, correction = (ratios.new_zeros(len(tokens)) for _ in range(3))
        step[queried] = decimal_surrogate(found.alternatives, gains, natural=self._credit == "natural")
        gained[queried] = (drawn * gains).sum(1)
        correction[queried] = ((pi / pi.sum(1, keepdim=True) * drawn.sum(1, keepdim=True) - drawn) * scores).sum(1)
        correction -= correction.view(-1, trainer.num_generations).mean(1).repeat_interleave(trainer.num_generations)

        token = torch.arange(tokens.shape[1], device=tokens.device)
        before = token < inputs["confidence_starts"][:, None]
        behind = token >= inputs["decimals"][:, None]
        change = before * correction[:, None] - behind * gained[:, None]
        return ((step + (change * ratios * seen).sum(1)) / seen.sum(1)).mean()
