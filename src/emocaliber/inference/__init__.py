"""Inference: one model asked about many samples, in runs on disk that can be resumed, repeated and sharded."""

from __future__ import annotations

from emocaliber.inference.plan import RunConfig, Selection, Shard, read_run_config, select
from emocaliber.inference.run import Outputs, Run, RunRecord, RunSummary, summarise_run

__all__ = ["Outputs", "Run", "RunConfig", "RunRecord", "RunSummary", "Selection", "Shard", "read_run_config", "select", "summarise_run"]
