"""`emocaliber predict`: images in; emotion, confidence and reasoning out."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emocaliber.cli import INTERRUPTED, SOME_FAILED
from emocaliber.cli.arguments import MODELS, add_image_limits, image_limits, parse_settings, positive, split_settings
from emocaliber.errors import UserError

if TYPE_CHECKING:
    from tqdm import tqdm

    from emocaliber.predict.predictor import Prediction, Query


_LONGEST_NAME = 40
_ALTERNATIVES = 3


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
    parser.add_argument("--model", default="tiny", metavar="M", help=f"{MODELS} (default: tiny)")
    asked = parser.add_mutually_exclusive_group()
    asked.add_argument(
        "--task", default="EmoSet-8", metavar="T", help="a task of VECBench, whose labels are the candidates (default: EmoSet-8)"
    )
    asked.add_argument("--labels", metavar="a,b,c", help="custom labels to choose from")
    parser.add_argument("--out", metavar="F", help="write rows to F.jsonl, F.csv or F.parquet; - for JSON Lines on standard output")
    parser.add_argument("--report", type=Path, metavar="DIR", help="write a page with thumbnails to DIR/index.html")
    parser.add_argument(
        "--confidence",
        metavar="SOURCE",
        help="the confidence source, such as verb (stated) or verb_mean (its mean over the digits); default: that of the model's card",
    )
    parser.add_argument("--min-confidence", type=float, metavar="X", help="abstain below this confidence, in [0, 1]")
    parser.add_argument("--resume", action="store_true", help="resume from the rows in --out; failed images are not tried again")
    parser.add_argument("--batch-size", type=positive, metavar="N", help="images per batch (default: that of the model)")
    add_image_limits(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    try:
        return _predict(args)
    except KeyboardInterrupt:
        kept = "nothing was kept" if args.out in (None, "-") else f"the rows so far are kept; give --resume to continue {args.out}"
        _say(f"interrupted; {kept}")
        return INTERRUPTED


def _predict(args: argparse.Namespace) -> int:
    from emocaliber.io.rows import display_name
    from emocaliber.predict.output import PredictionFile
    from emocaliber.predict.predictor import UNNAMED, Query, load, status
    from emocaliber.predict.report import write_prediction_report

    query = Query.of(args.task, args.labels, args.min_confidence)
    images, settings = _images(args)
    names = {UNNAMED if isinstance(image, bytes) else image for image in images}
    with contextlib.ExitStack() as closing:
        file = None
        if args.out not in (None, "-"):
            rows = PredictionFile(args.out, query, model=args.model, confidence=args.confidence, resume=args.resume)
            file = closing.enter_context(rows)
        earlier = {name: file.earlier[name] for name in names & file.earlier.keys()} if file else {}
        counts = Counter(earlier.values())

        predictor = load(args.model, confidence=args.confidence, **settings)
        if file:
            file.begin()
        model = predictor.model
        for sentence in (*([model.notice] if model.notice else []), *(f"warning: {warning}" for warning in predictor.warnings(query))):
            _say(sentence)

        table = _TextTable(list(names), query)
        if args.out is None:
            _print(table.head())
        reported: list[dict[str, Any]] = []
        with _progress(len(images), len(earlier)) as bar:
            for prediction in predictor.ask(images, query, done=set(earlier), limits=image_limits(args)):
                row = prediction.to_row()
                for note in prediction.notes:
                    _say(f"{display_name(prediction.image)}: {note}")
                if file:
                    file.write(prediction)
                elif args.report:
                    reported.append(row)
                if not file:
                    _print(json.dumps(row, allow_nan=False) if args.out else table.line(prediction))
                counts[status(row)] += 1
                bar.update()

        if args.report:
            page = write_prediction_report(file.rows(names) if file else reported, args.report, model=model.name, notice=model.notice)
            _say(f"report: {display_name(page)}")
        if file:
            file.finish()
    _say(", ".join([f"{len(images)} image{'s' * (len(images) != 1)}", *(f"{counts[name]} {name}" for name in sorted(counts))]))
    return SOME_FAILED if counts["failed"] else 0


def _images(args: argparse.Namespace) -> tuple[list[str | bytes], dict[str, Any]]:
    """The images to predict, and the settings of the model. Raises UserError for options that contradict each other."""
    from emocaliber.inference.plan import model_settings
    from emocaliber.io.inputs import find_images

    if args.resume and args.out in (None, "-"):
        raise UserError("--resume needs a file to go on from; name it with --out F.jsonl")
    paths, settings = split_settings(args.paths)
    if not paths:
        raise UserError("no images are named; give files, folders or globs")
    images = find_images(paths, sys.stdin.buffer, image_limits(args))
    if args.resume and any(isinstance(image, bytes) for image in images):
        raise UserError(
            "--resume identifies images by their names, and an image on standard input has none; leave out --resume, or name the file"
        )
    batch = {"batch_size": args.batch_size} if args.batch_size else {}
    return images, model_settings(batch | parse_settings(settings))


def _progress(total: int, done: int) -> tqdm[Any]:
    from tqdm import tqdm

    every = 0.1 if sys.stderr.isatty() else 10.0  # seconds; a log file gets fewer lines
    return tqdm(total=total, initial=done, unit="image", desc="predicting", disable=total < 2, mininterval=every)


class _TextTable:
    """The table on the terminal, printed line by line. Long names are shortened in the middle."""

    def __init__(self, names: Sequence[str], query: Query) -> None:
        from emocaliber.io.rows import display_name

        self._shown = {name: _shortened(display_name(name)) for name in names}
        self._name = max(map(len, ("image", *self._shown.values())))
        self._emotion = max(map(len, ("emotion", *query.candidates)))
        self._decides = query.min_confidence is not None

    def head(self) -> str:
        return self._join("image", "emotion", "confidence", "answer", "alternatives")

    def line(self, prediction: Prediction) -> str:
        from emocaliber.io.rows import display_name

        name = self._shown[prediction.image]
        if prediction.error:
            sentence = prediction.error.message.removeprefix(f"{display_name(prediction.image)}: ")
            return f"{name:<{self._name}}  {prediction.error.code}: {sentence}"
        likeliest = list(prediction.alternatives.items())[:_ALTERNATIVES]
        stated = "-" if prediction.confidence is None else f"{100 * prediction.confidence:.0f}%"
        answer = "accepted" if prediction.accepted else "abstain"
        return self._join(name, prediction.emotion or "", stated, answer, ", ".join(f"{name} {100 * p:.0f}%" for name, p in likeliest))

    def _join(self, name: str, emotion: str, confidence: str, answer: str, alternatives: str) -> str:
        cells = [f"{name:<{self._name}}", f"{emotion:<{self._emotion}}", f"{confidence:>10}", alternatives]
        if self._decides:
            cells.insert(3, f"{answer:<8}")
        return "  ".join(cells).rstrip()


def _shortened(name: str) -> str:
    if len(name) <= _LONGEST_NAME:
        return name
    kept = _LONGEST_NAME - 3
    return f"{name[: kept // 3]}...{name[-(kept - kept // 3) :]}"


def _print(line: str) -> None:
    """Prints a line on standard output at once, above a progress bar on the same terminal."""
    from tqdm import tqdm

    with tqdm.external_write_mode() if sys.stderr.isatty() else contextlib.nullcontext():
        print(line, flush=True)


def _say(sentence: str) -> None:
    from tqdm import tqdm

    with tqdm.external_write_mode():
        print(f"emocaliber: {sentence}", file=sys.stderr)
