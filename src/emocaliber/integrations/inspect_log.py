"""Response rows as a log of inspect_ai, which its viewer shows and `emocaliber score` reads back; and the reading of its `.eval` files."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from emocaliber.core.calibrators import CALIBRATED
from emocaliber.core.scoring import Outcome, outcome
from emocaliber.errors import UserError
from emocaliber.evaluation.answers.reader import read_answers, system_name
from emocaliber.inference.engine import question_for
from emocaliber.io.images import ImageError, open_image
from emocaliber.io.rows import Row, display_name

_SIDE = 448  # pixels of the longer side of an image in a log


def write_inspect_log(answers: Path, out: Path, *, images: bool = True) -> int:
    """Writes answers with their truths as a log of inspect_ai (`.eval` or `.json`), and returns their number.

    The samples carry their task, labels and confidences, so that `emocaliber score OUT` gives the numbers of `emocaliber score ANSWERS`.
    With `images`, a log holds a small copy of each image that can be opened, as the viewer opens no files of this machine. A metric
    without a value, such as AUROC where all are right, is left out. Raises UserError without inspect_ai, and as `read_answers` does.
    """
    if out.suffix not in (".eval", ".json"):
        raise UserError(f"{display_name(out)}: a log of inspect_ai ends in .eval or .json.")
    try:
        from inspect_ai.log import write_eval_log
    except ImportError as error:
        raise UserError("a log of inspect_ai is written with inspect_ai itself: pip install inspect_ai") from error
    read = read_answers(answers)
    judged = [(row, outcome(row, where=where)) for where, row in read.rows]
    log = _log(judged, answers, system_name(answers, [row for row, _ in judged]), images=images)
    out.parent.mkdir(parents=True, exist_ok=True)
    write_eval_log(log, str(out.absolute()))
    return len(judged)


def _log(judged: Sequence[tuple[Row, Outcome]], source: Path, name: str, *, images: bool) -> Any:
    from inspect_ai.log import EvalConfig, EvalDataset, EvalLog, EvalMetric, EvalResults, EvalSample, EvalScore, EvalSpec, EvalStats
    from inspect_ai.model import ChatMessageUser, ContentImage, ContentText, ModelOutput

    from emocaliber.integrations.frame_metrics import AGGREGATE, contributions
    from emocaliber.integrations.inspect_task import score_of

    samples = []
    for row, each in judged:
        text, image = said_in(row), picture_of(row, source.parent, embed=images)
        asked: list[Any] = [ContentImage(image=image)] if image else []
        asked.append(ContentText(text=question_for(each.task, row["candidates"])))
        question, output = ChatMessageUser(content=asked), ModelOutput.from_content(name, text or "")
        samples.append(
            EvalSample(
                id=each.id,
                epoch=1,
                input=[question],
                choices=list(row["candidates"]),
                target=each.ground_truth,
                messages=[question, output.message],
                output=output,
                scores={"emotion": score_of(each, text)},
                metadata=kept_in_log(row, source.parent),
            )
        )
    added = [contributions(each) for _, each in judged]
    values = {metric: aggregate([each[metric] for each in added]) for metric, aggregate in AGGREGATE.items()}
    metrics = {metric: EvalMetric(name=metric, value=value) for metric, value in values.items() if value == value}
    number, now = len(samples), datetime.now(UTC).isoformat(timespec="seconds")
    tasks = list(dict.fromkeys(each.task for _, each in judged))
    return EvalLog(
        status="success",
        eval=EvalSpec(
            created=now,
            task="emocaliber/vec",
            task_display_name=tasks[0] if len(tasks) == 1 else None,
            dataset=EvalDataset(name=source.name, samples=number, sample_ids=[each.id for each in samples]),
            model=name,
            config=EvalConfig(),
        ),
        results=EvalResults(
            total_samples=number, completed_samples=number, scores=[EvalScore(name="emotion", scorer="emotion", metrics=metrics)]
        ),
        stats=EvalStats(started_at=now, completed_at=now),
        samples=samples,
    )


def said_in(row: Row) -> str | None:
    """The text of an answer: the response, or the label of a system that names nothing else."""
    text = row.get("plain_answer") if "plain_answer" in row else row.get("response")
    return None if text is None else str(text)


def kept_in_log(row: Row, folder: Path) -> dict[str, Any]:
    """What a log keeps of a row beside the question, the answer and the truth, as the reader of logs takes it back."""
    kept: dict[str, Any] = {"task": row["task"], "candidates": list(row["candidates"])}
    kept |= {name: dict(row[name]) for name in ("votes", "posterior") if isinstance(row.get(name), Mapping)}
    stated = dict(row["confidence"]) if isinstance(row.get("confidence"), Mapping) else {}
    if CALIBRATED in row:
        stated[CALIBRATED] = row[CALIBRATED]
    if stated:
        kept["confidence"] = stated
    if isinstance(image := row.get("image"), str) and image:
        kept["image"] = str((folder / image).absolute())
    if isinstance(error := row.get("error"), Mapping):
        kept["error"] = dict(error)
    return kept


def picture_of(row: Row, folder: Path, *, embed: bool) -> str | None:
    """The image of a row: a small copy as a data URI with `embed`, else, or where it cannot be opened, its path; None without one."""
    if not isinstance(image := row.get("image"), str) or not image:
        return None
    path = (folder / image).absolute()
    if not embed:
        return str(path)
    try:
        small = open_image(path).image
    except ImageError:
        return str(path)
    small.thumbnail((_SIDE, _SIDE))
    held = io.BytesIO()
    small.save(held, "JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(held.getvalue()).decode("ascii")
