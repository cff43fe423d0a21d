"""Logits are computed only at tokens in the loss, and loss and gradients equal those of all logits."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch.nn.functional import cross_entropy
from transformers import TrainingArguments

from emocaliber.training.collate import IGNORED, ExampleCollator, TrainingExample, digit_tokens
from emocaliber.training.shared_prefix import logits_only_at
from emocaliber.training.trainer import LossSettings, SupervisedTrainer

PREFIX = "<think><element>a dog</element></think><answer>awe</answer>"
Batch = dict[str, torch.Tensor]


@pytest.fixture
def model(processor: Any) -> Any:
    from emocaliber.training.base.model import build_model

    torch.manual_seed(0)
    return build_model(processor.tokenizer, width=64, layers=2, vision_width=64, vision_layers=2)


@pytest.fixture(scope="module")
def batch(processor: Any, tmp_path_factory: pytest.TempPathFactory) -> Batch:
    folder = tmp_path_factory.mktemp("images")
    examples = []
    for side, prefix in ((56, PREFIX), (112, PREFIX + " again" * 9)):
        Image.new("RGB", (side, side), "red").save(folder / f"{side}.png")
        examples.append(TrainingExample(str(folder / f"{side}.png"), "Why?", completion="<confidence>0.35</confidence>", prefix=prefix))
    return ExampleCollator(processor)(examples)


def all_logits(model: Any, batch: Batch, settings: LossSettings, start: Any) -> torch.Tensor:
    """The loss from the logits of every place, with `start` as the reference."""
    labels, completion = batch["labels"][:, 1:], batch["in_completion"][:, 1:]
    inputs = {name: each for name, each in batch.items() if name not in ("labels", "in_completion", "decimals")}
    logits = model(**inputs).logits[:, :-1]
    loss = cross_entropy(logits.transpose(1, 2), labels.masked_fill(~completion, IGNORED))
    of_prefix = (labels != IGNORED) & ~completion
    before, now = (each[of_prefix].log_softmax(-1) for each in (start(**inputs).logits[:, :-1].detach(), logits))
    prefix = (before.exp() * (before - now)).sum(-1).mean()
    if settings.smoothing:
        places = batch["decimals"][:, 1:]
        logps = logits[places].log_softmax(-1)
        hard = logps.gather(-1, labels[places][:, None])[:, 0]
        loss = loss + settings.smoothing * (hard - logps[:, list(settings.digits)].mean(-1)).sum() / completion.sum()
    return loss + settings.anchor * prefix


@pytest.mark.parametrize("anchor", [0.0, 0.7])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_loss_and_gradients_are_those_of_all_logits(
    model: Any, batch: Batch, processor: Any, tmp_path: Path, anchor: float, smoothing: float
) -> None:
    settings = LossSettings(anchor, smoothing, tuple(digit_tokens(processor.tokenizer)))
    arguments = TrainingArguments(output_dir=str(tmp_path), report_to="none", use_cpu=True)
    start = copy.deepcopy(model)
    trainer = SupervisedTrainer(model=model, args=arguments, settings=settings)
    with torch.no_grad():  # as if it had been trained meanwhile
        for weights in model.parameters():
            weights.add_(0.05 * torch.randn(weights.shape, generator=torch.Generator().manual_seed(1)))
    loss, plain = trainer.compute_loss(model, dict(batch)), all_logits(model, batch, settings, start)
    assert loss.item() == pytest.approx(plain.item(), abs=1e-6)
    parameters = list(model.parameters())
    for ours, theirs in zip(*(torch.autograd.grad(each, parameters) for each in (loss, plain)), strict=True):
        assert torch.allclose(ours, theirs, atol=1e-6)


def test_the_output_layer_sees_nothing_else(model: Any, batch: Batch) -> None:
    seen: list[torch.Size] = []
    model.lm_head.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].shape))
    inputs = {name: each for name, each in batch.items() if name not in ("labels", "in_completion", "decimals")}
    full = model(**inputs).logits
    with logits_only_at(model, batch["in_completion"]):
        picked = model(**inputs).logits
    assert seen == [(*batch["in_completion"].shape, 64), (1, int(batch["in_completion"].sum()), 64)]
    assert torch.equal(picked[0], full[batch["in_completion"]])
    assert model(**inputs).logits.shape == full.shape, "afterwards, all is as before"
