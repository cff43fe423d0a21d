"""Targets, masks and credit of the confidence with the tokenizer of the public Qwen2.5-VL-7B."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from emocaliber.confidence.targets import decimal_targets
from emocaliber.core.sources import stated_number
from emocaliber.models.processor import load_processor
from emocaliber.training.collate import IGNORED, ExampleCollator, TrainingExample, digit_tokens
from emocaliber.training.credit import confidence_start, decimal_tokens, first_decimal

SEVEN = Path(os.environ.get("EMOCALIBER_DATA", "")) / "qwen2.5-vl"
pytestmark = pytest.mark.skipif(
    not (SEVEN / "tokenizer.json").is_file(), reason="needs the tokenizer of Qwen2.5-VL-7B in $EMOCALIBER_DATA/qwen2.5-vl"
)
PREFIX = (
    "<think><element>a dog at 0.5</element><human>none</human><context>a beach</context><interaction>none</interaction>"
    "<analysis>It feels light, which evokes amusement.</analysis></think><answer>amusement</answer>"
)


@pytest.fixture(scope="module")
def qwen() -> Any:
    return load_processor(SEVEN)


@pytest.mark.parametrize("number", ["0.00", "0.42", "0.97", "0.70"])
def test_the_two_decimals_learn_their_bumps_and_nothing_else_does(qwen: Any, tmp_path: Path, number: str) -> None:
    Image.new("RGB", (224, 224), "teal").save(tmp_path / "a.png")
    bumps = decimal_targets(float(number), 0.08)
    decimals = (bumps.first, bumps.second[int(number[2])])
    example = TrainingExample(
        str(tmp_path / "a.png"), "Which emotion?", completion=f"<confidence>{number}</confidence>", prefix=PREFIX, decimals=decimals
    )
    batch = ExampleCollator(qwen)([example])
    learnt = batch["input_ids"][0][batch["in_completion"][0]].tolist()
    assert qwen.tokenizer.decode(learnt) == f"<confidence>{number}</confidence><|im_end|>"
    assert qwen.tokenizer.decode(batch["labels"][0][batch["labels"][0] != IGNORED]) == PREFIX + qwen.tokenizer.decode(learnt)
    places = batch["decimals"][0].nonzero()[:, 0].tolist()
    assert [qwen.tokenizer.decode([token]) for token in batch["input_ids"][0, places].tolist()] == list(number[2:])
    assert batch["digit_targets"][0, places].tolist() == [pytest.approx(each, abs=1e-6) for each in decimals]
    assert batch["digit_targets"][0].sum() == pytest.approx(2), "no other token has a target of ten digits"


def test_digits_are_single_tokens_in_any_place(qwen: Any) -> None:
    assert decimal_tokens(qwen.tokenizer) == digit_tokens(qwen.tokenizer)


def test_credit_finds_the_confidence_and_its_first_decimal_whatever_tokens_its_tag_shares(qwen: Any) -> None:
    tokens = [*qwen.tokenizer(f"{PREFIX}<confidence>0.43</confidence>")["input_ids"], qwen.tokenizer.eos_token_id]
    start = confidence_start(tokens, qwen.tokenizer)
    assert "<confidence>" in qwen.tokenizer.decode(tokens[start:])
    assert "amusement" not in qwen.tokenizer.decode(tokens[start:])
    place = first_decimal(tokens, start, qwen.tokenizer)
    assert qwen.tokenizer.decode(tokens[place : place + 2]) == "43"


def test_the_digits_in_a_reply_are_read_back_with_their_probabilities(qwen: Any) -> None:
    from emocaliber.core.model import Tokens

    ids = qwen.tokenizer(f"{PREFIX}<confidence>0.43</confidence>")["input_ids"]
    pieces = [qwen.tokenizer.decode([each]).encode() for each in ids]
    place = first_decimal(ids, confidence_start(ids, qwen.tokenizer), qwen.tokenizer)
    log = [0.0] * len(ids)
    likeliest: list[dict[bytes, float]] = [{piece: 0.0} for piece in pieces]
    odds = torch.tensor(decimal_targets(0.43, 0.08).first).log().tolist()
    likeliest[place] = {str(digit).encode(): odds[digit] for digit in range(10)}
    log[place] = odds[4]
    number = stated_number(Tokens(pieces, log, likeliest))
    assert number is not None
    assert number.said == 0.43
    assert number.mean(1.0) == pytest.approx(sum(p * (k / 10 + 0.03) for k, p in enumerate(decimal_targets(0.43, 0.08).first)))
