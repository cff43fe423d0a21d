"""A run of `respond`: one model asked about many samples, on disk in a form that can go on, be repeated and be shared out."""

from __future__ import annotations

from emocaliber.inference.plan import Plan, Selection, Shard, make_plan, select
from emocaliber.inference.run import Closing, Outputs, Record, Run, close

__all__ = ["Closing", "Outputs", "Plan", "Record", "Run", "Selection", "Shard", "close", "make_plan", "select"]
