"""The questions that a model was taught, and how it is asked a question that it was not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from emocaliber.core.tasks import TASKS, canonical_task, labels_of
from emocaliber.emotions.labels import Labels
from emocaliber.emotions.taxonomy import label_key, taxonomy


@dataclass(frozen=True)
class TaughtQuestions:
    """The questions of a model's training: its tasks, and the sets of labels that its confidence was calibrated on.

    `fixed`: the model can only be asked these questions. Other labels are then asked for by the taught question that shares the most
    with them, while its answer is decoded among the labels wanted.
    """

    tasks: tuple[str, ...]
    calibrated: tuple[frozenset[str], ...]
    fixed: bool

    @classmethod
    def of(cls, model: Any) -> TaughtQuestions | None:
        """Those of a model whose card names its `tasks`; None for others."""
        tasks = getattr(model, "tasks", None)
        if not tasks:
            return None
        known = getattr(model, "calibrators", None)
        calibrated = tuple(_keys(each.labels) for each in known.questions) if known else ()
        return cls(tuple(tasks), calibrated, bool(getattr(model, "fixed_questions", False)))

    def covers(self, labels: Sequence[str]) -> bool | None:
        """Whether all labels are among those of one taught question; None if the labels of some are not known."""
        wanted = _keys(labels)
        if any(wanted <= known for known in (*self._sets.values(), *self.calibrated)):
            return True
        return False if len(self._labels) == len(self.tasks) else None

    def asked_with(self, task: str, labels: Labels) -> tuple[str, Labels]:
        """The task and labels with which the model is asked for `labels`: these, or those of the taught question to ask instead."""
        wanted = _keys(labels)
        if not self.fixed or wanted in self._sets.values():
            return task, labels
        shared = {name: len(wanted & known) for name, known in self._sets.items()}
        best = max(shared, key=lambda name: shared[name], default=None)  # the first of equal ones
        return (task, labels) if best is None else (best, self._labels[best])

    def spelt(self, labels: Labels) -> Labels:
        """The labels in the spelling of the taught questions, where they are the same but for case and punctuation."""
        known = {label_key(label): label for labels in self._labels.values() for label in labels}
        return Labels.of([known.get(label_key(label), label) for label in labels], labels.taxonomy)

    @cached_property
    def _labels(self) -> dict[str, Labels]:
        """The labels of the tasks that are known."""
        known = (TASKS[canonical_task(name)] for name in self.tasks if canonical_task(name) in TASKS)
        return {each.name: labels_of(each.name, taxonomy(each.taxonomy).labels) for each in known}

    @cached_property
    def _sets(self) -> dict[str, frozenset[str]]:
        """The labels of the tasks that are known, as sets without case and punctuation."""
        return {name: _keys(labels) for name, labels in self._labels.items()}


def _keys(labels: Sequence[str]) -> frozenset[str]:
    return frozenset(map(label_key, labels))
