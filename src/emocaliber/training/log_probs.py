"""Log-probabilities for TRL 1.15 on a machine without a GPU: its output layer has Triton's kernels alone, and 1.16 PyTorch's as well.

Without this, no GRPO of TRL 1.15 would run on a CPU, neither ours nor its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.nn.functional import linear
from torch.utils.checkpoint import checkpoint

_AT_ONCE = 256  # tokens whose logits are held at once
OUTPUTS = ("entropy", "log_sum_sq_probs", "mean_logits", "is_top1")  # those that TRL may ask for, in the order of its results


class TorchLogProbs:
    """In place of TRL's `ChunkedLogProbFunction`, with its arguments and results."""

    @staticmethod
    def apply(
        hidden: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        targets: torch.Tensor,
        temperature: float,
        chunk_size: int,
        final_logit_softcapping: float | None = None,
        logit_scale: float = 1.0,
        outputs: Sequence[str] = OUTPUTS,
    ) -> tuple[torch.Tensor | None, ...]:
        """Log-probabilities (N,) of `targets` (N,) after `hidden` (N, H) under the output layer `weight` (V, H), and `outputs`, (N,) each,
        None where one is not asked for."""

        def part(hidden: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, ...]:
            logits = linear(hidden, weight, bias).float() * logit_scale
            if final_logit_softcapping is not None:
                logits = final_logit_softcapping * torch.tanh(logits / final_logit_softcapping)
            logits = logits / temperature
            logps = logits.log_softmax(-1)
            chosen = logps.gather(-1, targets[:, None])[:, 0]
            entropies = -(logps.exp() * logps).sum(-1)
            with torch.no_grad():
                others = (2 * logps).logsumexp(-1), logits.mean(-1), logps.argmax(-1) == targets
            return chosen, entropies, *others

        places = [slice(first, first + _AT_ONCE) for first in range(0, max(len(hidden), 1), _AT_ONCE)]
        parts = [checkpoint(part, hidden[place], targets[place], use_reentrant=False) for place in places]
        chosen, *rest = (torch.cat(each) for each in zip(*parts, strict=True))
        return chosen, *(each if name in outputs else None for name, each in zip(OUTPUTS, rest, strict=True))


def complete_trl() -> None:
    """Gives TRL 1.15 log-probabilities where there is no GPU; other releases are left as they are."""
    import trl
    import trl.trainer.utils as utils

    if trl.__version__.startswith("1.15.") and not torch.cuda.is_available():
        there: Any = utils
        there._ChunkedLogProbFunction = TorchLogProbs
