"""`emocaliber emotions` shows taxonomies to people and, with --json, to programs."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

import pytest

from emocaliber.cli import emotions
from emocaliber.errors import UserError


def run(*words: str) -> int:
    parser = argparse.ArgumentParser()
    emotions.add_parser(parser.add_subparsers())
    args = parser.parse_args(["emotions", *words])
    code: int = args.run(args)
    return code


def test_without_a_name_every_built_in_taxonomy_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run() == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:]] == ["mikels-8", "webemo-25", "webemo-7", "polarity-2", "unbiasedemo-6"]


def test_a_taxonomy_is_shown_with_values_loop_and_distances(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("Mikels-8") == 0
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert "awe positive -0.062 0.480 -0.400" in lines
    assert "Loop: flat, perimeter 6.548 (shortest possible)" in lines
    assert "fear disgust 0.145" in lines
    assert "amusement 0.000 0.237 0.352 0.374 0.470 0.277 0.081 0.053" in lines


def test_a_matrix_too_wide_for_a_terminal_is_left_to_json(capsys: pytest.CaptureFixture[str]) -> None:
    run("WebEmo-25")
    assert "25 labels are too many for a matrix here; --json prints them all" in capsys.readouterr().out


def test_json_prints_everything(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("WebEmo-25", "--json") == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["name"] == "webemo-25"
    assert shown["labels"][1] == {"label": "cheerfulness", "parent": "joy", "valence": 0.938, "arousal": 0.604, "dominance": 0.35}
    assert shown["aliases"]["irritabilty"] == "irritability"
    loop = shown["loop"]
    assert (loop["kind"], loop["exact"], len(loop["order"]), len(loop["arcs"])) == ("hierarchical", True, 25, 25)
    assert sum(loop["arcs"]) == pytest.approx(loop["perimeter"])
    assert shown["distances"]["rage"]["rage"] == 0
    assert shown["distances"]["zest"]["cheerfulness"] == shown["distances"]["cheerfulness"]["zest"] > 0


def test_a_lexicon_gives_values_to_labels_that_have_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own = tmp_path / "own.toml"
    own.write_text('name = "own"\nlabels = ["calm", "panic"]\n[vad]\npanic = [-0.8, 0.9, -0.6]\n')
    lexicon = tmp_path / "lexicon.txt"
    lexicon.write_text("Word\tValence\tArousal\tDominance\ncalm\t0.9\t0.1\t0.5\n")
    assert run(str(own), "--lexicon", str(lexicon)) == 0
    shown = capsys.readouterr().out
    assert "NRC VAD v1 by its header (0..1, converted by 2x - 1), 1 word; used for calm." in shown
    assert run(str(own), "--lexicon", str(lexicon), "--json") == 0
    as_json = json.loads(capsys.readouterr().out)
    assert as_json["lexicon"] == {"version": "v1", "detected_by": "header", "words": 1, "used_for": ["calm"]}
    assert as_json["labels"][0]["valence"] == 0.8


def test_a_label_without_a_value_is_named_with_the_remedy(tmp_path: Path) -> None:
    own = tmp_path / "own.toml"
    own.write_text('name = "own"\nlabels = ["calm", "panic"]\n')
    with pytest.raises(UserError, match=r"no VAD value for 'calm', 'panic'; add a line such as .* or give a lexicon"):
        run(str(own))


def test_a_lexicon_without_a_taxonomy_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--lexicon needs a taxonomy"):
        run("--lexicon", str(tmp_path / "lexicon.txt"))


def test_the_command_is_described_without_importing_numpy_or_torch() -> None:
    code = "import sys; from emocaliber.cli import emotions; print([m for m in ('numpy', 'torch') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
