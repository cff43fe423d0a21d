"""`emocaliber score`: scores responses and writes outcomes, metrics, tables, figures and a report page."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emocaliber.cli.arguments import natural, replicates
from emocaliber.errors import UserError

if TYPE_CHECKING:
    from emocaliber.core.scoring import Outcome
    from emocaliber.io.rows import Row


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "score",
        help="score a file of responses",
        description="Reads response rows and writes metrics.json, outcomes.jsonl, tables.md, tables.tex, figures/ and report.html, "
        "with a 95 % interval for every number. No model is asked.",
    )
    parser.add_argument(
        "responses",
        type=Path,
        metavar="RESPONSES",
        help="response rows, ours or the released ones: .jsonl, .parquet, a folder of such shards, or a saved Hugging Face data set",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="the folder to write to")
    parser.add_argument("--parity", action="store_true", help="also write the numbers of the released scripts, and why they differ")
    reading = parser.add_mutually_exclusive_group()
    reading.add_argument("--strict", action="store_true", help="only answers in the five steps count, as in training")
    reading.add_argument(
        "--lenient",
        action="store_true",
        help="an <answer> that names one candidate is enough: the default, except for rows made with --no-lenient",
    )
    parser.add_argument(
        "--partial", action="store_true", help="score a run with missing shards or samples, and say on every output how much is missing"
    )
    parser.add_argument(
        "--confidence",
        default="verb",
        metavar="SOURCE",
        help="the confidence source that tables and figures show first (default: verb, the stated confidence)",
    )
    parser.add_argument("--name", help="name of the system in tables (default: the name of RESPONSES)")
    parser.add_argument(
        "--images",
        type=Path,
        action="append",
        default=[],
        metavar="DIR",
        help="a further folder whose images the page may show, besides those of the responses and of local runs (may be repeated)",
    )
    parser.add_argument("--json", action="store_true", help="print metrics.json instead of a table")
    parser.add_argument("--numbers-only", action="store_true", help="skip the figures and the page")
    parser.add_argument("--replicates", type=replicates, default=1000, metavar="R", help="of the bootstrap, at least 200 (default: 1000)")
    parser.add_argument("--seed", type=natural, default=0, metavar="S", help="of the bootstrap (default: 0)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from emocaliber.core.scoring import outcome, response_rows
    from emocaliber.evaluation.parity import parity, parity_table
    from emocaliber.evaluation.summary import summarise
    from emocaliber.evaluation.tables import headline_table, latex, markdown
    from emocaliber.inference.plan import missing_from
    from emocaliber.io.rows import display_name, write_atomically, write_rows
    from emocaliber.render.terminal import say, show, width_of

    placed = list(response_rows(args.responses))
    if args.lenient:
        placed = [(where, row | {"lenient": True}) for where, row in placed]
    rows = [row for _, row in placed]
    missing = missing_from(args.responses, len(rows))
    if missing and not args.partial:
        raise UserError(
            f"{display_name(args.responses)} is not a whole run: {missing}. Put all shards into one folder, or finish the run with "
            "`emocaliber respond ... --resume`; --partial scores what is there, and says so on every output"
        )
    outcomes = [outcome(row, strict=args.strict, where=where) for where, row in placed]
    summary = summarise(outcomes, replicates=args.replicates, seed=args.seed, confidence=args.confidence)
    summary["settings"]["responses"] = str(args.responses.absolute())
    if missing:
        summary["settings"]["partial"] = missing
    strictly = len(rows) if args.strict else sum(row.get("lenient") is False for row in rows)
    summary["settings"] |= {"lenient": len(rows) - strictly, "strict": strictly}
    name = args.name or args.responses.stem
    write_rows(args.out / "outcomes.jsonl", (each.to_row() for each in outcomes))
    write_atomically(args.out / "tables.md", markdown(summary, name))
    write_atomically(args.out / "tables.tex", latex(summary, name))
    write_atomically(args.out / "metrics.json", json.dumps(summary, indent=2, allow_nan=False) + "\n")
    if args.json:
        print(json.dumps(summary, indent=2, allow_nan=False))
    else:
        show(headline_table(summary, width_of(sys.stdout) or sys.maxsize))
        print()
    written = []
    if args.parity:
        released = parity(rows)
        write_atomically(args.out / "metrics_parity.json", json.dumps(released, indent=2, allow_nan=False) + "\n")
        write_atomically(args.out / "parity.md", parity_table(released, summary))
        written.append(args.out / "parity.md")
    if not args.numbers_only:
        _draw(args, summary, outcomes, rows, name)
    written.append(args.out / ("tables.md" if args.numbers_only else "report.html"))
    for file in written:
        say(f"wrote {file}") if args.json else print(file)
    return 0


def _draw(args: argparse.Namespace, summary: Mapping[str, Any], outcomes: Sequence[Outcome], rows: Sequence[Row], name: str) -> None:
    from emocaliber.evaluation.figures import draw_figures
    from emocaliber.evaluation.report import write_report
    from emocaliber.inference.plan import images_asked_about
    from emocaliber.render.terminal import say

    say("drawing the figures and the page (--numbers-only leaves them out)")
    figures = draw_figures(summary, outcomes, args.out / "figures")
    images = args.responses if args.responses.is_dir() else args.responses.parent
    known = images_asked_about(args.responses)
    write_report(summary, outcomes, rows, args.out, name=name, figures=figures, images=images, image_folders=args.images, known=known)
