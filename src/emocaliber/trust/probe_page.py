"""The page of `calibrate probe`: each probe with its numbers in words, and examples: pictures, their changes, and the answers to each."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from emocaliber.core.source_words import source_words
from emocaliber.emotions.colours import emotion_styles
from emocaliber.io.images import ImageError, OpenedImage
from emocaliber.io.rows import write_atomically
from emocaliber.render.html import render_page, thumbnail
from emocaliber.render.table import interval, percent
from emocaliber.trust.probe_scores import ProbeResult, all_probes_note, compare, sentence_of
from emocaliber.trust.probes import WORDS, ProbedSample
from emocaliber.trust.probing import Prober

EXAMPLES = 6  # pictures on the page
_SIDE = 170  # of a picture, in pixels
_OF_THE_QUESTION = ("no_truth", "order", "synonyms", "wording", "fewer")  # probes that show the same picture
_TITLES = {
    "falls": "falls on",
    "mean_fall": "mean fall",
    "same_answer": "answer stays on",
    "mean_change": "mean absolute change",
}


def write_probe_page(prober: Prober, results: Sequence[ProbeResult], folder: str | Path, *, model: str) -> Path:
    """Writes `folder/report.html`, self-contained and without scripts, and returns its path; `results` are the prober's.

    Raises UserError if it cannot be written.
    """
    examples = [_example(prober, sample, results) for sample in _chosen(prober)]
    labels = list(dict.fromkeys(label for sample in prober.plan.samples for label in sample.candidates))
    page = render_page(
        "trust/probe_sheet",
        styles=emotion_styles(labels),
        model=model,
        notice=prober.model.notice,
        made=datetime.now().astimezone(),
        n=len(prober.plan.samples),
        tasks=list(dict.fromkeys(sample.task for sample in prober.plan.samples)),
        source=source_words(prober.source),
        summary=all_probes_note(results),
        probes=[_probe(result) for result in results],
        marks=_marks(results),
        examples=examples,
        shades={label: place for place, label in enumerate(labels)},
    )
    path = Path(folder) / "report.html"
    write_atomically(path, page)
    return path


def _probe(result: ProbeResult) -> dict[str, Any]:
    return {
        "name": result.probe.name,
        "asks": result.probe.asks,
        "must": WORDS[result.probe.must],
        "verdict": result.verdict,
        "sentence": sentence_of(result),
        "remarks": [*([result.note] if result.note else []), *(f"{count:,} left out: {why}" for why, count in _left_out(result))],
        "numbers": [
            {
                "title": _TITLES[name],
                "value": percent(each.value),
                "ci": interval(each.interval),
                "mark": f"{'above' if each.above else 'below'} {100 * each.mark:.0f}",
            }
            for name, each in result.numbers.items()
        ],
        "right": [percent(each) for each in result.right or ()],
        "confidence": [percent(each) for each in (result.before, result.after)] if result.n else [],
    }


def _marks(results: Sequence[ProbeResult]) -> dict[tuple[str, str], str]:
    """The reason of each mark, by the number's title and the mark."""
    return {
        (_TITLES[name], f"{'above' if each.above else 'below'} {100 * each.mark:.0f}"): result.reason(name)
        for result in results
        for name, each in result.numbers.items()
    }


def _left_out(result: ProbeResult) -> list[tuple[str, int]]:
    return list(result.left_out.items()) if result.numbers else []


def _chosen(prober: Prober) -> list[ProbedSample]:
    """The examples: at even ranks of the confidence of the pictures' own answers, the most confident first."""

    def confidence(sample: ProbedSample) -> float | None:
        row = prober.first_row(sample)
        value: float | None = row["confidence"].get(prober.source) if row and row["answer"] is not None else None
        return value

    known = [(value, sample.id, sample) for sample in prober.plan.samples if (value := confidence(sample)) is not None]
    ordered = [sample for *_, sample in sorted(known, key=lambda each: (-each[0], each[1]))]
    if len(ordered) <= EXAMPLES:
        return ordered
    return [ordered[round(place * (len(ordered) - 1) / (EXAMPLES - 1))] for place in range(EXAMPLES)]


def _example(prober: Prober, sample: ProbedSample, results: Sequence[ProbeResult]) -> dict[str, Any]:
    first = prober.first_row(sample)
    assert first is not None, "examples are among the answered samples"
    own = {
        "name": "the picture itself",
        "picture": _shown(prober.picture(sample)),
        "answer": first["answer"],
        "now": first["confidence"].get(prober.source),
    }
    tiles, otherwise = [own], []
    for result in results:
        if (asked := prober.changed(result.probe, sample)) is None or result.source is None:
            continue
        row, picture = asked
        compared = compare(result.probe, (first, row), result.source, by_label=result.by_label)
        entry = {
            "name": result.probe.name,
            "answer": row["answer"],
            "problem": compared if isinstance(compared, str) else None,
            "reacts": None if isinstance(compared, str) else compared.reacts(result.probe.must),
            "before": None if isinstance(compared, str) else compared.before,
            "after": None if isinstance(compared, str) else compared.after,
            "of_first": first["answer"] if result.by_label else None,
            "source": result.source if result.source != prober.source and not result.by_label else None,
        }
        if result.probe.name in _OF_THE_QUESTION:
            otherwise.append({**entry, "asks": result.probe.asks})
        else:
            tiles.append({**entry, "picture": _shown(picture)})
    return {"id": sample.id, "truth": sample.truth, "first": first, "tiles": tiles, "otherwise": otherwise}


def _shown(picture: OpenedImage | ImageError) -> str | None:
    return None if isinstance(picture, ImageError) else thumbnail(picture.image, _SIDE)
