"""`emocaliber calibrate certify`: the threshold on the confidence above which answers may be used."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from emocaliber.cli import SOME_FAILED
from emocaliber.cli.arguments import positive


def add_parser(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = actions.add_parser(
        "certify",
        help="certify the confidence above which answers are right often enough",
        description="Finds the lowest threshold on the confidence above which answers are right in at least the share that is asked for, "
        "question by question, by exact tests on labelled answers. Exit code 3: nothing could be certified; the output says how many "
        "answers would do. No model is asked.",
    )
    parser.add_argument("answers", type=Path, metavar="ANSWERS", help="answers with truths and confidences: anything that `score` reads")
    parser.add_argument("--accuracy", type=_number, default=0.8, metavar="A", help="accepted answers are right in at least A (default: .8)")
    parser.add_argument(
        "--delta", type=_number, default=0.05, metavar="D", help="the certificate is wrong in at most D of calibrations (default: .05)"
    )
    parser.add_argument("--source", metavar="SOURCE", help="the source of the confidence (default: the one that `score` shows first)")
    parser.add_argument("--together", action="store_true", help="the promises to all questions hold at once; by default each by itself")
    parser.add_argument("--out", type=Path, metavar="FILE.json", help="write the certificate, for `predict --certificate`")
    parser.add_argument("--report", type=Path, metavar="DIR", help="write a page with the accuracy against the coverage to DIR/index.html")
    parser.add_argument("--json", action="store_true", help="print the certificate instead of a table")
    parser.add_argument("--expires", type=positive, default=90, metavar="DAYS", help="how long the certificate holds (default: 90 days)")
    parser.add_argument("--model", metavar="NAME", help="the model whose answers these are, where their rows do not say it")
    table = parser.add_argument_group("tables and logs of others, as in `score`")
    table.add_argument("--columns", metavar="ROLE=COLUMN,...", help="which columns are which, such as truth=label,answer=pred,confidence=p")
    table.add_argument("--truth", type=Path, metavar="FILE", help="a table with the truths, which are joined by id")
    table.add_argument("--labels", metavar="A,B,...", help="all labels that could have been chosen (default: those that occur)")
    table.add_argument("--task", metavar="TASK", help="the task of all rows, such as EmoSet-8")
    reading = parser.add_mutually_exclusive_group()
    reading.add_argument("--strict", action="store_true", help="only answers in the five steps count")
    reading.add_argument("--lenient", action="store_true", help="an <answer> that names one candidate is enough")
    parser.add_argument("--partial", action="store_true", help="use what there is of a run with missing shards or samples")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from emocaliber.render.terminal import explain, say, show
    from emocaliber.trust.certificate_page import certificate_table, write_certificate_page
    from emocaliber.trust.certify import certify_answers

    same = ("accuracy", "delta", "source", "together", "expires", "model", "columns", "task", "truth", "partial", "strict", "lenient")
    labels = [label.strip() for label in (args.labels or "").split(",") if label.strip()]
    certificate = certify_answers(args.answers, labels=labels, **{name: getattr(args, name) for name in same})
    for note in certificate.notes:
        say(note)
    certified = any(each.what.certified for each in certificate.per_question)
    if args.json:
        json.dump(certificate.to_json(), sys.stdout, indent=2, allow_nan=False)
        print()
    else:
        show(certificate_table(certificate))
        explain(f"\n{certificate.terms[:1].upper()}{certificate.terms[1:]}.")
    written = [certificate.save(args.out)] if args.out else []
    written += [write_certificate_page(certificate, args.report)] if args.report else []
    for file in written:
        say(f"wrote {file}") if args.json else print(file)
    if certified and args.out and certificate.model["name"] is None:
        say("the rows do not name their model, so `predict` cannot tell whether the certificate is for it; --model NAME says it")
    if certified and not args.out and not args.json:
        say("--out certificate.json keeps it for `emocaliber predict --certificate`")
    return 0 if certified else SOME_FAILED


def _number(text: str) -> float:
    """Any number: the sentence about its range is the same as in Python."""
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number such as 0.8") from None
