"""`emocaliber calibrate`: fits calibrators, certifies thresholds, watches a stream of answers and probes a model. One module per action."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TypeAlias

from emocaliber.cli.calibrate import apply, certify, fit, probe, watch

_Actions: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"
# What adds the parser of each action, in the order of the help.
ACTIONS: tuple[Callable[[_Actions], None], ...] = (
    *(fit.add_parser, apply.add_parser),
    *(certify.add_parser, watch.add_parser, probe.add_parser),
)


def add_parser(subparsers: _Actions) -> None:
    parser = subparsers.add_parser(
        "calibrate",
        help="turn a confidence into one to act on",
        description="Fits calibrators on labelled answers, certifies the confidence above which answers may be used, watches that it "
        "stays true, and probes what a model's confidence reacts to.",
    )
    actions = parser.add_subparsers(required=True, metavar="ACTION", title="actions")
    for add in ACTIONS:
        add(actions)
