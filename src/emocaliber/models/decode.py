"""The decode loop: rows of a batch are written token by token, each until its end, and leave the batch then.

It does what transformers' `generate` does for greedy and sampled texts, and calls the same model, with less to do at each step: keys and
values are written into buffers with room to grow, prompts that are asked several times are read once, and rows that are over are taken out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import torch
from transformers.cache_utils import Cache, DynamicCache, DynamicLayer
from transformers.integrations.deepspeed import is_deepspeed_zero3_enabled
from transformers.integrations.fsdp import is_fsdp_managed_module

from emocaliber.models.step import Step

_ROOM = 64  # the least tokens by which buffers of keys and values grow
_SPARSE = 0.75  # the share of rows in work below which those that are over are taken out, as that copies keys and values


class Part(Protocol):
    """What takes part in every step of `decode`; its rows are those in work."""

    def scores(self, scores: torch.Tensor) -> torch.Tensor:
        """The scores (rows, V) from which the likeliest token is chosen, made of those given."""
        ...

    def chosen(self, tokens: torch.Tensor) -> None:
        """Told the tokens (rows,) that were chosen."""
        ...

    def keep(self, rows: torch.Tensor) -> None:
        """From now on only the rows at these places are in work."""
        ...


class GrowingLayer(DynamicLayer):  # type: ignore[misc]
    """Keys and values of a layer in buffers that have room for further tokens, so that a step need not copy them all."""

    keys: torch.Tensor
    values: torch.Tensor
    _buffers: tuple[torch.Tensor, torch.Tensor]
    _held: torch.Tensor | None = None

    def update(self, key_states: torch.Tensor, value_states: torch.Tensor, *_: Any, **__: Any) -> tuple[torch.Tensor, torch.Tensor]:
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        length = self.get_seq_length()
        needed = length + key_states.shape[-2]
        if self._held is not self.keys or needed > self._buffers[0].shape[-2]:
            room = needed + max(_ROOM, needed // 8)
            self._buffers = _roomy(self.keys, key_states, room), _roomy(self.values, value_states, room)
        for buffer, new in zip(self._buffers, (key_states, value_states), strict=True):
            buffer[:, :, length:needed] = new
        self.keys, self.values = (buffer[:, :, :needed] for buffer in self._buffers)
        self._held = self.keys  # anything else in its place was put there by another method, and is not in the buffers
        return self.keys, self.values


def _roomy(old: torch.Tensor, new: torch.Tensor, length: int) -> torch.Tensor:
    """A buffer for `length` tokens that begins with `old`, shaped like `new`."""
    buffer = new.new_empty((*new.shape[:-2], length, new.shape[-1]))
    if old.numel():
        buffer[:, :, : old.shape[-2]] = old
    return buffer


@torch.no_grad()
def decode(
    model: Any,
    inputs: Mapping[str, torch.Tensor],
    prompts: Sequence[int],
    parts: Sequence[Part],
    *,
    limits: Sequence[int],
    ends: Sequence[int],
    never: Sequence[int],
    step: Step | None = None,
) -> None:
    """Writes one text per row: row i continues prompt `prompts[i]` of `inputs`, in at most `limits[i]` tokens, up to one of `ends`.

    `inputs` are the model's, as `collate` makes them. `parts` take part in each step, in their order; the token of the highest score is
    chosen. Tokens in `never` are not. `step` does the work of the model after the prompts. Where weights are sharded over processes, all
    take as many steps as the one that takes most.
    """
    device = inputs["input_ids"].device
    plain = _is_plain(model.config)
    cache = Cache(layer_class_to_replicate=GrowingLayer) if plain else DynamicCache(config=model.config)
    logits, positions, mask = _prefill(model, inputs, cache)
    if list(prompts) != list(range(len(logits))):
        rows = torch.tensor(prompts, device=device)
        cache.batch_select_indices(rows)
        logits, positions, mask = logits[rows], positions[rows], mask[rows]
    padded = not plain or not bool(mask.all())
    ended, most, unsaid = (torch.tensor(list(each), dtype=torch.long, device=device) for each in (ends, limits, never))
    going = torch.ones(len(most), dtype=torch.bool, device=device)
    together = _sharded(model)
    steps = 0
    while True:
        scores = logits[:, -1].float()
        scores = scores.index_fill(1, unsaid, -torch.inf)
        for part in parts:
            scores = part.scores(scores)
        tokens = scores.argmax(-1)
        for part in parts:
            part.chosen(tokens)
        steps += 1
        going &= ~torch.isin(tokens, ended) & (most > steps)
        left = int(going.sum())
        if not (_any(left, device) if together else left):
            return
        if 0 < left <= _SPARSE * len(going):
            rows = going.nonzero()[:, 0]
            cache.batch_select_indices(rows)
            for part in parts:
                part.keep(rows)
            tokens, positions, mask, most, going = tokens[rows], positions[rows], mask[rows], most[rows], going[rows]
        seen = None
        if padded:
            mask = torch.cat([mask, mask.new_ones(len(mask), 1)], 1)
            seen = _additive(mask, model.dtype) if plain else mask
        if step:
            logits = step(tokens, positions, cache, seen)
        else:
            further = {"input_ids": tokens[:, None], "attention_mask": seen, "position_ids": positions}
            logits = model(**further, past_key_values=cache, use_cache=True, logits_to_keep=1).logits
        positions = positions + 1


def _prefill(model: Any, inputs: Mapping[str, torch.Tensor], cache: Cache) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Logits (n, 1, V) of the first token, its position (n, 1), and which tokens of the prompts are none of padding, (n, P)."""
    mask = inputs["attention_mask"]
    inner = model.base_model
    if hasattr(inner, "get_rope_index"):  # given, so that the model need not keep what follows from it as a state of its own
        asked = {name: each for name, each in inputs.items() if name in ("image_grid_thw", "mm_token_type_ids")}
        positions, ahead = inner.get_rope_index(inputs["input_ids"], attention_mask=mask, **asked)
    else:
        positions, ahead = (mask.cumsum(-1) - 1).clamp_min(0), 0
    logits = model(**inputs, position_ids=positions, past_key_values=cache, use_cache=True, logits_to_keep=1).logits
    return logits, mask.sum(-1, keepdim=True) + ahead, mask.bool()


def _is_plain(config: Any) -> bool:
    """Whether every layer attends to all tokens before, by a kernel that takes a mask of four dimensions."""
    text = config.get_text_config()
    types = getattr(text, "layer_types", None) or ()
    return set(types) <= {"full_attention"} and text._attn_implementation in ("sdpa", "eager")


def _additive(mask: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """The attention mask (n, 1, 1, P) of one further token for each row: 0 on tokens, the dtype's minimum on padding."""
    return torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill(~mask, torch.finfo(dtype).min)[:, None, None]


def _sharded(model: Any) -> bool:
    """Whether a step needs every process, as each has a part of the weights."""
    distributed = torch.distributed.is_available() and torch.distributed.is_initialized() and torch.distributed.get_world_size() > 1
    return distributed and bool(is_deepspeed_zero3_enabled() or is_fsdp_managed_module(model))


def _any(left: int, device: torch.device) -> bool:
    """Whether any process has rows left."""
    flag = torch.tensor(float(left), device=device)
    torch.distributed.all_reduce(flag)
    return bool(flag)
