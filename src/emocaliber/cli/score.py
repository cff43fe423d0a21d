"""`emocaliber score`: scores responses and writes outcomes, metrics, tables, figures and a report page."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emocaliber.cli.arguments import natural, replicates
from emocaliber.errors import UserError

if TYPE_CHECKING:
    from emocaliber.core.scoring import Outcome
    from emocaliber.evaluation.answers.rows import How
    from emocaliber.io.rows import Row


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
        help="the confidence source that tables and figures show first (default: the one that `predict` gives: recalibrated if the "
        "model has it, else verb, the stated one; in tables of others, their confidence)",
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
    parser.add_argument("--numbers-only", action="store_true", help="skip the figures and the page")
    parser.add_argument("--replicates", type=replicates, default=1000, metavar="R", help="of the bootstrap, at least 200 (default: 1000)")
    parser.add_argument("--seed", type=natural, default=0, metavar="S", help="of the bootstrap (default: 0)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from emocaliber.core.scoring import VERBALIZED, outcome, with_known_sources
    from emocaliber.evaluation.answers.reader import read_answers, system_name
    from emocaliber.evaluation.parity import parity, parity_table
    from emocaliber.evaluation.summary import summarise
    from emocaliber.evaluation.tables import headline, latex, markdown
    from emocaliber.evaluation.unread import unread
    from emocaliber.inference.plan import missing_from
    from emocaliber.io.rows import display_name, write_atomically, write_rows

    answers = read_answers(args.responses, _how(args))
    placed = answers.rows
    if args.parity and any("plain_answer" in row for _, row in placed):
        raise UserError(f"{display_name(args.responses)} holds labels, not texts, which the released scripts read; leave out --parity.")
    if args.lenient:
        placed = [(where, row | {"lenient": True}) for where, row in placed]
    rows = [row for _, row in placed]
    missing = None if answers.foreign else missing_from(args.responses, len(rows))
    if missing and not args.partial:
        raise UserError(
            f"{display_name(args.responses)} is not a whole run: {missing}. Put all shards into one folder, or finish the run with "
            "`emocaliber respond ... --resume`; --partial scores what is there, and says so on every output"
        )
    out, name = args.out or _beside(args.responses), args.name or system_name(args.responses, rows)
    outcomes = [outcome(row, strict=args.strict, where=where) for where, row in placed]
    if answers.foreign:
        outcomes = with_known_sources(outcomes)
        print("".join(f"emocaliber: {note}\n" for note in answers.notes), end="", file=sys.stderr)
    if warning := unread(outcomes, rows, strict=args.strict):
        print(f"emocaliber: {warning}", file=sys.stderr)
    given = {source for each in outcomes for source in each.confidence}
    first = args.confidence or (answers.confidence if answers.confidence in given else VERBALIZED)
    summary = summarise(outcomes, replicates=args.replicates, seed=args.seed, confidence=first)
    summary["settings"]["responses"] = str(args.responses.absolute())
    missing = missing or answers.missing
    if missing:
        summary["settings"]["partial"] = missing
    strictly = len(rows) if args.strict else sum(row.get("lenient") is False for row in rows)
    summary["settings"] |= {"lenient": len(rows) - strictly, "strict": strictly}
    if answers.foreign:  # kept as response rows, which `trace` reads
        summary["settings"] |= {"responses": str((out / "answers.jsonl").absolute()), "read_from": str(args.responses.absolute())}
        write_rows(out / "answers.jsonl", (_moved(row, args.responses.parent, out) for row in rows))
    write_rows(out / "outcomes.jsonl", (each.to_row() for each in outcomes))
    write_atomically(out / "tables.md", markdown(summary, name))
    write_atomically(out / "tables.tex", latex(summary, name))
    write_atomically(out / "metrics.json", json.dumps(summary, indent=2, allow_nan=False) + "\n")
    print(headline(summary))
    if args.parity:
        released = parity(rows)
        write_atomically(out / "metrics_parity.json", json.dumps(released, indent=2, allow_nan=False) + "\n")
        write_atomically(out / "parity.md", parity_table(released, summary))
        print("\n" + parity_table(released, summary), end="")
    if not args.numbers_only:
        _draw(args, out, summary, outcomes, rows, name)
    print(f"\n{out / 'tables.md' if args.numbers_only else out / 'report.html'}")
    return 0


def _how(args: argparse.Namespace) -> How:
    from emocaliber.evaluation.answers.columns import parse_columns
    from emocaliber.evaluation.answers.rows import How

    labels = [label.strip() for label in (args.labels or "").split(",") if label.strip()]
    return How(parse_columns(args.columns) if args.columns else {}, labels, args.task, args.truth, args.partial, args.strict)


def _moved(row: Row, folder: Path, out: Path) -> Row:
    """The row with the path of its image, if there is such a file in `folder`, relative to `out`."""
    image = row.get("image")
    if not isinstance(image, str) or not os.path.isfile(folder / image):  # False also for what cannot be a path
        return row
    return row | {"image": Path(os.path.relpath(folder / image, out)).as_posix()}


def _beside(responses: Path) -> Path:
    """The folder to write to if none is named: `scores` in a run's folder, or `NAME-scores` beside another file."""
    if responses.is_dir():
        return responses / "scores"
    return responses.parent / ("scores" if responses.name == "responses.jsonl" else f"{responses.stem}-scores")


def _draw(
    args: argparse.Namespace, out: Path, summary: Mapping[str, Any], outcomes: Sequence[Outcome], rows: Sequence[Row], name: str
) -> None:
    from emocaliber.evaluation.figures import draw_figures
    from emocaliber.evaluation.report import write_report
    from emocaliber.inference.plan import images_asked_about

    print("emocaliber: drawing the figures and the page (--numbers-only leaves them out)", file=sys.stderr)
    figures = draw_figures(summary, outcomes, out / "figures")
    images = args.responses if args.responses.is_dir() else args.responses.parent
    known = () if "read_from" in summary["settings"] else images_asked_about(args.responses)
    write_report(summary, outcomes, rows, out, name=name, figures=figures, images=images, image_folders=args.images, known=known)
