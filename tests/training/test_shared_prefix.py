"""A group in one sequence has the log-probabilities, gradients and roll-outs of separate sequences."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.utils.rnn import pad_sequence
from transformers import GenerationConfig

from emocaliber.models.local import chat_prompt
from emocaliber.training.seam import SharedPrefixMixin
from emocaliber.training.shared_prefix import PromptGroup, branched_generate, group_logps, prompt_groups, tree_mask
from microscopic import start
from small_grpo import ANSWERS, QUESTIONS, SENTENCE, SIDES, SIZE, TEMPERATURE, noise, small_model, steps_of, trainer_of

Batch = dict[str, torch.Tensor]


@pytest.fixture
def model(processor: Any) -> Any:
    return small_model(processor)


@pytest.fixture(scope="session")
def prompts(processor: Any) -> Batch:
    """Three prompts of different lengths, with images of different sizes, padded on the left."""
    images = [noise(*side, seed) for seed, side in enumerate(SIDES)]
    texts = [chat_prompt(question, processor.tokenizer) for question in QUESTIONS]
    return dict(processor(images=images, text=texts, padding=True, return_tensors="pt"))


@pytest.fixture(scope="session")
def batch(processor: Any, prompts: Batch) -> tuple[Batch, int]:
    """Four answers to each prompt, as TRL lays them out, and the length of the longest one.

    Other answers to other prompts: some end, some were cut off, some are malformed, and the shortest is nothing but an end.
    """
    tokenizer, end = processor.tokenizer, processor.tokenizer.eos_token_id
    answers = []
    for number in range(len(QUESTIONS)):
        for text in ANSWERS:
            tokens = tokenizer(text + "again " * number * bool(text))["input_ids"]
            answers.append(torch.tensor(tokens[:-1] if text == "it is" else [*tokens, end]))
    masks = [torch.ones_like(answer) for answer in answers]
    ids, mask = (pad_sequence(values, batch_first=True) for values in (answers, masks))
    rows = {
        name: prompts[name].repeat_interleave(SIZE, 0) for name in ("input_ids", "attention_mask", "mm_token_type_ids", "image_grid_thw")
    }
    patches = prompts["pixel_values"].split(prompts["image_grid_thw"].prod(-1).tolist())
    return {
        "input_ids": torch.cat([rows["input_ids"], ids], 1),
        "attention_mask": torch.cat([rows["attention_mask"], mask], 1),
        "mm_token_type_ids": torch.cat([rows["mm_token_type_ids"], torch.zeros_like(ids)], 1),
        "image_grid_thw": rows["image_grid_thw"],
        "pixel_values": torch.cat([each for each in patches for _ in range(SIZE)]),
    }, ids.shape[1]


def groups(batch: tuple[Batch, int]) -> list[PromptGroup]:
    return prompt_groups(answer_length=batch[1], size=SIZE, **batch[0])


def one_by_one(model: Any, batch: tuple[Batch, int]) -> tuple[torch.Tensor, torch.Tensor]:
    """The reference: every answer behind its own copy of image and prompt."""
    inputs, length = batch
    logps = (model(**inputs).logits[:, -length - 1 : -1] / TEMPERATURE).log_softmax(-1)
    answered = inputs["attention_mask"][:, -length:].bool()
    chosen = logps.gather(-1, inputs["input_ids"][:, -length:, None])[..., 0]
    return chosen[answered], -(logps.exp() * logps).sum(-1)[answered]


def test_log_probabilities_and_entropies_equal_those_of_separate_sequences(model: Any, batch: tuple[Batch, int]) -> None:
    shared, plain = group_logps(model, groups(batch)), one_by_one(model, batch)
    assert plain[0].std() > 0.5, "the model must tell tokens apart"
    for ours, theirs in zip(shared[:2], plain, strict=True):
        assert ours is not None
        assert torch.allclose(ours, theirs, atol=1e-5)


def test_every_parameters_gradient_is_the_same_including_the_vision_encoders(model: Any, batch: tuple[Batch, int]) -> None:
    weights = torch.linspace(-1, 1, len(one_by_one(model, batch)[0]))  # as advantages: of either sign, and none the same
    gradients = []
    for logps in (group_logps(model, groups(batch))[0], one_by_one(model, batch)[0]):
        model.zero_grad()
        (logps * weights).mean().backward()
        gradients.append({name: parameter.grad.clone() for name, parameter in model.named_parameters()})
    shared, plain = gradients
    for name, gradient in plain.items():
        assert gradient.abs().max() > 0, name
        assert torch.allclose(shared[name], gradient, atol=1e-5 * float(gradient.abs().max())), name


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_the_number_of_groups_per_forward_pass_does_not_matter(model: Any, batch: tuple[Batch, int], attention: str) -> None:
    model.set_attn_implementation(attention)
    together = group_logps(model, groups(batch))[0]
    assert torch.allclose(group_logps(model, groups(batch), at_once=1)[0], together, atol=1e-5)
    assert torch.allclose(group_logps(model, groups(batch), at_once=2)[0], together, atol=1e-5)


@pytest.mark.parametrize("at_once", [0, 1, 2])
def test_queried_positions_have_the_log_probabilities_of_alternatives(model: Any, batch: tuple[Batch, int], at_once: int) -> None:
    inputs, length = batch
    places = torch.tensor([0, 3, -1, 0, -1, -1, -1, -1, 2, 1, 0, -1])
    tokens = [5, 9, 40]
    queried = prompt_groups(answer_length=length, size=SIZE, queried=places, **inputs)
    found = group_logps(model, queried, at_once, tokens)
    plain = (model(**inputs).logits[:, -length - 1 : -1] / TEMPERATURE).log_softmax(-1)
    wanted = torch.stack([plain[row, place, tokens] for row, place in enumerate(places.tolist()) if place >= 0])
    assert torch.allclose(found.alternatives, wanted, atol=1e-5)
    for ours, unqueried in zip(found[:2], group_logps(model, groups(batch))[:2], strict=True):
        assert torch.allclose(ours, unqueried, atol=1e-5), "a query changes nothing else"


def test_padding_may_be_on_either_side(batch: tuple[Batch, int]) -> None:
    inputs, length = batch
    shift = inputs["attention_mask"].shape[1] - length - inputs["attention_mask"][:, :-length].sum(-1)
    turned = dict(inputs)
    for name in ("input_ids", "attention_mask", "mm_token_type_ids"):
        prompts = [row[:-length].roll(-int(by)) for row, by in zip(inputs[name], shift, strict=True)]
        turned[name] = torch.cat([torch.stack(prompts), inputs[name][:, -length:]], 1)
    assert int(shift.max()) > 0
    for left, right in zip(groups(batch), groups((turned, length)), strict=True):
        assert torch.equal(left.prompt, right.prompt)
        assert torch.equal(left.types, right.types)


def test_a_fully_masked_answer_has_no_tokens(model: Any, batch: tuple[Batch, int]) -> None:
    inputs, length = batch
    mask = inputs["attention_mask"].clone()
    mask[1, -length:] = 0
    left = (inputs | {"attention_mask": mask}, length)
    assert torch.allclose(group_logps(model, groups(left))[0], one_by_one(model, left)[0], atol=1e-5)


def test_a_token_sees_the_prompt_and_its_own_answer() -> None:
    seen = tree_mask(torch.tensor([[0, 0, 1, 1, 2, -1]]), torch.float32)[0, 0] == 0
    assert seen.int().tolist() == [
        [1, 0, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0],
        [1, 1, 1, 0, 0, 0],
        [1, 1, 1, 1, 0, 0],
        [1, 1, 0, 0, 1, 0],
        [1, 1, 0, 0, 0, 1],
    ]


# Roll-outs


def generation(**settings: Any) -> GenerationConfig:
    return GenerationConfig(max_new_tokens=12, pad_token_id=0, suppress_tokens=[5], **settings)


def test_greedy_answers_from_a_branched_cache_are_those_from_whole_prompts(model: Any, prompts: Batch) -> None:
    plain = model.generate(**prompts, generation_config=generation(do_sample=False))
    branched = branched_generate(model, 3, **prompts, generation_config=generation(do_sample=False))
    assert torch.equal(branched, plain.repeat_interleave(3, 0))
    assert len({tuple(row.tolist()) for row in plain[:, -12:]}) == len(QUESTIONS), "the answers must depend on the prompts"


def test_sampled_answers_are_those_from_whole_prompts_and_differ_within_a_group(model: Any, prompts: Batch) -> None:
    settings = {"do_sample": True, "temperature": 0.9, "top_k": 0}
    torch.manual_seed(1)
    plain = model.generate(**prompts, generation_config=generation(**settings), num_return_sequences=3)
    torch.manual_seed(1)
    branched = branched_generate(model, 3, **prompts, generation_config=generation(**settings))
    assert torch.equal(branched, plain)
    assert len({tuple(row.tolist()) for row in branched}) == 3 * len(QUESTIONS)


# The trainer


def assert_same_steps(processor: Any, folder: Path, **settings: Any) -> None:
    (logs, weights), (plain_logs, plain_weights) = (
        steps_of(trainer_of(processor, folder, shared_prefix=shared, **settings)) for shared in (True, False)
    )
    for entry, plain in zip(logs, plain_logs, strict=True):
        for key in plain.keys() & {"loss", "grad_norm", "reward", "kl", "entropy", "clip_ratio/region_mean", "completions/mean_length"}:
            assert entry[key] == pytest.approx(plain[key], abs=1e-4, rel=1e-4), key
    assert abs(logs[-1]["loss"]) > 1e-3
    for name, weight in plain_weights.items():
        assert torch.allclose(weights[name], weight, atol=1e-5), name


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings", [{}, {"gradient_accumulation_steps": 2}, {"gradient_checkpointing": True}], ids=["one micro-batch", "two", "checkpointed"]
)
def test_a_step_equals_trls(processor: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str], settings: dict[str, Any]) -> None:
    assert_same_steps(processor, tmp_path, **settings)
    assert SENTENCE not in capfd.readouterr().err


@pytest.mark.slow
def test_under_autocast_to_16_bits_both_computations_agree_within_tolerance(
    processor: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    logs, plain = (steps_of(trainer_of(processor, tmp_path, shared_prefix=shared, bf16=True))[0][0] for shared in (True, False))
    assert SENTENCE not in capfd.readouterr().err
    assert logs["kl"] == pytest.approx(plain["kl"], rel=0.1)


@pytest.fixture
def unshuffled(monkeypatch: pytest.MonkeyPatch) -> None:
    """TRL with its answers in order: it would make other micro-batches of them, and its next roll-outs would have other random numbers."""
    monkeypatch.setattr("trl.trainer.grpo_trainer.shuffle_sequence_dict", lambda batch: batch)


@pytest.mark.slow
@pytest.mark.usefixtures("unshuffled")
def test_adapters_get_the_same_update(processor: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    peft = pytest.importorskip("peft")
    adapters = peft.LoraConfig(r=4, target_modules=r".*(q_proj|qkv)", task_type="CAUSAL_LM")
    assert_same_steps(processor, tmp_path, peft_config=adapters, max_steps=2)
    assert SENTENCE not in capfd.readouterr().err


@pytest.mark.slow
@pytest.mark.usefixtures("unshuffled")
def test_steps_with_an_old_policy_equal_trls(processor: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert_same_steps(processor, tmp_path, steps_per_generation=2, num_iterations=2, max_steps=4, learning_rate=0.1)
    assert SENTENCE not in capfd.readouterr().err


@pytest.mark.slow
def test_micro_batches_hold_whole_groups(processor: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[PromptGroup]] = []

    def recorded(model: Any, groups: list[PromptGroup], *rest: Any) -> Any:
        seen.append(groups)
        return group_logps(model, groups, *rest)

    monkeypatch.setattr("emocaliber.training.seam.group_logps", recorded)
    steps_of(trainer_of(processor, tmp_path, gradient_accumulation_steps=2))
    (at_start,), reference, *policy = seen
    assert len(at_start.answers) == 2, "two rows are compared with TRL before the first step"
    assert [len(groups) for groups in seen[1:]] == [4, 2, 2]
    for group, again in zip(reference, [group for groups in policy for group in groups], strict=True):
        assert len(group.answers) == SIZE
        assert all(map(torch.equal, group.answers, again.answers))
        assert torch.equal(group.pixels, again.pixels)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"per_device_train_batch_size": 2, "gradient_accumulation_steps": 4}, "a batch of 2 does not hold whole groups of 4"),
        ({"attention": "flash_attention_2", "beta": 0.0}, "flash_attention_2 attention takes no tree mask (sdpa does)"),
    ],
)
def test_a_warning_says_why_prefixes_cannot_be_shared(
    processor: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str], settings: dict[str, Any], reason: str
) -> None:
    trainer_of(processor, tmp_path, **settings)
    assert capfd.readouterr().err.splitlines()[-1] == f"stage 3 {SENTENCE}: {reason}"


@pytest.mark.slow
@pytest.mark.parametrize("what", ["two rows at the start", "answers", "roll-outs"])
def test_trls_computation_is_used_with_a_warning_if_the_numbers_differ(
    processor: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    plain = steps_of(trainer_of(processor, tmp_path, shared_prefix=False))
    if what != "roll-outs":
        monkeypatch.setattr("emocaliber.training.shared_prefix.tree_mask", lambda branches, dtype: tree_mask(branches * 0, dtype))
        if what == "answers":
            monkeypatch.setattr(SharedPrefixMixin, "check_fit", lambda self: None)
    else:
        # Each group gets the cache of another prompt.
        def mixed_up(cache: Any, times: int) -> None:
            cache.batch_select_indices(torch.arange(len(cache.layers[0].keys)).roll(1).repeat_interleave(times))

        monkeypatch.setattr("transformers.DynamicCache.batch_repeat_interleave", mixed_up)
    capfd.readouterr()
    broken_steps = steps_of(trainer_of(processor, tmp_path))
    sentences = [line for line in capfd.readouterr().err.splitlines() if SENTENCE in line]
    assert len(sentences) == 1
    assert f"the log-probabilities of {what} differ by" in sentences[0]
    assert broken_steps[0][0]["loss"] == pytest.approx(plain[0][0]["loss"], abs=1e-5)
    assert all(torch.allclose(weight, plain[1][name], atol=1e-5) for name, weight in broken_steps[1].items())


def in_two_processes(rank: int, port: int, processor: Any, folder: Path) -> None:
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.set_num_threads(1)
    for shared in (True, False):
        logs, weights = steps_of(trainer_of(processor, folder / str(rank), shared_prefix=shared, per_device_train_batch_size=4))
        torch.save((logs, weights), folder / f"{shared}-{rank}.pt")


@pytest.mark.slow
def test_two_processes_make_the_same_step_with_and_without_sharing(processor: Any, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    processes = [start(in_two_processes, rank, port, processor, tmp_path) for rank in range(2)]
    for process in processes:
        process.join()
        assert process.exitcode == 0
    results = {(shared, rank): torch.load(tmp_path / f"{shared}-{rank}.pt") for shared in (True, False) for rank in range(2)}
    logs, weights = results[True, 0]
    assert logs[0]["loss"] == pytest.approx(results[False, 0][0][0]["loss"], abs=1e-5)
    for other in results.values():
        for name, weight in weights.items():
            assert torch.allclose(weight, other[1][name], atol=1e-5), name
