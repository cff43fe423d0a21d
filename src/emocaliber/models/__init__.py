"""Models: what answers a question about an image. Torch is imported only when a model is loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from emocaliber.errors import UserError
from emocaliber.models.base import Model, Reply, Request

TINY = Path(__file__).parent.parent / "checkpoints" / "tiny"

__all__ = ["TINY", "Model", "Reply", "Request", "load_model"]


def load_model(name: str = "tiny", **settings: Any) -> Model:
    """The model called `name`: "tiny" (shipped with the package), a checkpoint folder, or a hub id.

    `settings` go to `LocalModel`: batch_size, temperature, retries, seed, max_new_tokens, device. Raises UserError if it cannot be loaded.
    """
    for kind in ("vllm", "openai", "recorded"):
        if name.startswith(f"{kind}:"):
            raise UserError(f"models of the kind {kind!r} are not part of this version; give 'tiny', a checkpoint folder or a hub id")
    from emocaliber.models.local import LocalModel

    return LocalModel(TINY if name == "tiny" else name, **settings)
