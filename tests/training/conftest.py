from __future__ import annotations

from typing import Any

import pytest


@pytest.fixture(scope="session")
def tokenizer() -> Any:
    """The tokenizer of tiny, trained on a few hundred texts."""
    from emocaliber.training.base.model import build_tokenizer
    from emocaliber.training.base.stage0 import tokenizer_texts

    return build_tokenizer(tokenizer_texts(60, seed=0), vocabulary=512)


@pytest.fixture(scope="session")
def processor(tokenizer: Any) -> Any:
    """The processor of tiny, with that tokenizer."""
    from emocaliber.training.base.model import build_processor

    return build_processor(tokenizer, side=112)
