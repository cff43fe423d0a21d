"""Shared-prefix computation for a group: one image, one prompt, G answers in one sequence, and roll-outs sampled from one prefill.

    prompt[:-1] | prompt[-1], answer 1[:-1] | prompt[-1], answer 2[:-1] | ...

A tree attention mask lets every answer attend to the prompt and to itself, and its position ids continue where the prompt ends. Its tokens
therefore have the log-probabilities of a separate sequence, while the image is encoded once. As the prompt's last token starts each branch,
every position on a branch predicts one answer token; the last tokens of answers, which predict nothing, are left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, NamedTuple

import torch
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedModel

_PADDING = -1


@dataclass(frozen=True)
class PromptGroup:
    """A prompt of P tokens with one image, and its answers, of any lengths.

    `types` (P,) is 1 on image tokens; `pixels` (patches, F) and `grid` (1, 3) are the model's image inputs. `queried` are indices into the
    concatenated answers where log-probabilities of alternative tokens are returned.
    """

    prompt: torch.Tensor
    types: torch.Tensor
    pixels: torch.Tensor
    grid: torch.Tensor
    answers: tuple[torch.Tensor, ...]
    queried: tuple[int, ...] = ()


def prompt_groups(
    input_ids: torch.Tensor,
    attention_mask: torch.Tensor,
    answer_length: int,
    size: int,
    *,
    pixel_values: torch.Tensor,
    image_grid_thw: torch.Tensor,
    mm_token_type_ids: torch.Tensor,
    queried: torch.Tensor | None = None,
) -> list[PromptGroup]:
    """The groups of a batch (B, P + C) in which each `size` consecutive rows share a prompt; answers are the last C = `answer_length`
    columns.

    Padding may be anywhere. The image inputs hold one image for each of the B rows. `queried` (B,) is an index into each answer, -1 for
    none.
    """
    seen = attention_mask.bool()
    pixels, grids = _images(pixel_values, image_grid_thw)
    answers = [ids[mask] for ids, mask in zip(input_ids[:, -answer_length:], seen[:, -answer_length:], strict=True)]
    groups = []
    for first in range(0, len(input_ids), size):
        shown = seen[first, :-answer_length]
        prompt, types = (values[first, :-answer_length][shown] for values in (input_ids, mm_token_type_ids))
        own = answers[first : first + size]
        starts = accumulate(map(len, own[:-1]), initial=0)
        places = [-1] * size if queried is None else queried[first : first + size].tolist()
        known = tuple(start + place for start, place in zip(starts, places, strict=True) if place >= 0)
        groups.append(PromptGroup(prompt, types, pixels[first], grids[first], tuple(own), known))
    return groups


class Logps(NamedTuple):
    """Log-probabilities in nats: `chosen` (N,) of all answer tokens in order, `alternatives` (queried positions, tokens) of other tokens.

    `entropies` (N,) are those of the predictive distributions, None unless the model's output layer computes them.
    """

    chosen: torch.Tensor
    entropies: torch.Tensor | None
    alternatives: torch.Tensor


def group_logps(model: torch.nn.Module, groups: Sequence[PromptGroup], at_once: int = 0, alternatives: Sequence[int] = ()) -> Logps:
    """The log-probabilities of the answers of `groups`, and of the tokens `alternatives` at the queried positions.

    `model` is a Qwen2.5-VL with TRL's output layer (`add_fused_lm_head`), which applies the temperature and may compute entropies. One
    forward pass holds `at_once` groups, 0 for all.
    """
    step = at_once or len(groups)
    parts = [_forward(model, groups[first : first + step], alternatives) for first in range(0, len(groups), step)]
    chosen, entropies, others = zip(*parts, strict=True)
    return Logps(torch.cat(chosen), None if entropies[0] is None else torch.cat(entropies), torch.cat(others))


def _forward(model: torch.nn.Module, groups: Sequence[PromptGroup], alternatives: Sequence[int]) -> Logps:
    inner = backbone(model)
    rows = [_row(inner, group) for group in groups]
    ids, branches, positions = (
        pad_sequence(list(values), batch_first=True, padding_value=filler)
        for values, filler in zip(zip(*rows, strict=True), (0, _PADDING, 0), strict=True)
    )
    answers = torch.cat([answer for group in groups for answer in group.answers])
    starts = accumulate((sum(map(len, group.answers)) for group in groups[:-1]), initial=0)
    queried = answers.new_tensor([start + place for start, group in zip(starts, groups, strict=True) for place in group.queried])
    # After the chosen tokens, the output layer gets each queried position once per alternative.
    again = torch.cat([torch.arange(len(answers), device=answers.device), queried.repeat_interleave(len(alternatives))])
    rows_of, columns = (branches > 0).nonzero(as_tuple=True)
    with logits_only_at(model, (rows_of[again], columns[again])):
        outputs = model(
            input_ids=ids,
            attention_mask={"full_attention": tree_mask(branches, inner.dtype)},
            position_ids=positions.permute(2, 0, 1),
            pixel_values=torch.cat([group.pixels for group in groups]),
            image_grid_thw=torch.cat([group.grid for group in groups]),
            shift_labels=torch.cat([answers, answers.new_tensor(alternatives).repeat(len(queried))])[None],
            fused_lm_head=True,
        )
    chosen, others = outputs.log_probs[0].tensor_split([len(answers)])
    entropies = None if outputs.entropy is None else outputs.entropy[0, : len(answers)]
    return Logps(chosen, entropies, others.view(len(queried), len(alternatives)))


def _row(inner: Any, group: PromptGroup) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """One group as a sequence: tokens (L,), branch numbers (L,), 0 for the prompt and 1 to G for the answers, and position ids (L, 3)."""
    prompt, device = group.prompt, group.prompt.device
    positions = inner.get_rope_index(prompt[None], group.types[None], image_grid_thw=group.grid)[0][:, 0].T
    ids, branches, places = [prompt[:-1]], [torch.zeros_like(prompt[:-1])], [positions[:-1]]
    for branch, answer in enumerate(group.answers, start=1):
        ids.append(torch.cat([prompt[-1:], answer])[: len(answer)])
        branches.append(torch.full_like(answer, branch))
        places.append(positions[-1:] + torch.arange(len(answer), device=device)[:, None])
    return torch.cat(ids), torch.cat(branches), torch.cat(places)


def tree_mask(branches: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """The additive attention mask (B, 1, L, L): 0 where a token attends to another, the dtype's minimum elsewhere.

    A token attends to itself and earlier tokens of its own branch and of branch 0 (the prompt). `branches` is (B, L), -1 on padding.
    """
    length = branches.shape[1]
    earlier = torch.ones(length, length, dtype=torch.bool, device=branches.device).tril()
    seen = earlier & ((branches[:, None, :] == 0) | (branches[:, None, :] == branches[:, :, None]))
    return torch.zeros(seen.shape, dtype=dtype, device=branches.device).masked_fill(~seen, torch.finfo(dtype).min)[:, None]


@torch.no_grad()
def branched_generate(
    model: Any,
    answers: int,
    *,
    input_ids: torch.Tensor,
    attention_mask: torch.Tensor,
    mm_token_type_ids: torch.Tensor,
    pixel_values: torch.Tensor,
    image_grid_thw: torch.Tensor,
    **settings: Any,
) -> Any:
    """`model.generate` with each prompt repeated `answers` times, (n * answers, P + new tokens), from one prefill of the n prompts.

    Prompts (n, P) are padded on the left; `settings` are passed to `generate`.
    """
    cache = model(
        input_ids=input_ids[:, :-1],
        attention_mask=attention_mask[:, :-1],
        mm_token_type_ids=mm_token_type_ids[:, :-1],
        pixel_values=pixel_values,
        image_grid_thw=image_grid_thw,
        use_cache=True,
        logits_to_keep=1,
    ).past_key_values
    cache.batch_repeat_interleave(answers)
    # The model keeps the position offset of text after an image beside the cache.
    inner = backbone(model)
    inner.rope_deltas = inner.rope_deltas.repeat_interleave(answers, 0)
    return type(model).generate(
        model,
        input_ids=input_ids.repeat_interleave(answers, 0),
        attention_mask=attention_mask.repeat_interleave(answers, 0),
        past_key_values=cache,
        **settings,
    )


def _images(pixel_values: torch.Tensor, image_grid_thw: torch.Tensor) -> tuple[Sequence[torch.Tensor], Sequence[torch.Tensor]]:
    """The patches (patches, F) and the grid (1, 3) of each image."""
    return torch.split(pixel_values, image_grid_thw.prod(-1).tolist()), torch.split(image_grid_thw, 1)


def backbone(model: torch.nn.Module) -> Any:
    """The transformers model without its output layer, whatever `model` is wrapped in (DDP, FSDP, PEFT)."""
    return next(module for module in model.modules() if isinstance(module, PreTrainedModel)).base_model


@contextmanager
def logits_only_at(model: torch.nn.Module, places: torch.Tensor | tuple[torch.Tensor, torch.Tensor]) -> Iterator[None]:
    """Restricts the output layer to the hidden states at `places`: logits of forward passes within are (1, number of places, V).

    That saves memory, as the output layer is as wide as the vocabulary. `places` is (B, L) of bool, or rows and columns, (number of
    places,) each, in which a place may occur more than once.
    """

    def pick(_module: Any, _inputs: Any, outputs: Any) -> Any:
        outputs.last_hidden_state = outputs.last_hidden_state[places][None]
        return outputs

    # A hook, as wrapped models must be called as a whole, and the model's `logits_to_keep` picks the same columns in all rows.
    handle = backbone(model).register_forward_hook(pick)
    try:
        yield
    finally:
        handle.remove()
