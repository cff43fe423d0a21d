"""Run files of the paper's systems: each is one that `respond` takes, and asks and reads as it should, on a model that is here."""

from __future__ import annotations

import json
from dataclasses import replace
from math import log
from pathlib import Path
from typing import Any

import pytest

from emocaliber.core.model import Model, Reply, Request, Tokens
from emocaliber.core.samples import Sample
from emocaliber.core.scoring import outcome
from emocaliber.core.sources import SOURCES
from emocaliber.core.tasks import TASKS
from emocaliber.emotions.taxonomy import taxonomy
from emocaliber.evaluation.paper_tables import paper_rows
from emocaliber.inference.engine import respond
from emocaliber.inference.plan import RunConfig, read_run_config, select
from emocaliber.inference.run import Outputs, Run
from emocaliber.models import load_model
from emocaliber.models.recorded import OWN
from emocaliber.models.strategies import apply
from emocaliber.training.config import Stage1Config, load_config
from stand_ins import ColourModel, photo

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "configs" / "baselines"
FILES = sorted(FOLDER.glob("*.toml"))
PAPER = {row.system for table in (2, 3, 4, 5) for row in paper_rows(table)}
every_file = pytest.mark.parametrize("file", FILES, ids=[file.stem for file in FILES])


class Judging(ColourModel):
    """Its answers are all right, if it is asked."""

    def _reply(self, request: Request) -> Reply:
        true = Tokens((b"True",), (log(0.9),), [{b"True": log(0.9), b"False": log(0.1)}])
        return super()._reply(request) if request.candidates else Reply("True", 0.01, true)


def kind(asked: RunConfig) -> str:
    prefix, colon, _ = asked.model.partition(":")
    return prefix if colon else "local"


@pytest.fixture
def samples(tmp_path: Path) -> list[Sample]:
    """Two samples of every task."""
    made = []
    for task in TASKS:
        labels = taxonomy(TASKS[task].taxonomy).labels
        for number, colour in enumerate(("orange", "teal")):
            image = photo(tmp_path / f"{colour}.png", colour)
            made.append(Sample(f"{task}/{number}", str(image), task, labels, labels[number], source="test", split="test"))
    return made


@pytest.fixture(autouse=True)
def _own_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-none")
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)


def stand_in(asked: RunConfig, samples: list[Sample], folder: Path) -> RunConfig:
    """The configuration with files of faces and answers that are there."""
    (folder / "faces.jsonl").write_text(
        "".join(json.dumps({"id": each.id, "faces": [{"box": [0.2, 0.2, 0.6, 0.6]}]}) + "\n" for each in samples)
    )
    answers = [{"id": each.id, "response": f"<answer>I think it is {each.ground_truth}.</answer>"} for each in samples]
    (folder / "answers.jsonl").write_text("".join(json.dumps(each) + "\n" for each in answers))
    faces = str(folder / "faces.jsonl") if asked.strategy.faces else None
    model = f"recorded:{folder / 'answers.jsonl'}" if kind(asked) == "recorded" else asked.model
    return replace(asked, model=model, strategy=replace(asked.strategy, faces=faces))


def test_every_system_of_the_papers_tables_has_a_run_file() -> None:
    assert {system.casefold() for system in PAPER} <= {file.stem for file in FILES}


@every_file
def test_a_run_file_stands_in_the_table_of_baselines_and_opens_with_what_it_is(file: Path) -> None:
    assert f"configs/baselines/{file.name}" in (ROOT / "docs" / "baselines.md").read_text("utf-8")
    assert file.read_text("utf-8").startswith("# ")


@every_file
@pytest.mark.usefixtures("tiny_model")
def test_its_settings_are_those_of_its_kind_of_model(file: Path, samples: list[Sample], tmp_path: Path) -> None:
    asked = stand_in(read_run_config(file), samples, tmp_path)
    model = load_model("tiny" if kind(asked) == "local" else asked.model, **asked.settings)
    assert apply(asked.strategy, model, asked.lenient).name == model.name


@every_file
def test_every_answer_is_asked_for_and_read_as_the_file_says(file: Path, samples: list[Sample], tmp_path: Path) -> None:
    asked = stand_in(read_run_config(file), samples, tmp_path)
    model: Model = load_model(asked.model) if kind(asked) == "recorded" else Judging(window=None)
    rows = list(
        respond(
            samples,
            apply(asked.strategy, model, asked.lenient),
            prompt=asked.prompt,
            lenient=asked.lenient,
            confidence=asked.confidence,
        )
    )
    assert [row["id"] for row in rows] == [sample.id for sample in samples]
    assert [outcome(row).malformed for row in rows] == [None] * len(samples)
    further = {"consistency": 1.0, "p_true": 0.9} if file.stem == "consistency" else {}
    assert all(row["confidence"].get(name) == pytest.approx(value) for row in rows for name, value in further.items())
    assert all(
        ("<confidence>" in asked.prompt.question(each.task, each.candidates, confidence=asked.confidence)) == asked.confidence
        for each in samples
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", ["emocaliber", "consistency"])
def test_a_run_file_with_another_model_runs_whole(name: str, samples: list[Sample], tmp_path: Path, tiny_model: Model) -> None:
    file = tmp_path / "samples.jsonl"
    file.write_text("".join(json.dumps(sample.to_row(tmp_path)) + "\n" for sample in samples[:2]))
    flags: dict[str, Any] = {"model": "tiny", "prompt": "emocaliber", "settings": {"min_pixels": 56 * 56, "max_pixels": 112 * 112}}
    flags["strategy"] = {"consistency": 1} if name == "consistency" else {}
    run = Run(read_run_config(FOLDER / f"{name}.toml", flags), select([file]), Outputs.at(str(tmp_path / "run")))
    rows = list(run.ask())
    assert (run.done, run.failed) == (2, 0)
    sources = {"verb", "ans", "avg", "commit", "norm", "margin", "verb_mean"} | (
        {"consistency", "p_true"} if name == "consistency" else set()
    )
    for row in rows:
        assert set(row["confidence"]) == sources
        assert (row["calibrated"] is None) == (row["uncalibrated"] is not None)


def test_emovit_is_trained_as_stage_1_is_but_for_the_reasoning() -> None:
    config = load_config("stage1", FOLDER / "emovit")
    assert isinstance(config, Stage1Config)
    assert not config.reasoning
    assert (config.learning_rate, config.batch_size * config.accumulation * 8) == (1e-5, 128)
    asked = read_run_config(FOLDER / "emovit.toml")
    assert asked.model == f"{config.out}/model"
    assert asked.prompt.name == "direct"


@pytest.mark.parametrize("source", [*SOURCES, "consistency", "p_true", OWN])
def test_every_source_of_confidence_is_explained(source: str) -> None:
    text = (ROOT / "docs" / "confidence-sources.md").read_text("utf-8")
    assert f"\n| `{source}` | " in text
