"""What a ledger holds: how many samples were accepted, why others were not, how long the steps are, and what it cost."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from emocaliber.response import STEPS, Response, parse
from emocaliber.rows import display_name
from emocaliber.vecbench import Sample, task_order
from emocaliber.veccot.ledger import Attempt, Ledger
from emocaliber.veccot.shares import Share, most_frequent

STATES = ("accepted", "rejected", "failed", "untried")  # of a sample: what the best of its attempts came to
VERDICTS = STATES[:3]
USED = ("prompt_tokens", "completion_tokens", "cost", "seconds")


def stats(ledger: Path) -> dict[str, Any]:
    """The numbers of a ledger, over all its recipes, as they go into a JSON file.

    - `samples`, and in `tasks` those of each task and of each of its `labels`: how many are in each of `STATES`, and the share of accepted
      ones in those tried, with a 95 % interval.
    - `attempts`: how many came to each verdict. `reasons`: how many of those rejected each check objected to.
    - `attempts_needed`: accepted samples by how many attempts it took to get there.
    - `words`: mean, median and 5 % and 95 % quantiles of the words in each step of accepted responses.
    - `used`: tokens, dollars and seconds, in all and `per_accepted` sample (None where there is none).
    - `recipes`: who taught and judged under each, and its attempts by verdict.

    Raises UserError if the file is no ledger, or a sample in it is none.
    """
    with Ledger(ledger) as book:
        where = display_name(ledger)
        samples = {row["id"]: Sample.from_row(row, f"{where}, sample {row['id']!r}") for row in book.samples()}
        tally = _Tally(samples)
        for attempt in book.attempts():
            tally.add(attempt)
    return tally.as_dict()


class _Tally:
    """What is kept of the attempts while they are read one by one."""

    def __init__(self, samples: dict[str, Sample]) -> None:
        self.samples = samples
        self.state = dict.fromkeys(samples, "untried")
        self.tries: Counter[str] = Counter()
        self.needed: dict[str, int] = {}
        self.words: dict[str, list[int]] = {}  # those of the newest accepted attempt, which is the one exported
        self.verdicts: Counter[str] = Counter()
        self.reasons: Counter[str] = Counter()
        self.used = dict.fromkeys(USED, 0.0)
        self.recipes: dict[str, dict[str, Any]] = {}

    def add(self, attempt: Attempt) -> None:
        sample = self.samples[attempt.sample]
        self.tries[sample.id] += 1
        self.verdicts[attempt.verdict] += 1
        self.state[sample.id] = min(self.state[sample.id], attempt.verdict, key=STATES.index)
        self.reasons.update({reason.check for reason in attempt.reasons} if attempt.verdict == "rejected" else ())
        for name in USED:
            self.used[name] += getattr(attempt, name)
        people = {"teacher": attempt.teacher, "judge": attempt.judge}
        self.recipes.setdefault(attempt.recipe, people | dict.fromkeys(VERDICTS, 0))[attempt.verdict] += 1
        if attempt.verdict == "accepted":
            self.needed.setdefault(sample.id, self.tries[sample.id])
            parsed = parse(attempt.response or "", sample.candidates)
            if isinstance(parsed, Response):
                self.words[sample.id] = [len(getattr(parsed.reasoning, step).split()) for step in STEPS]

    def as_dict(self) -> dict[str, Any]:
        labels: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
        for sample in self.samples.values():
            labels[sample.task][sample.ground_truth].append(self.state[sample.id])
        needed = Counter(self.needed.values())
        return {
            "samples": _states(self.state.values()),
            "tasks": {
                task: {
                    **_states(state for states in labels[task].values() for state in states),
                    "labels": {label: _states(labels[task][label]) for label in sorted(labels[task])},
                }
                for task in sorted(labels, key=task_order)
            },
            "attempts": {"n": sum(self.verdicts.values()), **{verdict: self.verdicts[verdict] for verdict in VERDICTS}},
            "reasons": {check: Share(count, self.verdicts["rejected"]).as_dict() for check, count in most_frequent(self.reasons)},
            "attempts_needed": {str(number): needed[number] for number in sorted(needed)},
            "words": _words(list(self.words.values())),
            "used": {name: _whole(value) for name, value in self.used.items()},
            "per_accepted": {name: value / len(self.needed) for name, value in self.used.items()} if self.needed else None,
            "recipes": self.recipes,
        }


def _states(states: Iterable[str]) -> dict[str, Any]:
    count = Counter(states)
    accepted = Share(count["accepted"], count.total() - count["untried"])
    counts = {state: count[state] for state in STATES}
    return {"n": count.total(), **counts, "accepted_share": accepted.value, "accepted_share_ci": list(accepted.interval)}


def _words(lengths: list[list[int]]) -> dict[str, dict[str, float]]:
    if not lengths:
        return {}
    table = np.array(lengths)
    low, median, high = np.quantile(table, (0.05, 0.5, 0.95), axis=0).tolist()
    columns = zip(STEPS, table.mean(axis=0).tolist(), low, median, high, strict=True)
    return {step: dict(zip(("mean", "low", "median", "high"), values, strict=True)) for step, *values in columns}


def _whole(value: float) -> float | int:
    return int(value) if value.is_integer() else value
