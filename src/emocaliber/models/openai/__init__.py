"""Models behind an OpenAI-compatible API: paid or one's own, one server or many."""

from __future__ import annotations

from emocaliber.models.openai.limits import BudgetReached
from emocaliber.models.openai.model import RemoteModel

__all__ = ["BudgetReached", "RemoteModel"]
