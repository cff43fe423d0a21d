"""Memory plan of a training stage (`emocaliber train STAGE --plan`): bytes per device, from the configuration and the model's shape alone.

Bytes per weight with AdamW under autocast (as in section 3.1 of ZeRO, Rajbhandari et al. 2020, but with float32 gradients): 4 for the
weight, 2 for its bfloat16 copy, 4 for the gradient, 8 for the two moments. FSDP2 and ZeRO-3 shard all but the copies, of which a device
holds two blocks at a time and the root. Activations are what autograd keeps; with checkpointing (Chen et al. 2016) each layer keeps its
input, and one layer at a time all its activations, twice in its backward pass. With gradient accumulation, gradients are allocated
throughout. Weights and activations are counted in `shapes`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from emocaliber.errors import UserError
from emocaliber.render.table import Table
from emocaliber.training.config import FINISHED, ModelConfig, Stage2Config, Stage3Config, StageConfig
from emocaliber.training.shapes import (
    WeightCounts,
    build_on_meta,
    count_weights,
    image_tokens,
    language_layer_bytes,
    model_config,
    vision_bytes,
)

QUESTION_TOKENS = 175  # of WebEmo-25's question, VECBench's longest, with its turn, in Qwen2.5's tokenizer
ANSWER_TOKENS = 400  # of a five-step response, in stages 1 and 2
CONFIDENCE_TOKENS = 12  # of `<confidence>0.85</confidence>` and the end of the turn
LOGIT_BYTES = 16  # per logit: bfloat16, float32, log-softmax, gradient in float32 and bfloat16
GB = 10**9


@dataclass(frozen=True)
class MemoryPlan:
    """Bytes per device by purpose, (unsharded, sharded over `devices`), and the token counts that were assumed."""

    parts: dict[str, tuple[float, float]]
    devices: int
    tokens: str
    advice: tuple[str, ...]

    def total(self, *, sharded: bool) -> float:
        """Peak bytes per device: of training, or of sampling roll-outs if that takes more."""
        sums = {name: pair[sharded] for name, pair in self.parts.items()}
        passes = {name: sums.pop(name, 0.0) for name in _PASSES}
        training = passes["activations"] + max(passes["logits"], passes[_RECOMPUTED])  # logits are freed before layers are recomputed
        return sum(sums.values()) + max(training, passes["KV cache of roll-outs"])

    def report(self, memory: float, whose: str = "") -> str:
        """The table as text, and whether it fits devices of `memory` bytes; `whose` says in brackets whose memory that is."""
        totals = (self.total(sharded=False), self.total(sharded=True))
        unit, name_of_unit = (GB, "GB") if totals[0] >= 10 * GB else (GB / 1000, "MB")
        rows = [[name, *(f"{value / unit:,.1f}" for value in pair)] for name, pair in (*self.parts.items(), ("total", totals))]
        header = [f"{name_of_unit} on each device", "unsharded", f"FSDP2 or ZeRO-3 over {self.devices}"]
        summed = [sum(pair[place] for pair in self.parts.values()) for place in (0, 1)]
        note = self.tokens + (f"\n{_NOT_A_SUM}" if any(total < whole - 1 for total, whole in zip(totals, summed, strict=True)) else "")
        table = Table(header, rows, note=note).as_text()
        size = f"{memory / GB:.0f} GB" + (f" ({whose})" if whose else "")
        if totals[0] <= memory:
            verdict = f"It fits into {size} unsharded."
        elif totals[1] <= memory:
            verdict = f"It fits into {size} only sharded over {self.devices} devices: see configs/accelerate."
        else:
            verdict = f"It will not fit into {size}: {', or '.join(self.advice)}."
        return f"{table}\n{verdict}\n"


_WITHOUT = "(activations without checkpointing)"
_RECOMPUTED = "one layer, recomputed"
_NOT_A_SUM = (
    "The total is the peak, not the sum: what is in brackets is not in it, and of logits and a recomputed layer, and of training and "
    "sampling roll-outs, only the larger is."
)
_PASSES = ("activations", _RECOMPUTED, "logits", "KV cache of roll-outs", _WITHOUT)


def with_base_model(config: ModelConfig, configurations: Iterable[StageConfig]) -> ModelConfig:
    """The configuration with the model from which training starts, if its own is that of an earlier stage that has not been trained yet.

    `configurations` are those of the other stages. The shape of the model is the same in all stages.
    """
    made = {str(Path(each.out) / FINISHED): each.model for each in configurations if isinstance(each, ModelConfig)}
    model = config.model
    while model in made and not Path(model).exists():
        model = made.pop(model)
    return replace(config, model=model)


def plan_memory(config: ModelConfig, devices: int, answer_tokens: int = 0, question_tokens: int = QUESTION_TOKENS) -> MemoryPlan:
    """The memory plan of a stage on `devices` devices, for answers of `answer_tokens` (0: the stage's maximum). Loads no weights.

    Raises UserError if the model's configuration cannot be read, or is neither Qwen2.5-VL's nor a lite model's.
    """
    shape = model_config(config.model)
    weights = count_weights(
        build_on_meta(shape), freeze_vision=config.freeze_vision, lora_rank=config.lora_rank, lora_targets=config.lora_targets
    )
    answer = answer_tokens or (config.max_new_tokens if isinstance(config, Stage3Config) else ANSWER_TOKENS)
    image = image_tokens(shape, config.model, config.max_pixels)
    prompt = image + question_tokens
    parts = _static_bytes(config, weights, devices)
    transient = _transient_bytes(config, shape, prompt, image, answer)
    parts |= {name: (value, value) for name, value in transient.items()}
    tokens = f"{image} image tokens, {question_tokens} of the question, {answer} of an answer; {weights.all / 1e6:,.0f} million weights."
    return MemoryPlan(parts, devices, tokens, tuple(_advice(config)))


def _static_bytes(config: ModelConfig, weights: WeightCounts, devices: int) -> dict[str, tuple[float, float]]:
    """Bytes allocated throughout, (unsharded, sharded): weights, gradients, optimiser states, reference model."""
    trained = weights.trained + weights.adapters
    base = 2 if config.bf16 and config.lora_rank else 4
    held = weights.all * base + weights.adapters * 4
    parts: dict[str, tuple[float, float]] = {"weights": (held, held / devices)}
    if config.bf16:
        gathered = 2 * (2 * weights.block + weights.root)
        parts["weights in 16 bits"] = (2 * trained, min(gathered, 2 * weights.all))
    elif devices > 1:
        parts["weights gathered"] = (0, 4 * (2 * weights.block + weights.root))
    parts["gradients"] = (4 * trained, 4 * trained / devices)
    parts["optimiser (AdamW)"] = (8 * trained, 8 * trained / devices)
    compared = (isinstance(config, Stage3Config) and config.kl) or (isinstance(config, Stage2Config) and config.anchor)
    if compared and not config.lora_rank:
        parts["reference model"] = (held, held / devices)
    return parts


def _transient_bytes(config: ModelConfig, model: Any, prompt: int, image: int, answer: int) -> dict[str, float]:
    """Bytes allocated by forward and backward passes, and by roll-outs."""
    text, wide = model.text_config, 2 if config.bf16 else 4
    rows, tokens, tree = config.batch_size, prompt + answer, False
    if isinstance(config, Stage3Config) and config.shared_prefix and config.batch_size % config.group_size == 0:
        rows, tokens, tree = config.batch_size // config.group_size, prompt + config.group_size * answer, True
    layer = language_layer_bytes(model, rows, tokens, bf16=config.bf16, tree=tree)
    mask = rows * tokens**2 * 4 if tree else 0
    entry = rows * tokens * text.hidden_size * 4
    full, kept = layer * text.num_hidden_layers, entry * text.num_hidden_layers
    if not config.freeze_vision:
        whole, entries = vision_bytes(model, rows, image, bf16=config.bf16)
        full, kept = full + whole, kept + entries
    parts = {"activations": full + mask}
    if config.gradient_checkpointing:
        parts = {_WITHOUT: full + mask, "activations": kept + mask, _RECOMPUTED: 2 * layer}
    if isinstance(config, Stage3Config):
        rollouts = config.batch_size * config.accumulation * config.updates_per_rollout
        heads = text.num_key_value_heads * (text.hidden_size // text.num_attention_heads)
        parts["KV cache of roll-outs"] = rollouts * (prompt + answer) * 2 * text.num_hidden_layers * heads * wide
    else:
        in_loss = CONFIDENCE_TOKENS if isinstance(config, Stage2Config) and not config.anchor else answer
        parts["logits"] = rows * in_loss * text.vocab_size * LOGIT_BYTES
    return parts


def _advice(config: ModelConfig) -> list[str]:
    """Ways to reduce the memory, most effective first."""
    advice = [] if config.gradient_checkpointing else ["set gradient_checkpointing = true"]
    if isinstance(config, Stage3Config):
        advice.append("lower max_new_tokens, or sample fewer roll-outs at once (updates_per_rollout, accumulation)")
    if config.batch_size > 1:
        advice.append("halve batch_size and double accumulation")
    return advice + ["use more devices"] + ([] if config.lora_rank else ["train adapters (lora_rank = 64)"])


def parse_memory(text: str) -> float:
    """Bytes of "80GB", "40 GiB" or "80" (GB). Raises UserError for anything else."""
    number = text.strip().lower()
    for unit, size in (("gib", 2.0**30), ("gb", 1e9), ("g", 1e9), ("", 1e9)):
        if number.endswith(unit):
            try:
                return float(number.removesuffix(unit)) * size
            except ValueError:
                break
    raise UserError(f"--memory must be a number of gigabytes, such as 80GB or 24GiB, not {text!r}")


def device_memory() -> tuple[float, str]:
    """Bytes of the first GPU's memory, or without one of the machine's; and in words whose memory that is."""
    import torch

    if torch.cuda.is_available():
        return float(torch.cuda.get_device_properties(0).total_memory), "this machine's first GPU; --memory 80GB is for another"
    return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")), "this machine's own memory; --memory 80GB is for a GPU"
