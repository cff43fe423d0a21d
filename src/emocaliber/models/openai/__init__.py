"""Models behind OpenAI-compatible APIs, paid or self-hosted, on one server or several."""

from __future__ import annotations

from emocaliber.models.openai.limits import BudgetReached
from emocaliber.models.openai.model import RemoteModel

__all__ = ["BudgetReached", "RemoteModel"]
