"""The card of the model that a stage leaves behind: what it inherits from the model that the stage started from, and what it learnt."""

from __future__ import annotations

from typing import Any

from emocaliber.core.tasks import taxonomy_of
from emocaliber.emotions.taxonomy import label_key
from emocaliber.models.card import COMMITS_AFTER, FIXED_QUESTIONS, UNFAMILIAR, read_card
from emocaliber.scenes.out_of_domain import OOD_ELEMENT
from emocaliber.scenes.template_teacher import COMMITS
from emocaliber.training.config import ModelConfig, Stage0Config, StageConfig
from emocaliber.training.samples import numbered_sample_rows

DRAWN_ONLY = {FIXED_QUESTIONS: True, COMMITS_AFTER: [COMMITS], UNFAMILIAR: OOD_ELEMENT.phrase}  # of a model that knows drawn scenes only

_NO_PHOTOGRAPH = "this model learnt from drawn scenes only: it has never seen a photograph, and on photographs its answers mean nothing"
_PHOTOGRAPHS = (
    "this model started from one that knew drawn scenes only, and has seen no photographs but those of its training: do not rely on its "
    "answers without scoring them on others"
)


def card_of_stage(config: StageConfig) -> dict[str, Any]:
    """The fields of `emocaliber.json` for the model of stage 0, or of a stage that started from a model with a notice.

    Empty for the model of any other stage, such as one that started from a public checkpoint.
    """
    base = read_card(config.model) if isinstance(config, ModelConfig) else {}
    if not isinstance(config, Stage0Config) and "notice" not in base:
        return {}
    rows = [row for _, row in numbered_sample_rows(config.samples, config.images)]
    drawn = all("scene" in row for row in rows)
    card = dict(DRAWN_ONLY) if drawn else {key: base[key] for key in DRAWN_ONLY if key in base}
    if not all(_is_known(row["task"], row["candidates"]) for row in rows):
        card.pop(FIXED_QUESTIONS, None)  # labels of one's own were taught as well, and no other question must stand in for theirs
    learnt = set() if isinstance(config, Stage0Config) else {row["task"] for row in rows}
    tasks = [*base.get("tasks", ()), *sorted(learnt - set(base.get("tasks", ())))]
    return {"notice": _NO_PHOTOGRAPH if drawn else _PHOTOGRAPHS, **({"tasks": tasks} if tasks else {}), **card}


def _is_known(task: str, candidates: list[str]) -> bool:
    """Whether these are the labels of the task's taxonomy."""
    known = taxonomy_of(task)
    return known is not None and set(map(label_key, candidates)) == set(map(label_key, known.labels))
