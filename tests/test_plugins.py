"""What users add from outside the package: each example of a plug-in does its work in a real command, and bad ones are named."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from emocaliber.errors import UserError
from emocaliber.io.plugins import Registry, load_plugins

PLUGINS = Path(__file__).parents[1] / "examples" / "plugins"
MOODS = ["calm", "tense", "joyful", "gloomy"]


def emocaliber(*arguments: object, where: Path) -> subprocess.CompletedProcess[str]:
    """Runs a command in a process of its own, as plug-ins stay for as long as a process lives."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-m", "emocaliber", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=where, check=False, timeout=300)


def answers(folder: Path) -> Path:
    rows = [
        {
            "id": str(number),
            "task": "moods-4",
            "candidates": MOODS,
            "ground_truth": "calm",
            "response": f"<answer>{said}</answer><confidence>0.8</confidence>",
        }
        for number, said in enumerate(["relaxed", "calm", "gloomy", "tense"] * 5)
    ]
    (folder / "answers.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder / "answers.jsonl"


def test_a_task_and_a_metric_of_ones_own_stand_in_the_tables_of_score(tmp_path: Path) -> None:
    plugins = ("--plugin", PLUGINS / "own_task.py", "--plugin", PLUGINS / "own_metric.py")
    done = emocaliber("score", answers(tmp_path), "--out", "run", "--numbers-only", *plugins, where=tmp_path)
    assert done.returncode == 0, done.stderr
    scored = json.loads((tmp_path / "run" / "metrics.json").read_text())["tasks"]["Moods-4"]
    assert scored["accuracy"] == 0.5, "relaxed is calm"
    assert scored["emotion"]["loop_distance"] is not None
    verb = scored["confidence"]["verb"]
    assert verb["overconfidence"] == pytest.approx(0.3)
    assert verb["overconfidence_ci"][0] < 0.3 < verb["overconfidence_ci"][1]
    (line,) = [line for line in (tmp_path / "run" / "tables.md").read_text().splitlines() if "overconfidence" in line]
    assert line.startswith("|") and "Brier" in line


@pytest.mark.slow
def test_a_reward_of_ones_own_is_checked_for_its_incentives(tmp_path: Path) -> None:
    done = emocaliber("rewards", "--preset", "mixed", "--plugin", PLUGINS / "own_reward.py", where=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "mixed" in emocaliber("rewards", "--preset", "nothing", "--plugin", PLUGINS / "own_reward.py", where=tmp_path).stderr


@pytest.mark.slow
def test_a_prompt_and_a_strategy_of_ones_own_are_asked_by(tmp_path: Path) -> None:
    drawn = emocaliber("scenes", "scenes", "--n", 2, "--seed", 3, where=tmp_path)
    assert drawn.returncode == 0, drawn.stderr
    (tmp_path / "run.toml").write_text('model = "tiny"\nprompt = "brief"\n[strategy]\nmirrored = true\n')
    plugins = ("--plugin", PLUGINS / "own_prompt.py", "--plugin", PLUGINS / "own_strategy.py")
    done = emocaliber("respond", "scenes", "--config", "run.toml", "--out", "run", *plugins, where=tmp_path)
    assert done.returncode == 0, done.stderr
    record = json.loads((tmp_path / "run" / "responses.run.json").read_text())["what"]
    assert record["prompt"]["questions"]["EmoSet-8"].startswith("Which emotion: amusement or awe or")
    assert record["strategy"]["further"] == {"mirrored": True}
    without = emocaliber("respond", "scenes", "--config", "run.toml", "--out", "other", where=tmp_path)
    assert without.returncode == 2
    assert "brief" in without.stderr


@pytest.mark.slow
def test_a_reader_of_ones_own_builds_a_benchmark(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    for name in ("joy-1.png", "joy-2.png", "fear-1.png"):
        Image.new("RGB", (8, 8)).save(tmp_path / "pictures" / name)
    (tmp_path / "bench.toml").write_text('[custom.mine]\npath = "pictures"\nreader = "by-name"\n')
    done = emocaliber("bench", "build", "bench.toml", "--out", "bench", "--plugin", PLUGINS / "own_reader.py", where=tmp_path)
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in (tmp_path / "bench" / "test.jsonl").read_text().splitlines()]
    assert sorted(row["ground_truth"] for row in rows) == ["fear", "joy", "joy"]
    without = emocaliber("bench", "build", "bench.toml", "--out", "other", where=tmp_path)
    assert "there is no reader 'by-name'; there are folder-or-csv" in without.stderr


@pytest.mark.slow
def test_an_installed_plugin_is_found_by_its_entry_point(tmp_path: Path) -> None:
    site = tmp_path / "site"
    (site / "moods-1.0.dist-info").mkdir(parents=True)
    (site / "moods-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: moods\nVersion: 1.0\n")
    (site / "moods-1.0.dist-info" / "entry_points.txt").write_text("[emocaliber.plugins]\nmoods = moods_plugin\n")
    (site / "moods_plugin.py").write_text((PLUGINS / "own_task.py").read_text())
    code = f"import sys; sys.path.insert(0, {str(site)!r}); from emocaliber.__main__ import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, "score", str(answers(tmp_path)), "--out", "run", "--numbers-only"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "Moods-4" in json.loads((tmp_path / "run" / "metrics.json").read_text())["tasks"]


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (None, "the plug-in bad.py: there is no such file"),
        ("1 / 0", r"the plug-in bad.py cannot be imported \(ZeroDivisionError: division by zero\)"),
        ("import no_such_package", r"the plug-in bad.py cannot be imported \(ModuleNotFoundError: No module named 'no_such_package'\)"),
        ("from emocaliber.confidence.rewards import SCORES; SCORES.add('brier', abs)", "there is a confidence reward 'brier' already"),
    ],
)
def test_a_plugin_that_cannot_be_used_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str | None, complaint: str
) -> None:
    monkeypatch.chdir(tmp_path)
    if content is not None:
        Path("bad.py").write_text(content)
    with pytest.raises(UserError, match=complaint):
        load_plugins(["bad.py"])


def test_a_module_that_is_not_there_is_named() -> None:
    with pytest.raises(UserError, match=r"the plug-in 'no.such.module' cannot be imported"):
        load_plugins(["no.such.module"])


def test_a_table_keeps_its_order_and_takes_each_name_once() -> None:
    table: Registry[int] = Registry("number")
    assert table.add("one", 1) == 1
    table.register("two")(2)
    assert (list(table), table.named("two"), len(table)) == (["one", "two"], 2, 2)
    with pytest.raises(UserError, match="there is a number 'one' already; give this one another name"):
        table.add("one", 3)
    with pytest.raises(UserError, match="there is no number 'three'; there are one, two"):
        table.named("three")
    with pytest.raises(UserError, match="a number needs a name that is not blank"):
        table.add(" ", 1)
