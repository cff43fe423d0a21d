"""`emocaliber convert`: answers and predictions as the files of other tools."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from emocaliber.errors import UserError


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "convert",
        help="write answers as files of other tools",
        description="Writes answers that have truths as logs of evaluation frames, and predictions as files for labelling tools and "
        "cleanlab (docs/integrations.md). `emocaliber score` reads the logs back.",
    )
    parser.add_argument("file", type=Path, metavar="FILE", help="answers as `score` reads them, or the rows of `predict`")
    targets = parser.add_argument_group("of answers with truths (one of them)")
    targets.add_argument("--inspect", type=Path, metavar="OUT.eval", help="a log for `inspect view` (.eval or .json)")
    targets.add_argument("--lmms-eval", type=Path, metavar="DIR", help="logs that lmms-eval scores with `--model from_log`; needs --tasks")
    targets = parser.add_argument_group("of predictions (one of them)")
    targets.add_argument("--cleanlab", type=Path, metavar="DIR", help="labels_multiannotator.csv and pred_probs.csv; needs --votes")
    targets.add_argument("--label-studio", type=Path, metavar="OUT.json", help="tasks with predictions for Label Studio")
    targets.add_argument("--cvat", type=Path, metavar="OUT.xml", help="tags, as CVAT for images 1.1")
    targets.add_argument("--argilla", type=Path, metavar="OUT.json", help="records with suggestions for argilla 2")
    further = parser.add_argument_group("further")
    further.add_argument("--tasks", type=Path, metavar="DIR", help="with --lmms-eval: a folder of `bench export DIR --lmms-eval`")
    further.add_argument("--votes", type=Path, metavar="FILE", help="with --cleanlab: the votes of `emocaliber label`")
    further.add_argument(
        "--prefix",
        metavar="TEXT",
        default="/data/local-files/?d=",
        help="with --label-studio: what goes before each path (default: %(default)s, its local storage)",
    )
    further.add_argument("--no-images", action="store_true", help="with --inspect: paths of images in place of small copies")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    writers: dict[str, Callable[[argparse.Namespace, Path], str]] = {
        "inspect": _inspect,
        "lmms_eval": _lmms_eval,
        "cleanlab": _cleanlab,
        "label_studio": _label_studio,
        "cvat": _cvat,
        "argilla": _argilla,
    }
    given = [name for name in writers if getattr(args, name) is not None]
    if len(given) != 1:
        options = ", ".join("--" + name.replace("_", "-") for name in writers)
        raise UserError(f"convert writes one kind of file at a time: give one of {options}.")
    for option, target in {"tasks": "lmms_eval", "votes": "cleanlab"}.items():
        if (getattr(args, option) is not None) != (target in given):
            raise UserError(f"--{target.replace('_', '-')} and --{option} go together; give both or neither.")
    print(writers[given[0]](args, getattr(args, given[0])))
    return 0


def _inspect(args: argparse.Namespace, out: Path) -> str:
    from emocaliber.integrations.inspect_log import write_inspect_log

    number = write_inspect_log(args.file, out, images=not args.no_images)
    return f"{out}: {number:,} samples; look at them with: inspect view start --log-dir {out.parent}"


def _lmms_eval(args: argparse.Namespace, out: Path) -> str:
    from emocaliber.integrations.lmms_eval_log import write_lmms_eval_logs

    files = write_lmms_eval_logs(args.file, args.tasks, out)
    command = f"python -m lmms_eval --include_path {args.tasks} --tasks {','.join(file.stem for file in files)}"
    return f"{out}: {len(files)} logs; score them there with: {command} --model from_log --model_args logs={out}"


def _cleanlab(args: argparse.Namespace, out: Path) -> str:
    from emocaliber.integrations.cleanlab_tables import cleanlab_tables

    tables = cleanlab_tables(args.votes, args.file)
    tables.save(out)
    return f"{out}: {len(tables.images):,} images, {len(tables.people)} people, {len(tables.labels)} labels"


def _label_studio(args: argparse.Namespace, out: Path) -> str:
    from emocaliber.integrations.prediction_files import answered, label_studio_tasks, read_predictions, write_json

    rows = read_predictions(args.file)
    write_json(out, label_studio_tasks(rows, args.prefix))
    return f"{out}: {len(rows):,} tasks, {len(answered(rows)):,} with a prediction"


def _cvat(args: argparse.Namespace, out: Path) -> str:
    from emocaliber.integrations.prediction_files import answered, cvat_xml, read_predictions
    from emocaliber.io.rows import write_atomically

    rows = read_predictions(args.file)
    write_atomically(out, cvat_xml(rows))
    return f"{out}: {len(answered(rows)):,} tags; {len(rows) - len(answered(rows)):,} images without an answer"


def _argilla(args: argparse.Namespace, out: Path) -> str:
    from emocaliber.integrations.prediction_files import answered, argilla_records, read_predictions, write_json

    rows = read_predictions(args.file)
    write_json(out, argilla_records(rows))
    return f"{out}: {len(rows):,} records, {len(answered(rows)):,} with a suggestion"
