"""What `ray.data.llm` is given and gives: a sample row becomes messages, and vLLM's tokens a recorded answer that `respond` reads."""

from __future__ import annotations

import base64
import io
import json
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from emocaliber.__main__ import main
from emocaliber.core.samples import Sample, read_samples
from emocaliber.errors import UserError
from emocaliber.inference.engine import question_for
from emocaliber.integrations.ray_llm import from_tokens, is_readable, to_messages
from emocaliber.io.rows import read_rows, write_rows
from emocaliber.scenes.dataset import draw_samples


@pytest.fixture
def sample(tmp_path: Path) -> Sample:
    list(draw_samples(tmp_path / "scenes", 1, 0, size=56, workers=1))
    return next(iter(read_samples(tmp_path / "scenes" / "samples.jsonl")))


def places(*said: dict[str, float]) -> tuple[list[int], list[dict[int, dict[str, Any]]]]:
    """Ids and log-probabilities as vLLM gives them: at each place the first is what was said."""
    ids = {text: number for number, text in enumerate(dict.fromkeys(text for place in said for text in place))}
    told = [{ids[text]: {"logprob": value, "rank": 1, "decoded_token": text} for text, value in place.items()} for place in said]
    return [ids[next(iter(place))] for place in said], told


def test_a_row_becomes_one_turn_with_the_question_of_respond_and_the_picture_itself(sample: Sample) -> None:
    made = to_messages(sample.to_row())
    (turn,) = made["messages"]
    image, text = turn["content"]
    assert (made["id"], turn["role"], text["text"]) == (sample.id, "user", question_for(sample.task, sample.candidates))
    seen = Image.open(io.BytesIO(base64.b64decode(image["image_url"]["url"].partition("base64,")[2])))
    assert np.array_equal(np.asarray(seen.convert("RGB")), np.asarray(Image.open(sample.image).convert("RGB")))
    assert made["sampling_params"] == {"max_tokens": 1024, "temperature": 0.0, "logprobs": 20}


def test_the_seed_of_a_sampled_answer_is_the_samples_own(sample: Sample) -> None:
    row = sample.to_row()
    seeds = {to_messages(row | {"id": identity}, temperature=0.7)["sampling_params"]["seed"] for identity in "aab"}
    assert len(seeds) == 2


def test_a_picture_that_cannot_be_opened_is_known_before_it_is_asked_about(sample: Sample) -> None:
    row = sample.to_row()
    assert is_readable(row)
    Path(sample.image).write_bytes(b"no picture")
    assert not is_readable(row)
    with pytest.raises(UserError, match=sample.id):
        to_messages(row)


def test_tokens_become_an_answer_whose_confidences_respond_reads(sample: Sample, tmp_path: Path) -> None:
    tokens, logprobs = places(
        {"<answer>": -0.01, "I": -5.0},
        {"fear": -0.1, "awe": -2.5},
        {"</answer><confidence>0.": -0.01},
        {"7": -0.7, "8": -0.8},
        {"</confidence>": -0.02},
    )
    text = "<answer>fear</answer><confidence>0.7</confidence>"
    write_rows(tmp_path / "answers.jsonl", [json.loads(json.dumps(from_tokens(sample.id, text, tokens, logprobs)))])
    words = [str(tmp_path / "scenes"), "--model", f"recorded:{tmp_path / 'answers.jsonl'}", "--out", str(tmp_path / "run")]
    assert main(["respond", *words]) == 0
    (row,) = read_rows(tmp_path / "run" / "responses.jsonl")
    assert row["response"] == text
    assert row["confidence"]["ans"] == pytest.approx(np.exp(-0.1))
    low, high = np.exp(-0.7), np.exp(-0.8)
    assert row["confidence"]["verb_mean"] == pytest.approx((0.7 * low + 0.8 * high) / (low + high))


def test_a_table_that_gives_each_place_the_keys_of_all_makes_no_difference() -> None:
    tokens, logprobs = places({"a": -0.1, "b": -2.0}, {"c": -0.2})
    widened = [{str(key): place.get(key) for key in range(3)} for place in logprobs]
    assert from_tokens("x", "ac", tokens, widened) == from_tokens("x", "ac", tokens, logprobs)


def test_without_log_probabilities_there_is_the_text_alone() -> None:
    assert from_tokens("x", "<answer>awe</answer>") == {"id": "x", "response": "<answer>awe</answer>"}
    tokens, logprobs = places({"a": -0.1})
    assert from_tokens("x", "a", [tokens[0] + 1], logprobs) == {"id": "x", "response": "a"}


def test_both_can_be_sent_to_workers_and_import_neither_ray_nor_torch() -> None:
    assert pickle.loads(pickle.dumps(to_messages)) is to_messages
    assert pickle.loads(pickle.dumps(from_tokens)) is from_tokens
    code = "import sys, emocaliber.integrations.ray_llm; print(sorted(set(sys.modules) & {'ray', 'torch', 'vllm', 'transformers'}))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
