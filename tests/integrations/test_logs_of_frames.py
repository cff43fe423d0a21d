"""Rows to the logs of lmms-eval and inspect_ai, and back: the numbers of `score` are the same, to the last digit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from emocaliber.core.response import Reasoning, Response, render
from emocaliber.core.scoring import outcome
from emocaliber.errors import UserError
from emocaliber.evaluation.answers.reader import read_answers
from emocaliber.evaluation.score import score
from emocaliber.integrations.frame_metrics import AGGREGATE, METRICS, contributions
from emocaliber.integrations.lmms_eval import export_lmms_eval
from emocaliber.integrations.lmms_eval_log import write_lmms_eval_logs

STEPS = Reasoning("a dog", "nobody", "a park", "it runs", "this suggests joy")
LABELS = {"FI-2": ["positive", "negative"], "Mine": ["calm", "tense"]}
STATED = (0.93, 0.71, 0.55, 0.64, None, 0.8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A benchmark of two tasks, and answers.jsonl: right, wrong, malformed, failed, and without a confidence."""
    samples, rows = [], []
    for task, labels in LABELS.items():
        Image.new("RGB", (6, 4), (9, 8, 7)).save(tmp_path / f"{task}.png")
        for number, stated in enumerate(STATED):
            sample = {
                "id": f"{task}/{number}",
                "image": f"{task}.png",
                "task": task,
                "candidates": labels,
                "ground_truth": labels[number % 2],
            }
            samples.append(sample | {"source": "x", "split": "test"})
            said: str | None = render(Response(STEPS, labels[number // 2 % 2], stated, ()))
            row: dict[str, Any] = {"response": said, "confidence": {"verb": stated, "norm": 0.5 + number / 20}, "error": None, "model": "m"}
            if number == 5:
                row |= {"response": None, "error": {"code": "timeout", "message": "too late"}} if task == "Mine" else {"response": "hm"}
            rows.append(sample | row | {"calibrated": 0.6})
    for name, content in {"test.jsonl": samples, "answers.jsonl": rows}.items():
        (tmp_path / name).write_text("".join(json.dumps(each) + "\n" for each in content))
    return tmp_path


def numbers(source: Path) -> Any:
    summary = score(source, replicates=200).summary
    kept = ("n", "accuracy", "f1_macro", "malformed", "confidence")
    return {scope: {name: value for name, value in found.items() if name in kept} for scope, found in summary["tasks"].items()}


def test_the_metrics_of_frames_are_those_of_score(folder: Path) -> None:
    rows = [row for _, row in read_answers(folder / "answers.jsonl").rows if row["task"] == "FI-2"]
    added = [contributions(outcome(row)) for row in rows]
    (folder / "one.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = score(folder / "one.jsonl", replicates=200).summary["tasks"]["FI-2"]
    expected = {"accuracy": found["accuracy"], "f1_macro": found["f1_macro"], "malformed": found["malformed"]["share"]}
    expected |= {name: found["confidence"]["verb"][name] for name in ("coverage", "ece", "brier", "auroc")}
    assert {name: AGGREGATE[name]([each[name] for each in added]) for name in METRICS} == expected


def test_rows_go_to_lmms_eval_and_back(folder: Path) -> None:
    export_lmms_eval(folder, folder / "tasks")
    files = write_lmms_eval_logs(folder / "answers.jsonl", folder / "tasks", folder / "logs")
    assert [file.name for file in files] == ["vecbench_fi_2.json", "vecbench_mine.json"]
    content = json.loads(files[0].read_text())
    assert content["model_configs"]["task"] == "vecbench_fi_2"
    assert [log["doc_id"] for log in content["logs"]] == list(range(len(STATED)))
    for file, task in zip(files, LABELS, strict=True):
        back = numbers(file)[task]
        assert back["accuracy"] == numbers(folder / "answers.jsonl")[task]["accuracy"]
        assert back["confidence"] == numbers(folder / "answers.jsonl")[task]["confidence"]


def test_answers_to_other_samples_are_refused(folder: Path) -> None:
    export_lmms_eval(folder, folder / "tasks")
    lines = (folder / "answers.jsonl").read_text().splitlines(keepends=True)
    (folder / "fewer.jsonl").write_text("".join(lines[1:]))
    with pytest.raises(UserError, match=r"no answer for 1 of the 12 samples .*'FI-2/0'"):
        write_lmms_eval_logs(folder / "fewer.jsonl", folder / "tasks", folder / "logs")
    (folder / "tasks/data/vecbench_mine.jsonl").unlink()
    with pytest.raises(UserError, match="6 answers to other samples"):
        write_lmms_eval_logs(folder / "answers.jsonl", folder / "tasks", folder / "logs")


def test_a_log_of_inspect_keeps_what_this_package_knows_of_a_sample(tmp_path: Path) -> None:
    known = {
        "task": "FI-2",
        "candidates": LABELS["FI-2"],
        "confidence": {"verb": 0.7, "norm": 0.9},
        "image": "a.png",
        "votes": {"positive": 3},
    }
    samples = [
        {"id": "a", "epoch": 1, "target": "positive", "choices": LABELS["FI-2"], "metadata": known},
        {"id": "b", "epoch": 1, "target": "negative", "choices": LABELS["FI-2"], "metadata": {**known, "votes": {"negative": 2}}},
    ]
    texts = [render(Response(STEPS, "positive", 0.7, ())), "none"]
    samples = [each | {"output": {"completion": text}, "scores": {}} for each, text in zip(samples, texts, strict=True)]
    (tmp_path / "log.json").write_text(json.dumps({"eval": {"task": "emocaliber/vec", "model": "m"}, "samples": samples}))
    first, second = (row for _, row in read_answers(tmp_path / "log.json").rows)
    assert (first["task"], first["image"], first["votes"]) == ("FI-2", "a.png", {"positive": 3})
    assert first["confidence"] == {"verb": 0.7, "norm": 0.9}
    assert outcome(first).correct
    assert outcome(second).malformed


def test_the_five_steps_that_inspect_takes_for_reasoning_are_read_with_the_answer(tmp_path: Path) -> None:
    whole = render(Response(STEPS, "positive", 0.7, ()))
    steps, answer = whole.removeprefix("<think>").split("</think>")
    thoughts = {"ours": steps, "another's": "Hm. <answer>negative</answer>? No."}
    samples = [
        {
            **{"id": name, "target": "positive", "choices": LABELS["FI-2"], "metadata": {"task": "FI-2", "candidates": LABELS["FI-2"]}},
            "output": {
                "completion": answer,
                "choices": [{"message": {"content": [{"type": "reasoning", "reasoning": text}, {"type": "text", "text": answer}]}}],
            },
        }
        for name, text in thoughts.items()
    ]
    (tmp_path / "log.json").write_text(json.dumps({"eval": {"task": "emocaliber/vec", "model": "m"}, "samples": samples}))
    assert [row["response"] for _, row in read_answers(tmp_path / "log.json").rows] == [whole, answer]


def test_the_metadata_of_other_tasks_is_left_alone(tmp_path: Path) -> None:
    sample = {"id": "a", "target": "awe", "metadata": {"task": "other", "confidence": {"x": 7}}, "output": {"completion": "awe"}}
    log = {"eval": {"task": "theirs", "model": "m"}, "samples": [sample, {**sample, "id": "b", "target": "fear"}]}
    (tmp_path / "log.json").write_text(json.dumps(log))
    assert {row["task"] for _, row in read_answers(tmp_path / "log.json").rows} == {"theirs"}


def test_without_inspect_ai_an_eval_file_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    for name in ("inspect_ai", "inspect_ai.log"):
        monkeypatch.setitem(sys.modules, name, None)
    (tmp_path / "log.eval").write_bytes(b"PK")
    with pytest.raises(UserError, match="pip install inspect_ai"):
        read_answers(tmp_path / "log.eval")


@pytest.mark.parametrize("suffix", ["eval", "json"])
def test_rows_go_to_inspect_and_back(folder: Path, suffix: str) -> None:
    pytest.importorskip("inspect_ai", reason="inspect_ai is not among the packages of `dev`; `make try-inspect` runs this")
    from inspect_ai.log import read_eval_log

    from emocaliber.integrations.inspect_log import write_inspect_log

    out = folder / f"log.{suffix}"
    assert write_inspect_log(folder / "answers.jsonl", out) == 2 * len(STATED)
    assert numbers(out) == numbers(folder / "answers.jsonl")
    log = read_eval_log(str(out), resolve_attachments=True)
    assert log.results and log.samples
    found = {name: each.value for name, each in log.results.scores[0].metrics.items()}
    judged = [outcome(row) for _, row in read_answers(folder / "answers.jsonl").rows]
    assert found == {name: AGGREGATE[name]([contributions(each)[name] for each in judged]) for name in METRICS}
    assert log.samples[0].input[0].content[0].image.startswith("data:image/jpeg;base64,")  # type: ignore[union-attr]
    assert [each.role for each in log.samples[0].messages] == ["user", "assistant"], "the viewer shows question and answer"
    told = [each.scores["emotion"].explanation for each in log.samples if each.scores]
    assert {str(each).split(":")[0] for each in told} >= {"Right", "Wrong"}


def test_a_sample_of_inspect_has_the_image_the_question_and_what_is_known(folder: Path) -> None:
    pytest.importorskip("inspect_ai", reason="inspect_ai is not among the packages of `dev`; `make try-inspect` runs this")
    from emocaliber.integrations.inspect_task import vec

    task = vec(str(folder / "test.jsonl"), task="FI-2")
    assert len(task.dataset) == len(STATED)
    first = task.dataset[0]
    image, question = first.input[0].content  # type: ignore[union-attr]
    assert (image.image, first.target) == (str(folder / "FI-2.png"), "positive")
    assert question.text.startswith("Which sentiment might this image evoke?")
    assert first.metadata and first.metadata["candidates"] == LABELS["FI-2"]
    with pytest.raises(UserError, match="has no samples of FI-8"):
        vec(str(folder / "test.jsonl"), task="FI-8")
