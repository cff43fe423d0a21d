"""A model is called by its kind and name, and has the settings of its kind alone."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

from emocaliber.errors import UserError
from emocaliber.models import load_model
from emocaliber.models.local import LocalModel


def test_a_folder_is_a_local_model_with_its_settings(mite: Path) -> None:
    model = load_model(str(mite), batch_size=3, max_new_tokens=5)
    assert isinstance(model, LocalModel)
    assert (model.name, model.window) == ("mite", 12)


NEEDS_VLLM = pytest.mark.skipif(find_spec("vllm") is None, reason="vLLM is not installed")


@pytest.mark.parametrize("name", ["tiny", pytest.param("vllm:some/model", marks=NEEDS_VLLM), "openai:gpt-5", "recorded:answers.jsonl"])
def test_a_setting_that_a_kind_does_not_have_is_refused_with_those_it_has(name: str) -> None:
    kind = name.partition(":")[0] if ":" in name else "local"
    with pytest.raises(UserError, match=rf"models of the kind '{kind}' have no setting 'colour'; their settings are \w+"):
        load_model(name, colour="red")
