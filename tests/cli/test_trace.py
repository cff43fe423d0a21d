from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import pytest

from emocaliber.__main__ import main
from emocaliber.cli import trace
from emocaliber.confidence.rewards import parse_reward, reward
from emocaliber.confidence.targets import confidence_target
from emocaliber.core.response import Reasoning, Response, render
from emocaliber.core.scoring import outcome
from emocaliber.emotions.labels import Labels
from emocaliber.emotions.taxonomy import taxonomy
from emocaliber.errors import UserError
from stand_ins import photo

CANDIDATES = list(taxonomy("mikels-8").labels)


def row(identity: str, answer: str = "awe", stated: float = 0.8, **changes: Any) -> dict[str, Any]:
    steps = Reasoning("a storm", "nobody", "the sea", "none", "it overwhelms")
    return {
        "id": identity,
        "image": f"images/{identity}.png",
        "task": "FI-8",
        "candidates": CANDIDATES,
        "ground_truth": "awe",
        "model": "mine",
        "response": render(Response(steps, answer, stated)),
        "confidence": {"avg": 0.6},
        "error": None,
    } | changes


def write(path: Path, *rows: dict[str, Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(each) + "\n" for each in rows))
    return path


def scored(folder: Path, responses: Path, *rows: dict[str, Any]) -> Path:
    """A folder as `score` leaves it."""
    write(folder / "outcomes.jsonl", *(outcome(each).to_row() for each in rows))
    (folder / "metrics.json").write_text(json.dumps({"settings": {"responses": str(responses)}}))
    return folder


def run(identity: str, folder: Path, *options: str) -> int:
    parser = argparse.ArgumentParser()
    trace.add_parser(parser.add_subparsers())
    args = parser.parse_args(["trace", identity, "--run", str(folder), *options])
    code: int = args.run(args)
    return code


def shown(capsys: pytest.CaptureFixture[str], identity: str, folder: Path) -> dict[str, Any]:
    assert run(identity, folder, "--json") == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_one_screen_holds_question_reasoning_answer_and_confidence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = row("a", "fear", votes={"awe": 7, "fear": 4}), row("b", stated=0.3)
    photo(tmp_path / "images" / "a.png")
    assert run("a", scored(tmp_path / "run", write(tmp_path / "r.jsonl", *rows), *rows)) == 0
    text = capsys.readouterr().out
    for expected in ("FI-8 (ID VER)", "images/a.png", "Which emotion might", "a storm", "fear: wrong", "0.800", "50 % of this"):
        assert expected in text
    assert "not there" not in text
    assert next(line for line in text.splitlines() if line.startswith("  awe")).split()[-2:] == ["7", "truth"]


def test_target_reward_and_agreement_are_those_of_this_answer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = shown(capsys, "a", write(tmp_path / "r.jsonl", row("a", "fear", posterior={"awe": 0.75, "fear": 0.25})))
    (answer,) = found["answers"]
    assert answer["target"] == confidence_target("fear", "awe", 0.6, Labels.of(taxonomy("mikels-8").labels, taxonomy("mikels-8")))
    assert answer["reward"]["format"] == 1 and answer["reward"]["correct"] == 0
    assert answer["reward"]["confidence"] == pytest.approx(-1.6094, abs=1e-4)
    assert answer["agreement"] == 0.25
    assert found["image_exists"] is False


@pytest.mark.parametrize("place", ["run", "run/responses.jsonl", "run/scored"])
def test_the_reward_is_by_the_settings_of_the_training_run(tmp_path: Path, capsys: pytest.CaptureFixture[str], place: str) -> None:
    given = row("a", "fear")
    file = write(tmp_path / "run" / "responses.jsonl", given)
    scored(tmp_path / "run" / "scored", file, given)
    chosen = "paper correct_weight=2 confidence_weight=3"
    (tmp_path / "run" / "config.json").write_text(json.dumps({"stage": "stage3", "samples": "none", "reward": chosen}))
    (answer,) = shown(capsys, "a", tmp_path / place)["answers"]
    total, parts = reward(given["response"], CANDIDATES, "awe", parse_reward(chosen))
    assert answer["reward"] == {"total": total, **parts}
    assert answer["reward"] != {"total": (usual := reward(given["response"], CANDIDATES, "awe"))[0], **usual[1]}
    assert answer["reward_settings"] == chosen
    run("a", tmp_path / place)
    assert f"(eq. 4, reward = '{chosen}')" in " ".join(capsys.readouterr().out.split())


def test_without_a_training_run_the_reward_is_the_default_and_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("a", write(tmp_path / "r.jsonl", row("a")))
    assert "(eq. 4, with default settings)" in " ".join(capsys.readouterr().out.split())


def test_a_malformed_answer_shows_its_text_and_what_the_parser_says(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write(tmp_path / "r.jsonl", row("a", response="I see\n\x1b[31ma storm", confidence={}, votes={"awe": 1}))
    run("a", tmp_path)
    text = capsys.readouterr().out
    assert "missing_tag: the text ends without <think>" in text and "I see" in text and r"\x1b[31ma storm" in text
    assert "\x1b" not in text
    (answer,) = shown(capsys, "a", file)["answers"]
    assert answer["malformed"]["reason"] == "missing_tag" and answer["target"] is None and answer["agreement"] is None


def test_a_failed_row_shows_its_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("a", write(tmp_path / "r.jsonl", row("a", response=None, error={"code": "timeout", "message": "no reply"})))
    assert "timeout: no reply" in capsys.readouterr().out


def test_every_file_with_a_response_to_the_sample_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "1.jsonl", row("a", model="early", answer="fear"))
    write(tmp_path / "2.jsonl", row("a", model="late"))
    write(tmp_path / "log.jsonl", {"step": 1, "loss": 2.0})
    assert [(each["model"], each["correct"]) for each in shown(capsys, "a", tmp_path)["answers"]] == [("early", False), ("late", True)]


def test_a_sample_that_nobody_was_asked_about_shows_its_question(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sample = {key: value for key, value in row("a").items() if key not in ("response", "model", "confidence", "error")}
    write(tmp_path / "samples.jsonl", sample)
    run("a", tmp_path)
    text = capsys.readouterr().out
    assert "Which emotion might" in text and "No model has answered it here." in text


def test_without_its_responses_a_run_still_tells_what_came_of_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("a", scored(tmp_path / "run", tmp_path / "gone.jsonl", row("a", "fear")))
    text = " ".join(capsys.readouterr().out.split())
    assert "gone.jsonl is no longer there" in text and "fear: wrong" in text and "0.800" in text


def test_an_unknown_id_is_answered_with_those_that_come_near(tmp_path: Path) -> None:
    write(tmp_path / "r.jsonl", row("scene-0012"), row("scene-0013"), row("other"))
    with pytest.raises(UserError, match=r"no sample 'scene-012'.*scene-0012"):
        run("scene-012", tmp_path)


def test_a_folder_without_rows_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no response rows"):
        run("a", tmp_path)


def test_a_folder_whose_outcomes_are_others_asks_to_score_again(tmp_path: Path) -> None:
    write(tmp_path / "outcomes.jsonl", {"id": "a", "mood": "awe"})
    with pytest.raises(UserError, match=r"outcomes\.jsonl, line 1: this is not an outcome .* score again"):
        run("a", tmp_path)


def test_answers_of_others_are_traced_with_their_image_and_without_a_question(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photo(tmp_path / "a.png")
    (tmp_path / "net.csv").write_text("id,image,truth,answer\n1,a.png,awe,awe\n2,gone.png,fear,awe\n")
    assert main(["score", str(tmp_path / "net.csv"), "--out", str(tmp_path / "far" / "out"), "--numbers-only"]) == 0
    capsys.readouterr()
    found = shown(capsys, "1", tmp_path / "far" / "out")
    assert found["image"] == str(tmp_path / "a.png") and found["image_exists"] and found["question"] is None
    assert not shown(capsys, "2", tmp_path / "far" / "out")["image_exists"]
