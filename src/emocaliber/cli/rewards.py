"""`emocaliber rewards`: checks the incentives of a reward setting."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "rewards",
        help="check the incentives of a reward setting",
        description="Computes, for a reward of stage 3, the confidence with the highest expected reward at each true probability, and "
        "whether a malformed or deliberately wrong answer earns more than an honest one. Nothing is trained.",
    )
    parser.add_argument(
        "--preset", action="append", metavar="P", help="a preset: default, paper, released, brier, rlcr, spherical, ... (default: default)"
    )
    parser.add_argument(
        "settings", nargs="*", metavar="KEY=VALUE", help="settings that override the preset, such as correct_weight=2 or malformed=-5"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object for each preset")
    parser.add_argument("--figure", type=Path, metavar="F.png", help="write a figure of the first preset")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from emocaliber.confidence.incentives import Incentives, incentive_figure, incentive_row, incentive_table
    from emocaliber.confidence.rewards import parse_reward
    from emocaliber.io.rows import write_atomically
    from emocaliber.render.terminal import emit, explain, say, show

    names = [" ".join((preset, *args.settings)) for preset in args.preset or ["default"]]
    checks = {name: Incentives(parse_reward(name)) for name in names}
    for name, check in checks.items():
        if args.json:
            print(json.dumps(incentive_row(check, name)))
        else:
            emit(f"Reward: {name}\n")
            show(replace(incentive_table(check, name), title=""))
            honest = "The honest answer with the honest confidence has the highest expected reward."
            explain("\n" + ("\n".join(f"! {warning}" for warning in check.warnings()) or honest) + "\n")
    if args.figure:
        write_atomically(args.figure, incentive_figure(checks[names[0]], names[0]))
        say(f"wrote {args.figure}")
    return 0
