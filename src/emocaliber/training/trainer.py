"""Supervised training for stages 0 to 2: the masked loss of equations 1 and 3, checkpoints that resume, and the finished model's folder."""

from __future__ import annotations

import contextlib
import copy
import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import cross_entropy, kl_div, pad
from transformers import PreTrainedModel, Trainer, TrainingArguments, set_seed

from emocaliber.errors import UserError
from emocaliber.models.available import why_unavailable
from emocaliber.models.card import NOTICE, read_card, write_card
from emocaliber.models.lite.vision import LiteVision
from emocaliber.models.local import chat_prompt
from emocaliber.training.base.features import FeatureCache
from emocaliber.training.collate import IGNORED, ExampleCollator, TrainingExample, digit_tokens
from emocaliber.training.config import FINISHED, LITE_SETTINGS, ModelConfig, StageConfig
from emocaliber.training.distributed import cpu_only, merge_adapters, on_main_process, partial_state, print_once, with_adapters
from emocaliber.training.passthrough import arguments
from emocaliber.training.shared_prefix import logits_only_at
from emocaliber.training.stage_card import card_of_stage
from emocaliber.training.watching import trackers, train_monitored

# Recent versions of transformers warn of the earlier name.
_NAMES = {field.name for field in fields(TrainingArguments)}
_CHECKPOINTING = "activation_checkpointing" if "activation_checkpointing" in _NAMES else "gradient_checkpointing"


@dataclass(frozen=True)
class LossSettings:
    """Terms added to the paper's loss, 0 by default: `anchor` weighs KL(reference || model) on prefix tokens, `smoothing` smooths labels
    over `digits`."""

    anchor: float = 0.0
    smoothing: float = 0.0
    digits: tuple[int, ...] = ()


def loss_mask(labels: torch.Tensor, in_completion: torch.Tensor, settings: LossSettings) -> torch.Tensor:
    """The tokens that enter the loss, (B, L) of bool: the completion's, and with an anchor the prefix's. Arguments as collated."""
    return labels != IGNORED if settings.anchor else in_completion


def supervised_loss(
    logits: torch.Tensor,
    targets: torch.Tensor,
    in_completion: torch.Tensor,
    decimals: torch.Tensor,
    settings: LossSettings,
    digit_targets: torch.Tensor | None = None,
    reference: torch.Tensor | None = None,
) -> torch.Tensor:
    """Mean cross-entropy over completion tokens (eq. 1, eq. 3), plus `anchor` times the mean KL(reference || model) over prefix tokens.

    `logits` (N, V) predict the tokens `targets` (N,); `in_completion` (N,) is True on completion tokens, False on prefix tokens. On
    `decimals` (N,) the target distribution is 1 - `smoothing` on the token and `smoothing` spread evenly over the ten digits; or, with
    `digit_targets` (N, 10), that distribution over the digits. `reference` (P, V) are the logits of the model that training started from
    at the P prefix tokens, which an anchor needs.
    """
    losses = cross_entropy(logits.float(), targets, reduction="none")
    if digit_targets is not None:
        digits = logits[decimals].float().log_softmax(-1)[:, list(settings.digits)]
        losses = losses.masked_scatter(decimals, -(digit_targets[decimals] * digits).sum(-1))
    elif settings.smoothing:
        spread = -logits[decimals].float().log_softmax(-1)[:, list(settings.digits)].mean(-1)
        losses = losses.masked_scatter(decimals, (1 - settings.smoothing) * losses[decimals] + settings.smoothing * spread)
    loss = losses[in_completion].mean()
    if reference is None or in_completion.all():
        return loss
    kept, now = (each.float().log_softmax(-1) for each in (reference, logits[~in_completion]))
    return loss + settings.anchor * kl_div(now, kept, reduction="batchmean", log_target=True)


class ResumingTrainer(Trainer):  # type: ignore[misc]
    """A Trainer that restores the weights of a Qwen2.5-VL checkpoint when it resumes.

    Transformers saves them under the hub's parameter names but loads them under the module's, which differ, and so would continue from the
    initial weights.
    """

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        if self.is_fsdp_enabled or not isinstance(self.model, PreTrainedModel):  # FSDP and adapters have their own checkpoint formats
            super()._load_from_checkpoint(resume_from_checkpoint, model)
            return
        model = self.model if model is None else model
        model.load_state_dict(type(model).from_pretrained(resume_from_checkpoint, dtype=model.dtype).state_dict())


class SupervisedTrainer(ResumingTrainer):
    """Trainer with `supervised_loss`: the mean over the tokens of a micro-batch; gradient accumulation averages micro-batches.

    With an anchor it keeps a frozen copy of the model as the reference; under adapters the model without them is the reference.
    """

    def __init__(self, *args: Any, settings: LossSettings, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._settings = settings
        self.model_accepts_loss_kwargs = False
        self._reference = self._frozen_copy() if settings.anchor and not hasattr(self.model, "disable_adapter") else None

    def _frozen_copy(self) -> Any:
        """A copy of the model without gradients, sharded as the model will be."""
        reference = copy.deepcopy(self.model).requires_grad_(False).eval()
        if self.is_deepspeed_enabled or self.is_fsdp_enabled:
            from trl.models.utils import prepare_deepspeed, prepare_fsdp

            return (prepare_deepspeed if self.is_deepspeed_enabled else prepare_fsdp)(reference, self.accelerator)
        return self.accelerator.prepare_model(reference, evaluation_mode=True)

    def _reference_logits(self, model: Any, inputs: dict[str, Any], places: torch.Tensor) -> torch.Tensor:
        """The reference's logits (number of places, V) at `places`, (B, L) of bool."""
        as_reference = contextlib.nullcontext() if self._reference else self.accelerator.unwrap_model(model).disable_adapter()
        reference = self._reference or model
        with torch.no_grad(), as_reference, logits_only_at(reference, places):
            logits: torch.Tensor = reference(**inputs).logits[0]
        return logits

    def compute_loss(self, model: Any, inputs: dict[str, torch.Tensor], return_outputs: bool = False, **_: Any) -> Any:
        labels, in_completion, decimals = (inputs.pop(name)[:, 1:] for name in ("labels", "in_completion", "decimals"))
        targets = inputs.pop("digit_targets")[:, 1:] if "digit_targets" in inputs else None
        places = loss_mask(labels, in_completion, self._settings)
        predicting = pad(places, (0, 1))  # position t predicts token t + 1
        inputs.pop("attention_mask", None)  # padding is behind what is read: no token attends to it, and without a mask half is computed
        with logits_only_at(model, predicting):
            outputs = model(**inputs)
        of_digits = None if targets is None else targets[places]
        reference = self._reference_logits(model, inputs, pad(places & ~in_completion, (0, 1))) if self._settings.anchor else None
        of_tokens = labels[places], in_completion[places], decimals[places]
        loss = supervised_loss(outputs.logits[0], *of_tokens, self._settings, of_digits, reference)
        return (loss, outputs) if return_outputs else loss


def common_arguments(config: StageConfig) -> dict[str, Any]:
    """The arguments of transformers' TrainingArguments that all stages share."""
    if config.threads:
        torch.set_num_threads(config.threads)
    return {
        "output_dir": str(Path(config.out) / "checkpoints"),
        "per_device_train_batch_size": config.batch_size,
        "gradient_accumulation_steps": config.accumulation,
        "num_train_epochs": config.epochs,
        "max_steps": config.max_steps,
        "learning_rate": config.learning_rate,
        "lr_scheduler_type": config.schedule,
        "warmup_steps": config.warmup_ratio,
        "weight_decay": config.weight_decay,
        "adam_beta2": config.adam_beta2,
        "max_grad_norm": config.max_grad_norm,
        "save_steps": config.save_steps,
        "save_total_limit": 2,
        "logging_steps": config.logging_steps,
        "seed": config.seed,
        "use_cpu": cpu_only(),
        "bf16": config.bf16,
        _CHECKPOINTING: config.gradient_checkpointing,
        "remove_unused_columns": False,
        "report_to": trackers(config.report_to),
    }


def load_checkpoint(folder: str | Path, *, min_pixels: int = 0, max_pixels: int = 0, dtype: torch.dtype = torch.float32) -> tuple[Any, Any]:
    """Model and processor of a checkpoint folder or hub id, for training. Images are scaled as `ModelConfig` says."""
    if reason := why_unavailable(str(folder)):
        raise UserError(f"cannot load the model {folder}: {reason}. Has the stage before this one finished?")
    from transformers import AutoModelForImageTextToText

    from emocaliber.models.patches import embed_patches_by_product
    from emocaliber.models.processor import load_processor

    try:
        processor = load_processor(folder, min_pixels=min_pixels or None, max_pixels=max_pixels or None)
        return embed_patches_by_product(AutoModelForImageTextToText.from_pretrained(folder, dtype=dtype)), processor
    except (OSError, ValueError) as error:
        raise UserError(f"cannot load the model {folder}: {str(error).splitlines()[0]} Has the stage before this one finished?") from error


def load_for_training(config: ModelConfig) -> tuple[Any, Any]:
    """The model that a stage starts from, with its vision encoder frozen if `config.freeze_vision`, and its processor.

    Trained weights are float32 and compute in bfloat16 under autocast, as updates of 1e-6 vanish in bfloat16's 8 bits of precision. The
    frozen weights under adapters may be bfloat16.
    """
    set_seed(config.seed)  # for the adapters, which are initialised at random
    dtype = torch.bfloat16 if config.bf16 and config.lora_rank else torch.float32
    model, processor = load_checkpoint(config.model, min_pixels=config.min_pixels, max_pixels=config.max_pixels, dtype=dtype)
    if config.freeze_vision:
        freeze_vision(model)
    if any(getattr(config, name) for name in LITE_SETTINGS):
        if not isinstance(model.model.visual, LiteVision):
            raise UserError(
                f"{', '.join(LITE_SETTINGS)} are for lite models; {config.model} is a {model.config.model_type}, leave them out"
            )
        model.model.visual.token_dropout, model.model.visual.feature_swap = config.token_dropout, config.feature_swap
    return model, processor


def freeze_vision(model: Any) -> None:
    """Freezes the vision encoder, merger included; of a lite model the eyes alone, as its projector is not pre-trained."""
    visual = model.model.visual
    getattr(visual, "frozen_part", visual).requires_grad_(False)


def train_supervised(
    config: StageConfig, model: Any, processor: Any, examples: Sequence[TrainingExample], *, anchor: float = 0.0, smoothing: float = 0.0
) -> Path:
    """Trains on `examples`, resuming from the last complete checkpoint if there is one; returns the folder of the finished model."""
    trainer = supervised_trainer(config, model, processor, examples, anchor=anchor, smoothing=smoothing)
    train_monitored(trainer, config, last_checkpoint(config.out))
    return finish(config, trainer, processor)


def supervised_trainer(
    config: StageConfig, model: Any, processor: Any, examples: Sequence[TrainingExample], *, anchor: float = 0.0, smoothing: float = 0.0
) -> SupervisedTrainer:
    """The trainer of `train_supervised`, ready to train."""
    workers = {"dataloader_num_workers": 1, "dataloader_persistent_workers": config.trainer.get("dataloader_num_workers", 1) > 0}
    settings = LossSettings(anchor, smoothing, tuple(digit_tokens(processor.tokenizer)))
    features = None
    if isinstance(config, ModelConfig) and config.feature_cache:
        features = FeatureCache(model.model.visual, processor.image_processor, config.feature_cache)
        on_main_process(lambda: features.fill([example.image for example in examples]))
    if isinstance(config, ModelConfig):
        model = with_adapters(model, config)
    return SupervisedTrainer(
        model=model,
        args=arguments(TrainingArguments, config.trainer, **common_arguments(config), **workers),
        train_dataset=examples,
        data_collator=ExampleCollator(processor, features),
        processing_class=processor,
        settings=settings,
    )


def within_max_length(examples: Sequence[TrainingExample], processor: Any, max_length: int) -> Sequence[TrainingExample]:
    """The examples of at most `max_length` tokens (0: all), counting an image at its largest; prints how many are left out.

    Raises UserError if none is left.
    """
    if not max_length:
        return examples
    kept = [example for example in examples if example_tokens(example, processor) <= max_length]
    if len(kept) < len(examples):
        print_once(f"{len(examples) - len(kept):,} of {len(examples):,} examples may have more than {max_length} tokens, and are left out")
    if not kept:
        raise UserError(
            f"no example fits into max_length = {max_length} tokens, of which an image may take {largest_image(processor)}; raise it, or "
            "lower max_pixels"
        )
    return kept


def largest_image(processor: Any) -> int:
    """The tokens of the largest image that a processor makes."""
    images = processor.image_processor
    return int(getattr(images, "tokens", 0) or images.size["longest_edge"] // (images.patch_size * images.merge_size) ** 2)


def example_tokens(example: TrainingExample, processor: Any) -> int:
    """The tokens of an example, its image at its largest."""
    text = chat_prompt(example.question, processor.tokenizer) + example.prefix + example.completion
    return largest_image(processor) + len(processor.tokenizer(text, add_special_tokens=False)["input_ids"])


def finished(config: StageConfig) -> Path | None:
    """The folder of a stage's finished model; None while the stage has not finished."""
    folder = Path(config.out) / FINISHED
    return folder if folder.is_dir() else None


def last_checkpoint(out: str | Path) -> str | None:
    """The newest complete checkpoint of a run, None without one. The main process removes incomplete ones."""
    complete = complete_checkpoints(out)
    if partial_state().is_main_process:
        for folder in set((Path(out) / "checkpoints").glob("checkpoint-*")) - set(complete):
            shutil.rmtree(folder)
    return str(complete[-1]) if complete else None


def complete_checkpoints(out: str | Path) -> list[Path]:
    """The complete checkpoints of a run by step. One cut off by a kill lacks `trainer_state.json`, which is written last."""
    complete = []
    for folder in (Path(out) / "checkpoints").glob("checkpoint-*"):
        with contextlib.suppress(OSError, ValueError):
            json.loads((folder / "trainer_state.json").read_text("utf-8"))
            complete.append(folder)
    return sorted(complete, key=lambda folder: int(folder.name.rsplit("-", 1)[1]))


def finish(config: StageConfig, trainer: Trainer, processor: Any, *, files: Sequence[tuple[str, str]] = ()) -> Path:
    """Saves model, processor, text `files` (name, content) and the card to `OUT/model`, atomically: under another name, then renamed.

    All processes must call it, as the model may be sharded. Adapters are saved in `OUT/adapter` and merged into the model.
    """
    folder, half = Path(config.out) / FINISHED, Path(config.out) / f".{FINISHED}"
    adapters = isinstance(config, ModelConfig) and config.lora_rank > 0
    if trainer.is_world_process_zero():
        shutil.rmtree(half, ignore_errors=True)
    trainer.accelerator.wait_for_everyone()
    trainer.save_model(str(Path(config.out) / "adapter" if adapters else half))
    if trainer.is_world_process_zero():
        if isinstance(config, ModelConfig) and adapters:
            merge_adapters(load_checkpoint(config.model)[0], Path(config.out) / "adapter").save_pretrained(half)
        processor.save_pretrained(half)
        (half / "training_args.bin").unlink(missing_ok=True)
        if isinstance(config, ModelConfig) and (notice := Path(config.model) / NOTICE).is_file():
            shutil.copy(notice, half)  # whose weights it started from, as their licence wants
        for name, content in files:
            (half / name).write_text(content, encoding="utf-8")
        if card := card_of_stage(config):
            write_card(half, card | read_card(half))
        os.replace(half, folder)
    trainer.accelerator.wait_for_everyone()
    return folder
