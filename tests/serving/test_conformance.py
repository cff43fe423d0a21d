"""schemathesis against /openapi.json: whatever it thinks up gets an answer that the document announces."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from serving_servers import ServerProcess

# 503 and 504 are announced; labels that differ in case only, or a task beside labels, are refused by rules that no schema states.
CONFIG = """
[checks]
positive_data_acceptance.expected-statuses = ["2xx", 401, 403, 404, 409, 413, 422, 429, 503, 504]
negative_data_rejection.expected-statuses = [400, 401, 403, 404, 405, 406, 408, 409, 413, 415, 422, 428, 429, 431, "5xx"]
not_a_server_error.expected-statuses = ["2xx", "3xx", "4xx", 503, 504]
"""


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["positive", "negative"])
def test_every_answer_is_one_that_the_document_announces(tiny_server: ServerProcess, tmp_path: Path, mode: str) -> None:
    (tmp_path / "schemathesis.toml").write_text(CONFIG)
    words = ["run", f"{tiny_server.url}/openapi.json", "--max-examples", "25", "--mode", mode, "--seed", "1", "--no-color"]
    code = "import sys; from schemathesis.cli import schemathesis; sys.exit(schemathesis())"
    ran = subprocess.run([sys.executable, "-c", code, *words], cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert ran.returncode == 0, ran.stdout[-5000:] + ran.stderr[-2000:]
    assert "No issues found" in ran.stdout
