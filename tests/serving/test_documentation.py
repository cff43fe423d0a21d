"""The code in docs/serve.md runs, and what the page says of limits, errors and metrics is so."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import httpx2
import pytest

from emocaliber.serving.errors import CODES
from emocaliber.serving.settings import HttpLimits
from serving_servers import ServerProcess, picture

DEPLOY = Path(__file__).parents[2] / "deploy"
PAGE = (Path(__file__).parents[2] / "docs" / "serve.md").read_text("utf-8")


def test_the_python_code_of_the_page_runs(
    tiny_server: ServerProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / name).write_bytes(picture(1, kind="JPEG"))
    monkeypatch.chdir(tmp_path)
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    exec(code.replace("http://localhost:8000", tiny_server.url), {})
    assert capsys.readouterr().out.startswith("a.jpg ")


def test_the_table_of_errors_has_all_of_them() -> None:
    for status, code in CODES.items():
        assert str(status) in PAGE and f"`{code}`" in PAGE, status


def test_the_tables_of_addresses_and_metrics_name_what_there_is(tiny_server: ServerProcess) -> None:
    for path in httpx2.get(f"{tiny_server.url}/openapi.json").json()["paths"]:
        assert path in PAGE
    text = httpx2.get(f"{tiny_server.url}/metrics").text
    for name in re.findall(r"`(emocaliber_\w+)", PAGE):
        assert name in text or name.startswith(("emocaliber_certificate", "emocaliber_watch")), name


def test_the_limits_of_the_page_are_those_of_the_server() -> None:
    limits = HttpLimits()
    assert {each.name for each in fields(limits)} >= {"images", "headers", "connections"}
    for words in (
        f"{limits.images} images",
        f"{limits.headers} headers",
        f"{limits.connections:,} connections",
        f"{limits.body_bytes // 1_000_000} MB each, {limits.held_bytes // 1_000_000} MB of all",
        f"headers within {limits.header_seconds:g} seconds; a body within {limits.body_seconds:g},",
        f"no pause above {limits.idle_seconds:g}",
    ):
        assert words in PAGE, words


def test_the_unit_and_the_image_start_the_command_and_give_it_time_to_finish() -> None:
    unit, image = (DEPLOY / "emocaliber.service").read_text(), (DEPLOY / "Dockerfile").read_text()
    assert "emocaliber serve --host 0.0.0.0" in unit and '"serve", "--host", "0.0.0.0"' in image
    for text, option in ((unit, r"TimeoutStopSec=(\d+)"), (image, r"--stop-timeout (\d+)")):
        found = re.search(option, text)
        assert found and int(found[1]) >= 60 + HttpLimits().body_seconds + 10
    assert re.search(r"^USER (?!root)", image, re.MULTILINE) and ":latest" not in image


def test_a_linter_finds_nothing_in_the_image() -> None:
    found = subprocess.run([Path(sys.executable).parent / "hadolint", "--no-color", DEPLOY / "Dockerfile"], capture_output=True, text=True)
    assert (found.returncode, found.stdout + found.stderr) == (0, "")


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not there")
def test_systemd_understands_the_unit(tmp_path: Path) -> None:
    unit = tmp_path / "emocaliber.service"  # with a program and a user that are here: it looks for both
    text = (DEPLOY / "emocaliber.service").read_text()
    unit.write_text(re.sub(r"^ExecStart=\S+", f"ExecStart={sys.executable}", text, flags=re.MULTILINE))
    found = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True)
    assert (found.returncode, [line for line in found.stderr.splitlines() if "emocaliber" in line]) == (0, [])
