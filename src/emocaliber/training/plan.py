"""Memory plan of a training stage (`emocaliber train STAGE --plan`): bytes per device, from the configuration and the model's shape alone.

Bytes per weight with AdamW under autocast (as in section 3.1 of ZeRO, Rajbhandari et al. 2020, but with float32 gradients): 4 for the
weight, 2 for its bfloat16 copy, 4 for the gradient, 8 for the two moments. FSDP2 and ZeRO-3 shard all but the copies, of which a device
holds two blocks at a time and the root. Activations are what autograd keeps; with checkpointing (Chen et al. 2016) each layer keeps its
input, and one layer at a time all its activations, twice in its backward pass. With gradient accumulation, gradients are allocated
throughout.

Weights are counted on the meta device. Activations are counted too, not estimated: one layer of the real class runs on fake tensors (shapes
without data), and the tensors that autograd keeps are added up.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from emocaliber.errors import UserError
from emocaliber.io.configurations import configs_folder
from emocaliber.models.available import why_unavailable
from emocaliber.models.processor import usual_max_pixels
from emocaliber.render.table import Table
from emocaliber.training.config import FINISHED, ModelConfig, Stage2Config, Stage3Config, StageConfig

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

    Raises UserError if the model's configuration cannot be read, or is not Qwen2.5-VL's.
    """
    model_config = _model_config(config.model)
    weights = count_weights(
        build_on_meta(model_config), freeze_vision=config.freeze_vision, lora_rank=config.lora_rank, lora_targets=config.lora_targets
    )
    answer = answer_tokens or (config.max_new_tokens if isinstance(config, Stage3Config) else ANSWER_TOKENS)
    image = (config.max_pixels or usual_max_pixels(config.model)) // _side(model_config) ** 2
    prompt = image + question_tokens
    parts = _static_bytes(config, weights, devices)
    transient = _transient_bytes(config, model_config, prompt, image, answer)
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
    text, vision, wide = model.text_config, model.vision_config, 2 if config.bf16 else 4
    rows, tokens, tree = config.batch_size, prompt + answer, False
    if isinstance(config, Stage3Config) and config.shared_prefix and config.batch_size % config.group_size == 0:
        rows, tokens, tree = config.batch_size // config.group_size, prompt + config.group_size * answer, True
    layer = language_layer_bytes(model, rows, tokens, bf16=config.bf16, tree=tree)
    mask = rows * tokens**2 * 4 if tree else 0
    entry = rows * tokens * text.hidden_size * 4
    full, kept = layer * text.num_hidden_layers, entry * text.num_hidden_layers
    if not config.freeze_vision:
        patches = rows * image * vision.spatial_merge_size**2
        block = vision_block_bytes(model, patches, bf16=config.bf16)
        full += block * vision.depth
        kept += patches * vision.hidden_size * 4 * vision.depth
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


def _side(model: Any) -> int:
    return int(model.vision_config.patch_size * model.vision_config.spatial_merge_size)


def _model_config(name: str) -> Any:
    advice = "Give model=FOLDER with its config.json; weights are not needed"
    shape = configs_folder() / "shapes" / f"{name}.json"
    ships = shape.is_file() and not Path(name).exists()
    if not ships and (reason := why_unavailable(name)):
        raise UserError(f"cannot read the configuration of the model {name}: {reason}. {advice}")
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(shape if ships else name)
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read the configuration of the model {name}: {str(error).splitlines()[0]} {advice}") from error
    if config.model_type != "qwen2_5_vl":
        raise UserError(f"{name} is a {config.model_type} model; plans are made for qwen2_5_vl")
    return config


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


# Counting weights and activations


@dataclass(frozen=True)
class WeightCounts:
    """Numbers of weights: `all`; `trained`, without adapters; `adapters`; `block`, the largest that FSDP gathers at once; and `root`
    (embeddings, output layer), which FSDP holds from the forward pass to the end of the backward pass.
    """

    all: int
    trained: int
    adapters: int
    block: int
    root: int


def build_on_meta(config: Any) -> Any:
    """The model of a Qwen2.5-VL configuration on the meta device, without data."""
    from transformers import Qwen2_5_VLForConditionalGeneration

    with torch.device("meta"):
        return Qwen2_5_VLForConditionalGeneration(config)


def count_weights(model: Any, *, freeze_vision: bool, lora_rank: int, lora_targets: str) -> WeightCounts:
    """The weight counts of a model on the meta device. An adapter has rank x (in + out) weights per layer."""
    inner = model.model

    def size(module: nn.Module) -> int:
        return sum(weight.numel() for weight in module.parameters())

    linear = [layer for name, layer in model.named_modules() if isinstance(layer, nn.Linear) and re.fullmatch(lora_targets, name)]
    adapters = sum(lora_rank * (layer.in_features + layer.out_features) for layer in linear)
    everything, blocks = size(model), [*inner.language_model.layers, *inner.visual.blocks]
    return WeightCounts(
        all=everything,
        trained=0 if lora_rank else everything - (size(inner.visual) if freeze_vision else 0),
        adapters=adapters,
        block=max(map(size, blocks)),
        root=everything - sum(map(size, blocks)),
    )


def language_layer_bytes(config: Any, rows: int, tokens: int, *, bf16: bool, tree: bool = False) -> int:
    """Bytes that autograd keeps of one language layer for `rows` sequences of `tokens`, with a tree mask or a causal one."""
    from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VLDecoderLayer

    text = config.text_config
    text._attn_implementation = "sdpa"

    def run(length: int, tree: bool = False) -> int:
        layer = Qwen2_5_VLDecoderLayer(text, 0)
        hidden = torch.empty(rows, length, text.hidden_size, requires_grad=True)
        angles = torch.empty(rows, length, text.hidden_size // text.num_attention_heads)
        mask = torch.empty(rows, 1, length, length) if tree else None
        return _kept([*layer.parameters(), mask], bf16, lambda: layer(hidden, position_embeddings=(angles, angles), attention_mask=mask))

    with FakeTensorMode():
        return run(tokens, tree) - _weight_copies(run)


def vision_block_bytes(config: Any, patches: int, *, bf16: bool) -> int:
    """Bytes that autograd keeps of one vision block for `patches` patches. Windowed attention keeps as much as full attention."""
    from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VLVisionBlock

    vision = config.vision_config
    vision._attn_implementation = "sdpa"

    def run(count: int) -> int:
        block = Qwen2_5_VLVisionBlock(vision)
        hidden = torch.empty(count, vision.hidden_size, requires_grad=True)
        angles = torch.empty(count, vision.hidden_size // vision.num_heads)
        ends: Any = np.array([0, count])  # a fake tensor has no values to split by
        return _kept([*block.parameters()], bf16, lambda: block(hidden, cu_seqlens=ends, position_embeddings=(angles, angles)))

    with FakeTensorMode():
        return run(patches) - _weight_copies(run)


def _weight_copies(run: Callable[[int], int]) -> int:
    """The part that does not grow with the length: the 16-bit weight copies, which are counted separately."""
    return 2 * run(64) - run(128)


def _kept(others: Sequence[torch.Tensor | None], bf16: bool, forward: Callable[[], Any]) -> int:
    """Bytes of the distinct tensors that autograd keeps for the backward pass of `forward`, except the tensors `others`."""
    excluded = {id(tensor) for tensor in others}
    kept: dict[int, torch.Tensor] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        if id(tensor) not in excluded:
            kept[tensor.untyped_storage()._cdata] = tensor
        return tensor

    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16), torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        forward()
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())
