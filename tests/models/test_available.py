"""Models that are not there are refused before anything heavy is imported."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import httpx2
import pytest
from huggingface_hub import constants

from emocaliber.errors import UserError
from emocaliber.models.available import check_available


def test_a_path_without_a_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "model").touch()
    for name, complaint in (
        (tmp_path / "nope", "there is no such folder"),
        ("./nope", "there is no such folder"),
        (tmp_path / "model", "this is a file"),
    ):
        with pytest.raises(UserError, match=complaint):
            check_available(str(name), "local")


@pytest.mark.skipif(find_spec("vllm") is not None, reason="vLLM is installed here")
def test_a_missing_vllm_is_said_without_torch() -> None:
    words = ["predict", __file__, "--model", "vllm:x"]
    code = f"import sys; from emocaliber.__main__ import main; main({words!r}); print('torch' in sys.modules)"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.splitlines()[-1] == "False"
    assert "needs more packages" in shown.stderr


@pytest.mark.parametrize("cached", [False, True])
def test_a_hub_that_cannot_be_reached_is_asked_once(
    cached: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = []

    def unreachable(url: str, **_: object) -> None:
        asked.append(url)
        raise httpx2.ConnectError("no route")

    monkeypatch.setattr(httpx2, "head", unreachable)
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *_: "config.json" if cached else None)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    if cached:
        check_available("some/model", "local")
        assert constants.HF_HUB_OFFLINE
        assert "cannot be reached (no route); the cached copy of some/model is used" in capsys.readouterr().err
    else:
        with pytest.raises(
            UserError, match=r"some/model: there is no such folder, the hub's cache does not hold it, and .* cannot be reached"
        ):
            check_available("some/model", "local")
    assert len(asked) == 1


@pytest.mark.parametrize(("name", "meant"), [("tniy", "tiny"), ("opneai:gpt-5", "openai:gpt-5"), ("RUN", "RUN/model")])
def test_a_misspelt_model_is_refused_with_what_was_meant(name: str, meant: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    model = tmp_path / "RUN" / "model"
    model.mkdir(parents=True)
    (model / "config.json").write_text("{}")
    (model.parent / "config.json").write_text('{"stage": "stage1"}')
    with pytest.raises(UserError, match=rf"^there is no model {name}; did you mean {meant}\?$"):
        check_available(name, "local")
