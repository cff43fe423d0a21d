"""A GRPO trainer of stage 3 that is small in everything, on images of noise."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from emocaliber.training.stage3 import grpo_trainer

QUESTIONS = ("Which emotion?", "Which emotion might this image evoke? Choose the most likely one from ['awe', 'fear'].", "Why?")
SIDES = ((56, 56), (112, 56), (84, 112))
ANSWERS = ("<think><element>a dog</element></think><answer>awe</answer>", "<answer></think>fear awe", "it is", "")
SIZE = len(ANSWERS)
TEMPERATURE = 0.7
SENTENCE = "encodes image and prompt once per answer, not once per group"


def noise(width: int, height: int, seed: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8))


def small_model(processor: Any, seed: int = 0) -> Any:
    """Real, tiny, and with weights large enough for each token to depend on what it sees."""
    from trl.trainer.utils import add_fused_lm_head

    from emocaliber.training.base.model import build_model
    from emocaliber.training.log_probs import complete_trl

    complete_trl()
    torch.manual_seed(seed)
    model = build_model(processor.tokenizer, width=64, layers=2, vision_width=64, vision_layers=2)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(3)
    add_fused_lm_head(model, temperature=TEMPERATURE, outputs=("log_probs", "entropy"))
    return model


def letters(completions: list[Any], **_: Any) -> list[float]:
    return [completion[0]["content"].count("a") - 0.1 * len(completion[0]["content"]) for completion in completions]


def trainer_of(processor: Any, folder: Path, rows: int = 8, **settings: Any) -> Any:
    """A GRPO trainer whose policy has moved away from its reference a little, on images of three sizes."""
    from datasets import Dataset
    from trl import GRPOConfig

    model = small_model(processor)
    if not (folder / "model").exists():
        model.save_pretrained(folder / "model")
    model.config._name_or_path = str(folder / "model")
    torch.manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    data = Dataset.from_list([{"prompt": [{"role": "user", "content": QUESTIONS[row % 3]}], "row": row} for row in range(rows)])
    shared_prefix, attention = settings.pop("shared_prefix", True), settings.pop("attention", "sdpa")
    adapters = settings.pop("peft_config", None)
    model.config._attn_implementation = attention
    defaults = {
        "per_device_train_batch_size": 8,
        "num_generations": SIZE,
        "max_completion_length": 16,
        "temperature": TEMPERATURE,
        "beta": 0.5,
        "use_bias_correction_kl": False,
        "loss_type": "grpo",
        "scale_rewards": "none",
        "gradient_accumulation_steps": 1,
        "gradient_checkpointing": False,
        "optim": "sgd",
        "learning_rate": 1.0,
        "max_grad_norm": 0,
        "max_steps": 1,
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "remove_unused_columns": False,
        "disable_tqdm": True,
        "use_cpu": True,
        "bf16": False,
    }
    return grpo_trainer(
        model=model,
        args=GRPOConfig(output_dir=str(folder / "out"), **defaults | settings),
        processing_class=processor,
        train_dataset=data.with_transform(lambda batch: {**batch, "image": [noise(*SIDES[row % 3], seed=row) for row in batch["row"]]}),
        reward_funcs=letters,
        shared_prefix=shared_prefix,
        peft_config=adapters,
    )


def steps_of(trainer: Any) -> tuple[list[dict[str, float]], dict[str, torch.Tensor]]:
    trainer.train()
    return [entry for entry in trainer.state.log_history if "loss" in entry], dict(trainer.model.named_parameters())
