"""`emocaliber compare`: compares two scored systems on the same samples."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from itertools import chain
from pathlib import Path

from emocaliber.cli.arguments import natural, replicates


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "compare",
        help="compare two scored systems on the same samples",
        description="Paired differences (B minus A) in every number, with 95 % intervals and p-values: McNemar's exact test for accuracy, "
        "a permutation test for all other numbers, with Holm's correction for the tests of a table.",
    )
    for name in ("a", "b"):
        parser.add_argument(name, type=Path, metavar=f"DIR_{name.upper()}", help="a folder that `emocaliber score` wrote")
    parser.add_argument("--json", action="store_true", help="print every difference as JSON, one per line")
    parser.add_argument(
        "--replicates", type=replicates, default=1000, metavar="R", help="bootstrap replicates, at least 200 (default: 1000)"
    )
    parser.add_argument("--seed", type=natural, default=0, metavar="S", help="seed of the bootstrap (default: 0)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from emocaliber.core.scoring import scored_outcomes
    from emocaliber.evaluation.compare import compare, comparison_note, comparison_tables
    from emocaliber.render.terminal import explain, show

    # Read lazily, one folder at a time: a million outcomes take much memory.
    a, b = (chain.from_iterable(map(scored_outcomes, [folder])) for folder in (args.a, args.b))
    differences = compare(a, b, replicates=args.replicates, seed=args.seed)
    if args.json:
        print("\n".join(json.dumps(asdict(each), allow_nan=False) for each in differences))
    else:
        show(*comparison_tables(differences))
        explain(f"\n{comparison_note(a=str(args.a), b=str(args.b))}")
    return 0
