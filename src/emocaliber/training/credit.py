"""Which part of the reward a token of stage 3 is credited with.

In the paper (equation 5) every token of a response has the response's advantage, that of the digits of the confidence included: they are
praised for an answer that was right, whatever confidence they are. On average over roll-outs that changes nothing, as the answer was given
before them; in any one batch it is noise. `causal` credit leaves it out. With R the reward, S the confidence's part of it, and j over those
of the group that state a confidence:

    A(all tokens before the confidence of response i) = R_i - mean over the group of R
    A(tokens of the confidence c_i)                   = S(c_i, right_i) - mean over j of S(c_j, right_i)

how the stated confidence did, against how the confidences of the group would have done for the answer that was given. Where all of a group
are well-formed, the expected gradient is that of equation 5, because a baseline may depend on all that came before (Williams 1992; Schulman
et al. 2016). Malformed responses keep their advantage for all tokens.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

import torch

from emocaliber.confidence import RewardSettings, confidence_reward, stated_and_right
from emocaliber.vecbench import aliases_of

_OPENING = "<confidence>"

Stated = tuple[float, bool]  # a confidence, and whether the answer was right


def confidence_advantages(group: Sequence[Stated | None], settings: RewardSettings) -> list[float | None]:
    """The advantage of each stated confidence of a group, None where a response is malformed."""
    confidences = [each[0] for each in group if each is not None]

    def advantage(confidence: float, right: bool) -> float:
        rivals = fmean(confidence_reward(right, rival, settings) for rival in confidences)
        return settings.confidence_weight * (confidence_reward(right, confidence, settings) - rivals)

    return [None if each is None else advantage(*each) for each in group]


def confidence_start(tokens: Sequence[int], tokenizer: Any) -> int:
    """The place of the first token of the last `<confidence>`, or the number of tokens if there is none."""
    for place in range(len(tokens) - 1, -1, -1):
        if _OPENING in tokenizer.decode(tokens[place:]):
            return place
    return len(tokens)


class CausalCredit:
    """What changes TRL's `GRPOTrainer` so; to be named before it among the bases of a class. Without `causal` settings nothing changes."""

    def __init__(self, *args: Any, causal: RewardSettings | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._causal = causal

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        batch: dict[str, Any] = super()._generate_and_score_completions(inputs)  # type: ignore[misc]
        if self._causal is not None:
            batch["advantages"] = self._credited(batch, inputs, self._causal)
        return batch

    def _credited(self, batch: Mapping[str, torch.Tensor], inputs: Sequence[Mapping[str, Any]], settings: RewardSettings) -> torch.Tensor:
        """Advantages of tokens (B, T) from those of responses (B,)."""
        trainer: Any = self
        tokenizer = getattr(trainer.processing_class, "tokenizer", trainer.processing_class)
        answers = [ids[seen.bool()].tolist() for ids, seen in zip(batch["completion_ids"], batch["completion_mask"], strict=True)]
        stated = [
            stated_and_right(text, row["candidates"], row["ground_truth"], settings, aliases=aliases_of(row["task"]))
            for text, row in zip(tokenizer.batch_decode(answers, skip_special_tokens=True), inputs, strict=True)
        ]
        size = trainer.num_generations  # what one process generates at once holds whole groups: the configuration is checked for it
        groups = [stated[first : first + size] for first in range(0, len(stated), size)]
        credits = [each for group in groups for each in confidence_advantages(group, settings)]
        advantages = batch["advantages"][:, None].expand(batch["completion_ids"].shape).clone()
        for row, (answer, credit) in enumerate(zip(answers, credits, strict=True)):
            if credit is not None:
                advantages[row, confidence_start(answer, tokenizer) :] = credit
        return advantages
