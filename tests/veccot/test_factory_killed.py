"""The factory, killed twice while it works through a service that limits rates, fails and is slow, loses neither a row nor a dollar."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "factory.py"


def experiment(*args: Any) -> dict[str, Any]:
    spec = importlib.util.spec_from_file_location("factory_benchmark", BENCHMARK)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found: dict[str, Any] = module.experiment(*args)
    return found


@pytest.mark.slow
def test_every_sample_is_exported_once_and_the_ledger_has_the_servers_account(tmp_path: Path) -> None:
    found = experiment(tmp_path, 200, 2, 100.0, 32, 0.05, 0)
    assert found["accepted"] + found["rejected"] == 200, found
    assert found["accepted"] >= 196
    assert found["exported"] == found["accepted"]
    assert found["exported_twice"] == 0
    assert found["exported_as_accepted"]
    assert found["ledger_cost"] == pytest.approx(found["server_account"], abs=1e-9)
    assert set(found["by_reason"]) >= {"answer", "label_before_analysis", "form", "contradiction"}
