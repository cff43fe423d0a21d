"""A token further for each row of a small Qwen2.5-VL on a CPU, in a third of the operations of transformers' modules.

There, what surrounds the matrix products takes longer than they do: they are narrow, and each of a hundred operations a step costs the same
however little it has to compute. Here query, key and value are one product, gate and up projection another, and what is added is added in
the product. Texts are the same, log-probabilities up to rounding.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.functional import scaled_dot_product_attention, silu
from transformers import Qwen2_5_VLForConditionalGeneration
from transformers.cache_utils import Cache, DynamicLayer

_TOLERANCE = 1e-3  # of logits, which are of the order of 10


@dataclass(frozen=True)
class _Layer:
    """The weights of a decoder layer, those of its products transposed; `eps` of both norms."""

    before: torch.Tensor
    into: torch.Tensor
    bias: torch.Tensor
    out: torch.Tensor
    between: torch.Tensor
    widened: torch.Tensor
    narrowed: torch.Tensor
    eps: float

    @classmethod
    def of(cls, layer: Any) -> _Layer:
        attention, mlp = layer.self_attn, layer.mlp
        heads = attention.q_proj, attention.k_proj, attention.v_proj
        return cls(
            before=layer.input_layernorm.weight,
            into=_transposed(*heads),
            bias=torch.cat([each.bias for each in heads]),
            out=_transposed(attention.o_proj),
            between=layer.post_attention_layernorm.weight,
            widened=_transposed(mlp.gate_proj, mlp.up_proj),
            narrowed=_transposed(mlp.down_proj),
            eps=layer.input_layernorm.variance_epsilon,
        )


def _transposed(*linear: nn.Linear) -> torch.Tensor:
    return torch.cat([each.weight for each in linear]).t().contiguous()


class Step:
    """The forward pass of one further token for each row, of weights that no longer change; of which it keeps a copy."""

    def __init__(self, model: Qwen2_5_VLForConditionalGeneration) -> None:
        text, config = model.model.language_model, model.config.text_config
        self._embedding, self._rotary = text.embed_tokens.weight, text.rotary_emb
        self._layers = [_Layer.of(layer) for layer in text.layers]
        self._norm, self._last = text.norm, _transposed(model.lm_head)
        self._heads, self._groups = config.num_attention_heads, config.num_key_value_heads
        self._width = config.hidden_size // self._heads

    @classmethod
    @torch.no_grad()
    def of(cls, model: Any) -> Step | None:
        """The step of a model; None for one of another form, or whose own forward pass gives other logits."""
        if not isinstance(model, Qwen2_5_VLForConditionalGeneration) or model.dtype != torch.float32:
            return None
        if model.config.text_config.hidden_act != "silu" or any(type(each) is not nn.Linear for each in _products(model)):
            return None
        made = cls(model)
        return made if made._agrees_with(model) else None

    def _agrees_with(self, model: Any) -> bool:
        """Whether the logits after a third token are those of the model."""
        tokens = torch.arange(6).view(2, 3) % len(self._embedding)
        caches = [Cache(layer_class_to_replicate=DynamicLayer) for _ in range(2)]
        place = torch.full((2, 1), 2)
        for cache in caches:
            model(input_ids=tokens[:, :2], position_ids=torch.arange(2).expand(2, 2), past_key_values=cache, use_cache=True)
        theirs = model(input_ids=tokens[:, 2:], position_ids=place, past_key_values=caches[0], use_cache=True).logits
        return bool((self(tokens[:, 2], place, caches[1], None) - theirs).abs().max() < _TOLERANCE)

    def __call__(self, tokens: torch.Tensor, positions: torch.Tensor, cache: Cache, mask: torch.Tensor | None) -> torch.Tensor:
        """Logits (n, 1, V) after `tokens` (n,) at `positions` (n, 1), whose keys and values are added to the `cache`.

        `mask` is None, or what the tokens may attend to: (n, 1, 1, length), added to scores.
        """
        rows, heads, groups, width = len(tokens), self._heads, self._groups, self._width
        hidden = self._embedding[tokens]
        cos, sin = self._rotary(hidden, positions[None].expand(3, -1, -1))
        sin = torch.cat([-sin[..., : width // 2], sin[..., width // 2 :]], -1)
        for number, layer in enumerate(self._layers):
            made = torch.addmm(layer.bias, torch.rms_norm(hidden, hidden.shape[1:], layer.before, layer.eps), layer.into)
            made = made.view(rows, heads + 2 * groups, width)
            turned = made[:, : heads + groups]
            turned = torch.addcmul(turned * cos, turned.roll(width // 2, -1), sin)
            keys, values = cache.layers[number].update(turned[:, heads:, None], made[:, heads + groups :, None])
            asked = turned[:, :heads].reshape(rows, groups, heads // groups, width)
            seen = scaled_dot_product_attention(asked, keys, values, mask)
            hidden = torch.addmm(hidden, seen.reshape(rows, heads * width), layer.out)
            gate, up = torch.mm(torch.rms_norm(hidden, hidden.shape[1:], layer.between, layer.eps), layer.widened).chunk(2, -1)
            hidden = torch.addmm(hidden, silu(gate) * up, layer.narrowed)
        return torch.mm(self._norm(hidden), self._last)[:, None]


def _products(model: Any) -> list[Any]:
    """The modules whose weights are put together, as plain linear layers have them."""
    layers = model.model.language_model.layers
    attention = [getattr(each.self_attn, f"{name}_proj") for each in layers for name in "qkvo"]
    return [*attention, *(getattr(each.mlp, f"{name}_proj") for each in layers for name in ("gate", "up", "down")), model.lm_head]
