"""`emocaliber calibrate watch`: follows answers as they come, and raises an alarm when a certificate no longer speaks about them."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from emocaliber.cli import SOME_FAILED
from emocaliber.cli.arguments import fraction, natural, non_negative

if TYPE_CHECKING:
    from emocaliber.trust.watch import Watch


def add_parser(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = actions.add_parser(
        "watch",
        help="follow answers, and void the certificate when they change",
        description="Follows a growing file of answers without labels, and raises an alarm when they no longer look like those of the "
        "calibration, or, with labels, when accepted answers are right less often than promised. Over the whole stream, the chance of an "
        "alarm without a change is at most alpha. Exit code 3: an alarm.",
    )
    parser.add_argument("rows", type=Path, metavar="ROWS", help="JSON Lines of `predict` or `respond`, to which rows are added")
    parser.add_argument(
        "--state", type=Path, required=True, metavar="STATE", help="a file of its own, from which an interrupted watch goes on"
    )
    parser.add_argument("--certificate", type=Path, metavar="FILE", help="the certificate to watch; an alarm makes it void")
    parser.add_argument(
        "--reference",
        type=Path,
        metavar="ANSWERS",
        help="the answers of the calibration (default: the summary of them in the certificate, which knows no pictures)",
    )
    parser.add_argument(
        "--alpha", type=fraction, default=0.05, metavar="A", help="chance of an alarm, ever, without a change (default: 0.05)"
    )
    parser.add_argument("--labels", type=Path, metavar="FILE", help="a table with id (or image) and label, to which true labels are added")
    parser.add_argument("--follow", action="store_true", help="wait for further rows until an alarm (stop it with Ctrl-C)")
    parser.add_argument(
        "--every", type=non_negative, default=1.0, metavar="SECONDS", help="with --follow: time between two looks (default: 1)"
    )
    parser.add_argument("--pictures", action="store_true", help="also watch brightness, contrast, saturation and size of the pictures")
    parser.add_argument("--tests", metavar="A,B,...", help="watch only these, such as confidence,answers (default: all that there are)")
    parser.add_argument("--metrics", type=Path, metavar="FILE.prom", help="write gauges for Prometheus' textfile collector")
    parser.add_argument("--report", type=Path, metavar="DIR", help="write a page with the control chart to DIR/index.html")
    parser.add_argument("--seed", type=natural, default=0, metavar="S", help="of the randomness by which ties are broken (default: 0)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from emocaliber.errors import UserError
    from emocaliber.io.rows import write_atomically
    from emocaliber.render.progress import Progress
    from emocaliber.render.terminal import conclude, say, show
    from emocaliber.trust.watch_files import WatchedFiles
    from emocaliber.trust.watch_output import metrics_text, sentences, summary_of, watch_table, write_watch_page

    if args.pictures and not args.reference:
        raise UserError("--pictures needs --reference FILE, the answers of the calibration, whose pictures are measured too")
    if args.labels and not args.certificate:
        raise UserError("--labels needs --certificate FILE, as labels test what a certificate promises")
    only = tuple(name.strip() for name in (args.tests or "").split(",") if name.strip())

    def saved(watch: Watch) -> None:
        if args.metrics:
            write_atomically(args.metrics, metrics_text(watch))

    how = {"reference": args.reference, "certificate": args.certificate, "labels": args.labels, "pictures": args.pictures}
    with WatchedFiles.open(args.rows, args.state, **how, alpha=args.alpha, only=only, seed=args.seed) as files:
        files.after_saving = saved
        with Progress("watching", "rows") as bar:
            files.run(follow=args.follow, every=args.every, progress=bar.to)
    watch = files.watch
    if args.report:
        say(f"wrote {write_watch_page(watch, args.report)}")
    if args.json:
        print(json.dumps(summary_of(watch), indent=2))
    else:
        show(watch_table(watch))
        conclude(["", *sentences(watch)])
    return SOME_FAILED if watch.alarm else 0
