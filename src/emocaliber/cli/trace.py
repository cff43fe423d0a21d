"""`emocaliber trace`: shows everything known about one sample."""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "trace",
        help="show everything known about one sample",
        description="Shows one sample: its question, the response step by step, and each confidence next to its target.",
    )
    parser.add_argument("id", metavar="ID", help="the sample's id")
    parser.add_argument(
        "--run",
        dest="folder",
        type=Path,
        required=True,
        metavar="DIR",
        help="a folder of `score`, of response rows, or of a training run",
    )
    parser.add_argument("--json", action="store_true", help="print the same as JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from emocaliber.evaluation.trace import as_text, trace

    found = trace(args.id, args.folder)
    print(json.dumps(found, indent=2) if args.json else as_text(found, min(110, shutil.get_terminal_size().columns)))
    return 0
