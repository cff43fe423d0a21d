"""All four stages at microscopic scale: what each of them trains, and that kill and resume change nothing."""

from __future__ import annotations

import dataclasses
import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from emocaliber.confidence.rewards import RewardSettings, reward
from emocaliber.core.response import Reasoning, Response, render
from emocaliber.errors import UserError
from emocaliber.inference.engine import question_for
from emocaliber.io.rows import read_rows
from emocaliber.models.local import chat_prompt
from emocaliber.models.processor import load_processor
from emocaliber.training import stage3
from emocaliber.training.config import STAGES, Stage2Config, Stage3Config, load_config
from emocaliber.training.run import run_all, run_stage
from emocaliber.training.trainer import last_checkpoint
from microscopic import begun, kill_when, letters_reward, start, train_all, train_one, write_configs

TRAININGS = ("stage0/sight", *STAGES)
Weights = dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which all stages were trained without a break."""
    folder = write_configs(tmp_path_factory.mktemp("trained"))
    process = start(train_all, folder)
    process.join()
    assert process.exitcode == 0
    return folder


@pytest.fixture(autouse=True)
def _own_threads() -> Any:
    """Stages set the number of threads for the whole process."""
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def weights(folder: Path, stage: str) -> Weights:
    return load_file(folder / stage / "model" / "model.safetensors")


def changed(before: Weights, after: Weights, *, vision: bool) -> set[str]:
    """The weights of the vision encoder (merger included), or of all the rest, that are not the same to the bit."""
    assert before.keys() == after.keys()
    return {name for name in before if name.startswith("visual.") is vision and not torch.equal(before[name], after[name])}


def of_kind(held: Weights, *, vision: bool) -> set[str]:
    return {name for name in held if name.startswith("visual.") is vision}


def test_each_training_begins_once_and_in_order(trained: Path) -> None:
    assert begun(trained) == [(whose, 0) for whose in TRAININGS]


@pytest.mark.parametrize(("before", "after"), [("stage0", "stage1"), ("stage1", "stage2")])
def test_stages_1_and_2_leave_the_vision_encoder_as_it_is_and_train_the_rest(trained: Path, before: str, after: str) -> None:
    first, second = weights(trained, before), weights(trained, after)
    assert of_kind(first, vision=True)
    assert changed(first, second, vision=True) == set()
    assert changed(first, second, vision=False) == of_kind(first, vision=False)


def test_stage_3_trains_everything(trained: Path) -> None:
    first, second = weights(trained, "stage2"), weights(trained, "stage3")
    assert changed(first, second, vision=False) == of_kind(first, vision=False)
    assert changed(first, second, vision=True) == of_kind(first, vision=True)


def test_stage_0_keeps_the_pre_trained_vision_encoder(trained: Path) -> None:
    eyes: Weights = torch.load(trained / "stage0" / "sight" / "eyes.pt", weights_only=True)
    held = weights(trained, "stage0")
    assert all(torch.equal(held[f"visual.{name}"], value) for name, value in eyes.items())


def test_a_finished_stage_is_not_trained_again(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.stat().st_mtime_ns for path in trained.rglob("*.safetensors")}
    assert run_all(trained) == trained / "stage3" / "model"
    assert capsys.readouterr().out.count("already finished") == len(STAGES)
    assert {path: path.stat().st_mtime_ns for path in trained.rglob("*.safetensors")} == before


def test_every_stage_leaves_a_model_that_loads_with_its_processor(trained: Path) -> None:
    for stage in STAGES:
        assert load_processor(trained / stage / "model").image_processor.size["longest_edge"] == 56 * 56 + 28


@pytest.mark.slow
def test_training_killed_in_every_stage_ends_with_the_same_weights(trained: Path, tmp_path: Path) -> None:
    folder = write_configs(tmp_path)
    for whose in TRAININGS:
        kill_when(start(train_all, folder), folder, f"{whose}/checkpoints/checkpoint-*/trainer_state.json")
        # What a kill in the middle of writing leaves behind.
        half = folder / whose / "checkpoints" / "checkpoint-1000"
        half.mkdir()
        (half / "model.safetensors").write_bytes(b"half")
    last = start(train_all, folder)
    last.join()
    assert last.exitcode == 0

    entries = begun(folder)
    assert [whose for whose, _ in entries] == [whose for whose in TRAININGS for _ in range(2)]
    assert [step > 0 for _, step in entries] == [False, True] * len(TRAININGS)
    for stage in STAGES:
        one, other = weights(trained, stage), weights(folder, stage)
        assert all(torch.equal(one[name], other[name]) for name in one), stage


@pytest.mark.slow
@pytest.mark.parametrize("stage", STAGES)
def test_training_killed_after_its_last_step_does_no_further_step(trained: Path, tmp_path: Path, stage: str) -> None:
    kept = shutil.copytree(trained / stage, tmp_path / stage)
    shutil.rmtree(kept / "model")
    (kept / "sight" / "eyes.pt").unlink(missing_ok=True)
    process = start(train_one, stage, dataclasses.replace(load_config(stage, trained), out=str(kept)))
    process.join()
    assert process.exitcode == 0
    one, other = weights(trained, stage), weights(tmp_path, stage)
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.slow
def test_killed_scaffold_inference_resumes_with_the_same_answers(trained: Path, tmp_path: Path) -> None:
    config = load_config("stage2", trained)
    runs = [dataclasses.replace(config, out=str(tmp_path / name)) for name in ("killed", "whole")]
    kill_when(start(run_stage, "stage2", runs[0]), tmp_path / "killed", "scaffold.jsonl")
    file = tmp_path / "killed" / "scaffold.jsonl"
    given = file.read_bytes()
    for run in runs:
        with pytest.raises(UserError, match=r"none of the 32 answers in .*scaffold\.jsonl is well-formed.*train it longer"):
            run_stage("stage2", run)
    assert given.count(b"\n") < 32
    assert file.read_bytes().startswith(given[: given.rindex(b"\n") + 1])
    answers = [[(row["id"], row["response"], row["confidence"]) for row in read_rows(Path(run.out) / "scaffold.jsonl")] for run in runs]
    assert answers[0] == answers[1]
    assert len(answers[0]) == 32


def test_the_newest_complete_checkpoint_is_used_and_incomplete_ones_are_removed(tmp_path: Path) -> None:
    assert last_checkpoint(tmp_path) is None
    for step, whole in ((8, True), (20, True), (100, False)):
        folder = tmp_path / "checkpoints" / f"checkpoint-{step}"
        folder.mkdir(parents=True)
        (folder / "model.safetensors").write_bytes(b"weights")
        if whole:
            (folder / "trainer_state.json").write_text("{}")
    assert last_checkpoint(tmp_path) == str(tmp_path / "checkpoints" / "checkpoint-20")
    assert not folder.exists()


def test_stage_1_names_the_row_that_cannot_be_trained_on(trained: Path, tmp_path: Path) -> None:
    config = load_config("stage1", trained)
    rows = [row | {"image": str(Path(config.samples).parent / row["image"])} for row in read_rows(config.samples)]
    said, truth = rows[2]["response"], rows[2]["ground_truth"]
    other = next(label for label in rows[2]["candidates"] if label != truth)
    for field, value, complaint in (
        ("response", None, r"line 3: response cannot be a training target \(empty\)"),
        ("response", said + "<confidence>0.50</confidence>", r"line 3: response cannot be a training target \(unexpected_confidence\)"),
        ("ground_truth", other, f"line 3: response answers '{truth}', but ground_truth is '{other}'; filter such rows out"),
    ):
        file = tmp_path / "samples.jsonl"
        file.write_text("".join(json.dumps(row | ({field: value} if index == 2 else {})) + "\n" for index, row in enumerate(rows)))
        with pytest.raises(UserError, match=complaint):
            run_stage("stage1", dataclasses.replace(config, out=str(tmp_path / "out"), samples=str(file)))


@pytest.mark.parametrize("stage", STAGES[1:])
def test_a_stage_whose_predecessor_is_missing_says_so(trained: Path, tmp_path: Path, stage: str) -> None:
    config = dataclasses.replace(load_config(stage, trained), out=str(tmp_path / "out"), model=str(tmp_path / "none"))  # type: ignore[call-arg]
    with pytest.raises(UserError, match=r"cannot load .*none: "):
        run_stage(stage, config)


# Stage 3 and TRL


@dataclasses.dataclass
class Rollouts:
    """What TRL was asked, answered, and made of it, at each step: (B,) everywhere."""

    prompts: list[str] = dataclasses.field(default_factory=list)
    tokens: list[list[int]] = dataclasses.field(default_factory=list)
    texts: list[str] = dataclasses.field(default_factory=list)
    rewards: list[float] = dataclasses.field(default_factory=list)
    advantages: list[float] = dataclasses.field(default_factory=list)


@pytest.fixture(scope="module")
def short(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Stage3Config:
    config = load_config("stage3", trained)
    assert isinstance(config, Stage3Config)
    return dataclasses.replace(config, out=str(tmp_path_factory.mktemp("stage3")), max_steps=2, batch_size=8, group_size=4)


@pytest.fixture(scope="module")
def rollouts(short: Stage3Config) -> Rollouts:
    """Two steps of two questions with four answers each, recorded."""
    from trl import GRPOTrainer

    heard = Rollouts()
    generate, earn, score = GRPOTrainer._generate_single_turn, GRPOTrainer._calculate_rewards, GRPOTrainer._generate_and_score_completions

    def generating(self: Any, prompt_ids: Any, *args: Any, **kwargs: Any) -> Any:
        heard.prompts += [self.processing_class.tokenizer.decode(ids) for ids in prompt_ids]
        result = generate(self, prompt_ids, *args, **kwargs)
        heard.tokens += result[0]
        return result

    def earning(self: Any, inputs: Any, prompts: Any, completions: Any, ids: Any) -> Any:
        result = earn(self, inputs, prompts, completions, ids)
        heard.texts += [completion[0]["content"] for completion in completions]
        heard.rewards += result.sum(1).tolist()
        return result

    def scoring(self: Any, inputs: Any) -> Any:
        result = score(self, inputs)
        heard.advantages += result["advantages"].tolist()
        return result

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(GRPOTrainer, "_generate_single_turn", generating)
        patch.setattr(GRPOTrainer, "_calculate_rewards", earning)
        patch.setattr(GRPOTrainer, "_generate_and_score_completions", scoring)
        patch.setattr(stage3, "reward", letters_reward)
        run_stage("stage3", short)
    return heard


@pytest.mark.slow
def test_trls_prompt_is_that_of_every_other_stage(short: Stage3Config, rollouts: Rollouts) -> None:
    tokenizer = load_processor(short.model).tokenizer
    row = next(read_rows(short.samples))
    prompt = chat_prompt(question_for(row["task"], row["candidates"], confidence=True), tokenizer)
    assert set(rollouts.prompts) == {prompt.replace("<|image_pad|>", "<|image_pad|>" * 4)}, "56 x 56 pixels are four image tokens"


def test_rewards_reach_trl_as_they_were_computed(rollouts: Rollouts) -> None:
    assert len(rollouts.texts) == 16
    assert rollouts.rewards == pytest.approx([letters_reward(text)[0] for text in rollouts.texts])


def test_an_advantage_is_the_reward_less_the_mean_of_its_group(rollouts: Rollouts) -> None:
    groups = [rollouts.rewards[start : start + 4] for start in range(0, 16, 4)]
    assert any(len(set(group)) > 1 for group in groups)
    assert rollouts.advantages == pytest.approx([each - sum(group) / 4 for group in groups for each in group], abs=1e-6)


def test_no_image_is_ever_answered(short: Stage3Config, rollouts: Rollouts) -> None:
    forbidden = load_processor(short.model).tokenizer.convert_tokens_to_ids(["<|image_pad|>", "<|video_pad|>"])
    assert not {token for answer in rollouts.tokens for token in answer} & set(forbidden)


def test_the_mean_reward_parts_of_each_step_are_kept_with_the_model(short: Stage3Config, rollouts: Rollouts) -> None:
    steps = [entry for entry in json.loads((Path(short.out) / "model" / "rollouts.json").read_text()) if "reward" in entry]
    assert [entry["step"] for entry in steps] == [1, 2]
    for entry, texts in zip(steps, (rollouts.texts[:8], rollouts.texts[8:]), strict=True):
        for part in ("format", "correct", "confidence"):
            assert entry[f"rewards/{part}/mean"] == pytest.approx(sum(letters_reward(text)[1][part] for text in texts) / 8)


def test_rollouts_are_sampled_once_from_the_full_distribution_and_every_weight_is_trained(
    short: Stage3Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import trl

    given: dict[str, Any] = {}

    class Recorded(trl.GRPOTrainer):  # type: ignore[misc]
        def __init__(self, **arguments: Any) -> None:
            given.update(arguments)
            raise InterruptedError

    monkeypatch.setattr(trl, "GRPOTrainer", Recorded)
    with pytest.raises(InterruptedError):
        run_stage("stage3", dataclasses.replace(short, out=str(tmp_path), temperature=0.8))
    arguments = given["args"]
    assert (arguments.num_iterations, arguments.temperature) == (1, 0.8)
    assert (arguments.top_k, arguments.top_p, arguments.min_p, arguments.repetition_penalty) == (0, 1.0, None, 1.0)
    assert all(weight.requires_grad for weight in given["model"].parameters())


def test_the_reward_parts_are_those_of_the_scorer() -> None:
    settings = RewardSettings(confidence="brier")
    labels = ["fear", "awe"]
    steps = Reasoning("a", "b", "c", "d", "e")
    texts = [render(Response(steps, "fear", 0.9)), render(Response(steps, "awe", 0.9)), "no tags"]
    functions = stage3.reward_functions(settings)
    assert [function.__name__ for function in functions] == ["format", "correct", "confidence"]
    rows = {"candidates": [labels] * 3, "ground_truth": ["fear"] * 3, "task": ["EmoSet-8"] * 3, "image": [None] * 3}
    said = [[{"role": "assistant", "content": text}] for text in texts]
    totals = [math.fsum(parts) for parts in zip(*(function(said, **rows) for function in functions), strict=True)]
    assert totals == pytest.approx([reward(text, labels, "fear", settings)[0] for text in texts])
    assert totals[0] > totals[1] >= totals[2]


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"group_size": 3}, r"group_size must be at least 2 and divide batch_size x accumulation = 8, not 3"),
        ({"group_size": 1}, r"group_size must be at least 2"),
        ({"batch_size": 256}, r"samples\.jsonl has 32 rows, but a step takes 64 questions; make batch_size smaller"),
        ({"credit": "some"}, "there is no credit 'some'; there are response, decoupled"),
        ({"credit": "decoupled", "normalise_advantages": True}, 'normalise_advantages needs credit = "response"'),
        ({"credit": "decoupled", "shared_prefix": False}, 'credit = "decoupled" needs shared_prefix = true'),
        ({"digit_entropy": -0.1}, "digit_entropy must not be negative, but is -0.1"),
        ({"reward": "hope"}, "there is no reward preset 'hope'; there are default, paper, released"),
    ],
)
def test_impossible_groups_are_refused_before_anything_is_loaded(
    short: Stage3Config, tmp_path: Path, settings: dict[str, Any], complaint: str
) -> None:
    config = dataclasses.replace(short, out=str(tmp_path), model="nowhere", **settings)
    with pytest.raises(UserError, match=complaint):
        run_stage("stage3", config)


def test_a_scaffold_file_without_a_usable_answer_is_refused_by_name(trained: Path, tmp_path: Path) -> None:
    config = load_config("stage2", trained)
    assert isinstance(config, Stage2Config)
    rows = [row | {"response": "no tags"} for row in read_rows(Path(config.out) / "scaffold.jsonl")]
    (tmp_path / "scaffold.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(UserError, match="none of the 32 answers"):
        run_stage("stage2", dataclasses.replace(config, out=str(tmp_path), model="nowhere"))
