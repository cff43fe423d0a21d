"""The code in docs/python.md runs, from top to bottom."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[1]


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_the_code_of_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for library in ("pandas", "polars", "datasets"):
        pytest.importorskip(library, reason=f"{library} is not installed")
    shutil.copytree(PROJECT / "examples", tmp_path / "examples")
    monkeypatch.chdir(tmp_path)
    code = re.findall(r"^```python\n(.*?)^```", (PROJECT / "docs" / "python.md").read_text("utf-8"), re.M | re.S)
    assert len(code) == 9
    names: dict[str, object] = {}
    exec("\n".join(code), names)
    assert (tmp_path / "runs" / "python-scores" / "report.html").is_file()
    frame = names["frame"]
    assert len(frame) == 8 and {"emotion", "element", "p_awe", "error"} <= set(frame.columns)  # type: ignore[arg-type,attr-defined]
