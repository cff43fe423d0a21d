"""A run of `respond`: one model asked about many samples, on disk in a form that can go on, be repeated and be shared out."""

from __future__ import annotations

from emocaliber.inference.plan import RunConfig, Selection, Shard, read_run_config, select
from emocaliber.inference.run import Outputs, Run, RunRecord, RunSummary, summarise_run

__all__ = ["Outputs", "Run", "RunConfig", "RunRecord", "RunSummary", "Selection", "Shard", "read_run_config", "select", "summarise_run"]
