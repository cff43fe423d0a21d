"""Log-probabilities for TRL 1.15 on a CPU: those of a softmax over the whole vocabulary, and those of TRL's own later releases."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import trl
import trl.trainer.utils as utils
from packaging.version import Version

from emocaliber.training.log_probs import TorchLogProbs, complete_trl

TEMPERATURE, CAP, SCALE = 0.7, 5.0, 1.3


def computed(kind: Any, tokens: int, **more: Any) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """All results for random states of `tokens` tokens, and the gradients of states, weights and bias."""
    generator = torch.Generator().manual_seed(tokens)
    hidden, weight, bias = (torch.randn(*shape, generator=generator).requires_grad_() for shape in ((tokens, 8), (40, 8), (40,)))
    targets = torch.randint(40, (tokens,), generator=generator)
    results = kind.apply(hidden, weight, bias, targets, TEMPERATURE, 16, more.get("cap"), more.get("scale", 1.0))
    (results[0].sum() + (results[1] ** 2).sum()).backward()
    return [each.detach() for each in results], [each.grad for each in (hidden, weight, bias)]


def test_they_are_those_of_a_softmax() -> None:
    found, _ = computed(TorchLogProbs, 300)
    generator = torch.Generator().manual_seed(300)
    hidden, weight, bias = (torch.randn(*shape, generator=generator) for shape in ((300, 8), (40, 8), (40,)))
    targets = torch.randint(40, (300,), generator=generator)
    logits = (hidden @ weight.T + bias) / TEMPERATURE
    torch.testing.assert_close(found[0], -torch.nn.functional.cross_entropy(logits, targets, reduction="none"))
    torch.testing.assert_close(found[1], torch.distributions.Categorical(logits=logits).entropy())


@pytest.mark.skipif(Version(trl.__version__) < Version("1.16"), reason="TRL 1.15 computes them on a GPU alone")
@pytest.mark.parametrize("more", [{}, {"cap": CAP, "scale": SCALE}], ids=["plain", "capped and scaled"])
@pytest.mark.parametrize("tokens", [5, 300])
def test_values_and_gradients_are_those_of_trls_own(tokens: int, more: dict[str, float]) -> None:
    for ours, theirs in zip(computed(TorchLogProbs, tokens, **more), computed(utils._ChunkedLogProbFunction, tokens, **more), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_no_answer_token_is_a_zero_with_a_gradient() -> None:
    found, gradients = computed(TorchLogProbs, 0)
    assert found[0].shape == (0,) and all(torch.isfinite(each).all() for each in gradients)


def test_what_is_not_asked_for_is_none() -> None:
    hidden, weight = torch.randn(3, 8), torch.randn(40, 8)
    chosen, *others = TorchLogProbs.apply(hidden, weight, None, torch.tensor([1, 2, 3]), 1.0, 16, outputs=("entropy",))
    assert chosen is not None and others[0] is not None and others[1:] == [None, None, None]


@pytest.mark.parametrize(("release", "replaced"), [("1.15.0", True), ("1.16.0", False), ("1.14.2", False)])
def test_only_the_release_without_them_is_changed(release: str, replaced: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trl, "__version__", release)
    monkeypatch.setattr(utils, "_ChunkedLogProbFunction", None)
    complete_trl()
    assert (utils._ChunkedLogProbFunction is TorchLogProbs) == (replaced and not torch.cuda.is_available())
