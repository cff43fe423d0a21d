"""A local checkpoint answers in batches as it would alone, and reports the probabilities its weights give."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from transformers import Qwen2_5_VLForConditionalGeneration

from emocaliber.answering import question_for
from emocaliber.emotions import taxonomy
from emocaliber.errors import UserError
from emocaliber.models import Reply, Request, load_model
from emocaliber.models.local import LocalModel, chat_prompt
from emocaliber.models.recording import first_tokens
from emocaliber.response import Reasoning, Response, render

LABELS = taxonomy("mikels-8").labels
VISION_TOKENS = ["<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"]
SHAPES = [(84, 84), (84, 56), (30, 80), (200, 100), (56, 56)]


def request(index: int, *, task: str = "EmoSet-8", labels: Sequence[str] = LABELS) -> Request:
    image = Image.new("RGB", SHAPES[index % len(SHAPES)], (37 * index % 256, 91 * index % 256, 150))
    return Request(image, question_for(task, labels), tuple(labels), seed=index)


REQUESTS = [request(0), request(1, task="FI-2", labels=("positive", "negative")), request(2), request(3, labels=LABELS[:3]), request(4)]


def texts(mite: Path, requests: Sequence[Request] = REQUESTS, **settings: Any) -> list[str]:
    return [reply.text for reply in LocalModel(mite, **settings).answer(requests)]


def test_a_batch_is_answered_as_its_requests_are_alone(mite: Path) -> None:
    alone = texts(mite, batch_size=1)
    assert len(set(alone)) > 1
    assert texts(mite, batch_size=5) == texts(mite, batch_size=2) == alone


def test_probabilities_do_not_depend_on_company(mite: Path) -> None:
    alone, together = (list(LocalModel(mite, batch_size=size).answer(REQUESTS)) for size in (1, 5))
    for one, other in zip(alone, together, strict=True):
        assert one.probabilities == pytest.approx(other.probabilities, abs=1e-5)


def test_what_is_sampled_depends_on_the_seeds_alone(mite: Path) -> None:
    first = texts(mite, temperature=1.0, seed=3)
    torch.randn(7)
    assert texts(mite, temperature=1.0, seed=3) == first
    assert texts(mite, temperature=1.0, seed=4) != first
    other = [Request(each.image, each.question, each.candidates, seed=99) for each in REQUESTS]
    assert texts(mite, other, temperature=1.0, seed=3) != first


def test_greedy_answers_need_no_seed(mite: Path) -> None:
    assert texts(mite, seed=1) == texts(mite, seed=2)


def test_no_vision_token_is_ever_said(mite: Path) -> None:
    model = LocalModel(mite, batch_size=64, temperature=1.0, max_new_tokens=40)
    said = "".join(reply.text for reply in model.answer([request(0)] * 128))
    assert len(said) > 2000
    assert not any(token in said for token in VISION_TOKENS)


@pytest.mark.parametrize("temperature", [0.0, 0.5])
def test_probabilities_are_those_of_a_plain_forward_pass(mite: Path, temperature: float, monkeypatch: pytest.MonkeyPatch) -> None:
    model = LocalModel(mite, batch_size=3, temperature=temperature)
    answers: list[torch.Tensor] = []
    generate = model._model.generate

    def listen(**inputs: Any) -> torch.Tensor:
        sequences: torch.Tensor = generate(**inputs)
        answers.extend(sequences[:, inputs["input_ids"].shape[1] :])
        return sequences

    monkeypatch.setattr(model._model, "generate", listen)
    replies = list(model.answer(REQUESTS))
    plain = Qwen2_5_VLForConditionalGeneration.from_pretrained(mite).eval()
    tokenizer, processor = model.processor.tokenizer, model.processor
    for asked, reply, answer in zip(REQUESTS, replies, answers, strict=True):
        assert reply.probabilities is not None
        said = answer[: len(reply.probabilities)].tolist()
        inputs = processor(images=[asked.image], text=[chat_prompt(asked.question, tokenizer)], return_tensors="pt")
        length = inputs["input_ids"].shape[1]
        inputs["input_ids"] = torch.cat([inputs["input_ids"], torch.tensor([said])], 1)
        inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
        inputs["mm_token_type_ids"] = torch.cat([inputs["mm_token_type_ids"], torch.zeros(1, len(said), dtype=torch.long)], 1)
        with torch.no_grad():
            logits = plain(**inputs).logits[0, length - 1 : -1]
        logits[:, tokenizer.convert_tokens_to_ids(VISION_TOKENS)] = -torch.inf
        expected = logits.softmax(-1)[range(len(said)), said]
        assert reply.probabilities == pytest.approx(expected.tolist(), abs=1e-5)
        assert reply.mean_probability == pytest.approx(float(expected.mean()), abs=1e-5)


ANSWER = Response(Reasoning("A snake.", "日本 🙂", "A wood.", "It is close.", "A fearful mood. It evokes fear."), "fear", 0.75)


def test_a_well_formed_reply_says_how_likely_its_answer_was_and_what_else_it_could_have_been(mite: Path) -> None:
    model = LocalModel(mite)
    tokenizer = model.processor.tokenizer
    text = render(ANSWER)
    row = torch.tensor([*tokenizer(text)["input_ids"], tokenizer.eos_token_id, tokenizer.pad_token_id, tokenizer.pad_token_id])
    pieces = [tokenizer.decode([each]) for each in row]
    named = max(place for place in range(pieces.index("<answer>")) if "".join(pieces[place:]).startswith(" fear."))
    answered = pieces.index("<answer>") + 1

    steps = len(row)
    chosen = torch.linspace(-2, -0.01, steps)
    names = sorted(LABELS)
    firsts = first_tokens(names, tokenizer)
    watched = torch.zeros(steps, 2 * len(names))
    logps = torch.linspace(-3, -1, len(names))
    watched[named, len(names) :] = logps  # after a space, as the analysis has it
    reply = model._reply(request(0), row, chosen, watched, names, 0.5)

    assert reply.text == text
    assert len(reply.probabilities or ()) == steps - 2, "the end counts, the padding does not"
    assert reply.answer_probability == pytest.approx(float(chosen[answered].exp()))
    assert firsts[True][names.index("fear")] == int(row[named])
    assert reply.alternatives == pytest.approx(dict(zip(names, logps.softmax(0).tolist(), strict=True)))


def test_a_malformed_reply_has_its_probabilities_and_no_alternatives(mite: Path) -> None:
    reply = next(iter(LocalModel(mite).answer([request(0)])))
    assert reply.probabilities and all(0 <= each <= 1 for each in reply.probabilities)
    assert (reply.answer_probability, reply.alternatives) == (None, None)
    assert reply.seconds > 0


def test_the_card_says_what_a_model_is_called_and_for(mite: Path) -> None:
    model = LocalModel(mite)
    card = json.loads((mite / "emocaliber.json").read_text())
    assert card == {"name": model.name, "notice": model.notice, "tasks": list(model.tasks or ()), "max_new_tokens": 24}
    reply = next(iter(model.answer([request(0)])))
    assert len(reply.probabilities or ()) == 24
    longer = next(iter(LocalModel(mite, max_new_tokens=30).answer([request(0)])))
    assert len(longer.probabilities or ()) == 30, "a setting replaces the card's"


def test_a_model_without_a_card_is_called_by_its_folder(mite: Path, tmp_path: Path) -> None:
    shutil.copytree(mite, tmp_path / "bare", ignore=shutil.ignore_patterns("emocaliber.json"))
    model = LocalModel(tmp_path / "bare")
    assert (model.name, model.notice, model.tasks) == (str(tmp_path / "bare"), None, None)


def test_an_answer_that_cannot_be_read_is_asked_for_again(mite: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    good = render(Response(Reasoning("a storm", "nobody", "the sea", "none", "it overwhelms"), "awe", 0.8))
    said = iter([["garbage", good, "rubbish"], [good, "worse"], ["worst"]])
    temperatures = []

    def answer(self: LocalModel, batch: list[Request], temperature: float) -> list[Reply]:
        temperatures.append(temperature)
        return [Reply(text, seconds=1.0) for text, _ in zip(next(said), batch, strict=True)]

    monkeypatch.setattr(LocalModel, "_answer_batch", answer)
    replies = list(LocalModel(mite, retries=2).answer(REQUESTS[0:1] + REQUESTS[2:3] + REQUESTS[4:5]))
    assert [(reply.text, reply.attempts, reply.seconds) for reply in replies] == [(good, 2, 2.0), (good, 1, 1.0), ("rubbish", 3, 3.0)]
    assert temperatures == [0.0, 0.7, 0.7]


def test_nothing_is_asked_again_unless_wanted(mite: Path) -> None:
    once, thrice = (list(LocalModel(mite, retries=retries).answer(REQUESTS)) for retries in (0, 2))
    assert [reply.attempts for reply in once] == [1] * 5
    assert [reply.attempts for reply in thrice] == [3] * 5, "random weights say nothing that can be read"
    assert [reply.text for reply in once] == [reply.text for reply in thrice]


def test_an_empty_list_gets_no_answer(mite: Path) -> None:
    assert list(LocalModel(mite).answer([])) == []


@pytest.mark.parametrize("content", [None, "nothing"])
def test_a_folder_without_a_model_is_refused_with_what_would_do(tmp_path: Path, content: str | None) -> None:
    folder = tmp_path / "model"
    if content:
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps({"model": content}))
    with pytest.raises(UserError, match=r"cannot load a model from .*model: .*Give a checkpoint folder, a hub id, or 'tiny'\."):
        load_model(str(folder))
