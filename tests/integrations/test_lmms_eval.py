"""VECBench for lmms-eval: the YAML files parse as its own loader reads them, and the functions they name work on the rows they name."""

from __future__ import annotations

import importlib.util
import json
import math
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from PIL import Image

from emocaliber.core.response import Reasoning, Response, render
from emocaliber.core.tasks import TASKS
from emocaliber.integrations.lmms_eval import METRICS, export_lmms_eval
from emocaliber.io.rows import read_rows

yaml = pytest.importorskip("yaml")

STEPS = Reasoning("a dog", "nobody", "a park", "it runs", "this suggests joy")


def answer(label: str, confidence: float | None) -> str:
    return render(Response(STEPS, label, confidence, ()))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rows = []
    for name, labels in {"FI-8": ["awe", "fear"], "FI-2": ["positive", "negative"], "Mine": ["calm", "tense"]}.items():
        Image.new("RGB", (6, 4), (9, 8, 7)).save(tmp_path / f"{name}.png")
        for number in range(4):
            row = {"id": f"{name}/{number}", "image": f"{name}.png", "task": name, "candidates": labels, "ground_truth": labels[number % 2]}
            rows.append(row | {"source": "x", "split": "test"})
    (tmp_path / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


@pytest.fixture
def out(folder: Path) -> Path:
    export_lmms_eval(folder, folder / "tasks")
    return folder / "tasks"


def module(out: Path) -> ModuleType:
    """`utils.py` as lmms-eval imports it: from its file, by no package."""
    spec = importlib.util.spec_from_file_location("utils", out / "utils.py")
    assert spec and spec.loader
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


def configured(path: Path) -> dict[str, Any]:
    """A task's YAML with its functions, as lmms-eval's `!function FILE.NAME` gives them."""
    utils = module(path.parent)

    class Loader(yaml.SafeLoader):
        """A loader of its own, as constructors are kept by class."""

    def function(loader: Any, node: Any) -> Callable[..., Any]:
        file, name = loader.construct_scalar(node).split(".")
        assert file == "utils"
        found: Callable[..., Any] = getattr(utils, name)
        return found

    Loader.add_constructor("!function", function)
    config: dict[str, Any] = yaml.load(path.read_text(), Loader)
    return config


def test_a_file_per_task_and_one_per_group(out: Path) -> None:
    names = ("", "_fi_2", "_fi_8", "_id_ver", "_id_vsa", "_mine")
    assert sorted(path.name for path in out.glob("*.yaml")) == [f"vecbench{name}.yaml" for name in names]
    whole = yaml.safe_load((out / "vecbench.yaml").read_text())
    assert whole == {"group": "vecbench", "task": ["vecbench_fi_8", "vecbench_fi_2", "vecbench_mine"]}
    assert yaml.safe_load((out / "vecbench_id_vsa.yaml").read_text()) == {"group": "vecbench_id_vsa", "task": ["vecbench_fi_2"]}


def test_a_task_names_the_fields_that_lmms_eval_needs(out: Path) -> None:
    config = configured(out / "vecbench_fi_8.yaml")
    assert (config["task"], config["test_split"], config["output_type"]) == ("vecbench_fi_8", "test", "generate_until")
    assert {metric["metric"]: metric["higher_is_better"] for metric in config["metric_list"]} == METRICS


def test_the_data_loads_as_lmms_eval_loads_it(out: Path, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    config = configured(out / "vecbench_fi_8.yaml")
    loaded = datasets.load_dataset(path=config["dataset_path"], name=None, **config["dataset_kwargs"], cache_dir=str(tmp_path / "cache"))
    assert [row["ground_truth"] for row in loaded["test"]] == ["awe", "fear"] * 2


def test_the_functions_work_on_the_rows(out: Path) -> None:
    config = configured(out / "vecbench_fi_2.yaml")
    (doc, *_) = read_rows(config["dataset_kwargs"]["data_files"]["test"])
    (image,) = config["doc_to_visual"](doc)
    assert (image.mode, image.size, image.getpixel((0, 0))) == ("RGB", (6, 4), (9, 8, 7))
    assert config["doc_to_text"](doc).startswith("Which sentiment might this image evoke? Choose the most likely one from ['positive'")
    assert doc[config["doc_to_target"]] == "positive"


def test_every_answer_counts_and_calibration_is_over_those_that_state_one(out: Path) -> None:
    config = configured(out / "vecbench_fi_8.yaml")
    docs = list(read_rows(config["dataset_kwargs"]["data_files"]["test"]))
    answers = [answer("awe", 0.9), answer("awe", 0.6), answer("awe", None), "fear, I think"]
    results = [config["process_results"](doc, [text]) for doc, text in zip(docs, answers, strict=True)]
    scores = {metric["metric"]: metric["aggregation"]([result[metric["metric"]] for result in results]) for metric in config["metric_list"]}
    assert scores == pytest.approx(
        {
            "accuracy": 0.5,
            "f1_macro": 0.4,
            "malformed": 0.25,
            "coverage": 0.5,
            "ece": (0.1 + 0.6) / 2,
            "brier": (0.01 + 0.36) / 2,
            "auroc": 1.0,
        }
    )


def test_without_any_confidence_metrics_are_nan(out: Path) -> None:
    config = configured(out / "vecbench_fi_8.yaml")
    for metric in config["metric_list"]:
        if metric["metric"] in ("ece", "brier", "auroc"):
            assert math.isnan(metric["aggregation"]([None, None]))


def test_every_task_of_vecbench_gets_a_name_of_its_own(folder: Path) -> None:
    rows = [
        {"id": task, "image": "FI-8.png", "task": task, "candidates": ["a", "b"], "ground_truth": "a", "source": "x", "split": "test"}
        for task in TASKS
    ]
    (folder / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert len(set(export_lmms_eval(folder, folder / "nine"))) == 9
