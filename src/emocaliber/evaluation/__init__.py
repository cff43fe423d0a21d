"""Evaluation of outcomes: metrics with intervals, tables, figures, reports and comparisons. No model runs here.

`evaluation.figures.draw_figures` is imported from its module, as it loads matplotlib.
"""

from __future__ import annotations

from emocaliber.evaluation.compare import compare, comparison_table
from emocaliber.evaluation.parity import parity, parity_table
from emocaliber.evaluation.report import write_report
from emocaliber.evaluation.stated import confidence_metrics
from emocaliber.evaluation.summary import summarise
from emocaliber.evaluation.tables import evolvement_table, headline, latex, markdown

__all__ = [
    "compare",
    "comparison_table",
    "confidence_metrics",
    "evolvement_table",
    "headline",
    "latex",
    "markdown",
    "parity",
    "parity_table",
    "summarise",
    "write_report",
]
