from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

CARD = {"name": "mite", "notice": "It knows nothing.", "tasks": ["EmoSet-8"], "max_new_tokens": 24}


@pytest.fixture(scope="session")
def tokenizer() -> Any:
    """The recipe of tiny, trained on a few hundred texts."""
    from emocaliber.models.tiny import build_tokenizer
    from emocaliber.training.stage0 import tokenizer_texts

    return build_tokenizer(tokenizer_texts(60, seed=0), vocabulary=512)


@pytest.fixture(scope="session")
def mite(tmp_path_factory: pytest.TempPathFactory, tokenizer: Any) -> Path:
    """The folder of a real checkpoint with random weights and one layer of everything."""
    from emocaliber.models.tiny import build_model, build_processor

    folder = tmp_path_factory.mktemp("mite")
    torch.manual_seed(0)
    model = build_model(tokenizer, width=64, layers=1, vision_width=64, vision_layers=1)
    with torch.no_grad():  # lively weights: otherwise the tied embedding makes it repeat its last token, whatever it is asked
        for name, weight in model.named_parameters():
            weight.mul_(6 if weight.dim() > 1 and "embed" not in name else 1)
    model.save_pretrained(folder)
    build_processor(tokenizer, side=84).save_pretrained(folder)
    (folder / "emocaliber.json").write_text(json.dumps(CARD))
    return folder
