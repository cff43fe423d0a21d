"""What response rows say of them all: the models that they name, how they were read, and which confidence to show first."""

from __future__ import annotations

from dataclasses import dataclass, field

from emocaliber.core.calibrators import CALIBRATED
from emocaliber.core.scoring import VERBALIZED
from emocaliber.io.rows import Row


@dataclass
class Facts:
    """What a look at each response row says of them all: how many were read strictly, the `models` that they name, and how many of those
    without an error have a calibrated confidence and a stated one."""

    strictly: int = 0
    models: set[str] = field(default_factory=set)
    calibrated: int = 0
    stated: int = 0

    def add(self, row: Row) -> None:
        self.strictly += row.get("lenient") is False
        if model := row.get("model"):
            self.models.add(str(model))
        if row.get("error") is None:
            self.calibrated += row.get(CALIBRATED) is not None
            confidence = row.get("confidence")
            self.stated += isinstance(confidence, dict) and confidence.get(VERBALIZED) is not None

    def __iadd__(self, other: Facts) -> Facts:
        self.strictly, self.models = self.strictly + other.strictly, self.models | other.models
        self.calibrated, self.stated = self.calibrated + other.calibrated, self.stated + other.stated
        return self

    @property
    def first_source(self) -> str:
        """The source that `predict` gives as the confidence of this model: calibrated where most answers have that, else what is stated."""
        return CALIBRATED if 2 * self.calibrated > self.stated else VERBALIZED
