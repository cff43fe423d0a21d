"""Every command and program in docs/serve-standards.md runs as it stands there, against a real server."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from emocaliber.models import TINY
from emocaliber.scenes.dataset import draw_samples
from serving_servers import picture, served_by_command

PAGE = Path(__file__).parents[3] / "docs" / "serve-standards.md"


@pytest.mark.slow
def test_the_examples_run(tmp_path: Path) -> None:
    if not (TINY / "config.json").is_file():
        pytest.skip(f"there is no checkpoint in {TINY}")
    (tmp_path / "photo.png").write_bytes(picture(3, (96, 64)))
    for _ in draw_samples(tmp_path / "scenes", 2, 5, size=56):
        pass
    blocks = re.findall(r"```(bash|python)\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    assert len(blocks) >= 6
    scripts = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    environment = os.environ | {"PATH": scripts, "OMP_NUM_THREADS": "1"}
    with served_by_command("--jobs", str(tmp_path / "jobs"), config=tmp_path) as server:
        for kind, code in blocks:
            here = code.replace("http://127.0.0.1:8000", server.url)
            command = [sys.executable, "-c", here] if kind == "python" else ["bash", "-euo", "pipefail", "-c", here]
            done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
            assert done.returncode == 0, f"{code}\n{done.stderr}"
            assert done.stdout.strip() and '"error": {' not in done.stdout and '"error":{' not in done.stdout, f"{code}\n{done.stdout}"
