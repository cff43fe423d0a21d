"""The trace of one sample: question, answers with confidences, stage 2's target, stage 3's reward, and roll-outs."""

from __future__ import annotations

import difflib
import json
import os
import textwrap
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from emocaliber.confidence.rewards import PARTS, parse_reward, reward
from emocaliber.confidence.targets import confidence_target
from emocaliber.core.response import STEPS, Malformed, parse
from emocaliber.core.sample_files import placed_rows
from emocaliber.core.scoring import Outcome, outcome, response_rows, scored_outcomes
from emocaliber.core.tasks import group_of, labels_of
from emocaliber.emotions.labels import Labels
from emocaliber.errors import UserError
from emocaliber.inference.engine import question_for
from emocaliber.io.datasets import is_there
from emocaliber.io.row_formats import SHARDS
from emocaliber.io.rows import Row, display_name, read_rows
from emocaliber.render.table import NONE

Trace = dict[str, Any]

_MEAN_PROBABILITY = "avg"
_ROLLOUTS, _SETTINGS = "rollouts.jsonl", "config.json"  # in the folder of a training run


@dataclass(frozen=True)
class _Run:
    """The answers of one file. `outcomes` is empty for a file of samples; `missing` says why there are no rows."""

    file: Path
    outcomes: Mapping[str, Outcome]
    rows: Mapping[str, Row]
    missing: str | None = None


def trace(identity: str, folder: str | Path) -> Trace:
    """`{"id", "task", "group", "image", "image_exists", "candidates", "ground_truth", "votes", "posterior", "question", "answers",
    "rollouts"}`.

    `folder` was made by `score`, or holds files of response rows or samples (or is one): then `answers` has one entry per file that
    answers the sample. What an entry cannot know (no text, no mean probability) is None. Its reward is by the settings (`reward_settings`)
    of the training run in whose folder it was found or its rows lie, else by the default ones. In the folder of a training run, `rollouts`
    are the answers that stage 3 sampled, with their rewards and advantages. Raises UserError, naming the ids that come near, if no file
    has the id.
    """
    runs = list(_runs(Path(folder)))
    holding = [run for run in runs if identity in run.rows or identity in run.outcomes]
    if not holding:
        raise _unknown(identity, folder, runs)
    answers = [_answer(identity, run, _reward_of(Path(folder), run.file)) for run in holding if identity in run.outcomes]
    return _sample(identity, holding) | {"answers": answers, "rollouts": _rollouts(identity, Path(folder))}


def _runs(folder: Path) -> Iterator[_Run]:
    if (folder / "outcomes.jsonl").is_file():
        yield _scored(folder)
        return
    files = sorted(file for file in folder.iterdir() if file.suffix.lower() in SHARDS) if folder.is_dir() else [folder]
    settings, found = _settings(folder), False
    samples = settings.get("samples")
    for file in files:
        first = next(read_rows(file), {}) if file.suffix.lower() != ".arrow" else {"task": None}
        if "task" not in first or str(file) == samples:
            continue  # a log of training, another file of rows, or what was trained on
        placed = {row["id"]: (where, row) for where, row in response_rows(file)}
        outcomes = {key: outcome(row, where=where) for key, (where, row) in placed.items() if "response" in row}
        yield _Run(file, outcomes, {key: row for key, (_, row) in placed.items()})
        found = True
    if isinstance(samples, str) and is_there(samples):  # in any form; a response in it is the teacher's
        yield _Run(Path(samples), {}, {row["id"]: row for _, row in placed_rows(samples, settings.get("images") or "")})
        found = True
    if not found:
        raise UserError(f"{display_name(folder)} holds no response rows or samples; give the folder that `emocaliber score` wrote")


def _settings(folder: Path) -> Mapping[str, Any]:
    """The settings of the training run in a folder; none in another folder."""
    try:
        settings = json.loads((folder / _SETTINGS).read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return settings if isinstance(settings, dict) and "stage" in settings else {}


def _reward_of(*places: Path) -> str | None:
    """The reward's settings of the first training run in whose folder one of the places is; None where there is none."""
    folders = (place if place.is_dir() else place.parent for place in places)
    return next((reward for folder in folders if isinstance(reward := _settings(folder).get("reward"), str)), None)


def _rollouts(identity: str, folder: Path) -> list[Row]:
    file = folder / _ROLLOUTS
    return [row for row in read_rows(file) if row["id"] == identity] if file.is_file() else []


def _scored(folder: Path) -> _Run:
    outcomes = {each.id: each for each in scored_outcomes(folder)}
    source = _responses_of(folder)
    if source is None:
        return _Run(folder, outcomes, {}, "metrics.json does not say which responses these are")
    if not source.exists():
        return _Run(folder, outcomes, {}, f"{display_name(source)} is no longer there")
    return _Run(source, outcomes, {row["id"]: row for _, row in response_rows(source)})


def _responses_of(folder: Path) -> Path | None:
    """The file that was scored, as `metrics.json` gives it: from where `score` was called, or from its folder."""
    try:
        named = json.loads((folder / "metrics.json").read_text("utf-8"))["settings"]["responses"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if not isinstance(named, str):
        return None
    return Path(named) if Path(named).exists() or not (folder / named).exists() else folder / named


def _sample(identity: str, runs: Sequence[_Run]) -> Trace:
    run = next((run for run in runs if identity in run.rows), runs[0])
    known: Mapping[str, Any] = asdict(run.outcomes[identity]) if identity in run.outcomes else {}
    row = {**run.rows.get(identity, {}), **known}
    kept = run.rows.get(identity, {})
    # A row's path is relative to its file; answers of others have been moved, their outcomes not.
    candidates, image = kept.get("candidates"), kept.get("image", row.get("image"))
    beside = run.file if run.file.is_dir() else run.file.parent
    path = _plain_path(beside / image) if isinstance(image, str) else None
    return {
        "id": identity,
        "task": row["task"],
        "group": group_of(row["task"]),
        "image": None if path is None else str(path),
        "image_exists": path is not None and path.is_file(),
        "candidates": candidates,
        "ground_truth": row["ground_truth"],
        "votes": row.get("votes"),
        "posterior": row.get("posterior"),
        "question": question_for(row["task"], candidates) if candidates and "plain_answer" not in kept else None,
    }


def _plain_path(path: Path) -> Path:
    """The path without `..`, where it then still is the same file, which it is not behind a linked folder."""
    plain = Path(os.path.normpath(path))
    try:
        return plain if plain.samefile(path) else path
    except (OSError, ValueError):
        return path


def _answer(identity: str, run: _Run, rewarded: str | None) -> Trace:
    given, row = run.outcomes[identity], run.rows.get(identity, {})
    text, candidates = row.get("response"), row.get("candidates") or ()
    labels = labels_of(given.task, candidates)
    parsed = parse(text, labels, lenient=True) if isinstance(text, str) else None
    return {
        "file": str(run.file),
        "rows_missing": run.missing,
        "model": row.get("model"),
        "answer": given.answer,
        "correct": given.correct,
        "distance": given.distance,
        "agreement": None if given.answer is None else given.agreement,
        "malformed": given.malformed and {"reason": given.malformed, "detail": parsed.detail if isinstance(parsed, Malformed) else None},
        "error": row.get("error"),
        "confidence": {source: _with_rank(value, source, run) for source, value in given.confidence.items()},
        "reasoning": None if parsed is None or isinstance(parsed, Malformed) else asdict(parsed.reasoning),
        "response": text,
        "target": _target(given, labels),
        "reward": _reward(text, labels, given, rewarded),
        "reward_settings": rewarded,
        "seconds": row.get("seconds"),
    }


def _with_rank(value: float | None, source: str, run: _Run) -> Trace | None:
    """A confidence, and the share of the run's answers with a lower one."""
    if value is None:
        return None
    stated = sorted(other for each in run.outcomes.values() if (other := each.confidence.get(source)) is not None)
    return {"value": value, "higher_than": bisect_left(stated, value) / len(stated), "n": len(stated)}


def _target(given: Outcome, labels: Labels) -> float | None:
    """Stage 2's target confidence for this answer (equation 2); None if it cannot be computed."""
    mean = given.confidence.get(_MEAN_PROBABILITY)
    return None if given.answer is None or mean is None or not labels else confidence_target(given.answer, given.ground_truth, mean, labels)


def _reward(text: object, labels: Labels, given: Outcome, rewarded: str | None) -> Trace | None:
    """Stage 3's reward of this response (equation 4) under the settings `rewarded`, default ones if None; None without a text."""
    if not isinstance(text, str) or not labels:
        return None
    total, parts = reward(text, labels, given.ground_truth, None if rewarded is None else parse_reward(rewarded))
    return {"total": total, **{part: parts[part] for part in PARTS}}


def _unknown(identity: str, folder: str | Path, runs: Sequence[_Run]) -> UserError:
    ids = list(dict.fromkeys(key for run in runs for key in (*run.outcomes, *run.rows)))
    close = difflib.get_close_matches(identity, ids, n=3, cutoff=0.5) or ids[:3]
    near = f"; ids there are such as {', '.join(map(display_name, close))}" if close else ""
    return UserError(f"{display_name(folder)} has no sample {display_name(identity)!r}{near}")


# The trace as text

_BAR = 24
_MARGIN = 13


def as_text(trace: Trace, width: int = 100) -> str:
    """The trace for a terminal, in lines of at most `width` characters, with unprintable characters escaped."""
    parts = [
        _sample_lines(trace, width),
        *(_answer_lines(each, width) for each in trace["answers"]),
        _rollout_lines(trace["rollouts"], width),
    ]
    return "\n".join(line for part in parts for line in part)


def _sample_lines(trace: Trace, width: int) -> Iterator[str]:
    yield from _field("sample", trace["id"], width)
    yield from _field("task", trace["task"] + (f" ({trace['group']})" if trace["group"] else ""), width)
    image = trace["image"]
    yield from _field("image", "none given" if image is None else image + ("" if trace["image_exists"] else " (not there)"), width)
    yield from _field("truth", trace["ground_truth"], width)
    if trace["candidates"]:
        yield from _field("candidates", ", ".join(trace["candidates"]), width)
    said = {each["answer"] for each in trace["answers"]}
    for name, what in (("posterior", "the true probability of each emotion"), ("votes", "the number of annotators per emotion")):
        if shares := trace[name]:
            yield from ("", f"{name}: {what}", *_bars(shares, trace["ground_truth"], said))
    if trace["question"]:
        yield ""
        yield from _field("question", trace["question"], width)
    if not trace["answers"] and not trace["rollouts"]:
        yield from ("", "No model has answered it here.")


def _bars(shares: Mapping[str, float], truth: str, said: Iterable[str | None]) -> Iterator[str]:
    total, widest = sum(shares.values()), max(map(len, shares))
    for label, share in sorted(shares.items(), key=lambda item: -item[1]):
        bar = ("█" * round(_BAR * share / total)).ljust(_BAR, "·")
        notes = [note for note, holds in (("truth", label == truth), ("answer", label in said)) if holds]
        number = str(share) if isinstance(share, int) else f"{100 * share:5.1f} %"
        yield f"  {display_name(label).ljust(widest)}  {bar}  {number}  {', '.join(notes)}".rstrip()


def _answer_lines(answer: Trace, width: int) -> Iterator[str]:
    yield ""
    yield f"── {display_name(answer['model'] or 'answer')} ({display_name(answer['file'])}) ".ljust(min(width, 72), "─")
    if answer["rows_missing"]:
        yield from _field("text", f"not known: {answer['rows_missing']}", width)
    if answer["reasoning"]:
        for step in STEPS:
            yield from _field(step, answer["reasoning"][step], width)
    if answer["malformed"]:
        yield from _field("malformed", ": ".join(filter(None, answer["malformed"].values())), width)
        if answer["error"]:
            yield from _field("error", f"{answer['error'].get('code')}: {answer['error'].get('message')}", width)
        if answer["response"] is not None:
            for number, line in enumerate(answer["response"].splitlines() or ["(nothing)"]):
                yield from _field("" if number else "as written", line, width)
    else:
        yield from _field("answer", f"{answer['answer']}: {_verdict(answer)}", width)
    yield ""
    for source, stated in answer["confidence"].items():
        standing = f"higher than {100 * stated['higher_than']:.0f} % of this run's {stated['n']:,} confidences" if stated else "none"
        yield from _field(source, f"{stated['value']:.3f}  {standing}" if stated else standing, width)
    if answer["agreement"] is not None:
        yield from _field("agreement", f"{answer['agreement']:.3f}  of annotators would give this answer: the calibrated confidence", width)
    if answer["target"] is not None:
        yield from _field("target", f"{answer['target']:.3f}  stage 2's target confidence (eq. 2)", width)
    if answer["reward"]:
        how = f"reward = {answer['reward_settings']!r}" if answer["reward_settings"] else "with default settings"
        yield from _field("reward", f"{_rewards(answer['reward'])} (eq. 4, {how})", width)


def _rollout_lines(rollouts: Sequence[Mapping[str, Any]], width: int) -> Iterator[str]:
    """The roll-outs grouped by step: answer, confidence, advantage and reward."""
    if rollouts:
        yield from ("", "── roll-outs of stage 3 ".ljust(min(width, 72), "─"))
    for step, group in groupby(rollouts, key=lambda row: row["step"]):
        yield f"step {step}"
        for row in group:
            said = f"{row['answer']}, {'right' if row['correct'] else 'wrong'}" if row["answer"] else f"malformed: {row['malformed']}"
            stated = NONE if row["confidence"] is None else f"{row['confidence']:.2f}"
            yield f"  {display_name(said):<28}{stated:>6}  advantage {row['advantage']:+.3f}  reward {_rewards(row['reward'])}"


def _verdict(answer: Trace) -> str:
    if answer["correct"]:
        return "right"
    away = answer["distance"]
    return "wrong" if away is None else f"wrong, {100 * away:.1f} % of the emotion loop from the truth (50 % is opposite)"


def _rewards(reward: Mapping[str, float]) -> str:
    parts = " + ".join(f"{name} {value:.3f}" for name, value in reward.items() if name != "total")
    return f"{reward['total']:.3f} = {parts}"


def _field(name: str, value: Any, width: int) -> list[str]:
    """`name` and the value beside it, wrapped to `width`; paths are not broken."""
    text = display_name(" ".join(str(value).split()))
    lines = textwrap.wrap(text, max(20, width - _MARGIN), break_long_words=False, break_on_hyphens=False) or [""]
    return [f"{name:<{_MARGIN}}{lines[0]}", *(" " * _MARGIN + line for line in lines[1:])]
