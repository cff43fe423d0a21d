"""Rows of `predict` as a watch follows them, and a certificate for them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from emocaliber.emotions.taxonomy import taxonomy
from emocaliber.evaluation.calibration import bin_of
from emocaliber.trust.certificate_file import Certificate, Certified, CertifiedQuestion

LABELS = taxonomy("mikels-8").labels


def predictions(n: int, seed: int, *, sure: float = 0.6, first: str = "", **changes: Any) -> list[dict[str, Any]]:
    """Rows with confidences around `sure`, and answers that are `first` or any of eight; ids differ between seeds."""
    rng = np.random.default_rng(seed)
    confidences = np.clip(rng.normal(sure, 0.15, n), 0, 1).round(4)
    answers = [first or LABELS[place] for place in rng.integers(0, len(LABELS), n)]
    rows = zip(answers, confidences.tolist(), strict=True)
    return [prediction(f"{seed}-{number}.jpg", answer, stated) | changes for number, (answer, stated) in enumerate(rows)]


def prediction(image: str, emotion: str | None, confidence: float | None) -> dict[str, Any]:
    """A row of `predict`; an error without an emotion."""
    error = None if emotion else {"code": "malformed", "message": "no answer"}
    return {
        **{"image": image, "task": "EmoSet-8", "emotion": emotion, "confidence": confidence, "confidence_source": "verb"},
        **{"accepted": None, "unfamiliar": None, "untaught": False, "reasoning": None, "alternatives": []},
        **{"response": "", "model": "mine", "seconds": 0.1, "error": error},
    }


def write(file: Path, rows: Iterable[Mapping[str, Any]], *, add: bool = False) -> Path:
    """The rows as JSON Lines, in a new file or added to one."""
    with open(file, "a" if add else "w") as out:
        out.writelines(json.dumps(row) + "\n" for row in rows)
    return file


def certificate(threshold: float | None = 0.5, expires: str = "2999-01-01T00:00:00+00:00") -> Certificate:
    """A certificate of 80 % above a confidence of 0.5, made from 400 answers like those of `predictions`."""
    rows = predictions(400, 99)
    histogram = np.bincount(bin_of([row["confidence"] for row in rows], 20), minlength=20).tolist()
    answers = {label: sum(row["emotion"] == label for row in rows) for label in LABELS}
    what = Certified(400, 0.8, 0.05, threshold, 300, 255, None, {})
    return Certificate(
        terms="for a test",
        source="verb",
        pooled=what,
        per_question=(CertifiedQuestion("EmoSet-8", LABELS, what),),
        together=False,
        model={"name": "mine"},
        created="2026-01-01T00:00:00+00:00",
        expires=expires,
        answers={},
        reference={"confidence_histogram": histogram, "answers": answers, "malformed": 0, "n": 400, "accepted": 300, "accepted_right": 255},
    )
