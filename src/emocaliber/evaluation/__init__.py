"""Evaluation: outcomes in, numbers and tables out. No model is asked here."""

from __future__ import annotations

from emocaliber.evaluation.summary import summarise
from emocaliber.evaluation.tables import evolvement_table, markdown

__all__ = ["evolvement_table", "markdown", "summarise"]
