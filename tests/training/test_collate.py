"""Training examples become tensors: labels, the completion's mask, and the loss by hand."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from emocaliber.core.response import Reasoning, Response, render
from emocaliber.emotions.taxonomy import taxonomy
from emocaliber.errors import UserError
from emocaliber.inference.engine import question_for
from emocaliber.training.collate import IGNORED, ExampleCollator, TrainingExample
from emocaliber.training.config import Stage1Config
from emocaliber.training.samples import training_rows
from emocaliber.training.stage2 import confidence_examples
from emocaliber.training.trainer import LossSettings, loss_mask, supervised_loss

LABELS = taxonomy("mikels-8").labels
ANSWER = render(Response(Reasoning("A coiled snake.", "Nobody.", "A dark forest.", "It is close.", "It evokes fear."), "fear"))


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """A square, a wide and a small image."""
    folder = tmp_path_factory.mktemp("images")
    paths = []
    for index, size in enumerate([(112, 112), (224, 112), (60, 60)]):
        path = folder / f"{index}.png"
        Image.new("RGB", size, (40 * index, 90, 120)).save(path)
        paths.append(str(path))
    return paths


def scaffold_row(image: str, response: str = ANSWER, truth: str = "fear") -> dict[str, Any]:
    return {
        "id": "a",
        "image": image,
        "task": "EmoSet-8",
        "candidates": list(LABELS),
        "ground_truth": truth,
        "response": response,
        "confidence": {"verb": None, "ans": 0.9, "avg": 0.9},
    }


@pytest.fixture(scope="module")
def examples(images: list[str]) -> list[TrainingExample]:
    """One training example of each stage, on images of different shapes, so that rows differ in length."""
    [stage2] = confidence_examples([scaffold_row(images[2])], "eq2", width=0.08, seed=0)
    return [
        TrainingExample(images[0], "Describe this image.", "A dark forest."),
        TrainingExample(images[1], question_for("EmoSet-8", LABELS, confidence=False), ANSWER),
        stage2,
    ]


@pytest.fixture(scope="module")
def batch(processor: Any, examples: list[TrainingExample]) -> dict[str, torch.Tensor]:
    return ExampleCollator(processor)(examples)


def said(batch: dict[str, torch.Tensor], index: int, mask: torch.Tensor, processor: Any) -> str:
    text: str = processor.tokenizer.decode(batch["input_ids"][index][mask])
    return text


def test_labels_are_the_tokens_of_prefix_completion_and_end_of_turn(
    batch: dict[str, torch.Tensor], examples: list[TrainingExample], processor: Any
) -> None:
    for index, example in enumerate(examples):
        loss_mask = batch["labels"][index] != IGNORED
        assert said(batch, index, loss_mask, processor) == example.prefix + example.completion + processor.tokenizer.eos_token
        assert (batch["labels"][index][loss_mask] == batch["input_ids"][index][loss_mask]).all()


def test_without_a_prefix_all_labels_are_in_the_completion(batch: dict[str, torch.Tensor]) -> None:
    for index in (0, 1):
        assert (batch["in_completion"][index] == (batch["labels"][index] != IGNORED)).all()


def test_a_confidence_example_marks_the_confidence_and_the_end_alone(batch: dict[str, torch.Tensor], processor: Any) -> None:
    # Equation 2: the scaffold was right with a mean token probability of 0.9.
    assert said(batch, 2, batch["in_completion"][2], processor) == "<confidence>0.95</confidence><|im_end|>"
    assert said(batch, 2, batch["decimals"][2], processor) == "95"


def test_the_prompt_ends_with_the_question_of_the_example(
    batch: dict[str, torch.Tensor], examples: list[TrainingExample], processor: Any
) -> None:
    for index, example in enumerate(examples):
        prompt = said(batch, index, (batch["labels"][index] == IGNORED) & batch["attention_mask"][index].bool(), processor)
        assert prompt.startswith("<|im_start|>user\n<|vision_start|><|image_pad|>")
        assert prompt.endswith(f"<|vision_end|>{example.question}<|im_end|>\n<|im_start|>assistant\n")


def test_every_image_has_one_token_for_four_patches(batch: dict[str, torch.Tensor], processor: Any) -> None:
    cells = batch["image_grid_thw"].prod(-1)
    assert len(set(cells.tolist())) > 1, "the images differ in size"
    assert ((batch["input_ids"] == processor.image_token_id).sum(-1) == cells // 4).all()
    assert len(batch["pixel_values"]) == cells.sum()
    assert ((batch["mm_token_type_ids"] == 1) == (batch["input_ids"] == processor.image_token_id)).all()


def test_padding_is_on_the_right(batch: dict[str, torch.Tensor], processor: Any) -> None:
    mask = batch["attention_mask"]
    lengths = mask.sum(-1)
    assert int(lengths.max()) == mask.shape[1]
    assert int(lengths.min()) < mask.shape[1]
    assert (mask == (torch.arange(mask.shape[1]) < lengths[:, None])).all()
    padding = ~mask.bool()
    assert (batch["input_ids"][padding] == processor.tokenizer.pad_token_id).all()
    assert (batch["labels"][padding] == IGNORED).all()
    assert not batch["in_completion"][padding].any()


def test_an_example_is_the_same_alone_and_in_a_batch(
    batch: dict[str, torch.Tensor], examples: list[TrainingExample], processor: Any
) -> None:
    for index, example in enumerate(examples):
        alone = ExampleCollator(processor)([example])
        length = alone["input_ids"].shape[1]
        for key in ("input_ids", "labels", "in_completion", "decimals", "attention_mask", "mm_token_type_ids"):
            assert (batch[key][index, :length] == alone[key][0]).all()


def test_a_wrong_answers_target_is_at_most_a_half(images: list[str]) -> None:
    [example] = confidence_examples([scaffold_row(images[0], truth="amusement")], "eq2", width=0.08, seed=0)
    distance = taxonomy("mikels-8").loop().distance("fear", "amusement")
    assert example.completion == f"<confidence>{0.5 - distance * 0.9:.2f}</confidence>"


@pytest.mark.parametrize("response", ["", "no tags", ANSWER[:-3], ANSWER + "<confidence>0.50</confidence>"])
def test_a_malformed_answer_gives_no_example(images: list[str], response: str) -> None:
    assert confidence_examples([scaffold_row(images[0], response)], "eq2", width=0.08, seed=0) == []


# A vocabulary of two; the tokens are prompt, prefix, completion, end in the first row and prompt, completion, end, padding in the second.
LOGITS = torch.tensor([[[0.0, 1.0], [2.0, 0.0], [0.0, 3.0], [9.0, 9.0]], [[0.0, 0.5], [1.0, 0.0], [7.0, 0.0], [9.0, 9.0]]])
TARGETS = torch.tensor([[IGNORED, 1, 0, 1], [IGNORED, 1, 1, IGNORED]])
IN_COMPLETION = torch.tensor([[False, False, True, True], [False, True, True, False]])
DECIMALS = torch.tensor([[False, False, True, False], [False, False, False, False]])
PLAIN = LossSettings()


REFERENCE = torch.tensor([[0.5, 0.0]])  # of the one prefix token


def loss_of(logits: torch.Tensor, settings: LossSettings, in_completion: torch.Tensor = IN_COMPLETION) -> torch.Tensor:
    """As the trainer has it: from the logits of the places that count, each the one before the token that it predicts."""
    targets, completion, decimals = TARGETS[:, 1:], in_completion[:, 1:], DECIMALS[:, 1:]
    places = loss_mask(targets, completion, settings)
    reference = REFERENCE if settings.anchor else None
    of_tokens = targets[places], completion[places], decimals[places]
    return supervised_loss(logits[:, :-1][places], *of_tokens, settings, reference=reference)


def surprise(chosen: float, other: float) -> float:
    return math.log(1 + math.exp(other - chosen))


def test_the_loss_by_hand() -> None:
    completion = [surprise(2, 0), surprise(3, 0), surprise(0.5, 0), surprise(0, 1)]
    before, now = (math.exp(odds) / (1 + math.exp(odds)) for odds in (0.5, -1.0))  # of the first token
    prefix = before * math.log(before / now) + (1 - before) * math.log((1 - before) / (1 - now))
    assert loss_of(LOGITS, PLAIN).item() == pytest.approx(sum(completion) / 4)
    assert loss_of(LOGITS, LossSettings(anchor=0.3)).item() == pytest.approx(sum(completion) / 4 + 0.3 * prefix)


def test_an_anchor_without_any_prefix_changes_nothing() -> None:
    everything = TARGETS != IGNORED
    assert loss_of(LOGITS, LossSettings(anchor=0.7), everything) == loss_of(LOGITS, PLAIN, everything)


def test_smoothing_spreads_a_decimals_target_over_the_digits_and_nothing_else() -> None:
    smoothed = loss_of(LOGITS, LossSettings(smoothing=0.2, digits=(0, 1)))
    decimal = 0.8 * surprise(2, 0) + 0.2 * (surprise(2, 0) + surprise(0, 2)) / 2
    assert smoothed.item() == pytest.approx((decimal + surprise(3, 0) + surprise(0.5, 0) + surprise(0, 1)) / 4)


def test_without_an_anchor_only_the_completion_has_a_gradient() -> None:
    logits = LOGITS.clone().requires_grad_()
    loss_of(logits, PLAIN).backward()
    assert logits.grad is not None
    # The logits before each completion token: those at its place, less one.
    assert (logits.grad.abs().sum(-1) > 0).tolist() == [[False, True, True, False], [True, True, False, False]]


def stage1(samples: Path) -> Stage1Config:
    return Stage1Config(model="m", out="o", samples=str(samples), learning_rate=1.0, batch_size=1)


def write(path: Path, *splits: str) -> Path:
    sample = {"task": "EmoSet-8", "candidates": ["awe", "fear"], "ground_truth": "awe", "source": "scenes"}
    rows = ({"id": str(i), "image": f"images/{i}.png", "split": split} | sample for i, split in enumerate(splits))
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_rows_come_with_absolute_image_paths(tmp_path: Path) -> None:
    rows = training_rows(stage1(write(tmp_path / "s.jsonl", "train", "train")))
    assert [row["image"] for row in rows] == [str(tmp_path / f"images/{i}.png") for i in range(2)]


def test_a_row_of_the_test_split_is_refused_by_its_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"s\.jsonl, line 3: split is 'test'"):
        training_rows(stage1(write(tmp_path / "s.jsonl", "train", "train", "test")))


def test_a_file_without_rows_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"s\.jsonl: there are no rows in it; training needs at least one"):
        training_rows(stage1(write(tmp_path / "s.jsonl")))


def test_decimals_learn_the_distributions_they_are_given(images: list[str], processor: Any) -> None:
    rows = [
        scaffold_row(images[0]) | {"id": "a", "votes": {"fear": 3, "awe": 1}},
        scaffold_row(images[1]) | {"id": "b", "votes": {"fear": 3, "awe": 17}},
    ]
    examples = confidence_examples(rows, "votes", width=0.05, seed=0)
    assert [example.decimals[0].index(max(example.decimals[0])) for example in examples] == [7, 1]
    assert examples == confidence_examples(rows, "votes", width=0.05, seed=0)
    batch = ExampleCollator(processor)(examples)
    sums = batch["digit_targets"].sum(-1)
    assert torch.allclose(sums, batch["decimals"].float()) and batch["decimals"].sum() == 4
    digits = tuple(range(10))
    logits = torch.zeros(3, 12)
    logits[1, 2] = 2.0
    decimals, completion, targets = torch.tensor([False, True, True]), torch.tensor([True, True, True]), torch.tensor([11, 2, 3])
    given = torch.zeros(3, 10)
    given[1, 2], given[1, 3], given[2, 0] = 0.75, 0.25, 1.0
    logs = logits.log_softmax(-1)
    expected = -(logs[0, 11] + 0.75 * logs[1, 2] + 0.25 * logs[1, 3] + logs[2, 0]) / 3
    found = supervised_loss(logits, targets, completion, decimals, LossSettings(digits=digits), given)
    assert found.item() == pytest.approx(expected.item(), abs=1e-6)


def test_targets_that_the_answers_cannot_give_are_refused(images: list[str]) -> None:
    with pytest.raises(UserError, match="sample 'a' has neither votes nor a posterior"):
        confidence_examples([scaffold_row(images[0])], "votes", width=0.05, seed=0)
    row = scaffold_row(images[0])
    with pytest.raises(UserError, match="needs the token probabilities"):
        confidence_examples([row | {"confidence": {"verb": 0.9}}], "calibrated", width=0.05, seed=0)
