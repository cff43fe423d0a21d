"""The functions of Python have the arguments of the commands, and, for a table of any library, their numbers to the last digit."""

from __future__ import annotations

import argparse
import inspect
import json
import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

import emocaliber as ec
from emocaliber.__main__ import build_parser, main

EXAMPLES = Path(__file__).parents[2] / "examples" / "answers"
FEW = 200  # replicates
LATER = ("answers", "created", "expires", "id", "made")  # where the answers were, and when


TEXTS = dict.fromkeys(("id", "image_id"), str)  # "007" is no number, and intervals are drawn by ids


def read_by_pandas(file: Path) -> Any:
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    if file.suffix == ".jsonl":
        return pandas.read_json(file, lines=True, dtype=TEXTS)
    return pandas.read_parquet(file) if file.suffix == ".parquet" else pandas.read_csv(file, dtype=TEXTS)


def read_by_polars(file: Path) -> Any:
    polars = pytest.importorskip("polars", reason="polars is not installed")
    if file.suffix == ".csv":
        return polars.read_csv(file, schema_overrides=dict.fromkeys(TEXTS, polars.String))
    return (polars.read_ndjson if file.suffix == ".jsonl" else polars.read_parquet)(file)


def read_by_datasets(file: Path) -> Any:
    datasets = pytest.importorskip("datasets", reason="datasets is not installed")
    return datasets.Dataset(read_by_polars(file).to_arrow())


READERS = {"pandas": read_by_pandas, "polars": read_by_polars, "datasets": read_by_datasets}


@pytest.fixture(params=READERS)
def reader(request: pytest.FixtureRequest) -> Callable[[Path], Any]:
    return READERS[request.param]


def answers(file: Path, seed: int, n: int = 240) -> Path:
    """A table of invented answers to one set of samples, whose confidence is too high."""
    labels, rows = ["awe", "fear", "joy"], []
    truths, said = random.Random(0), random.Random(seed)
    for number in range(n):
        truth, confidence = truths.choice(labels), round(said.uniform(0.4, 1), 3)
        answer = truth if said.random() < confidence - 0.1 else said.choice(labels)
        rows.append(f"img-{number},{truth},{'' if said.random() < 0.02 else answer},{confidence}")
    file.write_text("id,truth,answer,confidence\n" + "\n".join(rows) + "\n")
    return file


def command(capsys: pytest.CaptureFixture[str], *words: str | Path) -> str:
    assert main(list(map(str, words))) in (0, 3)
    return capsys.readouterr().out


def lasting(content: Mapping[str, Any]) -> dict[str, Any]:
    """The content without what names the answers and the moment."""
    return {
        name: [lasting(each) if isinstance(each, Mapping) else each for each in value] if isinstance(value, list) else value
        for name, value in content.items()
        if name not in LATER
    }


@pytest.mark.parametrize(
    ("name", "truth"),
    [("pandas.csv", None), ("probabilities.parquet", None), ("short.jsonl", None), ("kaggle_submission.csv", "kaggle_truth.csv")],
)
def test_score(name: str, truth: str | None, reader: Callable[[Path], Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--truth", EXAMPLES / truth] if truth else []
    told = ["--json", "--numbers-only", "--replicates", str(FEW), "--out", tmp_path]
    by_command = json.loads(command(capsys, "score", EXAMPLES / name, *options, *told))
    scored = ec.score(reader(EXAMPLES / name), truth=reader(EXAMPLES / truth) if truth else None, replicates=FEW)
    for part in ("n", "tasks", "groups", "overall"):
        assert scored.summary[part] == by_command[part]


def test_calibrate(reader: Callable[[Path], Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = answers(tmp_path / "a.csv", 1)
    options = ("--methods", "platt,beta", "--replicates", str(FEW), "--out", tmp_path / "c.json", "--json")
    by_command = json.loads(command(capsys, "calibrate", "fit", file, *options))
    found = ec.calibrate(reader(file), methods=["platt", "beta"], replicates=FEW)
    assert lasting(found.content) == lasting(by_command)
    rows = found.apply(reader(file))
    assert list(rows.to_arrow()["calibrated"].to_pylist()) == [row["calibrated"] for row in found.apply(file)]
    (row,) = found.flat_rows()
    entry = found.content["questions"][0]
    assert (row["ece_before"], row["ece_after_low"]) == (entry["before"]["ece"], entry["after"]["ece_ci"][0])


def test_certify(reader: Callable[[Path], Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = answers(tmp_path / "a.csv", 1)
    by_command = json.loads(command(capsys, "calibrate", "certify", file, "--accuracy", ".7", "--json", "--model", "mine"))
    made = ec.certify(reader(file), accuracy=0.7, model="mine")
    assert made.certified and lasting(made.to_json()) | {"notes": []} == lasting(by_command) | {"notes": []}
    assert made.to_arrow().to_pylist()[0]["threshold"] == by_command["threshold"]


def test_rows_without_ids_are_certified_alike_in_a_file_and_in_memory(tmp_path: Path) -> None:
    file = answers(tmp_path / "a.csv", 1)
    file.write_text("\n".join(line.partition(",")[2] for line in file.read_text().splitlines()) + "\n")
    lines = [dict(zip(("truth", "answer", "confidence"), line.split(","), strict=True)) for line in file.read_text().splitlines()[1:]]
    from_file, from_rows = ec.certify(file, accuracy=0.7, model="mine"), ec.certify(lines, accuracy=0.7, model="mine")
    assert from_file.threshold == from_rows.threshold and from_file.curve == from_rows.curve


def test_compare(reader: Callable[[Path], Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = [answers(tmp_path / f"{name}.csv", seed) for seed, name in enumerate("ab")]
    folders = [tmp_path / file.stem for file in files]
    for file, folder in zip(files, folders, strict=True):
        ec.score(file, replicates=FEW).save(folder, page=False)
    lines = command(capsys, "compare", *folders, "--json", "--replicates", str(FEW)).splitlines()
    found = ec.compare(*map(reader, files), replicates=FEW)
    shown = [json.loads(line) for line in lines]
    assert [{**vars(each), "interval": each.interval and list(each.interval)} for each in found] == shown


def test_a_comparison_takes_scores_folders_files_and_tables(tmp_path: Path) -> None:
    files = [answers(tmp_path / f"{name}.csv", seed) for seed, name in enumerate("ab")]
    scores = [ec.score(file, replicates=FEW) for file in files]
    scores[0].save(tmp_path / "a", page=False)
    found = ec.compare(scores[0], scores[1], replicates=FEW)
    assert ec.compare(tmp_path / "a", files[1], replicates=FEW).differences == found.differences
    assert (found.a, found.b) == ("a", "b") and len(found) == len(found.flat_rows())
    accuracy = found.find("accuracy")
    assert accuracy.difference == scores[1].summary["overall"]["accuracy"] - scores[0].summary["overall"]["accuracy"]
    assert found.find("ece", source="confidence").source == "confidence"
    assert "B - A" in repr(found) and "McNemar" in found._repr_html_() and "<table>" in found._repr_html_()
    assert found.to_arrow().to_pylist()[0]["difference"] == found[0].difference
    with pytest.raises(ec.UserError, match="there is no 'f2' of the answers"):
        found.find("f2")
    with pytest.raises(ec.UserError, match="scored already, so task cannot change"):
        ec.compare(*scores, task="EmoSet-8")


def test_each_answer_of_a_score_is_a_row() -> None:
    scored = ec.score(EXAMPLES / "pandas.csv", replicates=FEW)
    rows = scored.answers.to_arrow().to_pylist()
    assert len(rows) == scored.summary["n"]
    assert sum(row["correct"] for row in rows) / len(rows) == scored.summary["overall"]["accuracy"]
    assert rows[0]["confidence.confidence"] == scored.outcomes[0].confidence["confidence"]
    assert [row["scope"] for row in scored.flat_rows()][-1] == "overall"


def test_the_output_of_a_pipeline_is_scored_as_it_comes() -> None:
    outputs = json.loads((EXAMPLES / "pipeline.json").read_text())
    by_file = ec.score(EXAMPLES / "pipeline.json", truth=EXAMPLES / "pipeline_truth.csv", replicates=FEW)
    assert ec.score(outputs, truth=EXAMPLES / "pipeline_truth.csv", replicates=FEW).summary["overall"] == by_file.summary["overall"]


def test_predictions_in_a_table_keep_the_source_of_their_confidence() -> None:
    rows = [
        {"image": f"{n}.png", "emotion": "awe", "confidence": 0.9, "confidence_source": "calibrated", "model": "m", "truth": truth}
        for n, truth in enumerate(["awe"] * 40 + ["fear"] * 2)
    ]
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    assert ec.certify(pandas.DataFrame(rows)).source == ec.certify(rows).source == "calibrated"


OF_FILES_AND_SCREENS = {"help", "out", "json", "figure", "report", "parity", "images", "numbers_only", "plugin", "debug", "quiet"}


@pytest.mark.parametrize(
    ("words", "function"),
    [("score", ec.score), ("compare", ec.compare), ("calibrate fit", ec.calibrate), ("calibrate certify", ec.certify)],
)
def test_every_option_of_a_command_is_an_argument_of_its_function(words: str, function: Callable[..., Any]) -> None:
    parser = build_parser()
    for word in words.split():
        actions = next(each for each in parser._actions if isinstance(each, argparse._SubParsersAction))
        parser = actions.choices[word]
    options = {each.dest for each in parser._actions if each.option_strings} - OF_FILES_AND_SCREENS
    parameters = inspect.signature(function).parameters
    assert options <= parameters.keys()
    defaults = {name: parser.get_default(name) for name in options & {"replicates", "seed", "accuracy", "delta", "expires"}}
    assert defaults == {name: parameters[name].default for name in defaults}
