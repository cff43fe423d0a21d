"""A folder with `decision.json` is asked by transformers' own pipeline as it was when its temperature was fitted."""

from __future__ import annotations

import base64
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from jinja2.exceptions import TemplateError
from PIL import Image

from emocaliber.core.samples import Sample, read_samples
from emocaliber.inference.engine import question_for
from emocaliber.models import TINY
from emocaliber.models.decision import OPENINGS, DecisionQuestion, decision_config
from emocaliber.models.local import chat_prompt
from emocaliber.models.processor import load_processor
from emocaliber.scenes.dataset import draw_samples
from emocaliber.training.decision import Decided, decisions_section, fitted_temperature, measured, probabilities, write_decision

pytest.importorskip("transformers.decision", reason="decisions came with transformers 5.23")
EIGHT = ("amusement", "awe", "contentment", "excitement", "anger", "disgust", "fear", "sadness")


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> list[Sample]:
    found = []
    for seed, task in enumerate(("EmoSet-8", "FI-2")):
        folder = tmp_path_factory.mktemp(task)
        for _ in draw_samples(folder, 50, seed, task, size=56):
            pass
        found += [replace(sample, id=f"{task}/{sample.id}") for sample in read_samples(folder / "samples.jsonl")]
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(shutil.copytree(TINY, tmp_path_factory.mktemp("exported") / "tiny"))


@pytest.fixture(scope="module")
def decided(folder: Path, samples: list[Sample]) -> list[Decided]:
    found = write_decision(folder, samples)
    assert not isinstance(found, str)
    return found


@pytest.fixture(scope="module")
def decide(folder: Path, decided: list[Decided]) -> Any:
    from transformers import pipeline

    processor = load_processor(folder)
    return pipeline("decision", model=str(folder), processor=processor, tokenizer=processor.tokenizer, dtype=torch.float32, device="cpu")


def test_the_folder_holds_a_choice_and_a_question_of_yes_or_no_with_their_temperatures(folder: Path, decided: list[Decided]) -> None:
    content = json.loads((folder / "decision.json").read_text())
    assert [(each.question.kind, each.question.task) for each in decided] == [("choice", "EmoSet-8"), ("noul", "FI-2")]
    assert len(content["labels"]["choice"]) == 8 and len(content["labels"]["noul"]) == 2
    assert content["temperature"] == {each.question.kind: round(each.temperature, 4) for each in decided}
    assert "EmoSet-8" in decisions_section(decided) and "no reasoning" in decisions_section(decided)
    assert all(each.n == 25 and 0 <= each.ece <= 1 for each in decided)


def test_transformers_pipeline_answers_from_the_folder(decide: Any, samples: list[Sample]) -> None:
    asked = {"type": "choice", "instructions": "Which emotion?", "criteria": dict.fromkeys(EIGHT)}
    pleasant = {"type": "noul", "criteria": {"true": "positive", "false": "negative"}}
    asset = {"type": "image", "format": "png", "data_base64": base64.b64encode(Path(samples[0].image).read_bytes()).decode()}
    request = {"state": {"shown": "IMG"}, "questions": {"mood": asked, "pleasant": pleasant}, "assets": {"IMG": asset}}
    answers = decide(request)
    mood = answers["mood"]
    assert list(mood["probabilities"]) == list(EIGHT) and sum(mood["probabilities"].values()) == pytest.approx(1)
    assert mood["choice"] == max(mood["probabilities"], key=mood["probabilities"].get)
    assert 0 <= answers["pleasant"]["noul"] <= 1


def test_its_probabilities_are_those_that_the_temperature_was_fitted_for(
    decide: Any, decided: list[Decided], samples: list[Sample]
) -> None:
    from emocaliber.training.decision import DecisionModel

    choice = decided[0]
    scores = DecisionModel(Path(decide.model.name_or_path)).scores(choice.question, choice.opening, [samples[0].image])
    shares = probabilities(scores / round(choice.temperature, 4))[0]
    found = decide(choice.question.request(samples[0].image))["mood"]["probabilities"]
    assert list(found.values()) == pytest.approx(shares.tolist(), abs=1e-5)


def test_the_model_reads_the_question_that_it_was_taught_up_to_the_place_of_the_emotion(
    decide: Any, decided: list[Decided], samples: list[Sample]
) -> None:
    choice, processor = decided[0], decide.processor
    ((inputs, _),) = decide.decision_config.prepare_inputs(choice.question.request(samples[0].image), processor)
    text = chat_prompt(question_for("EmoSet-8", EIGHT), processor.tokenizer) + OPENINGS[choice.opening][0]
    with Image.open(samples[0].image) as image:
        expected = processor(images=[image.convert("RGB")], text=[text], return_tensors="pt")
    assert inputs["input_ids"].tolist() == expected["input_ids"].tolist()
    assert torch.equal(inputs["pixel_values"], expected["pixel_values"])


@pytest.mark.parametrize(
    "change",
    [
        {"criteria": dict.fromkeys(reversed(EIGHT))},
        {"criteria": {"awe": None, "fear": None}},
        {"type": "score", "criteria": ["calm", "strong"]},
        {"type": "noul", "criteria": {"true": "awe"}},
    ],
)
def test_what_the_folder_cannot_be_asked_is_refused_with_what_it_can(decide: Any, samples: list[Sample], change: dict[str, Any]) -> None:
    asked = {"type": "choice", "criteria": dict.fromkeys(EIGHT)} | change
    with pytest.raises(TemplateError, match=r"can be asked a choice among amusement, awe, .* in this order"):
        decide({"state": "IMG", "questions": {"mood": asked}, "assets": {"IMG": samples[0].image}})


@pytest.mark.parametrize("state", ["no picture", "A and B"])
def test_a_question_sees_exactly_one_picture(decide: Any, samples: list[Sample], state: str) -> None:
    request = DecisionQuestion("choice", "EmoSet-8", EIGHT).request(samples[0].image)
    with pytest.raises(TemplateError, match="exactly one name of an asset"):
        decide({**request, "state": state, "assets": {"A": samples[0].image, "B": samples[0].image}})


def test_labels_that_begin_alike_are_no_choice() -> None:
    tokenizer = load_processor(TINY).tokenizer
    question = DecisionQuestion("choice", "WebEmo-7", ("sadness", "surprise", "joy"))
    assert decision_config([question], "answer", tokenizer) is None, "both begin with s"
    assert decision_config([question], "analysis", tokenizer) is not None, "after a space, each is one token"
    assert set(OPENINGS) == {"answer", "analysis", "sentence"}


def test_too_few_samples_write_nothing(samples: list[Sample], tmp_path: Path) -> None:
    said = write_decision(tmp_path, samples[:20])
    assert said == "no task of several emotions has 50 held-out samples" and not list(tmp_path.iterdir())
    assert said in decisions_section(said)


def test_the_temperature_undoes_one_that_was_applied() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(4000, 5)) * 2
    truth = np.array([rng.choice(5, p=row) for row in probabilities(logits)])
    assert fitted_temperature(3 * logits, truth) == pytest.approx(3, rel=0.05)
    assert measured(logits, truth)["ece"] < 0.03 < measured(3 * logits, truth)["ece"]
