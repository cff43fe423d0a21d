"""`emocaliber cot`: builds VEC-CoT, five-step reasoning for labelled images: generated, judged, filtered and split."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from emocaliber.cli import INTERRUPTED, SOME_FAILED
from emocaliber.cli.arguments import (
    SHORT_MODELS,
    add_local_settings,
    also_called,
    local_settings,
    natural,
    non_negative,
    positive,
    split_settings,
)

_BUILD = (
    "The teacher writes reasoning for every sample without an accepted text in the ledger; the checks filter it, and the judge rates what "
    "passes. Every attempt is stored in the ledger with its verdict, reasons and cost. The same command resumes an interrupted run. Exit "
    "code 3 means that some samples failed, or that the run stopped early."
)


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser("cot", help="build training data: reasoning for labelled images, judged and filtered")
    actions = parser.add_subparsers(required=True, metavar="ACTION", title="actions")
    _add_build(actions.add_parser("build", help="generate and judge reasoning for samples", description=_BUILD), batches=False)
    batch = "Like `cot build`, but sends API requests through the batch API of the service: within a day, usually at half the price."
    _add_build(actions.add_parser("batch", help="the same through a batch API: slower and cheaper", description=batch), batches=True)
    _add_export(actions.add_parser("export", help="split accepted samples into the files of the three stages"))
    _add_stats(actions.add_parser("stats", help="count accepted and rejected samples, reasons and costs"))
    _add_audit(actions.add_parser("audit", help="have people judge a random sample, and measure their agreement with the judge"))


def _ratio(text: str) -> tuple[int, ...]:
    """The argument type of three whole numbers between colons."""
    parts = tuple(positive(part) for part in text.split(":"))
    if len(parts) != 3:
        raise argparse.ArgumentTypeError(f"{text!r} is not three whole numbers, such as 6:3:1")
    return parts


def _add_ledger(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--ledger", type=Path, required=True, metavar="FILE", help="the ledger of the attempts")


def _add_build(parser: argparse.ArgumentParser, *, batches: bool) -> None:
    parser.add_argument(
        "samples",
        nargs="*",
        metavar="SAMPLES|TABLE.KEY=VALUE",
        help="files of sample rows, or folders with train.jsonl or samples.jsonl (without any, those in the ledger); and settings that "
        "override the configuration, such as teacher.concurrency=32",
    )
    _add_ledger(parser)
    parser.add_argument("--teacher", metavar="M", help=f"{SHORT_MODELS}; or narrator, the template teacher of synthetic scenes")
    parser.add_argument("--judge", metavar="M", help="the same; or checks, for only the checks that need no model")
    what = "[teacher], [judge], [checks], [least]; or vec-cot, the configuration of the package; flags override it"
    parser.add_argument("--config", metavar="FILE.toml|NAME", help=what)
    parser.add_argument("--teacher-prompt", metavar="FILE", help="a custom prompt with {label} and {candidates}")
    parser.add_argument("--judge-prompt", metavar="FILE", help="a custom prompt with {label} and {response}")
    parser.add_argument("--set", nargs="+", action=_Set, default=[], help=argparse.SUPPRESS)
    parser.add_argument("--attempts", type=positive, default=3, metavar="N", help="attempts per sample (default: 3)")
    parser.add_argument("--budget", type=non_negative, metavar="D", help="stop before this many dollars are spent, over all sessions")
    parser.add_argument(
        "--dry-run", type=positive, nargs="?", const=20, metavar="N", help="run N samples only (default: 20), and estimate the cost of all"
    )
    add_local_settings(parser.add_argument_group("settings of local models, teacher and judge alike"), free=False)
    parser.set_defaults(run=_build, batches=batches)


def _add_export(parser: argparse.ArgumentParser) -> None:
    _add_ledger(parser)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="the folder for the three stages and their card")
    parser.add_argument(
        "--ratio", type=_ratio, default=(6, 3, 1), metavar="A:B:C", help="shares of the stages (default: 6:3:1, as in the paper)"
    )
    parser.add_argument("--seed", type=natural, default=0, metavar="S", help="seed of the split (default: 0)")
    parser.add_argument("--formats", default="rows,swift,trl", metavar="LIST", help="of rows, swift, trl (default: all)")
    parser.set_defaults(run=_export)


def _add_stats(parser: argparse.ArgumentParser) -> None:
    _add_ledger(parser)
    parser.add_argument("--json", action="store_true", help="print the numbers as JSON")
    figure = parser.add_argument("--figure", type=Path, metavar="FILE.png", help="also write a figure of them")
    also_called(parser, figure, "--picture")
    parser.set_defaults(run=_stats)


def _add_audit(parser: argparse.ArgumentParser) -> None:
    _add_ledger(parser)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--out", type=Path, metavar="FILE.html", help="write a page on which people accept or reject")
    what.add_argument("--judgements", type=Path, metavar="FILE.json", help="compare the judgements saved from that page with the judge's")
    parser.add_argument("--n", type=positive, default=100, metavar="N", help="texts on the page (default: 100)")
    parser.add_argument("--seed", type=natural, default=0, metavar="S", help="seed of their selection (default: 0)")
    parser.add_argument("--json", action="store_true", help="print the agreement as JSON")
    parser.set_defaults(run=_audit)


class _Set(argparse.Action):
    """The earlier option for settings, which now need none."""

    def __call__(self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, option: str | None = None) -> None:
        print(f"emocaliber: {option} is no longer needed; give the settings alone: {' '.join(values)}", file=sys.stderr)
        namespace.set = [*namespace.set, *values]


def _build(args: argparse.Namespace) -> int:
    from emocaliber.render.terminal import conclude
    from emocaliber.veccot.factory import build_ledger
    from emocaliber.veccot.recipe import read_recipe

    def given(model: str | None, prompt: str | None) -> dict[str, Any]:
        return {name: value for name, value in (("model", model), ("prompt", prompt)) if value is not None}

    flags = {"teacher": given(args.teacher, args.teacher_prompt), "judge": given(args.judge, args.judge_prompt)}
    samples, settings = split_settings(args.samples)
    built = build_ledger(
        [Path(each) for each in samples],
        args.ledger,
        read_recipe(args.config, flags, [*args.set, *settings]).with_local_settings(local_settings(args)),
        attempts=args.attempts,
        budget=args.budget,
        dry_run=args.dry_run,
        batches=args.batches,
    )
    conclude(built.sentences())
    return INTERRUPTED if built.interrupted else 0 if built.complete else SOME_FAILED


def _export(args: argparse.Namespace) -> int:
    from emocaliber.render.progress import Progress
    from emocaliber.render.terminal import show
    from emocaliber.veccot.export import export_stages

    with Progress("reading images", "images") as bar:
        exported = export_stages(
            args.ledger,
            args.out,
            ratio=args.ratio,
            seed=args.seed,
            formats=args.formats.split(","),
            progress=bar.to,
        )
    print(f"{args.out}\n")
    show(exported.table())
    return 0


def _stats(args: argparse.Namespace) -> int:
    from emocaliber.io.rows import write_atomically
    from emocaliber.render.terminal import say, show
    from emocaliber.veccot.stats import ledger_stats, stats_tables

    found = ledger_stats(args.ledger)
    if args.figure:
        from emocaliber.veccot.stats import stats_figure

        write_atomically(args.figure, stats_figure(found))
        say(f"wrote {args.figure}")
    if args.json:
        print(json.dumps(found, indent=1, allow_nan=False))
    else:
        show(*stats_tables(found))
    return 0


def _audit(args: argparse.Namespace) -> int:
    from emocaliber.render.terminal import show

    if args.judgements:
        from emocaliber.veccot.audit import audit_agreement

        found = audit_agreement(args.ledger, args.judgements)
        if args.json:
            print(json.dumps(found.as_dict(), indent=1, allow_nan=False))
        else:
            show(*found.tables())
    else:
        from emocaliber.veccot.audit import audit_page

        count = audit_page(args.ledger, args.out, args.n, args.seed)
        print(f"{args.out}: {count:,} texts; open it in a browser, judge them, save the judgements, and give them to --judgements")
    return 0
