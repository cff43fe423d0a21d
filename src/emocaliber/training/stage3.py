"""Stage 3: calibration by reinforcement learning (section 3.3), TRL's GRPO in the paper's variant.

R = R_format + R_correct + R_conf (equation 4), A = R - mean of the group, not divided by the group's standard deviation, clipped ratios
averaged over tokens and then over answers (equation 5), k3 estimate of KL(policy || cold start) with weight 0.01, and every parameter
trained, the vision encoder included.

Where this departs from TRL's `GRPOTrainer`, whose loss and roll-outs it keeps:

1. Log-probabilities of policy, old policy and reference come from one sequence per group (`shared_prefix`), not one per answer.
2. Roll-outs branch from one prefill per prompt.
3. A micro-batch holds whole groups, in the sampler's order: TRL shuffles answers between micro-batches.
4. `credit` may train answer and confidence apart.

The first use of 1 and of 2 is compared with TRL's own computation. If they disagree, or a shared prefix is impossible, TRL's computation is
used and a warning on stderr gives the reason.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from transformers import GenerationConfig

from emocaliber.confidence.incentives import Incentives
from emocaliber.confidence.rewards import PARTS, RewardSettings, parse_reward, reward
from emocaliber.core.tasks import labels_of
from emocaliber.inference.engine import question_for
from emocaliber.models.card import CARD, TRAINED_AT
from emocaliber.models.lite import LITE
from emocaliber.training.collate import training_image
from emocaliber.training.config import Stage3Config
from emocaliber.training.credit import DecoupledCreditMixin
from emocaliber.training.distributed import lora_config, print_once, unsharded_for_generation
from emocaliber.training.passthrough import arguments, forbidden_tokens
from emocaliber.training.samples import training_rows
from emocaliber.training.shared_prefix import Logps, backbone, branched_generate, group_logps, prompt_groups
from emocaliber.training.telemetry import text_of
from emocaliber.training.trainer import ResumingTrainer, common_arguments, finish, last_checkpoint, load_for_training
from emocaliber.training.watching import train_monitored

_REMEDY = "`emocaliber rewards` compares the rewards there are, and reward=NAME trains with another"

SHARED_PREFIX_MODELS = ("qwen2_5_vl", LITE)  # model types whose position ids are known here
RewardFunction = Callable[..., list[float]]


def train(config: Stage3Config) -> Path:
    """Trains the final model and returns its folder, which also holds the log of mean rewards per step, `rollouts.json`."""
    settings = parse_reward(config.reward)
    for warning in Incentives(settings).warnings():
        print_once(f"stage3: with the reward {config.reward!r}, {warning}; {_REMEDY}", warning=True)
    rows = training_rows(config)
    model, processor = load_for_training(config)
    trainer = grpo_trainer(
        model=model,
        args=grpo_arguments(config, model),
        processing_class=processor,
        train_dataset=prompt_dataset(rows),
        reward_funcs=reward_functions(settings),
        shared_prefix=config.shared_prefix,
        credit=config.credit,
        digit_entropy=config.digit_entropy,
        reward_settings=settings,
        peft_config=lora_config(config),
    )
    train_monitored(trainer, config, last_checkpoint(config.out), rollouts_of=rows)
    log = json.dumps(trainer.state.log_history, indent=0)
    card = json.dumps({TRAINED_AT: config.temperature, "max_new_tokens": config.max_new_tokens}, indent=1)
    return finish(config, trainer, processor, files=[("rollouts.json", log), (CARD, card)])


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


def reward_functions(settings: RewardSettings) -> list[RewardFunction]:
    """The reward's three parts as TRL reward functions, logged by name; TRL sums them."""

    def part(name: str) -> RewardFunction:
        def values(
            completions: list[Any], candidates: list[list[str]], ground_truth: list[str], task: list[str], **given: Any
        ) -> list[float]:
            if name == PARTS[0] and "log_extra" in given:  # TRL gathers the ids of all processes with their roll-outs
                given["log_extra"]("id", given["id"])
            rows = zip(map(text_of, completions), map(labels_of, task, candidates), ground_truth, strict=True)
            return [reward(text, labels, truth, settings)[1][name] for text, labels, truth in rows]

        values.__name__ = name
        return values

    return [part(name) for name in PARTS]


EXACT_TOLERANCE = 1e-4  # float32: largest difference between log-probabilities, in nats
ROUGH_TOLERANCE = 0.05  # 16 bits: mean difference, as single tokens of low probability may differ by much more


class SharedPrefixMixin(ResumingTrainer):
    """Shared prefixes for TRL's `GRPOTrainer`, a mixin to list before it in a class's bases; inactive if `shared_prefix` is False."""

    def __init__(self, *args: Any, shared_prefix: bool = True, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._buffered_inputs: Any
        self._sharing = shared_prefix
        self._compared: set[str] = set()
        self._query: tuple[torch.Tensor, Sequence[int], list[Logps]] | None = None
        if shared_prefix and (reason := self._unsupported()):
            self._disable(reason)

    def _unsupported(self) -> str | None:
        """Why this model or batch cannot use a shared prefix; None if nothing is known to prevent it."""
        config, group = self.model.config, self.num_generations
        if config.model_type not in SHARED_PREFIX_MODELS:
            return f"a {config.model_type} model has other position ids than qwen2_5_vl"
        if config._attn_implementation not in ("sdpa", "eager"):
            return f"{config._attn_implementation} attention takes no tree mask (sdpa does)"
        if self.args.per_device_train_batch_size % group:
            return f"a batch of {self.args.per_device_train_batch_size} does not hold whole groups of {group}"
        return None

    def _disable(self, reason: str) -> None:
        self._sharing = False
        print_once(f"stage 3 encodes image and prompt once per answer, not once per group: {reason}", warning=True)

    @property
    def _shares(self) -> bool:
        return self._sharing and bool(self.model.training)

    @contextmanager
    def query_alternatives(self, places: torch.Tensor, tokens: Sequence[int]) -> Iterator[list[Logps]]:
        """While active, each shared-prefix forward pass appends its log-probabilities to the yielded list, with those of the alternative
        `tokens` at position `places[i]` of answer i; `places` is (B,), -1 for none.
        """
        found: list[Logps] = []
        self._query = places, tokens, found
        try:
            yield found
        finally:
            self._query = None

    def _compare_once(self, what: str, shared: torch.Tensor, plain: torch.Tensor) -> None:
        """Compares log-probabilities with TRL's and disables sharing if they differ; all processes reach the same verdict."""
        self._compared.add(what)
        difference = (shared.detach().float() - plain.float()).abs()
        exact = backbone(self.model).dtype == torch.float32 and not (self.args.bf16 or self.args.fp16)
        value, limit = (difference.max(), EXACT_TOLERANCE) if exact else (difference.mean(), ROUGH_TOLERANCE)
        worst = self.accelerator.gather(value).max().item()
        if not worst <= limit:
            self._disable(f"the log-probabilities of {what} differ by {worst:.2g}, more than {limit:g}")

    def _prepare_inputs(self, generation_batch: Any) -> Any:
        """As TRL's, without shuffling answers between micro-batches."""
        if not self._shares:
            return super()._prepare_inputs(generation_batch)
        from trl.trainer.utils import split_pixel_values_by_grid, split_tensor_dict, unsplit_pixel_values_by_grid

        parts = self.args.steps_per_generation
        if self._step % (parts * self.num_iterations) == 0 or self._buffered_inputs is None:
            whole = split_pixel_values_by_grid(self._generate_and_score_completions(generation_batch))
            self._buffered_inputs = [unsplit_pixel_values_by_grid(part) for part in split_tensor_dict(whole, parts)]
        return self._buffered_inputs[self._step % parts]

    def _get_per_token_logps_and_entropies(
        self,
        model: Any,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        logits_to_keep: int,
        batch_size: int | None = None,
        compute_entropy: bool = False,
        **fields: Any,
    ) -> Any:
        def plain(*, compute_entropy: bool) -> Any:
            own = (model, input_ids, attention_mask, logits_to_keep)
            return theirs(*own, batch_size=batch_size, compute_entropy=compute_entropy, **fields)

        theirs = super()._get_per_token_logps_and_entropies
        if not self._shares:
            return plain(compute_entropy=compute_entropy)
        images = {name: fields[name] for name in ("pixel_values", "image_grid_thw", "mm_token_type_ids")}
        places, alternatives, found = self._query or (None, (), [])
        groups = prompt_groups(input_ids, attention_mask, logits_to_keep, self.num_generations, **images, queried=places)
        with self.accelerator.autocast():
            read = group_logps(model, groups, (batch_size or 0) // self.num_generations, alternatives)
        answered = attention_mask[:, -logits_to_keep:].bool()
        if "answers" not in self._compared:
            with torch.no_grad():
                self._compare_once("answers", read.chosen, plain(compute_entropy=False)[0][answered])
            if not self._sharing:
                return plain(compute_entropy=compute_entropy)
        found.append(read)
        empty = read.chosen.new_zeros(answered.shape)
        known = read.entropies if compute_entropy else None
        return empty.masked_scatter(answered, read.chosen), None if known is None else empty.masked_scatter(answered, known), None

    def _tokenize_prompts(self, prompts: list[Any]) -> Any:
        """As TRL's, tokenizing each group's prompt and processing its image once."""
        if not self._branches:
            return super()._tokenize_prompts(prompts)
        ids, images, fields = super()._tokenize_prompts(prompts[:: self.num_generations])
        ids, images = ([each for each in values for _ in range(self.num_generations)] for values in (ids, images))
        return ids, images, fields

    @property
    def _branches(self) -> bool:
        return self._shares and not (self.use_vllm or self.use_transformers_continuous_batching)

    def _generate_single_turn(
        self, prompt_ids: list[Any], images: Any, multimodal_fields: Any, num_generations: int, *rest: Any, **options: Any
    ) -> Any:
        model = self.accelerator.unwrap_model(self.model_wrapped)
        if not self._branches:
            with unsharded_for_generation(model):
                return super()._generate_single_turn(prompt_ids, images, multimodal_fields, num_generations, *rest, **options)

        def generate(**inputs: Any) -> Any:
            if "roll-outs" not in self._compared:
                self._compare_once("roll-outs", *_first_tokens(model, num_generations, inputs))
            if self._sharing:
                return branched_generate(model, num_generations, **inputs)
            return type(model).generate(model, **inputs, num_return_sequences=num_generations)

        # TRL's method pads the prompts, gathers sharded weights around `generate`, and truncates answers at the end of the turn.
        model.generate = generate
        try:
            with unsharded_for_generation(model):
                return super()._generate_single_turn(
                    prompt_ids[::num_generations], images, multimodal_fields, num_generations, *rest, **options
                )
        finally:
            del model.generate


def _first_tokens(model: Any, answers: int, inputs: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-probabilities of the first answer token, (n * answers, V) each: from the branched cache, and from full prompts."""
    once = GenerationConfig(
        max_new_tokens=1,
        do_sample=False,
        output_logits=True,
        return_dict_in_generate=True,
        pad_token_id=inputs["generation_config"].pad_token_id,
    )
    inputs = inputs | {"generation_config": once}
    branched = branched_generate(model, answers, **inputs).logits[0]
    plain = type(model).generate(model, **inputs).logits[0].repeat_interleave(answers, 0)
    return branched.log_softmax(-1), plain.log_softmax(-1)


def grpo_trainer(**settings: Any) -> Any:
    """TRL's `GRPOTrainer` with shared prefixes, credit assignment and resumable checkpoints. TRL is imported here, as that takes
    seconds."""
    import trl

    class Grpo(DecoupledCreditMixin, SharedPrefixMixin, trl.GRPOTrainer):  # type: ignore[misc]
        """TRL's trainer with both mixins."""

    return Grpo(**settings)
