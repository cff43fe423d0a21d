"""VECBench: its samples, its nine subtasks and their three groups."""

from __future__ import annotations

from emocaliber.core.samples import Fields, Sample, identified_rows, read_samples
from emocaliber.core.tasks import GROUPS, TASKS, Task, canonical_task, group_of, labels_of, task, task_order, taxonomy_of

__all__ = [
    "GROUPS",
    "TASKS",
    "Fields",
    "Sample",
    "Task",
    "canonical_task",
    "group_of",
    "identified_rows",
    "labels_of",
    "read_samples",
    "task",
    "task_order",
    "taxonomy_of",
]
