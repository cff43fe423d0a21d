"""`emocaliber calibrate apply`: calibrated confidences for rows of answers."""

from __future__ import annotations

import argparse
from pathlib import Path

from emocaliber.cli.calibrate.fit import add_reading, listed


def add_parser(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = actions.add_parser(
        "apply",
        help="add calibrated confidences to rows of answers",
        description="Adds `calibrated`, a number or null, and `uncalibrated`, the reason for null, to each row, and the share of "
        "people who would say so where that was fitted; all other fields stay. No "
        "truth is needed. `score` reads the result, with `calibrated` as a source.",
    )
    parser.add_argument(
        "answers", type=Path, metavar="ANSWERS", help="answers with confidences: anything that `score` reads, or without truths"
    )
    parser.add_argument("--calibrator", type=Path, required=True, metavar="FILE.json", help="a file of `calibrate fit`")
    parser.add_argument("--out", type=Path, required=True, metavar="ROWS", help="the file to write: .jsonl, .csv or .parquet")
    add_reading(parser.add_argument_group("tables of others, as in `score`"), truth=False)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from emocaliber.models.card import read_calibrators
    from emocaliber.render.terminal import say
    from emocaliber.trust.applying import apply_calibrators, check_suffix

    check_suffix(args.out)
    found = apply_calibrators(
        read_calibrators(args.calibrator), args.answers, columns=args.columns, labels=listed(args.labels), task=args.task
    )
    for note in found.notes:
        say(note)
    found.save(args.out)
    print(f"{found.calibrated:,} of {len(found):,} rows calibrated")
    for reason, count in found.reasons.items():
        print(f"{count:,} not: {reason}")
    if found.with_people:
        print(f"{found.with_people:,} rows with the share of people who would say so")
    print(args.out)
    return 0
