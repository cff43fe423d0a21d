"""The HTML report of `score`: metrics, reliability diagrams, confusion matrices, and every answer, the most overconfident first."""

from __future__ import annotations

import base64
import os
import sys
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime
from itertools import chain, repeat
from pathlib import Path
from typing import Any
from urllib.parse import quote

from emocaliber.core.response import STEPS, Malformed, parse
from emocaliber.core.scoring import Outcome
from emocaliber.core.source_words import source_words
from emocaliber.core.tasks import labels_of, taxonomy_of
from emocaliber.emotions.colours import emotion_styles
from emocaliber.evaluation.calibration import reliability_bins
from emocaliber.evaluation.metrics import tally_of
from emocaliber.evaluation.shown import shown_labels, shown_sources
from emocaliber.evaluation.stated import NOT_SHARES
from emocaliber.evaluation.tables import main_source
from emocaliber.io.rows import Row, write_atomically
from emocaliber.render.html import file_link, render_page, script_data, thumbnails
from emocaliber.render.table import percent

# The most overconfident answers get thumbnails, the others links: 400 take seconds to make and 3 MB of the page.
_THUMBNAILS, _SIDE = 400, 192

# Abbreviations in column names.
_TITLES = {word: word.upper() for word in ("aurc", "augrc", "nll", "mce", "ece", "auroc", "f1", "mae", "rms")}
_ANSWERS = ("accuracy", "accuracy_pooled", "f1_macro", "f1_weighted")


def write_report(
    summary: Mapping[str, Any],
    outcomes: Sequence[Outcome],
    rows: Iterable[Row],
    folder: str | Path,
    *,
    name: str,
    figures: Sequence[Path] = (),
    images: str | Path = ".",
    image_folders: Sequence[str | Path] = (),
    known: Collection[Path] = (),
) -> Path:
    """Writes `folder/report.html`, a self-contained page, and returns its path.

    `rows` are the response rows of `outcomes`, matched by id; `images` is the folder that their image paths are relative to. As rows may
    come from anyone, only images inside that folder or `image_folders` (links resolved) or among the `known` resolved paths are shown; the
    number of others is printed to stderr. The page makes no network requests. Raises UserError if it cannot be written.
    """
    folder = Path(folder).absolute()
    first = main_source(summary)
    sources = sorted(summary["settings"]["sources"], key=lambda source: source != first)
    answers, people, *stated = _tables(_scopes(summary), sources)
    chosen = shown_sources(summary)
    shown = _AllowedImages([Path(place).resolve() for place in (images, *image_folders)], known)
    samples = _samples(outcomes, {row["id"]: row for row in rows}, sources, Path(images).absolute(), folder, shown)
    if shown.refused:
        print(
            f"{shown.refused:,} images lie outside the folder of the responses and are not shown in the page; "
            "--images DIR allows those of another folder",
            file=sys.stderr,
        )
    labels = list(dict.fromkeys(label for outcome in outcomes for label in _labels(outcome)))
    taxonomies = {found for task in summary["tasks"] if (found := taxonomy_of(task))}
    page = render_page(
        "evaluation/report_page",
        styles=emotion_styles(labels, *taxonomies) if len(taxonomies) == 1 else emotion_styles(labels),
        name=name,
        made=datetime.now().astimezone(),
        summary=summary,
        headline=_headline(summary["overall"], sources),
        answer_table=answers,
        people_table=people if people["keys"] else None,
        stated_tables=list(zip(sources, stated, strict=True)),
        words={source: source_words(source) for source in sources},
        diagrams=[(source, source in chosen, bins) for source in sources if (bins := reliability_bins(tally_of(outcomes, source)))],
        confusions=[
            (task, shown_labels(task, confusion["labels"]), confusion["rows"])
            for task, m in summary["tasks"].items()
            if (confusion := (m.get("emotion") or {}).get("confusion"))
        ],
        shades={label: place for place, label in enumerate(labels)},
        drawn=sum(outcome.posterior is not None for outcome in outcomes),
        figures=[(path.stem.replace("_", " "), _embedded(path)) for path in figures],
        tasks=list(summary["tasks"]),
        truths=Counter(outcome.ground_truth for outcome in outcomes),
        answers=Counter(outcome.answer for outcome in outcomes if outcome.answer is not None),
        sources=sources,
        thumbnailed=min(_THUMBNAILS, len(outcomes)),
        linked=any(sample["link"] for sample in samples),
        refused=shown.refused,
        data=script_data(
            {
                "sources": sources,
                "words": [source_words(source).sentence for source in sources],
                "shades": {label: place for place, label in enumerate(labels)},
                "steps": STEPS,
                "pictured": any(sample["link"] for sample in samples),
                "samples": samples,
            }
        ),
        percent=percent,
        number=_number,
        title=title,
        query=_query,
    )
    path = folder / "report.html"
    write_atomically(path, page)
    return path


def title(key: str) -> str:
    """A key of metrics.json as a heading: `ece_equal_mass` is "ECE equal mass"."""
    words = " ".join(_TITLES.get(word, word) for word in key.split("_"))
    return words[:1].upper() + words[1:]


def _number(key: str, value: float) -> str:
    return f"{value:.3f}" if key in NOT_SHARES else percent(value)


def _scopes(summary: Mapping[str, Any]) -> list[tuple[str, str, Mapping[str, Any]]]:
    """Kind, name and numbers of each row of the tables."""
    kinds = (("task", summary["tasks"]), ("group", summary["groups"]), ("overall", {"Overall": summary["overall"]}))
    return [(kind, name, m) for kind, members in kinds for name, m in members.items()]


def _headline(overall: Mapping[str, Any], sources: Sequence[str]) -> list[dict[str, Any]]:
    figures = [_cell(overall, "accuracy"), _cell(overall, "f1_weighted")]
    if sources:
        stated = overall["confidence"][sources[0]]
        figures += [_cell(stated, key) for key in ("ece", "brier", "auroc", "coverage")]
    return [*figures, _cell(overall["malformed"], "share") | {"key": "malformed"}]


def _cell(m: Mapping[str, Any], key: str) -> dict[str, Any]:
    """A number with its interval and null band, None where missing, and the reason if the number is undefined."""
    reason = (m.get("undefined") or {}).get(key, "not defined for every task and group")
    return {"key": key, "value": m.get(key), "ci": m.get(f"{key}_ci"), "null": m.get(f"{key}_null"), "reason": reason}


def _tables(scopes: Sequence[tuple[str, str, Mapping[str, Any]]], sources: Sequence[str]) -> Iterable[dict[str, Any]]:
    """The tables of the page: of answers, then of each source. They have the columns for which any scope has a number, and say why where a
    number is missing.
    """
    parts = [[numbers(m) for _, _, m in scopes] for numbers in (_answer_numbers, _people_numbers)]
    parts += [[_stated_numbers(m, source) for _, _, m in scopes] for source in sources]
    for members in parts:
        keys = [key for key in dict.fromkeys(chain.from_iterable(members)) if any(_is_number(m.get(key)) for m in members)]
        rows = [
            {"kind": kind, "name": name, "n": scope["n"], "cells": [_cell(m, key) for key in keys]}
            for (kind, name, scope), m in zip(scopes, members, strict=True)
        ]
        missing = {cell["key"]: cell["reason"] for row in rows for cell in row["cells"] if cell["value"] is None}
        yield {"keys": keys, "rows": rows, "missing": missing}


def _answer_numbers(m: Mapping[str, Any]) -> dict[str, Any]:
    malformed, best = m["malformed"], m.get("best_possible") or {}
    numbers = {key: m[key] for name in _ANSWERS for key in (name, f"{name}_ci") if key in m}
    numbers |= {"malformed": malformed["share"], "malformed_ci": malformed.get("share_ci"), **(m.get("emotion") or {})}
    return numbers | {"best_possible_accuracy": best.get("accuracy"), "undefined": m.get("undefined")}


def _people_numbers(m: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in (m.get("people") or {}).items() if key != "n"}


def _stated_numbers(m: Mapping[str, Any], source: str) -> dict[str, Any]:
    spearman = ((m.get("emotion") or {}).get("agreement_spearman") or {}).get(source) or {}
    of_agreement = {"agreement_spearman": spearman.get("value"), "agreement_spearman_ci": spearman.get("value_ci")}
    return {**m.get("confidence", {}).get(source, {}), **of_agreement}


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _overconfidence(outcome: Outcome, source: str | None) -> float:
    stated = outcome.confidence.get(source) if source else None
    return (0.0 if stated is None else stated) - outcome.correct


class _AllowedImages:
    """Tells whether an image may be shown in the page; `refused` counts those that may not."""

    def __init__(self, folders: Sequence[Path], known: Collection[Path]) -> None:
        self._folders, self._known, self.refused = folders, known, 0

    def __call__(self, path: Path) -> bool:
        real = Path(os.path.realpath(path))
        allowed = real in self._known or any(real.is_relative_to(folder) for folder in self._folders)
        self.refused += not allowed
        return allowed


def _samples(
    outcomes: Sequence[Outcome], rows: Mapping[str, Row], sources: Sequence[str], images: Path, folder: Path, shown: Callable[[Path], bool]
) -> list[Row]:
    """The entries of the page's list of answers, the most overconfident by the first source first."""
    first = sources[0] if sources else None
    ordered = sorted(outcomes, key=lambda outcome: (-_overconfidence(outcome, first), outcome.task, outcome.id))
    paths = [_image_path(rows.get(outcome.id, {}), images) for outcome in ordered]
    pictured = [path if path and shown(path) else None for path in paths[:_THUMBNAILS]]
    made = thumbnails((path for path in pictured if path), _SIDE)
    return [
        _sample(outcome, rows.get(outcome.id, {}), sources)
        | {"link": file_link(path, folder) if path and os.path.isfile(path) else None, "thumbnail": next(made) if picture else None}
        for outcome, path, picture in zip(ordered, paths, chain(pictured, repeat(None)), strict=False)
    ]


def _labels(outcome: Outcome) -> list[str]:
    """The labels that the page may show of an outcome."""
    shares = outcome.posterior or outcome.votes or {}
    return [outcome.ground_truth, *([outcome.answer] if outcome.answer is not None else []), *shares]


def _sample(outcome: Outcome, row: Row, sources: Sequence[str]) -> Row:
    return {
        "id": outcome.id,
        "task": outcome.task,
        "truth": outcome.ground_truth,
        "answer": outcome.answer,
        "verdict": "malformed" if outcome.malformed else "right" if outcome.correct else "wrong",
        "reason": _reason(outcome, row),
        "distance": outcome.distance,
        "confidence": [outcome.confidence.get(source) for source in sources],
        "posterior": outcome.posterior,
        "votes": outcome.votes,
        "response": row.get("response"),
    }


def _reason(outcome: Outcome, row: Row) -> str | None:
    """Why a response has no answer; None if it has one."""
    if outcome.malformed is None:
        return None
    if isinstance(error := row.get("error"), Mapping):
        return f"{error.get('code')}: {error.get('message')}"
    if isinstance(text := row.get("response"), str):
        parsed = parse(text, labels_of(outcome.task, row.get("candidates") or ()), lenient=True)
        if isinstance(parsed, Malformed):
            return f"{outcome.malformed}: {parsed.detail}"
    return outcome.malformed


def _image_path(row: Row, images: Path) -> Path | None:
    """The path of a row's image; None without one, or for a name that no file can have."""
    image = row.get("image")
    try:
        return images / os.fsdecode(os.fsencode(image)) if isinstance(image, str) and image and "\0" not in image else None
    except UnicodeEncodeError:
        return None


def _embedded(path: Path) -> str:
    return f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}"


def _query(text: str) -> str:
    return quote(text, safe="", errors="replace")
