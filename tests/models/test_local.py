"""A local checkpoint answers in batches as it would alone, and reports the probabilities its weights give."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from math import exp
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from emocaliber.core.model import Model, Reply, Request
from emocaliber.core.response import Reasoning, Response, render
from emocaliber.core.sources import confidences, evidence
from emocaliber.emotions.labels import ANY_ANSWER, Labels
from emocaliber.emotions.taxonomy import Taxonomy, taxonomy
from emocaliber.errors import UserError
from emocaliber.inference.engine import question_for
from emocaliber.io.images import open_image
from emocaliber.models import TINY, load_model
from emocaliber.models.local import LocalModel, chat_prompt, vision_tokens
from emocaliber.models.tokens import TOP

LABELS = taxonomy("mikels-8").labels
SHAPES = [(84, 84), (84, 56), (30, 80), (200, 100), (56, 56)]


def request(index: int, *, task: str = "EmoSet-8", labels: Sequence[str] = LABELS) -> Request:
    image = Image.new("RGB", SHAPES[index % len(SHAPES)], (37 * index % 256, 91 * index % 256, 150))
    return Request(image, question_for(task, labels), tuple(labels), seed=index)


REQUESTS = [request(0), request(1, task="FI-2", labels=("positive", "negative")), request(2), request(3, labels=LABELS[:3]), request(4)]


def replies(folder: Path, requests: Sequence[Request] = REQUESTS, **settings: Any) -> list[Reply]:
    return list(LocalModel(folder, **settings).answer(requests))


def texts(folder: Path, requests: Sequence[Request] = REQUESTS, **settings: Any) -> list[str]:
    return [reply.text for reply in replies(folder, requests, **settings)]


def count(reply: Reply) -> int:
    assert reply.tokens
    return len(reply.tokens.pieces)


@pytest.mark.slow
def test_replies_come_in_order_whatever_is_answered_together(mite: Path) -> None:
    alone = texts(mite, batch_size=1)
    assert len(set(alone)) > 1
    assert texts(mite, batch_size=5) == texts(mite, batch_size=2) == alone
    model = LocalModel(mite, batch_size=1)
    model.window = 3
    assert [reply.text for reply in model.answer(iter(REQUESTS))] == alone


def test_probabilities_do_not_depend_on_company(mite: Path) -> None:
    for one, other in zip(replies(mite, batch_size=1), replies(mite, batch_size=5), strict=True):
        assert one.tokens and other.tokens
        assert one.tokens.logprobs == pytest.approx(other.tokens.logprobs, abs=1e-5)
        for mine, theirs in zip(one.tokens.likeliest, other.tokens.likeliest, strict=True):
            assert mine == pytest.approx(theirs, abs=1e-4)


def test_prompts_of_like_length_are_answered_together_and_early_ones_first(mite: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = LocalModel(mite, batch_size=2, max_new_tokens=2)
    shapes: list[tuple[int, ...]] = []
    prepared = model._model.forward
    monkeypatch.setattr(model._model, "forward", lambda **inputs: shapes.append(tuple(inputs["input_ids"].shape)) or prepared(**inputs))
    long, short = replace(REQUESTS[0], question="fear " * 50), replace(REQUESTS[0], question="fear?")
    first = next(model.answer(iter([long, short, long, short])))
    assert first.usage and [shape[0] for shape in shapes] == [2]
    assert shapes[0][1] == first.usage.prompt_tokens, "nothing is padded"


def test_a_reply_says_what_it_took(mite: Path) -> None:
    model = LocalModel(mite, max_new_tokens=7)
    reply = next(model.answer([request(0)]))
    prompt = model.processor(
        images=[request(0).image], text=[chat_prompt(request(0).question, model.processor.tokenizer)], return_tensors="pt"
    )
    assert reply.usage and (reply.usage.prompt_tokens, reply.usage.completion_tokens) == (prompt["input_ids"].shape[1], 7)
    assert reply.usage.cost is None
    assert reply.seconds > 0


def test_tokens_join_to_the_text_and_the_chosen_and_the_candidates_are_among_the_likeliest(mite: Path) -> None:
    model = LocalModel(mite, temperature=1.5)
    for asked, reply in zip(REQUESTS, model.answer(REQUESTS), strict=True):
        tokens = reply.tokens
        assert tokens and b"".join(tokens.pieces).decode(errors="replace") == reply.text
        starts = [model._token_bytes.piece(model.processor.tokenizer(name)["input_ids"][0]) for name in asked.candidates]
        for piece, logprob, others in zip(tokens.pieces, tokens.logprobs, tokens.likeliest, strict=True):
            assert others[piece] == logprob <= 0
            assert set(starts) <= set(others)
            assert len(others) >= TOP
            assert sum(map(exp, others.values())) <= 1 + 1e-5


def test_what_is_sampled_depends_on_the_seeds_alone(mite: Path) -> None:
    first = texts(mite, temperature=1.0, seed=3)
    assert texts(mite, REQUESTS[::-1], temperature=1.0, seed=3, batch_size=2) == first[::-1]
    assert texts(mite, REQUESTS[2:3], temperature=1.0, seed=3) == first[2:3]
    assert texts(mite, temperature=1.0, seed=4) != first
    other = [replace(each, seed=99) for each in REQUESTS]
    assert texts(mite, other, temperature=1.0, seed=3) != first


def test_greedy_answers_need_no_seed(mite: Path) -> None:
    assert texts(mite, seed=1) == texts(mite, seed=2)


def test_a_request_s_own_temperature_and_length_replace_the_model_s(mite: Path) -> None:
    greedy, sampled = texts(mite), texts(mite, temperature=1.0)
    mixed = [
        replace(REQUESTS[0], temperature=1.0),
        REQUESTS[1],
        replace(REQUESTS[2], max_new_tokens=5),
        replace(REQUESTS[3], temperature=0.0),
    ]
    first, second, third, fourth = replies(mite, mixed)
    assert (first.text, second.text, fourth.text) == (sampled[0], greedy[1], greedy[3])
    assert greedy[2].startswith(third.text)
    assert [count(reply) for reply in (first, second, third, fourth)] == [24, 24, 5, 24]
    assert replies(mite, [replace(REQUESTS[3], temperature=0.0)], temperature=1.0)[0].text == greedy[3]


def test_requests_of_different_length_may_share_a_batch(mite: Path) -> None:
    short, long = replies(mite, [replace(REQUESTS[0], max_new_tokens=3), replace(REQUESTS[0], max_new_tokens=9)])
    assert (count(short), count(long)) == (3, 9)
    assert long.text.startswith(short.text)


@pytest.mark.slow
def test_an_answer_in_another_spelling_of_its_label_is_not_asked_for_again(tiny_model: Model) -> None:
    assert isinstance(tiny_model, LocalModel)
    image = open_image(min((Path(__file__).parents[2] / "examples" / "images").glob("*.*"))).image  # type: ignore[union-attr]
    question = question_for("EmoSet-8", LABELS)
    (plain,) = tiny_model.answer([Request(image, question, LABELS)])
    said = evidence(plain, LABELS)
    assert said is not None
    others = ["dread" if label == said.response.answer else label for label in LABELS]
    known = Taxonomy("renamed", tuple(others), aliases={said.response.answer: "dread"})
    asked_twice = LocalModel(TINY, retries=2)
    (knowing,) = asked_twice.answer([Request(image, question, Labels.of(others, known))])
    assert (knowing.text, knowing.attempts) == (plain.text, 1)
    (unknowing,) = asked_twice.answer([Request(image, question, others)])
    assert unknowing.attempts > 1, "where nothing says that it is the same label"


def test_the_sources_of_the_shipped_model_are_those_of_a_plain_forward_pass(tiny_model: Model) -> None:
    assert isinstance(tiny_model, LocalModel)
    tokenizer, processor = tiny_model.processor.tokenizer, tiny_model.processor
    scene = min((Path(__file__).parents[2] / "examples" / "images").glob("*.*"))
    image = open_image(scene).image  # type: ignore[union-attr]
    asked = Request(image, question_for("EmoSet-8", LABELS), LABELS)
    reply = next(tiny_model.answer([asked]))
    said = tokenizer(reply.text, return_tensors="pt")["input_ids"]
    inputs = processor(images=[image], text=[chat_prompt(asked.question, tokenizer)], return_tensors="pt")
    inputs["input_ids"] = torch.cat([inputs["input_ids"], said], 1)
    inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
    inputs["mm_token_type_ids"] = torch.cat([inputs["mm_token_type_ids"], torch.zeros_like(said)], 1)
    with torch.no_grad():
        logits = tiny_model._model(**inputs).logits[0, -said.shape[1] - 1 : -1]
    logits[:, vision_tokens(tiny_model._model.config, tokenizer)] = -torch.inf
    each = logits.softmax(-1).gather(1, said.T)[:, 0]
    answered = said[0].tolist().index(tokenizer.convert_tokens_to_ids("<answer>")) + 1
    while len([name for name in LABELS if tokenizer(f"<answer>{name}")["input_ids"][1] == said[0, answered]]) > 1:
        answered += 1
    given = confidences(evidence(reply, LABELS))
    assert given["avg"] == pytest.approx(float(each.mean()), abs=1e-5)
    assert given["ans"] == pytest.approx(float(each[answered]), abs=1e-5)
    assert None not in given.values()


def test_the_card_says_what_a_model_is_called_and_for(mite: Path) -> None:
    model = LocalModel(mite)
    card = json.loads((mite / "emocaliber.json").read_text())
    assert card == {"name": model.name, "notice": model.notice, "tasks": list(model.tasks or ()), "max_new_tokens": 24}
    assert count(next(model.answer([request(0)]))) == 24
    assert count(next(LocalModel(mite, max_new_tokens=30).answer([request(0)]))) == 30, "a setting replaces the card's"


def test_tokens_know_the_temperature_at_which_the_confidence_was_trained(mite: Path, tmp_path: Path) -> None:
    shutil.copytree(mite, tmp_path / "trained")
    (tmp_path / "trained" / "emocaliber.json").write_text('{"rollout_temperature": 0.7, "max_new_tokens": 4}')
    for folder, temperature in ((mite, 1.0), (tmp_path / "trained", 0.7)):
        reply = next(LocalModel(folder, max_new_tokens=4).answer([request(0)]))
        assert reply.tokens
        assert reply.tokens.rollout_temperature == temperature


def test_a_model_without_a_card_is_called_by_its_folder(mite: Path, tmp_path: Path) -> None:
    shutil.copytree(mite, tmp_path / "bare", ignore=shutil.ignore_patterns("emocaliber.json"))
    model = LocalModel(tmp_path / "bare")
    assert (model.name, model.notice, model.tasks) == (str(tmp_path / "bare"), None, None)
    assert model.processor.image_processor.size == LocalModel(mite).processor.image_processor.size, "it was trained here"


def test_an_answer_that_cannot_be_read_is_asked_for_again(mite: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    good = render(Response(Reasoning("a storm", "nobody", "the sea", "none", "it overwhelms"), "awe", 0.8))
    said = iter([["garbage", good, "rubbish"], [good, "worse"], ["worst"]])
    asked: list[list[tuple[float, int]]] = []

    def generate(self: LocalModel, batch: Sequence[Any]) -> list[Reply]:
        asked.append([(prompt.temperature, prompt.seed) for prompt in batch])
        return [Reply(text, seconds=1.0) for text in next(said)]

    monkeypatch.setattr(LocalModel, "_generate", generate)
    first, second, third = LocalModel(mite, retries=2).answer([request(0)] * 3)
    assert [(reply.text, reply.attempts) for reply in (first, second, third)] == [(good, 2), (good, 1), ("rubbish", 3)]
    assert [int(reply.seconds) for reply in (first, second, third)] == [2, 1, 3]
    assert [[temperature for temperature, _ in batch] for batch in asked] == [[0.0] * 3, [0.7] * 2, [0.7]]
    assert len({batch[0][1] for batch in asked}) == 3, "a retry has a seed of its own"


def test_nothing_is_asked_again_unless_wanted(mite: Path) -> None:
    once, thrice = (replies(mite, retries=retries) for retries in (0, 2))
    assert [reply.attempts for reply in once] == [1] * 5
    assert [reply.attempts for reply in thrice] == [3] * 5, "random weights say nothing that can be read"
    assert [reply.text for reply in once] == [reply.text for reply in thrice]
    free = replace(REQUESTS[0], candidates=ANY_ANSWER)
    assert replies(mite, [free], retries=2)[0].attempts == 1, "without candidates any answer will do"


def test_smaller_batches_are_taken_when_memory_runs_out(
    mite: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model = LocalModel(mite, batch_size=8)
    forward, tried = model._model.forward, []

    def crowded(**inputs: Any) -> Any:
        if "pixel_values" in inputs:
            tried.append(len(inputs["input_ids"]))
            if tried[-1] > 2:
                raise torch.OutOfMemoryError
        return forward(**inputs)

    monkeypatch.setattr(model._model, "forward", crowded)
    asked = [*REQUESTS, *REQUESTS[:3]]
    assert [reply.text for reply in model.answer(asked)] == texts(mite, asked)
    assert tried == [8, 4, 2, 2, 2, 2]
    list(model.answer(asked))
    assert tried[6:] == [2, 2, 2, 2], "the size that fits is remembered"
    assert capsys.readouterr().err.splitlines() == [
        "out of memory with a batch of 8 images; continuing with 4",
        "out of memory with a batch of 4 images; continuing with 2",
    ]


def test_a_single_image_that_does_not_fit_in_memory_ends_with_what_to_change(mite: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(**_: Any) -> None:
        raise torch.OutOfMemoryError

    model = LocalModel(mite)
    monkeypatch.setattr(model._model, "forward", full)
    with pytest.raises(UserError, match="out of memory with a single image on cpu; give a smaller max_pixels or max_new_tokens"):
        list(model.answer(REQUESTS))


def test_an_image_that_the_model_cannot_take_is_an_error_of_its_own(mite: Path) -> None:
    narrow = replace(REQUESTS[0], image=Image.new("RGB", (3, 900)))
    first, second, third = replies(mite, [REQUESTS[0], narrow, REQUESTS[2]])
    assert second.error and second.error.code == "bad_request"
    assert "aspect ratio" in second.error.message
    assert (second.text, second.tokens) == ("", None)
    assert [first.text, third.text] == texts(mite, [REQUESTS[0], REQUESTS[2]])
    assert [reply.error is None for reply in replies(mite, [narrow])] == [False]


def test_an_empty_list_gets_no_answer(mite: Path) -> None:
    assert replies(mite, []) == []


def test_a_folder_without_a_model_is_refused_with_what_would_do(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    with pytest.raises(UserError, match=r"model: there is no such folder; give a checkpoint folder, a hub id, or .*tiny"):
        load_model(str(folder))
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"model": "nothing"}))
    with pytest.raises(UserError, match=r"cannot load a model from .*model: .*Give a checkpoint folder, a hub id, or .*tiny\."):
        load_model(str(folder))


def test_tiny_is_the_shipped_checkpoint(tiny_model: Model) -> None:
    assert json.loads((TINY / "emocaliber.json").read_text())["name"] == tiny_model.name == "tiny"


def test_a_device_is_checked_and_threads_are_set_while_the_model_works(mite: Path) -> None:
    for device, complaint in (
        ("tpu", "there is no device 'tpu'; give one of cpu, cuda, mps"),
        ("cuda:99", "cuda:99 is not available; PyTorch"),
    ):
        with pytest.raises(UserError, match=complaint):
            LocalModel(mite, device=device)
    before, seen = torch.get_num_threads(), []
    model = LocalModel(mite, threads=3, max_new_tokens=2)
    hook = torch.nn.modules.module.register_module_forward_hook(lambda *_: seen.append(torch.get_num_threads()))
    try:
        next(model.answer([request(0)]))
    finally:
        hook.remove()
    assert set(seen) == {3} and torch.get_num_threads() == before
