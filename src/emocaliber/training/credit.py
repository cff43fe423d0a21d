"""Which part of the reward a token of stage 3 is credited with: the paper's way, two with the same expected gradient and less noise, and
one that teaches confidences that are hardly ever drawn.

`response`, equation 5: every token of a response has the response's advantage, that of the digits of the confidence included. They are
praised for an answer that was right, whatever confidence they are.

`causal` leaves that out, as the answer was given before them. With R the reward, S the confidence's part of it, and j over those of the
group that state a confidence:

    A(all tokens before the confidence of response i) = R_i - mean over the group of R
    A(tokens of the confidence c_i)                   = S(c_i, right_i) - mean over j of S(c_j, right_i)

how the stated confidence did, against how the confidences of the group would have done for the answer that was given. A baseline may depend
on all that came before (Williams 1992; Schulman et al. 2016). Malformed responses keep their advantage for all tokens.

`expected` does not wait for a digit to be drawn either: as an answer is right or not, what each confidence would have earned is known.
With d over the first decimals, pi(d) their probabilities and s(d) what they would earn for the answer given, the second decimal being any,

    tokens before the confidence:      R_i + sum over d of pi(d) s(d) - s(drawn) takes the place of R_i
    the first decimal and those after: g(drawn) is taken from their advantage, where g(d) is the advantage that s(d) makes
    the first decimal:                 sum over d of g(d) grad pi(d) is added to its gradient

Together this has an expectation of 0 (control variates, as in Gu et al. 2017), and takes away most of the noise of drawing one confidence
of ten. The pi(d) come from the pass that reads groups together (`shared_prefix`); without it, `expected` is `causal`.

`natural` is `expected` with another step for the first decimal. The gradient moves a digit as far as it is probable: one that is hardly
ever drawn is hardly ever taught, however good it would be, and a model that has learnt to say 0.9 or 0.4 loses the 0.9 before it finds 0.6.
The natural gradient (Amari 1998; Kakade 2001) moves the logit of every digit by its advantage:

    the first decimal:                 sum over d of (g(d) - mean over d of g) grad log pi(d) / 10

It points uphill too, since its product with the gradient is the variance of g under pi, and leads towards pi(d) exp(t g(d)), the best that
there is at a distance from where it began (mirror descent).
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
    """The advantage of each stated confidence of a group, None where a response is malformed."""
    confidences = [each[0] for each in group if each is not None]

    def advantage(confidence: float, right: bool) -> float:
        rivals = fmean(confidence_reward(right, rival, settings) for rival in confidences)
        return settings.confidence_weight * (confidence_reward(right, confidence, settings) - rivals)

    return [None if each is None else advantage(*each) for each in group]


@cache
def expected_decimal_rewards(right: bool, settings: RewardSettings) -> tuple[float, ...]:
    """What a confidence with each first decimal, 0 to 9, earns in the mean over second decimals."""
    return tuple(
        settings.confidence_weight * fmean(confidence_reward(right, first / 10 + second / 100, settings) for second in DIGITS)
        for first in DIGITS
    )


def decimal_advantages(group: Sequence[Stated | None], settings: RewardSettings) -> list[list[float] | None]:
    """The advantage that each response of a group would have had with each first decimal; None where it is malformed."""

    def gains(own: int, right: bool) -> list[float]:
        others = [each[0] for place, each in enumerate(group) if each is not None and place != own]
        if not others:
            return [0.0] * len(DIGITS)
        usual = settings.confidence_weight * fmean(confidence_reward(right, other, settings) for other in others)
        return [len(others) / (len(others) + 1) * (score - usual) for score in expected_decimal_rewards(right, settings)]

    return [None if each is None else gains(place, each[1]) for place, each in enumerate(group)]


def decimal_surrogate(logps: torch.Tensor, gains: torch.Tensor, *, natural: bool) -> torch.Tensor:
    """What has the step of first decimals as its gradient, (B,), from the digits' log-probabilities and gains, both (B, 10)."""
    return ((gains - gains.mean(1, keepdim=True)) * logps).mean(1) if natural else (logps.exp() * gains).sum(1)


def confidence_start(tokens: Sequence[int], tokenizer: Any) -> int:
    """The place of the first token of the last `<confidence>`, or the number of tokens if there is none."""
    for place in range(len(tokens) - 1, -1, -1):
        if _OPENING in tokenizer.decode(tokens[place:]):
            return place
    return len(tokens)


def first_decimal(tokens: Sequence[int], start: int, tokenizer: Any) -> int:
    """The place of the first decimal of the confidence that starts at `start`, -1 if there is none behind "0."."""
    for place in range(start + 1, len(tokens)):
        if tokenizer.decode(tokens[start:place]).endswith(_OPENING + "0."):
            return place
    return -1


def decimal_tokens(tokenizer: Any) -> list[int]:
    """The tokens of the digits 0 to 9. Raises UserError for a tokenizer in which they have none of their own."""
    tokens = [tokenizer(f"0.{digit}", add_special_tokens=False)["input_ids"][-1] for digit in DIGITS]
    if [tokenizer.decode([token]) for token in tokens] != [str(digit) for digit in DIGITS]:
        raise UserError('credit = "expected" or "natural" needs a tokenizer with one token for each decimal; use credit = "causal"')
    return tokens


class ConfidenceCreditMixin:
    """What changes TRL's `GRPOTrainer` so; to be named before it, and before `SharedPrefix`, among the bases of a class."""

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
        """Advantages of tokens (B, T) from those of responses (B,). For `expected` and `natural` credit also where confidences start and
        their first decimals are, (B,), -1 for none, and what each digit there would gain and earn, (B, 10).
        """
        trainer: Any = self
        settings = self._reward_settings
        answers = [ids[seen.bool()].tolist() for ids, seen in zip(batch["completion_ids"], batch["completion_mask"], strict=True)]
        stated = [
            confidence_and_correctness(text, labels_of(row["task"], row["candidates"]), row["ground_truth"], settings)
            for text, row in zip(self._tokenizer.batch_decode(answers, skip_special_tokens=True), inputs, strict=True)
        ]
        size = trainer.num_generations  # what one process generates at once holds whole groups: the configuration is checked for it
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
        nothing = [0.0] * len(DIGITS)
        gains = [each or nothing for group in groups for each in decimal_advantages(group, settings)]
        scores = [nothing if each is None else expected_decimal_rewards(each[1], settings) for each in stated]
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
        asking = trainer.asking(inputs["decimals"], self._digits) if self._credit in EXPECTED_CREDITS else nullcontext()
        with asking as found:
            loss: torch.Tensor = super()._compute_loss(model, inputs)  # type: ignore[misc]
        return loss - self._expected_less_drawn(found[0], inputs) / trainer.current_gradient_accumulation_steps if found else loss

    def _expected_less_drawn(self, found: Logps, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """The control variates and the first decimals' own step, weighed as equation 5 weighs tokens: by one over the length of their
        answer, in the mean over answers.
        """
        trainer: Any = self
        tokens, seen = inputs["completion_ids"], inputs["completion_mask"]
        logps = found.chosen.new_zeros(tokens.shape).masked_scatter(seen.bool(), found.chosen)
        old = inputs.get("old_per_token_logps")
        ratios = (logps - (logps.detach() if old is None else old)).exp()

        asked = inputs["decimals"] >= 0
        places, gains, scores = inputs["decimals"][asked][:, None], inputs["decimal_gains"][asked], inputs["decimal_scores"][asked]
        odds = found.alternatives.detach().exp()  # (asked, 10), and so are `gains`, `scores` and
        drawn = (tokens[asked].gather(1, places) == torch.tensor(self._digits, device=tokens.device)).float()
        known, gained, unlucky = (ratios.new_zeros(len(tokens)) for _ in range(3))
        known[asked] = decimal_surrogate(found.alternatives, gains, natural=self._credit == "natural")
        gained[asked] = (drawn * gains).sum(1)
        unlucky[asked] = ((odds / odds.sum(1, keepdim=True) * drawn.sum(1, keepdim=True) - drawn) * scores).sum(1)
        unlucky -= unlucky.view(-1, trainer.num_generations).mean(1).repeat_interleave(trainer.num_generations)

        token = torch.arange(tokens.shape[1], device=tokens.device)
        before = token < inputs["confidence_starts"][:, None]
        behind = token >= inputs["decimals"][:, None]
        change = before * unlucky[:, None] - behind * gained[:, None]
        return ((known + (change * ratios * seen).sum(1)) / seen.sum(1)).mean()
