from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from emocaliber.core.tasks import TASKS, paper_counts
from emocaliber.emotions.taxonomy import taxonomy
from emocaliber.errors import UserError
from emocaliber.vecbench.stats import benchmark_stats, label_figure


def row(number: int, task: str, label: str, votes: dict[str, int] | None = None) -> dict[str, Any]:
    candidates = list(taxonomy(TASKS[task].taxonomy).labels)
    shared = {"image": "a.jpg", "source": "fi", "split": "train", "votes": votes}
    return {"id": f"{task}-{number}", "task": task, "candidates": candidates, "ground_truth": label, **shared}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    train = [
        row(0, "FI-8", "awe", {"awe": 2, "fear": 2}),
        row(1, "FI-8", "awe", {"awe": 4}),
        row(2, "FI-8", "fear"),
        row(3, "FI-2", "positive"),
    ]
    for name, rows in (("train", train), ("test", [row(4, "Abstract-8", "sadness")])):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(each) + "\n" for each in rows))
    return tmp_path


def test_samples_are_counted_by_file_task_and_label(folder: Path) -> None:
    counted = benchmark_stats(folder).tasks
    assert {file: {task: found.samples for task, found in tasks.items()} for file, tasks in counted.items()} == {
        "train": {"FI-8": 3, "FI-2": 1},
        "test": {"Abstract-8": 1},
    }
    labels = counted["train"]["FI-8"].labels
    assert (labels["awe"], labels["fear"], labels["anger"], len(labels)) == (2, 1, 0, 8)


def test_the_paper_s_counts_stand_beside_ours(folder: Path) -> None:
    shown = benchmark_stats(folder).as_dict()
    assert shown["train"]["FI-8"]["paper"] == 10378 and shown["test"]["Abstract-8"]["paper"] == 229  # type: ignore[index]
    lines = benchmark_stats(folder).tables()[0].as_text().splitlines()
    assert next(line.split() for line in lines if line.startswith("FI-8")) == ["FI-8", "3", "10,378", "–", "1,000"]  # noqa: RUF001


def test_the_paper_s_counts_have_its_totals_but_for_one() -> None:
    totals = {file: sum(counts.values()) for file, counts in paper_counts().items()}
    # Printed for stage 2: 43,033, which with WebEmo-7's total says that its 7,806 is a misprint of 7,896.
    assert totals == {"train": 360_404, "test": 8_035, "stage1": 86_067, "stage2": 43_033 - 90, "stage3": 14_346}
    assert set(paper_counts()["test"]) == set(TASKS)


def test_the_entropy_of_votes_is_in_bits_over_those_that_have_any(folder: Path) -> None:
    found = benchmark_stats(folder).tasks["train"]
    assert (found["FI-8"].voted, found["FI-8"].entropy_bits) == (2, pytest.approx(0.5))
    assert found["FI-2"].entropy_bits is None


def test_the_picture_has_equal_bytes_for_equal_statistics(folder: Path) -> None:
    picture = label_figure(benchmark_stats(folder))
    assert picture == label_figure(benchmark_stats(folder))
    with Image.open(io.BytesIO(picture)) as image:
        assert image.format == "PNG" and min(image.size) > 100


def test_a_folder_without_a_benchmark_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"train\.jsonl"):
        benchmark_stats(tmp_path)
