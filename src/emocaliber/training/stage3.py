"""Stage 3: calibration by reinforcement (section 3.3), TRL's GRPO set to the paper's variant.

R = R_format + R_correct + R_conf (equation 4), A = R - mean of the group, never divided by the group's standard deviation,
clipped ratios averaged over tokens and then over answers (equation 5), k3 estimate of KL(policy || cold start) with weight 0.01,
and every parameter trained, the vision encoder included. Groups are read together (`grpo`, `shared_prefix`), and confidences may be
credited with their own part of the reward alone (`credit`).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from emocaliber.answering import question_for
from emocaliber.confidence import PARTS, RewardSettings, parse_reward, reward
from emocaliber.confidence.incentives import Incentives
from emocaliber.models.local import CARD, TRAINED_AT
from emocaliber.training.collate import training_image
from emocaliber.training.config import Stage3Config
from emocaliber.training.grpo import grpo_trainer
from emocaliber.training.lora import lora_config
from emocaliber.training.processes import say
from emocaliber.training.rollouts import text_of
from emocaliber.training.rows import training_rows
from emocaliber.training.trainer import common_arguments, finish, last_checkpoint, load_model
from emocaliber.training.watching import train_watched
from emocaliber.vecbench import labels_of

RewardFunction = Callable[..., list[float]]


def train(config: Stage3Config) -> Path:
    """Trains the final model and returns its folder. What each step's roll-outs earned on average is kept there in `rollouts.json`."""
    settings = parse_reward(config.reward)
    for warning in Incentives(settings).warnings():
        say(f"stage 3, reward {config.reward!r}: {warning}", warning=True)
    rows = training_rows(config)
    model, processor = load_model(config)
    trainer = grpo_trainer(
        model=model,
        args=grpo_arguments(config, model),
        processing_class=processor,
        train_dataset=prompts_of(rows),
        reward_funcs=reward_functions(settings),
        shared_prefix=config.shared_prefix,
        credit=config.credit,
        reward_settings=settings,
        peft_config=lora_config(config),
    )
    train_watched(trainer, config, last_checkpoint(config.out), rollouts_of=rows)
    log = json.dumps(trainer.state.log_history, indent=0)
    card = json.dumps({TRAINED_AT: config.temperature, "max_new_tokens": config.max_new_tokens}, indent=1)
    return finish(config, trainer, processor, files=[("rollouts.json", log), (CARD, card)])


def grpo_arguments(config: Stage3Config, model: Any) -> Any:
    """TRL's settings for the paper's variant of GRPO."""
    from trl import GRPOConfig

    return GRPOConfig(
        **common_arguments(config) | {"logging_steps": 1},
        num_generations=config.group_size,
        steps_per_generation=config.accumulation * config.updates_per_rollout,
        max_completion_length=config.max_new_tokens,
        temperature=config.temperature,
        beta=config.kl,
        use_bias_correction_kl=False,  # TRL's default weighs the KL by the importance ratio; the paper's estimate is the plain one
        epsilon=config.clip,
        loss_type="grpo",
        scale_rewards="group" if config.normalise_advantages else "none",
        generation_kwargs={"suppress_tokens": [model.config.image_token_id, model.config.video_token_id]},
    )


def prompts_of(rows: list[dict[str, Any]]) -> Any:
    """The data set TRL wants: a conversation, its image, and what the reward needs to know. Images are opened when they are read, and those
    of a group, which TRL reads together, once.
    """
    from datasets import Dataset

    data = Dataset.from_list(
        [
            {
                "id": row["id"],
                "prompt": [{"role": "user", "content": question_for(row["task"], row["candidates"], confidence=True)}],
                "image": row["image"],
                "candidates": row["candidates"],
                "ground_truth": row["ground_truth"],
                "task": row["task"],
            }
            for row in rows
        ]
    )

    def opened(batch: dict[str, list[Any]]) -> dict[str, list[Any]]:
        images = {path: training_image(path, sample) for path, sample in zip(batch["image"], batch["id"], strict=True)}
        return {**batch, "image": [images[path] for path in batch["image"]]}

    return data.with_transform(opened)


def reward_functions(settings: RewardSettings) -> list[RewardFunction]:
    """The three parts of the reward in TRL's form, so that each is logged under its name; TRL adds them up."""

    def part(name: str) -> RewardFunction:
        def values(
            completions: list[Any], candidates: list[list[str]], ground_truth: list[str], task: list[str], **given: Any
        ) -> list[float]:
            if name == PARTS[0] and "log_extra" in given:  # so that TRL keeps the ids of all processes beside their roll-outs
                given["log_extra"]("id", given["id"])
            rows = zip(map(text_of, completions), map(labels_of, task, candidates), ground_truth, strict=True)
            return [reward(text, labels, truth, settings)[1][name] for text, labels, truth in rows]

        values.__name__ = name
        return values

    return [part(name) for name in PARTS]
