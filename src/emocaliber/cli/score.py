"""`emocaliber score`: from a file of responses to outcomes, metrics and tables."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from emocaliber.errors import UserError


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "score",
        help="score a file of responses",
        description="Reads response rows and writes metrics.json, tables.md and outcomes.jsonl. No model is asked.",
    )
    parser.add_argument("responses", type=Path, metavar="RESPONSES.jsonl", help="response rows, as `emocaliber respond` writes them")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="the folder to write to")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from emocaliber.evaluation import markdown, summarise
    from emocaliber.rows import display_name, write_atomically
    from emocaliber.scoring import read_outcomes

    outcomes = list(read_outcomes(args.responses))
    if not outcomes:
        raise UserError(f"{display_name(args.responses)} holds no response rows; `emocaliber respond` writes them")
    summary = summarise(outcomes)
    tables = markdown(summary)
    rows = (json.dumps(outcome.to_row(), allow_nan=False) + "\n" for outcome in outcomes)
    write_atomically(args.out / "outcomes.jsonl", "".join(rows))
    write_atomically(args.out / "tables.md", tables)
    write_atomically(args.out / "metrics.json", json.dumps(summary, indent=2, allow_nan=False) + "\n")
    print(tables, end="")
    return 0
