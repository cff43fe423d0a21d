"""`emocaliber score`: scores responses and writes outcomes, metrics, tables, figures and a report page."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from emocaliber.cli.arguments import natural, replicates


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "score",
        help="score a file of responses",
        description="Reads the answers of any system and writes metrics.json, outcomes.jsonl, tables.md, tables.tex, figures/ and "
        "report.html, with a 95 % interval for every number. No model is asked.",
    )
    parser.add_argument(
        "responses",
        type=Path,
        metavar="RESPONSES",
        help="rows of `respond` or released ones; or a table (.csv, .tsv, .json, .jsonl, .parquet) with truth, answer and confidence, "
        "under these or other usual names; or a log of lmms-eval, inspect-ai or an OpenAI batch; also a folder of shards",
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="the folder to write to (default: scores in a run's folder, NAME-scores beside another file)",
    )
    table = parser.add_argument_group("tables and logs of others")
    table.add_argument(
        "--columns", metavar="ROLE=COLUMN,...", help="which columns are which, such as truth=label,answer=pred,confidence=p1+p2"
    )
    table.add_argument("--truth", type=Path, metavar="FILE", help="a table with the truths, which are joined by id")
    table.add_argument("--labels", metavar="A,B,...", help="all labels that could have been chosen (default: those that occur)")
    table.add_argument("--task", metavar="TASK", help="the task of all rows, such as EmoSet-8, with its labels and the paper's numbers")
    parser.add_argument("--parity", action="store_true", help="also write the numbers of the released scripts, and why they differ")
    reading = parser.add_mutually_exclusive_group()
    reading.add_argument("--strict", action="store_true", help="only answers in the five steps count, as in training")
    reading.add_argument(
        "--lenient",
        action="store_true",
        help="an <answer> that names one candidate is enough: the default, except for rows made with --no-lenient",
    )
    parser.add_argument(
        "--partial",
        action="store_true",
        help="score a run with missing shards or samples, or fewer answers than truths, and say how much is missing",
    )
    parser.add_argument(
        "--confidence",
        metavar="SOURCE",
        help="the confidence source that tables and figures show first (default: the one that `predict` gives: calibrated if the "
        "answers have it, else verb, the stated one; in tables of others, their confidence)",
    )
    parser.add_argument("--name", help="name of the system in tables (default: the model that the rows name, or the name of the file)")
    parser.add_argument(
        "--images",
        type=Path,
        action="append",
        default=[],
        metavar="DIR",
        help="a further folder whose images the page may show, besides those of the responses and of local runs (may be repeated)",
    )
    parser.add_argument("--json", action="store_true", help="print metrics.json instead of a table")
    parser.add_argument("--numbers-only", action="store_true", help="skip the figures and the page; those of an earlier score are removed")
    parser.add_argument("--replicates", type=replicates, default=1000, metavar="R", help="of the bootstrap, at least 200 (default: 1000)")
    parser.add_argument("--seed", type=natural, default=0, metavar="S", help="of the bootstrap (default: 0)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from emocaliber.evaluation.folder import check_folder, remove_drawn, remove_parity
    from emocaliber.evaluation.score import score_answers
    from emocaliber.evaluation.tables import headline_table
    from emocaliber.render.terminal import say, show, width_of

    out = args.out or _beside(args.responses)
    check_folder(out, args.responses)
    scored = score_answers(
        args.responses,
        columns=args.columns,
        labels=[label.strip() for label in (args.labels or "").split(",") if label.strip()],
        confidence=args.confidence,
        **{name: getattr(args, name) for name in ("task", "truth", "partial", "strict", "lenient", "name", "replicates", "seed")},
    )
    for note in scored.notes:
        say(note)
    stale = [*remove_drawn(out), *remove_parity(out)]
    if args.numbers_only and stale:
        say(f"removed {len(stale)} files of the earlier score in {out}, such as {stale[0].name}, which do not show these numbers")
    written = [scored.save_parity(out)] if args.parity else []
    page = scored.save_numbers(out)
    if args.json:
        print(json.dumps(scored.summary, indent=2, allow_nan=False))
    else:
        show(headline_table(scored.summary, width_of(sys.stdout) or sys.maxsize))
        print()
    if not args.numbers_only:
        say("drawing the figures and the page (--numbers-only leaves them out)")
        page = scored.save_page(out, args.images)
    for file in (*written, page):
        say(f"wrote {file}") if args.json else print(file)
    return 0


def _beside(responses: Path) -> Path:
    """The folder to write to if none is named: `scores` in a run's folder, or `NAME-scores` beside another file."""
    if responses.is_dir():
        return responses / "scores"
    return responses.parent / ("scores" if responses.name == "responses.jsonl" else f"{responses.stem}-scores")
