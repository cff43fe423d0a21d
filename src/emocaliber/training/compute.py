"""Compute plan of a training stage (`emocaliber train STAGE --plan`): tokens and FLOP of a step, and with a stated speed hours and money.

FLOP are those of the model, as in the definition of MFU (model FLOPs utilisation, section 4.1 of PaLM, Chowdhery et al. 2022): two for
each weight and token of a forward pass, twice that for a backward pass, and those of attention between tokens that may attend to each
other. What checkpointing computes again, and padding, are not counted. A frozen vision encoder has no backward pass; weights under adapters
have no gradients of their own, which halves it. Image tokens are those of the largest image.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from emocaliber.errors import UserError
from emocaliber.io.rows import numbered_rows
from emocaliber.models.lite import LITE
from emocaliber.render.table import Table
from emocaliber.training.config import ModelConfig, Stage1Config, Stage2Config, Stage3Config
from emocaliber.training.plan import ANSWER_TOKENS, CONFIDENCE_TOKENS, QUESTION_TOKENS
from emocaliber.training.shapes import build_on_meta, image_tokens, model_config

PAPER_ROWS = {Stage1Config: 86_067, Stage2Config: 43_033, Stage3Config: 14_346}  # of VEC-CoT, the paper's table 1
USUAL_MFU = 0.35  # of training, assumed where none is stated
USUAL_GENERATION_MFU = 0.03  # of generation, which reads all weights for each token of a batch; assumed likewise


@dataclass(frozen=True)
class Arithmetic:
    """FLOP of a forward pass: of a token in the language model's layers (`token`) and in its output layer (`logits`), of a pair of tokens
    of which one attends to the other (`pair`), and of the vision encoder for one image (`image`)."""

    token: int
    logits: int
    pair: int
    image: int

    @classmethod
    def of(cls, config: Any, tokens: int) -> Arithmetic:
        """That of a model's configuration, for images of `tokens` tokens."""
        text = config.text_config
        model, vision = build_on_meta(config).model, config.vision_config
        return cls(
            token=2 * _linear_weights(model.language_model.layers),
            logits=2 * text.hidden_size * text.vocab_size,
            pair=4 * text.hidden_size * text.num_hidden_layers,
            image=_eyes_flop(vision) if config.model_type == LITE else _encoder_flop(vision, model.visual, tokens),
        )

    def text(self, tokens: int, pairs: float, predicted: int) -> float:
        """FLOP of the language model for `tokens` tokens, `pairs` of which attend to each other, and logits at `predicted` of them."""
        return tokens * self.token + pairs * self.pair + predicted * self.logits


def _linear_weights(module: nn.Module) -> int:
    return sum(each.weight.numel() for each in module.modules() if isinstance(each, nn.Linear))


def _encoder_flop(vision: Any, visual: Any, tokens: int) -> int:
    """Of Qwen2.5-VL's encoder: attention is within windows, but for a few blocks."""
    patches = tokens * vision.spatial_merge_size**2
    whole = len([place for place in vision.fullatt_block_indexes if place < vision.depth])
    window = min(patches, (vision.window_size // vision.patch_size) ** 2)
    attended = whole * patches + (vision.depth - whole) * window
    weights = _linear_weights(visual.blocks) + visual.patch_embed.proj.weight.numel()
    return int(patches * (2 * weights + 4 * attended * vision.hidden_size) + 2 * tokens * _linear_weights(visual.merger))


def _eyes_flop(vision: Any) -> int:
    """Of a lite model's eyes and projector, counted on a tensor without data."""
    from emocaliber.models.lite.vision import LiteVision

    with FakeTensorMode(), FlopCounterMode(display=False) as counter:
        visual = LiteVision._from_config(vision).eval()
        visual.projector(visual.features(torch.empty(1, vision.row**2, vision.in_channels * vision.patch_size**2), vision.row, vision.row))
    return int(counter.get_total_flops())


@dataclass(frozen=True)
class ComputePlan:
    """What a stage computes: `rows` samples in `steps` steps of `samples` each, with `tokens` in the language model (a step), and FLOP of
    training and of generation (the whole stage). `counted` says where `rows` comes from, and `lengths` what was assumed."""

    rows: int
    steps: int
    samples: int
    tokens: int
    training: float
    generation: float
    counted: str
    lengths: str

    def hours(self, devices: int, flops: float, mfu: float, generation_mfu: float) -> float:
        """Hours on devices of `flops` FLOP a second each at their peak, of which training and generation reach these shares."""
        return (self.training / mfu + self.generation / generation_mfu) / (devices * flops) / 3600

    def report(self, devices: int, speed: Speed | None) -> str:
        """The plan as text; with a `speed`, hours and money."""
        table = Table(
            ["compute", "a step", "all steps"],
            [
                ["samples", f"{self.samples:,}", f"{self.rows:,}"],
                ["tokens", f"{self.tokens:,}", f"{self.tokens * self.steps:,}"],
                ["PFLOP, training", f"{self.training / self.steps / 1e15:,.3g}", f"{self.training / 1e15:,.4g}"],
                *([["PFLOP, generation", "", f"{self.generation / 1e15:,.4g}"]] if self.generation else []),
            ],
            note=f"{self.steps:,} steps; {self.counted}. {self.lengths}",
        ).as_text()
        return f"{table}\n{speed.sentence(self, devices) if speed else _UNSTATED}\n"


_UNSTATED = "Hours: say how fast a device is (--flops 989e12 for an H100 in bfloat16), and what an hour of it costs (--price 2.50)."


@dataclass(frozen=True)
class Speed:
    """`flops` FLOP a second of one device at its peak, the shares that are reached, and the price of an hour of one device, None if not
    stated."""

    flops: float
    mfu: float | None = None
    generation_mfu: float | None = None
    price: float | None = None

    def __post_init__(self) -> None:
        for name, value, most in (
            ("--flops", self.flops, math.inf),
            ("--mfu", self.mfu, 1.0),
            ("--generation-mfu", self.generation_mfu, 1.0),
            ("--price", self.price, math.inf),
        ):
            if value is not None and not 0 < value <= most:
                raise UserError(f"{name} must be above 0{' and at most 1' if most == 1 else ''}, not {value:g}")

    def sentence(self, plan: ComputePlan, devices: int) -> str:
        """Hours and money of a plan, with what was assumed for them."""
        mfu, generation = self.mfu or USUAL_MFU, self.generation_mfu or USUAL_GENERATION_MFU
        hours = plan.hours(devices, self.flops, mfu, generation)
        of = f"an MFU of {100 * mfu:g} %{'' if self.mfu else ' (assumed; --mfu)'}"
        if plan.generation:
            of += f" in training and {100 * generation:g} %{'' if self.generation_mfu else ' (assumed; --generation-mfu)'} in generation"
        money = f", {hours * devices * self.price:,.2f} at {self.price:,.2f} an hour of one" if self.price else ""
        return (
            f"{hours:,.3g} hours on {devices} {'device' if devices == 1 else 'devices'} of {self.flops / 1e12:,.4g} TFLOP/s at {of}: "
            f"{hours * devices:,.3g} device-hours{money}."
        )


def plan_compute(config: ModelConfig, devices: int, answer_tokens: int = 0, question_tokens: int = QUESTION_TOKENS) -> ComputePlan:
    """The compute plan of a stage on `devices` devices. Answers are taken to have `answer_tokens` tokens, or with 0 those of a usual
    five-step response. Without its samples a stage is planned for as many as the paper has. Raises UserError as `model_config` does."""
    shape = model_config(config.model)
    image = image_tokens(shape, config.model, config.max_pixels)
    flop = Arithmetic.of(shape, image)
    answer = answer_tokens or min(ANSWER_TOKENS, config.max_new_tokens)
    rows, counted = _rows_of(config)
    prompt, generated, group = image + question_tokens, 0.0, 1
    backward = 1 if config.lora_rank else 2
    seen = flop.image * (1 if config.freeze_vision else 1 + backward)
    if isinstance(config, Stage3Config):
        group = config.group_size
        shared = config.shared_prefix
        prompts = 1 if shared else group
        tokens = prompts * prompt + group * answer
        pairs = prompts * prompt**2 / 2 + group * answer * (prompt + answer / 2)
        forward = flop.text(tokens, pairs, group * answer)
        again = bool(config.kl) + (config.updates_per_rollout > 1)  # passes without gradients, of the reference and of the old policy
        trained = (1 + backward + again) * forward + prompts * (seen + again * flop.image)
        generated = flop.text(tokens, pairs, group * answer) + prompts * flop.image
    else:
        stated = CONFIDENCE_TOKENS if isinstance(config, Stage2Config) else 0
        tokens = prompt + answer + stated
        predicted = answer if not isinstance(config, Stage2Config) else stated + (answer if config.anchor else 0)
        trained = (1 + backward) * flop.text(tokens, tokens**2 / 2, predicted) + seen
        if isinstance(config, Stage2Config):
            if config.anchor:
                trained += flop.text(tokens, tokens**2 / 2, answer) + flop.image
            generated = flop.text(prompt + answer, (prompt + answer) ** 2 / 2, answer) + flop.image
    samples = config.batch_size * config.accumulation * devices // group
    steps = math.ceil(rows * config.epochs / max(samples, 1))
    steps = min(steps, config.max_steps) if config.max_steps > 0 else steps
    lengths = f"{image} tokens of an image, {question_tokens} of the question, {answer} of an answer (--answer-tokens N: another length)."
    used = steps * samples
    return ComputePlan(
        rows=rows,
        steps=steps,
        samples=samples,
        tokens=samples * tokens,
        training=used * trained,
        generation=(rows if isinstance(config, Stage2Config) else used) * generated,
        counted=counted,
        lengths=lengths,
    )


def _rows_of(config: ModelConfig) -> tuple[int, str]:
    """The number of a stage's samples, and in words where it is from."""
    if config.scenes:
        return config.scenes, f"{config.scenes:,} synthetic scenes"
    if Path(config.samples).is_file():
        rows = sum(1 for _ in numbered_rows(config.samples))
        return rows, f"{rows:,} samples in {config.samples}"
    rows = next(rows for kind, rows in PAPER_ROWS.items() if isinstance(config, kind))
    return rows, f"{config.samples} is not there, so the paper's {rows:,} samples are taken"
