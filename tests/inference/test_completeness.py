"""A run with missing shards or samples is not scored as if it were whole."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from emocaliber import models
from emocaliber.__main__ import main
from emocaliber.errors import UserError
from emocaliber.inference.plan import Shard, images_asked_about, missing_from, read_run_config, select
from emocaliber.inference.run import Outputs, Run
from emocaliber.io.rows import read_rows, write_rows
from stand_ins import ColourModel, photo

LABELS = ["amusement", "anger", "awe", "contentment", "disgust", "excitement", "fear", "sadness"]


@pytest.fixture
def samples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Fourteen samples; every model's name stands for one that knows colours."""
    monkeypatch.setattr(models, "load_model", lambda name, **settings: ColourModel())
    common = {"task": "EmoSet-8", "candidates": LABELS, "ground_truth": "awe", "source": "test", "split": "test"}
    folder = tmp_path / "bench"
    rows = [common | {"id": f"s{n:02}", "image": photo(folder / f"{n}.png", size=(32 + n, 32)).name} for n in range(14)]
    write_rows(folder / "test.jsonl", rows)
    return folder / "test.jsonl"


def ask(samples: Path, out: Path, number: int = 0, of: int = 0, *, only: int | None = None) -> Path:
    """The rows of a run, or of a shard of one; broken off after `only` of them."""
    shard = Shard(number, of) if of else None
    run = Run(read_run_config(None, {"model": "m"}), select([samples], shard=shard), Outputs.at(f"{out}/", shard))
    rows = run.ask()
    for done, _ in enumerate(rows, 1):
        if done == only:
            break
    rows.close()
    return run.out.rows


def read(source: Path) -> str | None:
    files = sorted(source.glob("*.jsonl")) if source.is_dir() else [source]
    return missing_from(source, sum(1 for file in files for _ in read_rows(file)))


@pytest.mark.parametrize("size", [1, 2, 8, 13])
def test_all_shards_together_are_a_whole_run(samples: Path, tmp_path: Path, size: int) -> None:
    for number in range(1, size + 1):
        ask(samples, tmp_path / "run", number, size)
    assert read(tmp_path / "run") is None


def test_missing_shards_are_named_with_how_many_samples_that_leaves(samples: Path, tmp_path: Path) -> None:
    for number in (1, 5, 8):
        ask(samples, tmp_path / "run", number, 8)
    assert read(tmp_path / "run") == "4 of 14 samples: shards 2-4, 6-7 of 8 are missing"
    for file in (tmp_path / "run").glob("*.run.json"):
        file.unlink()
    assert read(tmp_path / "run") == "4 samples: shards 2-4, 6-7 of 8 are missing", "their names say so, too"


def test_a_single_shard_is_not_a_run(samples: Path, tmp_path: Path) -> None:
    assert read(ask(samples, tmp_path / "run", 1, 2)) == "7 of 14 samples: shard 2 of 2 is missing"


def test_a_shard_whose_file_has_another_name_is_known_by_its_record(samples: Path, tmp_path: Path) -> None:
    shard = Shard(1, 2)
    run = Run(read_run_config(None, {"model": "m"}), select([samples], shard=shard), Outputs.at(str(tmp_path / "mine.jsonl"), shard))
    list(run.ask())
    assert read(run.out.rows) == "7 of 14 samples: shard 2 of 2 is missing"


def test_shards_of_different_divisions_are_refused(samples: Path, tmp_path: Path) -> None:
    ask(samples, tmp_path / "run", 1, 2)
    ask(samples, tmp_path / "run", 3, 3)
    with pytest.raises(UserError, match=r"run: holds shards of runs that were divided differently \(into 2 and 3\)"):
        read(tmp_path / "run")


def test_a_shard_that_is_there_twice_is_refused(samples: Path, tmp_path: Path) -> None:
    one = ask(samples, tmp_path / "run", 1, 2)
    shutil.copy(one, one.with_name("copy-1-of-2.jsonl"))
    with pytest.raises(UserError, match=r"run: shard 1 of 2 is there twice \(copy-1-of-2\.jsonl, responses-1-of-2\.jsonl\)"):
        read(tmp_path / "run")


def test_a_run_that_was_broken_off_lacks_its_samples(samples: Path, tmp_path: Path) -> None:
    rows = ask(samples, tmp_path / "run", only=4)
    said = "4 of 14 samples: responses.jsonl has 4 of its 14 rows"
    assert read(rows) == said
    record = rows.with_suffix(".run.json")
    content = json.loads(record.read_text())
    record.write_text(json.dumps(content | {"results": {}}))  # as a kill leaves it
    assert read(rows) == said, "the samples are still there to be counted"
    samples.unlink()
    assert read(rows) == "4 samples: responses.jsonl was broken off after 4 rows"


def test_a_choice_of_samples_is_a_whole_run(samples: Path, tmp_path: Path) -> None:
    run = Run(read_run_config(None, {"model": "m"}), select([samples], max_samples=5), Outputs.at(f"{tmp_path / 'run'}/"))
    list(run.ask())
    assert read(run.out.rows) is None


def test_the_images_that_a_run_asked_about_are_known_by_its_samples(samples: Path, tmp_path: Path) -> None:
    rows = ask(samples, tmp_path / "run", 1, 2)
    assert images_asked_about(rows) == {image.resolve() for image in samples.parent.glob("*.png")}
    record = json.loads(rows.with_suffix(".run.json").read_text())
    for forged in ({str(samples): "0" * 64}, {str(tmp_path / "none.jsonl"): "0" * 64}):
        rows.with_suffix(".run.json").write_text(json.dumps(record | {"what": record["what"] | {"samples": forged}}))
        assert images_asked_about(rows) == frozenset()
    rows.with_suffix(".run.json").unlink()
    assert images_asked_about(rows) == frozenset()


@pytest.mark.slow
def test_the_page_of_a_run_shows_the_images_it_asked_about(samples: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = ask(samples, tmp_path / "run")
    assert score(tmp_path) == 0
    assert (tmp_path / "scored" / "report.html").read_text().count('"thumbnail":"data:image') == 14
    rows.with_suffix(".run.json").unlink()
    capsys.readouterr()
    assert score(tmp_path) == 0
    assert "14 images lie outside the folder of the responses" in capsys.readouterr().err
    assert score(tmp_path, "--images", str(samples.parent)) == 0
    assert (tmp_path / "scored" / "report.html").read_text().count('"thumbnail":"data:image') == 14


@pytest.mark.parametrize("name", ["data-00000-of-00002.jsonl", "answers.jsonl", "x-3-of-2.jsonl", "x-03-of-8.jsonl"])
def test_names_that_are_no_shards_of_ours_say_nothing(tmp_path: Path, name: str) -> None:
    write_rows(tmp_path / name, [{"id": "a"}])
    assert missing_from(tmp_path / name, 1) is None


def score(tmp_path: Path, *flags: str) -> int:
    return main(["score", str(tmp_path / "run"), "--out", str(tmp_path / "scored"), "--replicates", "200", *flags])


@pytest.mark.slow
def test_score_refuses_an_incomplete_run_and_with_partial_says_so_on_every_output(
    samples: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in (1, 4):
        ask(samples, tmp_path / "run", number, 4)
    assert score(tmp_path) == 2
    refused = capsys.readouterr().err
    assert "run is not a whole run: 7 of 14 samples: shards 2-3 of 4 are missing. Put all shards into one folder" in refused
    assert "--partial scores what is there" in refused
    assert not (tmp_path / "scored").exists()

    assert score(tmp_path, "--partial") == 0
    said = "Not the whole run: 7 of 14 samples: shards 2-3 of 4 are missing."
    texts = {name: (tmp_path / "scored" / name).read_text() for name in ("tables.md", "tables.tex", "report.html")}
    for name, text in (texts | {"terminal": capsys.readouterr().out}).items():
        assert said in text, name
    metrics: dict[str, Any] = json.loads((tmp_path / "scored" / "metrics.json").read_text())
    assert metrics["settings"]["partial"] == "7 of 14 samples: shards 2-3 of 4 are missing"


@pytest.mark.slow
def test_a_complete_run_says_nothing_of_it(samples: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ask(samples, tmp_path / "run")
    assert score(tmp_path, "--partial") == 0
    assert "whole run" not in capsys.readouterr().out + (tmp_path / "scored" / "report.html").read_text()
    assert "partial" not in json.loads((tmp_path / "scored" / "metrics.json").read_text())["settings"]
