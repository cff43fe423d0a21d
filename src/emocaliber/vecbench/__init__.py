"""VECBench: its samples, its nine subtasks and their three groups."""

from __future__ import annotations

from emocaliber.vecbench.fields import Fields, identified_rows
from emocaliber.vecbench.sample import Sample, read_samples
from emocaliber.vecbench.tasks import GROUPS, TASKS, Task, aliases_of, canonical_task, task

__all__ = ["GROUPS", "TASKS", "Fields", "Sample", "Task", "aliases_of", "canonical_task", "identified_rows", "read_samples", "task"]
