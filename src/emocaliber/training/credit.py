"""Which part of the reward a token of stage 3 is credited with: the paper's way, and two with the same expected gradient and less noise.

`response`, equation 5: every token of a response has the response's advantage, that of the digits of the confidence included. They are
praised for an answer that was right, whatever confidence they are.

`causal` leaves that out, as the answer was given before them. With R the reward, S the confidence's part of it, and j over those of the
group that state a confidence:

    A(all tokens before the confidence of response i) = R_i - mean over the group of R
    A(tokens of the confidence c_i)                   = S(c_i, right_i) - mean over j of S(c_j, right_i)

how the stated confidence did, against how the confidences of the group would have done for the answer that was given. A baseline may depend
on all that came before (Williams 1992; Schulman et al. 2016). Malformed responses keep their advantage for all tokens.

`expected` does not wait for a digit to be drawn either: as an answer is right or not, what each confidence would have earned is known.
With d over the first decimals, pi(d) their probabilities and g(d) what they would have gained, the second decimal being any, it adds

    sum over d of pi(d) g(d) grad log pi(d) - g(drawn) grad log pi(drawn)

whose expectation is 0 (a control variate; Gu et al. 2017). What one roll-out says of a digit of probability 0.05 is then as certain as
twenty roll-outs. The pi(d) come from the pass that reads groups together (`shared_prefix`); without it, `expected` is `causal`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from statistics import fmean
from typing import Any

import torch

from emocaliber.confidence import RewardSettings, confidence_reward, stated_and_right
from emocaliber.errors import UserError
from emocaliber.vecbench import aliases_of

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


def decimal_gains(group: Sequence[Stated | None], settings: RewardSettings) -> list[list[float] | None]:
    """The advantage that a response of a group would have had with each first decimal, 0 to 9, in the mean over second decimals."""
    stated = [each for each in group if each is not None]

    def gains(own: int) -> list[float]:
        right = stated[own][1]
        rivals = [confidence_reward(right, rival, settings) for j, (rival, _) in enumerate(stated) if j != own]
        if not rivals:
            return [0.0] * len(DIGITS)
        scores = [fmean(confidence_reward(right, first / 10 + second / 100, settings) for second in DIGITS) for first in DIGITS]
        return [settings.confidence_weight * len(rivals) / len(stated) * (score - fmean(rivals)) for score in scores]

    own = iter(range(len(stated)))
    return [None if each is None else gains(next(own)) for each in group]


def confidence_start(tokens: Sequence[int], tokenizer: Any) -> int:
    """The place of the first token of the last `<confidence>`, or the number of tokens if there is none."""
    for place in range(len(tokens) - 1, -1, -1):
        if _OPENING in tokenizer.decode(tokens[place:]):
            return place
    return len(tokens)


def first_decimal(tokens: Sequence[int], tokenizer: Any) -> int:
    """The place of the first decimal of the stated confidence, -1 if there is none behind "0."."""
    start = confidence_start(tokens, tokenizer)
    for place in range(start + 1, len(tokens)):
        if tokenizer.decode(tokens[start:place]).endswith(_OPENING + "0."):
            return place
    return -1


def digit_tokens(tokenizer: Any) -> list[int]:
    """The tokens of the digits 0 to 9. Raises UserError for a tokenizer in which they have none of their own."""
    tokens = [tokenizer(f"0.{digit}", add_special_tokens=False)["input_ids"][-1] for digit in DIGITS]
    if [tokenizer.decode([token]) for token in tokens] != [str(digit) for digit in DIGITS]:
        raise UserError('credit = "expected" needs a tokenizer with one token for each decimal; use credit = "causal"')
    return tokens


class ConfidenceCredit:
    """What changes TRL's `GRPOTrainer` so; to be named before it, and before `SharedPrefix`, among the bases of a class."""

    def __init__(self, *args: Any, credit: str = "response", reward_settings: RewardSettings | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        trainer: Any = self
        self._credit, self._reward_settings = credit, reward_settings or RewardSettings()
        self._tokenizer = getattr(trainer.processing_class, "tokenizer", trainer.processing_class)
        self._digits = digit_tokens(self._tokenizer) if credit == "expected" else []

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        batch: dict[str, Any] = super()._generate_and_score_completions(inputs)  # type: ignore[misc]
        return batch if self._credit == "response" else batch | self._credited(batch, inputs)

    def _credited(self, batch: Mapping[str, torch.Tensor], inputs: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        """Advantages of tokens (B, T) from those of responses (B,); the first decimals' places (B,), -1 for none, and gains (B, 10)."""
        trainer: Any = self
        answers = [ids[seen.bool()].tolist() for ids, seen in zip(batch["completion_ids"], batch["completion_mask"], strict=True)]
        stated = [
            stated_and_right(text, row["candidates"], row["ground_truth"], self._reward_settings, aliases=aliases_of(row["task"]))
            for text, row in zip(self._tokenizer.batch_decode(answers, skip_special_tokens=True), inputs, strict=True)
        ]
        size = trainer.num_generations  # what one process generates at once holds whole groups: the configuration is checked for it
        groups = [stated[first : first + size] for first in range(0, len(stated), size)]
        credits = [each for group in groups for each in confidence_advantages(group, self._reward_settings)]
        gains = [each for group in groups for each in decimal_gains(group, self._reward_settings)]
        advantages = batch["advantages"][:, None].expand(batch["completion_ids"].shape).clone()
        for row, (answer, credit) in enumerate(zip(answers, credits, strict=True)):
            if credit is not None:
                advantages[row, confidence_start(answer, self._tokenizer) :] = credit
        decimals = [-1 if each is None else first_decimal(answer, self._tokenizer) for answer, each in zip(answers, stated, strict=True)]
        return {
            "advantages": advantages,
            "decimals": torch.tensor(decimals, device=advantages.device),
            "gains": advantages.new_tensor([each or [0.0] * len(DIGITS) for each in gains]),
        }

    def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> torch.Tensor:
        trainer: Any = self
        asking = trainer.asking(inputs["decimals"], self._digits) if self._credit == "expected" else nullcontext()
        with asking as found:
            loss: torch.Tensor = super()._compute_loss(model, inputs)  # type: ignore[misc]
        return loss - self._expected_less_drawn(found[0], inputs) / trainer.current_gradient_accumulation_steps if found else loss

    def _expected_less_drawn(self, logps: torch.Tensor, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """The control variate, weighed as equation 5 weighs a token: by one over the length of its answer, in the mean over answers."""
        asked = inputs["decimals"] >= 0
        places, gains = inputs["decimals"][asked][:, None], inputs["gains"][asked]
        drawn = inputs["completion_ids"][asked].gather(1, places) == torch.tensor(self._digits, device=places.device)  # (asked, 10)
        old = inputs.get("old_per_token_logps")
        ratios = (logps - (logps.detach() if old is None else old[asked].gather(1, places))).exp()
        surplus = (logps.exp() * gains - torch.where(drawn, ratios * gains, 0)).sum(1)
        return (surplus / inputs["completion_mask"][asked].sum(1)).sum() / len(asked)
