"""The decode loop writes what transformers' `generate` writes, with fewer operations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from transformers import AutoModelForImageTextToText
from transformers.cache_utils import Cache, DynamicCache

from emocaliber.core.model import Request
from emocaliber.core.response import question
from emocaliber.emotions.labels import Labels
from emocaliber.emotions.taxonomy import taxonomy
from emocaliber.models.decode import GrowingLayer, decode
from emocaliber.models.local import LocalModel, chat_prompt, vision_tokens
from emocaliber.models.processor import load_processor
from emocaliber.models.shipped import SHIPPED
from emocaliber.models.step import Step

LABELS = [Labels(taxonomy(name).labels) for name in ("mikels-8", "webemo-25", "polarity-2")]


def picture(place: int) -> Image.Image:
    """Rings, different for each place, of two shapes."""
    rings = Image.radial_gradient("L").resize((112 + 28 * (place % 2), 112))
    return rings.point(lambda value: value * (place + 2) % 256).convert("RGB")


REQUESTS = [Request(picture(place), question(LABELS[place % 3]), LABELS[place % 3], seed=place) for place in range(6)]
TOLERANCE = 1e-3  # of log-probabilities, in nats


class Written:
    """A part that keeps the tokens and their log-probabilities, and how many rows were in work at each step."""

    def __init__(self, rows: int) -> None:
        self.tokens: list[list[int]] = [[] for _ in range(rows)]
        self.logprobs: list[list[float]] = [[] for _ in range(rows)]
        self.rows = list(range(rows))
        self.at_once: list[int] = []

    def scores(self, scores: torch.Tensor) -> torch.Tensor:
        self._last = scores.log_softmax(-1)
        self.at_once.append(len(scores))
        return scores

    def chosen(self, tokens: torch.Tensor) -> None:
        for row, token, logprobs in zip(self.rows, tokens.tolist(), self._last, strict=True):
            self.tokens[row].append(token)
            self.logprobs[row].append(float(logprobs[token]))

    def keep(self, rows: torch.Tensor) -> None:
        self.rows = [self.rows[row] for row in rows.tolist()]


@pytest.fixture(scope="module", params=["tiny", "lite"])
def loaded(request: pytest.FixtureRequest) -> tuple[Any, Any]:
    folder = SHIPPED[request.param]
    return AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32).eval(), load_processor(folder)


def inputs_of(processor: Any, requests: Sequence[Request]) -> dict[str, torch.Tensor]:
    prompts = [chat_prompt(each.question, processor.tokenizer) for each in requests]
    images = [each.image for each in requests]
    return dict(processor(images=images, text=prompts, padding=True, padding_side="left", return_tensors="pt"))


@pytest.mark.parametrize("leaner", [True, False])
def test_greedy_tokens_are_those_of_generate_and_their_probabilities_up_to_rounding(loaded: tuple[Any, Any], leaner: bool) -> None:
    model, processor = loaded
    inputs, never = inputs_of(processor, REQUESTS), vision_tokens(model.config, processor.tokenizer)
    assert not inputs["attention_mask"].all(), "prompts of several lengths"
    end = processor.tokenizer.eos_token_id
    limits = [140, 140, 140, 9, 140, 140]
    written = Written(len(limits))
    step = Step.of(model) if leaner else None
    assert bool(step) is leaner
    decode(model, inputs, range(6), [written], limits=limits, ends=[end], never=never, step=step)
    settings = {"max_new_tokens": 140, "do_sample": False, "suppress_tokens": never, "return_dict_in_generate": True, "output_scores": True}
    theirs = model.generate(**inputs, **settings)
    said = theirs.sequences[:, inputs["input_ids"].shape[1] :].tolist()
    for row, (tokens, limit) in enumerate(zip(said, limits, strict=True)):
        until = tokens[: tokens.index(end) + 1 if end in tokens else limit][:limit]
        assert written.tokens[row][: len(until)] == until
        expected = [float(scores[row].log_softmax(-1)[token]) for scores, token in zip(theirs.scores, until, strict=False)]
        assert written.logprobs[row][: len(until)] == pytest.approx(expected, abs=TOLERANCE)
    assert written.at_once[0] == 6
    assert len({len(tokens) for tokens in written.tokens}) > 1, "rows that are over leave the batch"


def test_rows_leave_the_batch_when_enough_of_them_are_over(loaded: tuple[Any, Any]) -> None:
    model, processor = loaded
    written = Written(6)
    decode(model, inputs_of(processor, REQUESTS), range(6), [written], limits=[2, 2, 4, 6, 6, 6], ends=[-1], never=[])
    assert written.at_once == [6, 6, 4, 4, 3, 3]
    assert [len(tokens) for tokens in written.tokens] == [2, 2, 4, 6, 6, 6]


@pytest.mark.parametrize("name", ["tiny", "lite"])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_leaner_step_writes_the_same_texts_also_sampled_ones(name: str, temperature: float) -> None:
    leaner, plain = (LocalModel(SHIPPED[name], temperature=temperature, max_new_tokens=60) for _ in range(2))
    assert leaner._step
    plain._step = None
    for mine, theirs in zip(leaner.answer(REQUESTS), plain.answer(REQUESTS), strict=True):
        assert mine.text == theirs.text
        assert mine.tokens and theirs.tokens
        assert mine.tokens.logprobs == pytest.approx(theirs.tokens.logprobs, abs=TOLERANCE)


def test_a_question_that_is_asked_several_times_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    model = LocalModel(SHIPPED["tiny"], max_new_tokens=20)
    asked = [replace(REQUESTS[0], temperature=1.0, seed=seed) for seed in range(5)]
    alone = [next(model.answer([replace(each, image=each.image.copy())])).text for each in asked]
    read, forward = [], model._model.model.visual.forward

    def watched(*args: Any, **given: Any) -> Any:
        read.append(len(given["grid_thw"]))
        return forward(*args, **given)

    monkeypatch.setattr(model._model.model.visual, "forward", watched)
    assert [reply.text for reply in model.answer([*asked, REQUESTS[1]])][:5] == alone
    assert len(set(alone)) > 1
    assert read == [2], "two images for six requests"


def test_no_leaner_step_is_made_of_another_family_or_precision(families: Mapping[str, Path]) -> None:
    assert Step.of(AutoModelForImageTextToText.from_pretrained(families["qwen2_5_vl"], dtype=torch.float32))
    assert Step.of(AutoModelForImageTextToText.from_pretrained(families["qwen2_5_vl"], dtype=torch.bfloat16)) is None
    for family in ("qwen3_vl", "internvl"):
        assert Step.of(AutoModelForImageTextToText.from_pretrained(families[family], dtype=torch.float32)) is None


def test_no_leaner_step_is_used_whose_logits_differ(loaded: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Step, "__call__", lambda self, tokens, *_: torch.zeros(len(tokens), 1, len(self._embedding)))
    assert Step.of(loaded[0]) is None


def test_buffers_of_keys_and_values_hold_what_a_growing_cache_holds() -> None:
    generator = torch.Generator().manual_seed(0)
    ours, theirs = Cache(layer_class_to_replicate=GrowingLayer), DynamicCache()
    for length in (3, *[1] * 90, 40, 1):
        new = [torch.randn(4, 2, length, 5, generator=generator) for _ in range(2)]
        new = [each[: ours.layers[0].keys.shape[0]] if ours.layers else each for each in new]
        for one, other in zip(ours.update(*new, 0), theirs.update(*new, 0), strict=True):
            assert torch.equal(one, other)
        if length == 40:
            for cache in (ours, theirs):
                cache.batch_select_indices(torch.tensor([0, 3]))
    assert ours.get_seq_length() == theirs.get_seq_length() == 134
