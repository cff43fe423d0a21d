"""Equation 5 by hand: what stage 3's trainer, with stage 3's own settings, gives for two answers of two tokens and one.

    L = -mean over answers [ mean over tokens [ min(ratio A, clip(ratio, 1 - e, 1 + e) A) - b KL ] ]

with A = R - mean of the group's R, undivided, and KL(policy || reference) estimated by q - log q - 1, q = reference / policy (k3).
"""

from __future__ import annotations

from math import exp
from pathlib import Path
from typing import Any

import pytest
import torch

from emocaliber.training.config import Stage3Config
from emocaliber.training.stage3 import grpo_arguments, grpo_trainer, prompt_dataset
from microscopic import save_untrained
from stand_ins import photo

REWARDS = (1.0, 0.2)
CLIP, KL, TEMPERATURE = 0.2, 0.5, 0.8  # of these the paper's kl, 0.01, would hardly be seen
# Of each token: policy / old policy, and the logarithm of reference / policy.
FIRST, SECOND, THIRD = (1.5, 0.3), (0.9, -0.4), (0.5, 0.7)


def objective(ratio: float, log_q: float, advantage: float) -> float:
    clipped = min(max(ratio, 1 - CLIP), 1 + CLIP)
    return min(ratio * advantage, clipped * advantage) - KL * (exp(log_q) - log_q - 1)


def by_hand() -> float:
    up, down = (each - sum(REWARDS) / 2 for each in REWARDS)
    one = (objective(*FIRST, up) + objective(*SECOND, up)) / 2
    other = objective(*THIRD, down)
    return -(one + other) / 2


def test_the_hands_own_arithmetic() -> None:
    """Advantages of 0.4 and -0.4; the first token is clipped at 1.2, the second is not, the third at 0.8."""
    first, second = 1.2 * 0.4 - KL * 0.04985881, 0.9 * 0.4 - KL * 0.07032005
    third = -0.8 * 0.4 - KL * 0.31375271
    assert by_hand() == pytest.approx(-((first + second) / 2 + third) / 2, abs=1e-8)


@pytest.fixture
def config(processor: Any, tmp_path: Path) -> Stage3Config:
    save_untrained(processor, tmp_path / "model")
    common: dict[str, Any] = {"batch_size": 2, "group_size": 2, "max_new_tokens": 4, "max_steps": 1, "learning_rate": 1e-3}
    given = {"clip": CLIP, "kl": KL, "temperature": TEMPERATURE, "gradient_checkpointing": False}
    return Stage3Config(out=str(tmp_path / "out"), samples="none", model=str(tmp_path / "model"), **common, **given)


def three_tokens(model: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    """The inputs of a step, but answers of two tokens and one, and an old policy and a reference as far from the policy as said above."""
    tokens, mask = torch.tensor([[40, 50], [60, 70]]), torch.tensor([[1, 1], [1, 0]])
    types = torch.nn.functional.pad(inputs["mm_token_type_ids"][:, : inputs["prompt_ids"].shape[1]], (0, 2))
    with torch.no_grad():
        logits = model(
            input_ids=torch.cat([inputs["prompt_ids"], tokens], 1),
            attention_mask=torch.cat([inputs["prompt_mask"], mask], 1),
            **{name: inputs[name] for name in ("pixel_values", "image_grid_thw")},
            mm_token_type_ids=types,
        ).logits
    policy = (logits[:, -3:-1].float() / TEMPERATURE).log_softmax(-1).gather(2, tokens[..., None])[..., 0]
    ratios = torch.tensor([[FIRST[0], SECOND[0]], [THIRD[0], 1.0]])
    log_q = torch.tensor([[FIRST[1], SECOND[1]], [THIRD[1], 0.0]])
    return inputs | {
        "completion_ids": tokens,
        "completion_mask": mask,
        "mm_token_type_ids": types,
        "old_per_token_logps": policy - ratios.log(),
        "ref_per_token_logps": policy + log_q,
    }


@pytest.mark.parametrize("shared_prefix", [True, False])
def test_the_loss_of_three_tokens_is_equation_5(
    config: Stage3Config, processor: Any, tmp_path: Path, shared_prefix: bool, capfd: pytest.CaptureFixture[str]
) -> None:
    from transformers import AutoModelForImageTextToText

    model = AutoModelForImageTextToText.from_pretrained(config.model)
    image = photo(tmp_path / "image.png", "teal", (112, 112))
    row = {"id": "a", "image": str(image), "task": "EmoSet-8", "candidates": ["awe", "fear"], "ground_truth": "awe"}

    def paid(completions: list[Any], **_: Any) -> list[float]:
        return list(REWARDS)

    trainer = grpo_trainer(
        model=model,
        args=grpo_arguments(config, model),
        processing_class=processor,
        train_dataset=prompt_dataset([row]),
        reward_funcs=paid,
        shared_prefix=shared_prefix,
    )
    plain, found = trainer.compute_loss, []

    def loss_of_three(model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        assert inputs["advantages"].tolist() == pytest.approx([0.4, -0.4])
        loss = plain(model, three_tokens(trainer.model, inputs), *args, **kwargs)
        found.append(loss.item())
        return loss

    trainer.compute_loss = loss_of_three
    threads = torch.get_num_threads()
    trainer.train()
    torch.set_num_threads(threads)
    assert found == [pytest.approx(by_hand(), abs=1e-5)]
    assert "not once for each group" not in capfd.readouterr().err, "prefixes are shared where they are to be"


def test_the_papers_settings_are_the_defaults() -> None:
    config = Stage3Config(out="o", samples="s", model="m", learning_rate=1e-6, batch_size=8)
    assert (config.kl, config.clip, config.normalise_advantages, config.credit) == (0.01, 0.2, False, "response")
