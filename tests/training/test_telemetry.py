"""Monitoring a run: telemetry, roll-outs, held-out samples, trackers and the alarm."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import TrainerControl

from emocaliber.confidence.rewards import RewardSettings, reward
from emocaliber.core.response import Reasoning, Response, render
from emocaliber.core.scoring import outcome
from emocaliber.errors import UserError
from emocaliber.evaluation.trace import as_text, trace
from emocaliber.io.rows import read_rows
from emocaliber.models.card import read_card
from emocaliber.scenes.dataset import draw_samples
from emocaliber.training import stage3
from emocaliber.training.config import Stage3Config, load_config
from emocaliber.training.run import run_stage
from emocaliber.training.samples import validation_samples
from emocaliber.training.telemetry import CollapseAlarm, ConfidenceStats, StepLog, StoppedByAlarm, rollout_metrics, rollout_rows
from emocaliber.training.watching import held_out_metrics
from microscopic import letters_reward, save_untrained, write_configs

STEPS = Reasoning("a", "b", "c", "d", "e")


@pytest.fixture(scope="module")
def folder(processor: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Configurations, a base model, and held-out scenes."""
    made = write_configs(tmp_path_factory.mktemp("monitored"))
    save_untrained(processor, made / "stage0" / "model")
    for _ in draw_samples(made / "held-out", 6, seed=6, size=56, split="train", workers=1):
        pass
    return made


def stage3_config(folder: Path, out: Path, *overrides: str) -> Stage3Config:
    """Four steps of four roll-outs."""
    config = load_config("stage3", folder, [f"model={folder}/stage0/model", f"out={out}", "max_steps=4", *overrides])
    assert isinstance(config, Stage3Config)
    return config


def run_stage3(config: Stage3Config) -> Path:
    threads = torch.get_num_threads()
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(stage3, "reward", letters_reward)
            return run_stage("stage3", config)
    finally:
        torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def monitored(folder: Path) -> Path:
    """The folder of a stage 3 with held-out samples and TensorBoard."""
    held_out = f"validation={folder}/held-out/samples.jsonl"
    config = stage3_config(folder, folder / "monitored", held_out, "eval_steps=2", "report_to=tensorboard")
    run_stage3(config)
    return folder / "monitored"


def rows_of(out: Path, kind: str) -> list[dict[str, Any]]:
    return [row for row in read_rows(out / "telemetry.jsonl") if row["kind"] == kind]


@pytest.mark.slow
def test_each_step_leaves_its_rewards_kl_lengths_and_malformed_share(monitored: Path) -> None:
    rows = rows_of(monitored, "train")
    assert [row["step"] for row in rows] == [1, 2, 3, 4]
    wanted = {"loss", "reward", "reward_format", "reward_correct", "reward_confidence", "kl", "length", "cut_off", "rollouts/malformed"}
    for row in rows:
        assert wanted <= row.keys()
        assert row["rollouts/malformed"] == 1.0, "a model this small says nothing well-formed"


def test_held_out_samples_are_evaluated_first_at_intervals_and_last(monitored: Path) -> None:
    rows = rows_of(monitored, "held_out")
    assert [row["step"] for row in rows] == [0, 2, 4]
    assert all(row["n"] == 6 and row["malformed"] == 1.0 and row["groups"].keys() == {"ID VER", "overall"} for row in rows)
    assert all(row["groups"]["overall"]["accuracy"] == 0.0 and row["groups"]["overall"]["ece"] is None for row in rows)


def test_trackers_get_the_same_numbers(monitored: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    (file,) = (monitored / "checkpoints").rglob("events.out.tfevents.*")
    events = EventAccumulator(str(file.parent)).Reload()
    assert {"train/kl", "train/rewards/correct/mean", "train/rollouts/malformed", "eval/accuracy", "eval/ID VER/accuracy"} <= set(
        events.Tags()["scalars"]
    )
    assert [event.step for event in events.Scalars("eval/malformed")] == [0, 2, 4]


@pytest.mark.slow
def test_monitoring_changes_no_weight(folder: Path, monitored: Path) -> None:
    run_stage3(stage3_config(folder, folder / "unwatched"))
    one, other = (load_file(out / "model" / "model.safetensors") for out in (monitored, folder / "unwatched"))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_every_rollout_is_logged_with_its_reward(folder: Path, monitored: Path) -> None:
    rows = list(read_rows(monitored / "rollouts.jsonl"))
    assert [row["step"] for row in rows] == [step for step in (1, 2, 3, 4) for _ in range(4)]
    for first, second in zip(rows[::2], rows[1::2], strict=True):
        assert first["id"] == second["id"], "a group answers one question"
        for row, other in ((first, second), (second, first)):
            total, parts = letters_reward(row["text"])
            assert row["reward"] == pytest.approx({"total": total, **parts})
            assert row["advantage"] == pytest.approx((total - other["reward"]["total"]) / 2, abs=1e-6)


def test_the_temperature_of_the_rollouts_is_recorded_with_the_model(monitored: Path) -> None:
    assert read_card(monitored / "model")["rollout_temperature"] == 1.0


def test_a_trace_shows_the_rollouts_of_a_sample_in_a_run(monitored: Path) -> None:
    first = next(read_rows(monitored / "rollouts.jsonl"))
    found = trace(first["id"], monitored)
    assert [each["step"] for each in found["rollouts"]][:2] == [first["step"]] * 2
    assert found["task"] == "EmoSet-8"
    assert found["image_exists"]
    assert found["answers"] == [], "what the narrator wrote for stage 1 is no model's answer"
    text = as_text(found)
    assert f"step {first['step']}" in text
    assert f"{first['advantage']:+.3f}" in text


def test_an_unknown_sample_of_a_run_is_named(monitored: Path) -> None:
    with pytest.raises(UserError, match="has no sample 'nobody'"):
        trace("nobody", monitored)


@pytest.mark.slow
def test_a_run_stopped_by_an_alarm_keeps_its_checkpoint_and_resumes(
    folder: Path, monitored: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    held_out = f"validation={folder}/held-out/samples.jsonl"
    stopping = stage3_config(folder, tmp_path, held_out, "eval_steps=3", "save_steps=100", "stop_on_alarm=true")
    with monkeypatch.context() as patch:
        judgements = iter((None, "everything is sure"))
        patch.setattr(CollapseAlarm, "_judged", lambda *_: next(judgements))
        with pytest.raises(StoppedByAlarm, match=r"stopped by an alarm at step 3: everything is sure.*stop_on_alarm=false"):
            run_stage3(stopping)
    assert "alarm at step" in capsys.readouterr().err
    assert not (tmp_path / "model").exists()
    assert (tmp_path / "checkpoints" / "checkpoint-3").is_dir()
    assert [(row["step"], row["what"]) for row in rows_of(tmp_path, "alarm")] == [(3, "everything is sure")]

    run_stage3(dataclasses.replace(stopping, stop_on_alarm=False))
    one, other = (load_file(out / "model" / "model.safetensors") for out in (tmp_path, monitored))
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert [row["step"] for row in rows_of(tmp_path, "train")] == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("change", "complaint"),
    [({"split": "test"}, "is of the split 'test'"), ({}, "is also in .*held-out samples must not be trained on")],
)
def test_forbidden_validation_samples_are_refused(folder: Path, change: dict[str, str], complaint: str) -> None:
    config = stage3_config(folder, folder / "none")
    rows = [row | change for row in read_rows(config.samples)]
    file = Path(config.samples).parent / "chosen.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(UserError, match=complaint):
        validation_samples(dataclasses.replace(config, validation=str(file)))


def test_a_tracker_that_is_not_there_is_refused_by_name(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"report_to: there is no tracker 'crayon' here; installed are .*tensorboard"):
        run_stage3(stage3_config(folder, tmp_path, "report_to=tensorboard,crayon"))


# The numbers


def sample(identity: str, truth: str = "awe") -> dict[str, Any]:
    labels = ["awe", "fear", "anger", "disgust", "sadness", "amusement", "contentment", "excitement"]
    return {"id": identity, "task": "EmoSet-8", "candidates": labels, "ground_truth": truth}


def said(answer: str, confidence: float) -> str:
    return render(Response(STEPS, answer, confidence))


def test_rollouts_become_rows_and_metrics() -> None:
    texts = [said("awe", 0.95), said("fear", 0.75), "no tags", said("awe", 0.5)]
    earned = [reward(text, sample("a")["candidates"], "awe", RewardSettings())[1] for text in texts]
    parts = {name: [each[name] for each in earned] for name in ("format", "correct", "confidence")}
    rows = rollout_rows(7, [sample("a"), sample("a"), sample("b"), sample("b")], texts, parts, [0.5, -0.5, -1.0, 1.0])
    assert [(row["answer"], row["correct"], row["confidence"]) for row in rows] == [
        ("awe", True, 0.95),
        ("fear", False, 0.75),
        (None, False, None),
        ("awe", True, 0.5),
    ]
    assert [row["reward"]["total"] for row in rows] == pytest.approx([sum(each.values()) for each in earned])
    assert rollout_metrics(rows, group_size=2) == pytest.approx(
        {
            "rollouts/malformed": 1 / 4,
            "rollouts/confidence": (0.95 + 0.75 + 0.5) / 3,
            "rollouts/above_0.9": 1 / 3,
            "rollouts/spread_within_groups": 0.1,  # of the group that states more than one
        }
    )


def test_held_out_metrics_are_those_of_the_evaluation() -> None:
    answers = [("awe", 0.95), ("fear", 0.95), ("awe", 0.3), ("awe", 0.8)]
    found = held_out_metrics([outcome(sample(str(place)) | {"response": said(*each)}) for place, each in enumerate(answers)])
    overall = found["groups"]["overall"]
    assert (found["n"], found["malformed"], found["source"]) == (4, 0.0, "verb")
    assert overall["accuracy"] == 0.75
    assert overall["brier"] == pytest.approx((0.05**2 + 0.95**2 + 0.7**2 + 0.2**2) / 4)
    assert overall["ece"] == pytest.approx((2 * abs(0.5 - 0.95) + 0.7 + 0.2) / 4)
    assert overall["auroc"] == pytest.approx(0.5 / 3)
    assert found["histogram"] == [0, 0, 1, 0, 0, 0, 0, 1, 0, 2]
    assert found["reading"]["sure"] == 0.5
    assert found["reading"]["accuracy_if_sure"] == 0.5


# The alarm

SOBER = [(0.3, False), (0.6, True), (0.5, False), (0.8, True)] * 10
SURE = [(0.99, True), (0.98, False), (0.95, False), (0.4, True)] * 10
FLAT = [(0.41, True), (0.40, False), (0.41, False), (0.40, True)] * 10
RIGHTLY_SURE = [(0.95, True), (0.97, True), (0.95, True), (0.4, False)] * 10


def alarmed(*readings: list[tuple[float, bool]], stop: bool = False) -> tuple[CollapseAlarm, list[str], TrainerControl]:
    alarm, control = CollapseAlarm(stop), TrainerControl()
    rows = [row for step, stated in enumerate(readings) for row in alarm.on_stats("held_out", ConfidenceStats.of(stated), step, control)]
    return alarm, [row["what"] for row in rows], control


@pytest.mark.parametrize(
    ("start", "then", "complaint"),
    [
        (SOBER, SURE, "overconfidence: 75 % of answers are stated above 0.9 (at first 0 %), and 33 % of those are right"),
        (SOBER, FLAT, "one confidence for all: it is 0.40 with a standard deviation of 0.005 (at first 0.180)"),
    ],
)
def test_the_alarm_tells_both_collapses(start: Any, then: Any, complaint: str) -> None:
    (what,) = alarmed(start, then)[1]
    assert what.startswith(complaint)


@pytest.mark.parametrize(
    ("start", "then"),
    [(SURE, SURE), (SURE, SOBER), (SOBER, RIGHTLY_SURE), (SOBER, SOBER), (SOBER, SURE[:20]), (SOBER, [])],
    ids=["no surer than it was", "less sure", "rightly sure", "the same", "too few to judge by", "none"],
)
def test_the_alarm_is_silent_otherwise(start: Any, then: Any) -> None:
    assert alarmed(start, then)[1] == []


def test_the_alarm_stops_a_run_only_if_it_is_told_to() -> None:
    for stop in (False, True):
        alarm, _, control = alarmed(SOBER, SURE, stop=stop)
        assert (control.should_training_stop, control.should_save, alarm.stopped is not None) == (stop, stop, stop)


def test_a_resumed_run_is_still_compared_with_its_start() -> None:
    alarm = CollapseAlarm(stop=False)
    first = ConfidenceStats.of(SOBER)
    assert first
    alarm.recall([{"kind": "train", "step": 1}, {"kind": "held_out", "step": 0, "reading": vars(first)}])
    assert alarm.on_stats("held_out", ConfidenceStats.of(SURE), 5, TrainerControl())


def test_rows_after_the_checkpoint_are_dropped(tmp_path: Path) -> None:
    file = tmp_path / "log.jsonl"
    file.write_text('{"step": 1}\n{"step": 2}\n{"step": 3}\n{"st')
    log = StepLog(file)
    log.write([{"step": 9}])  # a process that has not opened it writes nothing
    log.resume_at(2)
    log.write([{"step": 3, "new": True}])
    log.close()
    assert list(read_rows(file)) == [{"step": 1}, {"step": 2}, {"step": 3, "new": True}]


def test_without_a_checkpoint_all_rows_are_dropped(tmp_path: Path) -> None:
    file = tmp_path / "log.jsonl"
    file.write_text('{"step": 0}\n{"step": 1}\n')
    log = StepLog(file)
    log.resume_at(0)
    log.write([{"step": 0, "new": True}])
    log.close()
    assert list(read_rows(file)) == [{"step": 0, "new": True}]
