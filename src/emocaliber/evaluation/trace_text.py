"""A trace for the terminal: one screen, in the order in which things happened."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from emocaliber.evaluation.trace import Trace
from emocaliber.layout import NONE
from emocaliber.response import STEPS
from emocaliber.rows import display_name

_BAR = 24
_MARGIN = 13


def as_text(trace: Trace, width: int = 100) -> str:
    """The trace on lines of at most `width` characters. Whatever cannot be printed safely is escaped."""
    parts = [_sample(trace, width), *(_answer(each, width) for each in trace["answers"]), _rollouts(trace["rollouts"], width)]
    return "\n".join(line for part in parts for line in part)


def _sample(trace: Trace, width: int) -> Iterator[str]:
    yield from _field("sample", trace["id"], width)
    yield from _field("task", trace["task"] + (f" ({trace['group']})" if trace["group"] else ""), width)
    image = trace["image"]
    yield from _field("image", "none given" if image is None else image + ("" if trace["image_exists"] else " (not there)"), width)
    yield from _field("truth", trace["ground_truth"], width)
    if trace["candidates"]:
        yield from _field("candidates", ", ".join(trace["candidates"]), width)
    said = {each["answer"] for each in trace["answers"]}
    for name, what in (("posterior", "how likely each emotion truly is"), ("votes", "how many people chose each emotion")):
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


def _answer(answer: Trace, width: int) -> Iterator[str]:
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
        standing = f"higher than {100 * stated['higher_than']:.0f} % of {stated['n']}" if stated else "none"
        yield from _field(source, f"{stated['value']:.3f}  {standing}" if stated else standing, width)
    if answer["agreement"] is not None:
        yield from _field("viewers", f"{answer['agreement']:.3f}  would give this answer; a perfectly calibrated model states that", width)
    if answer["target"] is not None:
        yield from _field("target", f"{answer['target']:.3f}  what stage 2 would teach it to state here (eq. 2)", width)
    if answer["reward"]:
        how = f"reward = {answer['reward_settings']!r}" if answer["reward_settings"] else "with default settings"
        yield from _field("reward", f"{_rewards(answer['reward'])} (eq. 4, {how})", width)


def _rollouts(rollouts: Sequence[Mapping[str, Any]], width: int) -> Iterator[str]:
    """Under each step its group: answer, stated confidence, advantage, and what it was paid."""
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
    """`name`, and beside it the value in as many lines as it needs; paths stay whole, to be copied."""
    text = display_name(" ".join(str(value).split()))
    lines = textwrap.wrap(text, max(20, width - _MARGIN), break_long_words=False, break_on_hyphens=False) or [""]
    return [f"{name:<{_MARGIN}}{lines[0]}", *(" " * _MARGIN + line for line in lines[1:])]
