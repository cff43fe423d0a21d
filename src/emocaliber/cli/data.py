"""`emocaliber data`: what a file or folder of data is, and samples in the form of this package from it."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from emocaliber.cli import SOME_FAILED

_HELP_CHECK = (
    "Says what a file or folder is, whose form its rows have, how many there are beside the paper's numbers, what is missing or does not "
    "fit, and what can be done with it. It knows the six data sets of VECBench, the released files of VEC-CoT and VECBench, predictions of "
    "EmObserver, and rows of ms-swift, TRL, LLaMA-Factory, verl and Hugging Face. Images are looked for, not opened."
)
_HELP_CONVERT = "Writes the samples of any file or data set that `data check` knows as JSON Lines that all commands take."
_PATH = "a file, a folder, or a data set of Hugging Face: hf:OWNER/NAME, hf:OWNER/NAME@REVISION:SPLIT"
_IMAGES = "the folder of the images, if it is not that of the file; paths of another machine are looked for below it"


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser("data", help="what a file or folder of data is", description="Checks and converts data.")
    kinds = parser.add_subparsers(required=True, metavar="ACTION", title="actions")
    check = kinds.add_parser("check", help="what it is, what is missing, what it is for", description=_HELP_CHECK)
    check.add_argument("path", nargs="+", metavar="PATH", help=_PATH)
    check.add_argument("--images", default="", metavar="DIR", help=_IMAGES)
    check.add_argument("--json", action="store_true", help="print a JSON list, one object for each thing that was found")
    check.set_defaults(run=_check)
    convert = kinds.add_parser("convert", help="write its samples in the form of this package", description=_HELP_CONVERT)
    convert.add_argument("path", metavar="PATH", help=_PATH)
    convert.add_argument("--out", type=Path, required=True, metavar="F.jsonl", help="the file to write")
    convert.add_argument("--images", default="", metavar="DIR", help=_IMAGES)
    convert.set_defaults(run=_convert)


def _check(args: argparse.Namespace) -> int:
    from emocaliber.vecbench.known import what_is

    found = [known for path in args.path for known in what_is(path, args.images)]
    if args.json:
        print(json.dumps([known.as_dict() for known in found], indent=1, ensure_ascii=False))
    else:
        print("\n\n".join(known.as_text() for known in found))
    return 0 if all(known.is_whole for known in found) else SOME_FAILED


def _convert(args: argparse.Namespace) -> int:
    from emocaliber.errors import UserError
    from emocaliber.io.rows import display_name, write_rows
    from emocaliber.vecbench.known import samples_of

    if args.out.exists():
        raise UserError(f"{display_name(args.out)} is there already; give another file, or remove it")
    rows = list(samples_of(args.path, args.images))
    write_rows(args.out, rows)
    print(f"{len(rows):,} samples: {display_name(args.out)}")
    return 0
