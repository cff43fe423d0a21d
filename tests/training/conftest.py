from __future__ import annotations

from typing import Any

import pytest


@pytest.fixture(scope="session")
def processor() -> Any:
    """A small but real processor: the recipe of tiny, its tokenizer trained on a few hundred texts."""
    from emocaliber.training.base.model import build_processor, build_tokenizer
    from emocaliber.training.base.stage0 import tokenizer_texts

    return build_processor(build_tokenizer(tokenizer_texts(60, seed=0), vocabulary=512), side=112)
