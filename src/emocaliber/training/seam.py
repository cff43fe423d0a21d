"""All that stage 3 changes of TRL's `GRPOTrainer`, in one place, and the check that the installed release is one that it fits.

TRL has no hooks for what a group shares, so six of its private methods are overridden (`METHODS`), and a few of its functions and
attributes used (`FUNCTIONS`, `ATTRIBUTES`). Each override gives TRL what its own method would, computed otherwise, or leaves the call to
it. Checked before training:

1. the signatures, functions and attributes, before a trainer is made (`misfit`);
2. the numbers: on a batch of two rows, log-probabilities read as one sequence against those of TRL's method (`SharedPrefixMixin.fits`);
3. on the first real batch, log-probabilities and roll-outs once more.

What does not fit is left to TRL, with a sentence. `credit` and the log of roll-outs reach TRL through this module alone.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from PIL import Image
from torch.nn.utils.rnn import pad_sequence
from transformers import GenerationConfig, TrainerCallback

from emocaliber.models.lite import LITE
from emocaliber.models.local import chat_prompt
from emocaliber.training.distributed import print_once, unsharded_for_generation
from emocaliber.training.shared_prefix import Logps, backbone, branched_generate, group_logps, prompt_groups
from emocaliber.training.trainer import ResumingTrainer

SHARED_PREFIX_MODELS = ("qwen2_5_vl", LITE)  # model types whose position ids are known here
PLAINLY = "encodes image and prompt once per answer, not once per group"

# The overridden methods, with the parameters that are relied on, in their order.
METHODS = {
    "_prepare_inputs": ("generation_batch",),
    "_generate_and_score_completions": ("inputs",),
    "_tokenize_prompts": ("prompts",),
    "_generate_single_turn": ("prompt_ids", "images", "multimodal_fields", "num_generations"),
    "_get_per_token_logps_and_entropies": (
        *("model", "input_ids", "attention_mask", "logits_to_keep", "batch_size", "compute_entropy"),
        *("pixel_values", "image_grid_thw", "num_images", "mm_token_type_ids"),
    ),
    "_compute_loss": ("model", "inputs"),
}
_BY_NAME = ("pixel_values", "image_grid_thw", "num_images", "mm_token_type_ids")  # given by name, wherever they stand
FUNCTIONS = ("add_fused_lm_head", "split_pixel_values_by_grid", "split_tensor_dict", "unsplit_pixel_values_by_grid")
ATTRIBUTES = (
    *("num_generations", "num_iterations", "use_vllm", "use_transformers_continuous_batching"),
    *("model_wrapped", "_step", "_buffered_inputs", "_logs", "_metrics"),
)
ARGUMENTS = ("steps_per_generation", "num_generations", "loss_type", "scale_rewards", "use_bias_correction_kl")  # of GRPOConfig


def misfit(trainer: Any) -> str | None:
    """Why this class, TRL's `GRPOTrainer`, is not one that the overrides fit; None if its signatures and functions are as they must be."""
    import trl
    import trl.trainer.utils as utils

    release = f"TRL {trl.__version__}"
    for name, wanted in METHODS.items():
        method = getattr(trainer, name, None)
        if method is None:
            return f"{release} has no method {name}"
        found = list(inspect.signature(method).parameters)[1:]
        leading = [parameter for parameter in wanted if parameter not in _BY_NAME]
        if found[: len(leading)] != leading or not set(wanted) <= set(found):
            return f"{release} calls {name} with ({', '.join(found)}), and ({', '.join(wanted)}) are needed"
    if missing := next((name for name in FUNCTIONS if not hasattr(utils, name)), None):
        return f"{release} has no function {missing}"
    options = inspect.signature(trl.GRPOConfig).parameters
    if missing := next((name for name in ARGUMENTS if name not in options), None):
        return f"GRPOConfig of {release} has no {missing}"
    return None


class RolloutTable:
    """The roll-outs of the last generation, gathered from all processes, and the metrics of TRL's log."""

    def rollout_table(self) -> dict[str, Any] | None:
        """`{"completion", "rewards": {NAME: values}, "advantages", "extra": {COLUMN: values}}`, one value per roll-out; None if this
        release of TRL keeps no such table."""
        table = getattr(self, "_logs", None)
        whole = isinstance(table, Mapping) and {"completion", "rewards", "advantages", "extra"} <= set(table)
        return dict(table) if isinstance(table, Mapping) and whole else None

    def log_metric(self, name: str, value: float) -> None:
        """Adds a value to the next log entry."""
        if (metrics := getattr(self, "_metrics", None)) is not None:
            metrics["train"][name].append(value)


class _FitsAtStart(TrainerCallback):  # type: ignore[misc]
    def __init__(self, trainer: Any) -> None:
        self._trainer = trainer

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._trainer.check_fit()


EXACT_TOLERANCE = 1e-4  # float32: largest difference between log-probabilities, in nats
ROUGH_TOLERANCE = 0.05  # 16 bits: mean difference, as single tokens of low probability may differ by much more


class SharedPrefixMixin(RolloutTable, ResumingTrainer):
    """Shared prefixes for TRL's `GRPOTrainer`, a mixin to list before it in a class's bases; inactive if `shared_prefix` is False."""

    def __init__(self, *args: Any, shared_prefix: bool = True, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._buffered_inputs: Any
        self._sharing = shared_prefix
        self._compared: set[str] = set()
        self._query: tuple[torch.Tensor, Sequence[int], list[Logps]] | None = None
        if shared_prefix and (reason := self._unsupported()):
            self._disable(reason)
        self.add_callback(_FitsAtStart(self))

    # For `credit`

    def with_credit(self, batch: dict[str, Any], inputs: list[dict[str, Any]]) -> dict[str, Any]:
        """The batch of scored roll-outs, for credits to change; `inputs` are their samples."""
        return batch

    def credited_loss(self, model: Any, inputs: dict[str, Any], loss: Callable[[], torch.Tensor]) -> torch.Tensor:
        """The loss of a micro-batch, for credits to change; `loss()` is TRL's."""
        return loss()

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        return self.with_credit(super()._generate_and_score_completions(inputs), inputs)

    def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> torch.Tensor:
        theirs = super()._compute_loss
        return self.credited_loss(model, inputs, lambda: theirs(model, inputs))

    # Checks

    def _unsupported(self) -> str | None:
        """Why this model or batch cannot use a shared prefix; None if nothing is known to prevent it."""
        config, group = self.model.config, self.num_generations
        if config.model_type not in SHARED_PREFIX_MODELS:
            return f"a {config.model_type} model has other position ids than qwen2_5_vl"
        if config._attn_implementation not in ("sdpa", "eager"):
            return f"{config._attn_implementation} attention takes no tree mask (sdpa does)"
        if self.args.per_device_train_batch_size % group:
            return f"a batch of {self.args.per_device_train_batch_size} does not hold whole groups of {group}"
        if missing := next((name for name in ATTRIBUTES if not hasattr(self, name)), None):
            return f"this release of TRL has no {missing}"
        return None

    def check_fit(self) -> None:
        """Compares, before the first step, a batch of two rows with TRL's own computation; leaves the computation to TRL if they differ."""
        if not self._sharing:
            return
        try:
            with torch.no_grad():
                self._compare(*self._two_rows(), "two rows at the start")
        except Exception as error:  # whatever a release has changed, it must not end a training that TRL itself can do
            self._disable(f"on two rows at the start, {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}")

    def _two_rows(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Log-probabilities of two answers to one prompt, (tokens,) each: read as one sequence, and TRL's."""
        processor, device = self.processing_class, self.accelerator.device
        texts = [chat_prompt("Which emotion might this image evoke?", processor.tokenizer)]
        prompt = processor(images=[Image.new("RGB", (56, 56), "orange")], text=texts, return_tensors="pt")
        answers = [torch.tensor(processor.tokenizer(text)["input_ids"]) for text in ("awe, as the sky is wide", "fear")]
        ids, mask = (pad_sequence(values, batch_first=True) for values in (answers, [torch.ones_like(each) for each in answers]))
        rows = {
            name: prompt[name].repeat_interleave(2, 0) for name in ("input_ids", "attention_mask", "mm_token_type_ids", "image_grid_thw")
        }
        fields = {
            "pixel_values": prompt["pixel_values"].repeat(2, 1),
            "image_grid_thw": rows["image_grid_thw"],
            "mm_token_type_ids": torch.cat([rows["mm_token_type_ids"], torch.zeros_like(ids)], 1),
        }
        fields = {name: value.to(device) for name, value in fields.items()}
        tokens, seen = (torch.cat(parts, 1).to(device) for parts in ((rows["input_ids"], ids), (rows["attention_mask"], mask)))
        length = ids.shape[1]
        plain, entropies, _ = super()._get_per_token_logps_and_entropies(
            self.model, tokens, seen, length, batch_size=2, compute_entropy=False, num_images=[1, 1], **fields
        )
        if plain.shape != ids.shape or entropies is not None:
            raise ValueError(f"TRL's log-probabilities have the shape {tuple(plain.shape)}, and {tuple(ids.shape)} is expected")
        groups = prompt_groups(tokens, seen, length, 2, **fields)
        with self.accelerator.autocast():
            shared = group_logps(self.model, groups).chosen
        return shared, plain[seen[:, -length:].bool()]

    def _disable(self, reason: str) -> None:
        self._sharing = False
        print_once(f"stage 3 {PLAINLY}: {reason}", warning=True)

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
        """As `_compare`, on the first real batch."""
        self._compared.add(what)
        self._compare(shared, plain, what)

    def _compare(self, shared: torch.Tensor, plain: torch.Tensor, what: str) -> None:
        """Compares log-probabilities with TRL's and disables sharing if they differ; all processes reach the same verdict."""
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
