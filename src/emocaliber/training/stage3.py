"""Stage 3: calibration by reinforcement learning (section 3.3), TRL's GRPO in the paper's variant.

R = R_format + R_correct + R_conf (equation 4), A = R - mean of the group, not divided by the group's standard deviation, clipped ratios
averaged over tokens and then over answers (equation 5), k3 estimate of KL(policy || cold start) with weight 0.01, and every parameter
trained, the vision encoder included.

Where this departs from TRL's `GRPOTrainer`, whose loss and roll-outs it keeps:

1. Log-probabilities of policy, old policy and reference come from one sequence per group (`shared_prefix`), not one per answer.
2. Roll-outs branch from one prefill per prompt.
3. A micro-batch holds whole groups, in the sampler's order: TRL shuffles answers between micro-batches.
4. `credit` may train answer and confidence apart.

All of it is in `seam`, where it is checked at the start that the installed TRL is one that it fits, and 1 and 2 are compared with TRL's own
computation. If they disagree, or a shared prefix is impossible, TRL's computation is used and a warning on stderr gives the reason.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from emocaliber.confidence.incentives import Incentives
from emocaliber.confidence.rewards import PARTS, RewardSettings, parse_reward, reward
from emocaliber.core.tasks import labels_of
from emocaliber.errors import UserError
from emocaliber.inference.engine import question_for
from emocaliber.models.card import CARD, TRAINED_AT
from emocaliber.training.collate import training_image
from emocaliber.training.config import DECOUPLED, RESPONSE, Stage3Config
from emocaliber.training.credit import DecoupledCreditMixin
from emocaliber.training.distributed import lora_config, print_once
from emocaliber.training.log_probs import complete_trl
from emocaliber.training.passthrough import arguments, forbidden_tokens
from emocaliber.training.samples import training_rows
from emocaliber.training.seam import PLAINLY, RolloutTable, SharedPrefixMixin, misfit
from emocaliber.training.telemetry import text_of
from emocaliber.training.trainer import ResumingTrainer, common_arguments, finish, last_checkpoint, load_for_training
from emocaliber.training.watching import train_monitored

_REMEDY = "`emocaliber rewards` compares the rewards there are, and reward=NAME trains with another"

_OURS = ("shared_prefix", "credit", "digit_entropy", "reward_settings")  # settings of the mixins
RewardFunction = Callable[..., list[float]]
Reader = Callable[
    [list[str], list[str]], list[str]
]  # from the texts of roll-outs and the ids of their samples to the texts that are scored


def as_written(texts: list[str], ids: list[str]) -> list[str]:
    """The usual `Reader`: a roll-out is scored as it is written."""
    return texts


def train(config: Stage3Config, reader: Reader = as_written) -> Path:
    """Trains the final model and returns its folder, which also holds the log of mean rewards per step, `rollouts.json`.

    A rehearsal has another `reader`, as a model that has learnt nothing writes nothing that can be scored.
    """
    for warning in Incentives(parse_reward(config.reward)).warnings():
        print_once(f"stage3: with the reward {config.reward!r}, {warning}; {_REMEDY}", warning=True)
    rows = training_rows(config)
    model, processor = load_for_training(config)
    trainer = trainer_of(config, model, processor, rows, reader)
    train_monitored(trainer, config, last_checkpoint(config.out), rollouts_of=rows)
    log = json.dumps(trainer.state.log_history, indent=0)
    card = json.dumps({TRAINED_AT: config.temperature, "max_new_tokens": config.max_new_tokens}, indent=1)
    return finish(config, trainer, processor, files=[("rollouts.json", log), (CARD, card)])


def trainer_of(config: Stage3Config, model: Any, processor: Any, rows: list[dict[str, Any]], reader: Reader = as_written) -> Any:
    """The trainer of stage 3 for a loaded model and the rows that it asks about, ready to train."""
    settings = parse_reward(config.reward)
    return grpo_trainer(
        model=model,
        args=grpo_arguments(config, model),
        processing_class=processor,
        train_dataset=prompt_dataset(rows),
        reward_funcs=reward_functions(settings, reader),
        shared_prefix=config.shared_prefix,
        credit=config.credit,
        digit_entropy=config.digit_entropy,
        reward_settings=settings,
        peft_config=lora_config(config),
    )


def grpo_arguments(config: Stage3Config, model: Any) -> Any:
    """TRL's settings for the paper's variant of GRPO."""
    from trl import GRPOConfig

    return arguments(
        GRPOConfig,
        config.trainer,
        **common_arguments(config) | {"logging_steps": 1},
        num_generations=config.group_size,
        steps_per_generation=config.accumulation * config.updates_per_rollout,
        max_completion_length=config.max_new_tokens,
        temperature=config.temperature,
        beta=config.kl,
        use_bias_correction_kl=False,  # TRL's default weights the k3 estimate by the importance ratio; the paper does not
        epsilon=config.clip,
        loss_type="grpo",
        scale_rewards="group" if config.normalise_advantages else "none",
        generation_kwargs=forbidden_tokens([model.config.image_token_id, model.config.video_token_id], config.trainer),
    )


def prompt_dataset(rows: list[dict[str, Any]]) -> Any:
    """TRL's data set: per row a conversation, its image and the columns that the reward functions take.

    Images are opened on access, once per group, as TRL repeats a prompt's row within a batch.
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


def reward_functions(settings: RewardSettings, reader: Reader = as_written) -> list[RewardFunction]:
    """The reward's three parts as TRL reward functions, logged by name; TRL sums them."""

    def part(name: str) -> RewardFunction:
        def values(
            completions: list[Any], candidates: list[list[str]], ground_truth: list[str], task: list[str], **given: Any
        ) -> list[float]:
            if name == PARTS[0] and "log_extra" in given:  # TRL gathers the ids of all processes with their roll-outs
                given["log_extra"]("id", given["id"])
            texts = reader(list(map(text_of, completions)), given.get("id", []))
            rows = zip(texts, map(labels_of, task, candidates), ground_truth, strict=True)
            return [reward(text, labels, truth, settings)[1][name] for text, labels, truth in rows]

        values.__name__ = name
        return values

    return [part(name) for name in PARTS]


def grpo_trainer(**settings: Any) -> Any:
    """TRL's `GRPOTrainer` with shared prefixes, credit assignment and resumable checkpoints; without the first two, and with a sentence, if
    the installed release does not fit them. TRL is imported here, as that takes seconds."""
    import trl

    complete_trl()

    class Grpo(DecoupledCreditMixin, SharedPrefixMixin, trl.GRPOTrainer):  # type: ignore[misc]
        """TRL's trainer with both mixins."""

    class PlainGrpo(RolloutTable, ResumingTrainer, trl.GRPOTrainer):  # type: ignore[misc]
        """TRL's own computation."""

    if (reason := misfit(trl.GRPOTrainer)) is None:
        return Grpo(**settings)
    if settings.pop("credit", RESPONSE) == DECOUPLED:
        raise UserError(f'credit = "{DECOUPLED}" needs groups that are read as one sequence: {reason}; use credit = "{RESPONSE}"')
    print_once(f"stage 3 {PLAINLY}: {reason}", warning=True)
    return PlainGrpo(**{name: value for name, value in settings.items() if name not in _OURS})
