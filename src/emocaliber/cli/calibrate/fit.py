"""`emocaliber calibrate fit`: a calibrator for each question in a file of scored answers."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from emocaliber.cli.arguments import natural, replicates


def add_parser(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = actions.add_parser(
        "fit",
        help="fit a calibrator for each question in a file of scored answers",
        description="Fits maps from the confidences of an answer to the probability that it is right, one for each question (a task with "
        "its labels), chosen by cross-validated Brier score. No model is asked.",
    )
    parser.add_argument("answers", type=Path, metavar="ANSWERS", help="answers with truths and confidences: anything that `score` reads")
    parser.add_argument("--out", type=Path, metavar="FILE.json", help="keep the calibrators in this file")
    parser.add_argument("--sources", metavar="A,B,...", help="the confidences to use (default: all that nearly every answer has)")
    parser.add_argument("--methods", metavar="A,B,...", help="the maps to try, of platt, beta, isotonic and logistic (default: all)")
    parser.add_argument("--report", type=Path, metavar="DIR", help="write a page with reliability before and after to DIR/index.html")
    parser.add_argument("--json", action="store_true", help="print the content of the file instead of a table")
    add_reading(parser.add_argument_group("tables and logs of others, as in `score`"))
    parser.add_argument("--replicates", type=replicates, default=1000, metavar="R", help="of the bootstrap, at least 200 (default: 1000)")
    parser.add_argument("--seed", type=natural, default=0, metavar="S", help="of folds and bootstrap (default: 0)")
    parser.set_defaults(run=run)


def add_reading(group: argparse._ArgumentGroup, *, truth: bool = True) -> None:
    """The options of `score` that say how a file of answers is to be read; without `truth`, those that need none."""
    group.add_argument("--columns", metavar="ROLE=COLUMN,...", help="which columns are which, such as answer=pred,confidence=p1+p2")
    group.add_argument("--labels", metavar="A,B,...", help="all labels that could have been chosen")
    group.add_argument("--task", metavar="TASK", help="the task of all rows, such as EmoSet-8")
    if truth:
        group.add_argument("--truth", type=Path, metavar="FILE", help="a table with the truths, which are joined by id")
        group.add_argument("--partial", action="store_true", help="use what there is of a run with missing shards or samples")
        group.add_argument("--strict", action="store_true", help="only answers in the five steps count")


def listed(text: str | None) -> list[str]:
    """The parts of a text between commas."""
    return [part.strip() for part in (text or "").split(",") if part.strip()]


def run(args: argparse.Namespace) -> int:
    from emocaliber.core.calibrators import METHODS
    from emocaliber.render.progress import Progress
    from emocaliber.render.terminal import explain, say, show
    from emocaliber.trust.calibrate import calibrate_answers
    from emocaliber.trust.calibration_page import write_calibration_page
    from emocaliber.trust.calibration_table import calibrated_already, calibration_table, people_sentences

    reading = {name: getattr(args, name) for name in ("columns", "task", "truth", "partial", "strict")} | {"labels": listed(args.labels)}
    with Progress("fitting", "questions") as bar:
        found = calibrate_answers(
            args.answers,
            sources=listed(args.sources),
            methods=listed(args.methods) or tuple(METHODS),
            reading=reading,
            replicates=args.replicates,
            seed=args.seed,
            progress=bar.to,
        )
    for note in found.notes:
        say(note)
    written = [found.save(args.out)] if args.out else []
    if args.report:
        written.append(write_calibration_page(found, args.report))
    if args.json:
        json.dump(found.content, sys.stdout, indent=1, allow_nan=False)
        print()
    else:
        show(calibration_table(found.content))
        print()
        for sentence in (*calibrated_already(found.content), *people_sentences(found.content)):
            explain(sentence)
    for file in written:
        say(f"wrote {file}") if args.json else print(file)
    if not args.out:
        say("--out calibrator.json keeps them for `emocaliber predict --calibrator` and `emocaliber calibrate apply`")
    return 0
