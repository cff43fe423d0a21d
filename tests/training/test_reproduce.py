"""The reproduction at tiny scale: its verdicts, and that it runs from nothing to its page."""

from __future__ import annotations

import importlib.util
import json
import math
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "benchmarks" / "reproduce.py"


@pytest.fixture(scope="module")
def reproduce() -> ModuleType:
    spec = importlib.util.spec_from_file_location("reproduce", SCRIPT)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["reproduce"] = module
    spec.loader.exec_module(module)
    return module


def test_an_interval_over_seeds_is_students(reproduce: ModuleType) -> None:
    mean, ends = reproduce.over_seeds([0.1, 0.2, 0.3])
    half = 4.302652729911275 * 0.1 / math.sqrt(3)  # the 97.5 % point of t with 2 degrees of freedom
    assert mean == pytest.approx(0.2)
    assert ends == pytest.approx((0.2 - half, 0.2 + half))


@pytest.mark.parametrize(
    ("values", "verdict"),
    [
        ([0.10, 0.11, 0.12], "held"),
        ([-0.10, -0.11, -0.12], "did not hold"),
        ([0.10, -0.05, 0.12], "undecided"),
        ([0.10], "one seed shows nothing"),
        ([0.10, 0.10, 0.10], "held"),
        ([-0.10, -0.10, -0.10], "did not hold"),
        ([0.10, math.nan], "not measured"),
    ],
)
def test_a_claim_holds_only_if_its_whole_interval_does(reproduce: ModuleType, values: list[float], verdict: str) -> None:
    claim = reproduce.Claim("it is so", lambda models: models["a"]["x"])
    assert reproduce.judge(claim, [{"a": {"x": value}} for value in values])[1] == verdict


def test_the_claims_point_where_the_paper_does(reproduce: ModuleType) -> None:
    """The paper's own numbers of ID VER (Tables 6 and 9), with coverage and overconfidence filled in as it describes them."""
    models = {
        reproduce.BASE: {"accuracy": 0.4073},
        reproduce.SCAFFOLD: {"accuracy": 0.5447},
        reproduce.COLD: {"accuracy": 0.5404, "coverage": 1.0, "ece": 0.1467, "brier": 0.2387},
        "EmoCaliber #1": {"excess": 0.45},
        "EmoCaliber #2": {"excess": 0.42},
        "EmoCaliber #3": {"excess": 0.44},
        reproduce.FINAL: {"accuracy": 0.5503, "ece": 0.1363, "brier": 0.2277, "excess": 0.05},
    }
    assert all(claim.value(models) > 0 for claim in reproduce.CLAIMS)


@pytest.mark.slow
def test_a_smoke_run_writes_the_page_and_says_that_it_is_meaningless(tmp_path: Path) -> None:
    command = [sys.executable, str(SCRIPT), "--scale", "smoke", "--seeds", "1", "--out", str(tmp_path)]
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert len(found["claims"]) == 19
    page = (tmp_path / "reproduction.md").read_text()
    assert "its numbers are meaningless" in page
    assert page.count("EmoCaliber #") == 6
    assert (tmp_path / "figure6.png").read_bytes().startswith(b"\x89PNG")
