"""`emocaliber predict`: images in; emotion, confidence and reasoning out."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emocaliber.cli import INTERRUPTED, SOME_FAILED
from emocaliber.cli.arguments import (
    MODELS,
    add_image_limits,
    add_local_settings,
    answer_option,
    fraction,
    image_limits,
    local_settings,
    parse_settings,
    positive,
    split_settings,
)
from emocaliber.errors import UserError
from emocaliber.models.shipped import DEFAULT_MODEL
from emocaliber.render.terminal import complain, emit, say, width_of

if TYPE_CHECKING:
    from emocaliber.predict.prediction import Failure
    from emocaliber.predict.predictor import Predictor


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "predict",
        help="predict the emotions that images evoke",
        description="One row per image, in order. Without --out, a readable table. Exit code 3 means that some images failed.",
    )
    parser.add_argument(
        "paths",
        nargs="+",
        metavar="PATH|KEY=VALUE",
        help="a file, a folder (recursive), a glob, or - for an image or a list of files on standard input; and settings of the model, "
        "such as base_url=http://localhost:8000/v1",
    )
    parser.add_argument("--model", default=DEFAULT_MODEL, metavar="M", help=f"{MODELS} (default: {DEFAULT_MODEL})")
    asked = parser.add_mutually_exclusive_group()
    asked.add_argument("--task", metavar="T", help="a task of VECBench, whose labels are the candidates (default: EmoSet-8)")
    asked.add_argument("--labels", metavar="a,b,c", help="custom labels to choose from")
    parser.add_argument("--out", metavar="F", help="write rows to F.jsonl, F.csv or F.parquet; - for JSON Lines on standard output")
    parser.add_argument("--report", type=Path, metavar="DIR", help="write a page with thumbnails to DIR/index.html")
    parser.add_argument(
        "--confidence",
        metavar="SOURCE",
        help="the confidence source, such as verb (stated) or verb_mean (its mean over the digits); default: that of the model's card",
    )
    parser.add_argument("--calibrator", type=Path, metavar="FILE.json", help="calibrate the confidence by this file of `calibrate fit`")
    accepting = parser.add_mutually_exclusive_group()
    accepting.add_argument("--min-confidence", type=fraction, metavar="X", help="abstain below this confidence, from 0 to 1")
    accepting.add_argument(
        "--certificate", type=Path, metavar="FILE", help="abstain below the threshold of a certificate that `calibrate certify` wrote"
    )
    parser.add_argument("--resume", action="store_true", help="resume from the rows in --out; failed images are not tried again")
    parser.add_argument("--retry-failed", action="store_true", help="resume, and try the failed images again")
    parser.add_argument("--batch-size", type=positive, metavar="N", help="images per batch (default: that of the model)")
    add_local_settings(parser.add_argument_group("settings of local models"))
    add_image_limits(parser)
    answer_option(parser, "--json", "--out - prints JSON Lines on standard output")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    try:
        return _predict(args)
    except KeyboardInterrupt:
        kept = "nothing was kept" if args.out in (None, "-") else f"the rows so far are kept; give --resume to continue {args.out}"
        complain(f"interrupted; {kept}")
        return INTERRUPTED


def _predict(args: argparse.Namespace) -> int:
    from emocaliber.io.rows import display_name
    from emocaliber.predict.given import UNNAMED
    from emocaliber.predict.output import PredictionFile, check_page, counted_as
    from emocaliber.predict.predictor import Query
    from emocaliber.predict.table import PredictionTable
    from emocaliber.render.progress import Progress

    query = Query.of(args.task, args.labels, args.min_confidence, args.certificate)
    images, settings = _images(args)
    names = {UNNAMED if isinstance(image, bytes) else image for image in images}
    with contextlib.ExitStack() as closing:
        file = None
        if args.out not in (None, "-"):
            how: dict[str, Any] = {"resume": args.resume, "retry_failed": args.retry_failed}
            how |= {"model": args.model, "confidence": args.confidence, "free": args.free, "calibrator": args.calibrator}
            rows = PredictionFile(args.out, query, **how)
            file = closing.enter_context(rows)
        if args.report:
            check_page(args.report, "--report")
        earlier = {name: file.earlier[name] for name in names & file.earlier.keys()} if file else {}
        counts = Counter(word for words in earlier.values() for word in words)

        predictor, loaded = _predictor(args, settings, [image for image in images if isinstance(image, bytes) or image not in earlier])
        if file:
            file.begin()
        model = predictor.model
        for sentence in (*([model.notice] if model.notice else []), *(f"warning: {warning}" for warning in predictor.warnings(query))):
            if loaded:
                say(sentence)

        table = PredictionTable(list(names), query, width_of(sys.stdout), people=predictor.knows_people(query))
        if args.out is None:
            emit(table.head())
        reported: list[dict[str, Any]] = []
        failures: list[str] = []
        done, unread = len(earlier), 0
        finished = None if earlier or not hasattr(model, "finished") else lambda: model.finished + unread
        with Progress("predicting", "images", len(images), done=done, count=finished) as bar:
            for prediction in predictor.ask(images, query, done=set(earlier), limits=image_limits(args)):
                row = prediction.to_row()
                for note in prediction.notes:
                    say(f"{display_name(prediction.image)}: {note}")
                if file:
                    file.write(prediction)
                elif args.report:
                    reported.append(row)
                if args.out == "-":
                    emit(json.dumps(row, allow_nan=False))
                elif not file:
                    for line in table.lines(prediction):
                        emit(line)
                if prediction.error and args.out is not None:  # the table shows it
                    failures.append(_of_failure(display_name(prediction.image), prediction.error))
                counts.update(counted_as(row))
                done, unread = done + 1, unread + (row["seconds"] is None)
                bar.to(done)

        if args.report:
            from emocaliber.predict.report import write_prediction_report

            rows_of_page = file.rows(names) if file else reported
            with Progress("writing the page"):
                terms = query.acceptance.certificate.terms if query.acceptance.certificate else None
                page = write_prediction_report(rows_of_page, args.report, model=model.name, notice=model.notice, certificate=terms)
        if file:
            file.finish()
            if done > len(earlier):
                say(f"wrote {display_name(file.path)}")
        if args.report:
            say(f"wrote {display_name(page)}")
    for line in _of_failures(failures, args.out):
        complain(line)
    say(_summary(len(images), counts))
    return SOME_FAILED if counts["failed"] else 0


def _predictor(args: argparse.Namespace, settings: dict[str, Any], asked: Collection[str | bytes]) -> tuple[Predictor, bool]:
    """The predictor, and whether its model is loaded: it is not if none of the images to ask about is there."""
    from emocaliber.models.card import read_calibrators
    from emocaliber.models.unloaded import UnloadedModel
    from emocaliber.predict.predictor import Predictor, load
    from emocaliber.render.progress import Progress

    named = UnloadedModel(args.model)
    calibrators = read_calibrators(args.calibrator) if args.calibrator else None
    unloaded = Predictor(named, args.confidence, calibrators, args.model)  # refuses an unknown source before the model is loaded
    if not any(isinstance(image, bytes) or os.path.exists(image) for image in asked):
        return unloaded, False
    with Progress(f"loading {args.model}"):
        return load(args.model, confidence=args.confidence, calibrator=args.calibrator, **settings), True


_SHOWN = 5  # failed images that are named


def _of_failure(name: str, failure: Failure) -> str:
    """A failed image in one line. Most messages about images begin with their name."""
    message = failure.message if failure.message.startswith(name) else f"{name}: {failure.message}"
    return f"{message} ({failure.code})"


def _of_failures(failures: Sequence[str], out: str | None) -> Iterator[str]:
    """The first failures, how many more there are, and how to try them again."""
    yield from failures[:_SHOWN]
    if len(failures) > _SHOWN:
        yield f"and {len(failures) - _SHOWN:,} more failed"
    if failures and out != "-":
        yield f"the rows of failed images are in {out}; repair the files, then give --retry-failed to the same command"


_EXPLAINED = {
    "unfamiliar": "unfamiliar (the model recognised nothing in them)",
    "untaught": "untaught (the model was not trained on these labels)",
}


def _summary(images: int, counts: Counter[str]) -> str:
    statuses = [f"{counts[name]:,} {name}" for name in sorted(counts.keys() - _EXPLAINED.keys()) if counts[name]]
    told = [f"{counts[name]:,} {words}" for name, words in _EXPLAINED.items() if counts[name]]
    return "; ".join([", ".join([f"{images:,} image{'s' * (images != 1)}", *statuses]), *told])


def _images(args: argparse.Namespace) -> tuple[list[str | bytes], dict[str, Any]]:
    """The images to predict, and the settings of the model. Raises UserError for options that contradict each other."""
    from emocaliber.inference.plan import model_settings
    from emocaliber.io.inputs import find_images

    option = "--retry-failed" if args.retry_failed else "--resume" if args.resume else None
    if option and args.out in (None, "-"):
        raise UserError(f"{option} needs a file to go on from; name it with --out F.jsonl")
    paths, settings = split_settings(args.paths)
    if not paths:
        raise UserError("no images are named; give files, folders or globs")
    images = find_images(paths, sys.stdin.buffer, image_limits(args))
    if option and any(isinstance(image, bytes) for image in images):
        raise UserError(
            f"{option} identifies images by their names, and an image on standard input has none; leave out {option}, or name the file"
        )
    flags = local_settings(args) | ({"batch_size": args.batch_size} if args.batch_size else {})
    return images, model_settings(flags | parse_settings(settings))
