"""The notebooks run, and read like articles."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "examples" / "notebooks").glob("*.ipynb"))
NAMES = [file.stem for file in NOTEBOOKS]


def cells(file: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(file.read_text("utf-8"))["cells"]
    return found


def test_there_is_one_for_each_kind_of_reader() -> None:
    assert NAMES == ["known-answer-world", "my-models-answers", "my-photographs"]


@pytest.mark.parametrize("file", NOTEBOOKS, ids=NAMES)
def test_a_notebook_is_an_article_kept_without_its_output(file: Path) -> None:
    texts = [cell for cell in cells(file) if cell["cell_type"] == "markdown"]
    code = [cell for cell in cells(file) if cell["cell_type"] == "code"]
    assert texts[0]["source"][0].startswith("# ")
    assert len(texts) >= len(code) - 1
    assert sum(len("".join(cell["source"])) for cell in texts) > sum(len("".join(cell["source"])) for cell in code)
    assert not any(cell["outputs"] or cell["execution_count"] for cell in code)


@pytest.mark.slow
@pytest.mark.parametrize("file", NOTEBOOKS, ids=NAMES)
def test_a_notebook_runs_from_top_to_bottom(file: Path, tmp_path: Path) -> None:
    for package in ("nbclient", "ipykernel", "pandas"):
        pytest.importorskip(package, reason=f"{package} is not installed")
    if file.stem == "known-answer-world":
        pytest.importorskip("trl", reason="trl is not installed")
    command = [sys.executable, ROOT / "tools" / "run_notebooks.py", "--out", tmp_path, file.stem]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    ran = [cell for cell in cells(tmp_path / file.name) if cell["cell_type"] == "code"]
    assert all(cell["execution_count"] for cell in ran)
    assert any("image/png" in output.get("data", {}) for cell in ran for output in cell["outputs"])
    errors = [output for cell in ran for output in cell["outputs"] if output["output_type"] == "error"]
    assert not errors
