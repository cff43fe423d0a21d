"""One image, one prompt, G answers: all answers to one prompt are read in one sequence, and sampled from one prefill.

    prompt but its last token | its last token, answer 1 but its last token | its last token, answer 2 but its last token | ...

Every answer sees the prompt and itself (a mask in the shape of a tree), and its positions go on where the prompt ends. So its tokens have
the log-probabilities that they have in a sequence of their own, and the image is encoded once. As the prompt's last token is repeated, each
place on a branch predicts one token of its answer, and the last tokens of answers, which predict nothing, are left out.
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
    """A prompt of P tokens with one image, and its answers, each of as many tokens as it has. `types` (P,) is 1 on image tokens;
    `pixels` (patches, F) and `grid` (1, 3) are the image as the model takes it. `asked` are places in the answers, one after another, of
    which it shall be known what else could stand there.
    """

    prompt: torch.Tensor
    types: torch.Tensor
    pixels: torch.Tensor
    grid: torch.Tensor
    answers: tuple[torch.Tensor, ...]
    asked: tuple[int, ...] = ()


def prompt_groups(
    input_ids: torch.Tensor,
    attention_mask: torch.Tensor,
    answer_length: int,
    size: int,
    *,
    pixel_values: torch.Tensor,
    image_grid_thw: torch.Tensor,
    mm_token_type_ids: torch.Tensor,
    asked: torch.Tensor | None = None,
) -> list[PromptGroup]:
    """The groups in a batch whose every `size` rows have one prompt: (B, P + C), with answers in the last C = `answer_length` places.

    Padding may be anywhere. The image inputs are those of B rows, each with one image. `asked` (B,) is a place in each answer, -1 for none.
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
        places = [-1] * size if asked is None else asked[first : first + size].tolist()
        known = tuple(start + place for start, place in zip(starts, places, strict=True) if place >= 0)
        groups.append(PromptGroup(prompt, types, pixels[first], grids[first], tuple(own), known))
    return groups


class Logps(NamedTuple):
    """Log-probabilities of all tokens of all answers in order, and entropies where they are predicted: (number of tokens,) both, the latter
    None unless the model's output layer computes them. `alternatives` (asked places, tokens) are log-probabilities of other tokens.
    """

    chosen: torch.Tensor
    entropies: torch.Tensor | None
    alternatives: torch.Tensor


def group_logps(model: torch.nn.Module, groups: Sequence[PromptGroup], at_once: int = 0, alternatives: Sequence[int] = ()) -> Logps:
    """What `model` makes of the answers of `groups`, and of the tokens `alternatives` at the places that are asked for.

    `model` is a Qwen2.5-VL with the output layer that TRL gives it (`add_fused_lm_head`), which knows the temperature, and says whether
    there are entropies. `at_once` groups go through it together, 0 for all.
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
    asked = answers.new_tensor([start + place for start, group in zip(starts, groups, strict=True) for place in group.asked])
    # The output layer sees an asked place once for each alternative, after all the tokens that were chosen.
    again = torch.cat([torch.arange(len(answers), device=answers.device), asked.repeat_interleave(len(alternatives))])
    rows_of, columns = (branches > 0).nonzero(as_tuple=True)
    with logits_only_at(model, (rows_of[again], columns[again])):
        outputs = model(
            input_ids=ids,
            attention_mask={"full_attention": tree_mask(branches, inner.dtype)},
            position_ids=positions.permute(2, 0, 1),
            pixel_values=torch.cat([group.pixels for group in groups]),
            image_grid_thw=torch.cat([group.grid for group in groups]),
            shift_labels=torch.cat([answers, answers.new_tensor(alternatives).repeat(len(asked))])[None],
            fused_lm_head=True,
        )
    chosen, others = outputs.log_probs[0].tensor_split([len(answers)])
    entropies = None if outputs.entropy is None else outputs.entropy[0, : len(answers)]
    return Logps(chosen, entropies, others.view(len(asked), len(alternatives)))


def _row(inner: Any, group: PromptGroup) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The row of a group: tokens (L,), the branches they are on (L,), 0 for the prompt and 1 to G for the answers, and positions (L, 3)."""
    prompt, device = group.prompt, group.prompt.device
    positions = inner.get_rope_index(prompt[None], group.types[None], image_grid_thw=group.grid)[0][:, 0].T
    ids, branches, places = [prompt[:-1]], [torch.zeros_like(prompt[:-1])], [positions[:-1]]
    for branch, answer in enumerate(group.answers, start=1):
        ids.append(torch.cat([prompt[-1:], answer])[: len(answer)])
        branches.append(torch.full_like(answer, branch))
        places.append(positions[-1:] + torch.arange(len(answer), device=device)[:, None])
    return torch.cat(ids), torch.cat(branches), torch.cat(places)


def tree_mask(branches: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """(B, 1, L, L) to be added to attention scores: 0 where a token sees another, and the lowest number elsewhere.

    A token sees those before it that are on its own branch or on branch 0; `branches` is (B, L), -1 on padding, which nothing else sees.
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
    """What `model.generate` returns for every prompt `answers` times, (n * answers, P + new tokens), from one prefill of the n prompts.

    Prompts (n, P) are padded on the left; `settings` are those of `generate`.
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
    # Where the text goes on behind an image is kept in the model, beside the cache.
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


# Logits only where a loss looks: hidden states are picked before the output layer, which is as wide as the vocabulary.


def backbone(model: torch.nn.Module) -> Any:
    """The transformers model without its output layer, whatever `model` is wrapped in (DDP, FSDP, PEFT)."""
    return next(module for module in model.modules() if isinstance(module, PreTrainedModel)).base_model


@contextmanager
def logits_only_at(model: torch.nn.Module, places: torch.Tensor | tuple[torch.Tensor, torch.Tensor]) -> Iterator[None]:
    """Forward passes within it see the hidden states at `places` as one row: their logits are (1, number of places, V).

    `places` is (B, L) of bool, or rows and columns, (number of places,) each, in which a place may come more than once.
    """

    def pick(_module: Any, _inputs: Any, outputs: Any) -> Any:
        outputs.last_hidden_state = outputs.last_hidden_state[places][None]
        return outputs

    # A hook, as wrapped models must be called as a whole, and an argument that the model takes for this picks the same columns of all rows.
    handle = backbone(model).register_forward_hook(pick)
    try:
        yield
    finally:
        handle.remove()
