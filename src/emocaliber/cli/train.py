"""`emocaliber train`: trains one stage, or all that a folder has configurations for."""

from __future__ import annotations

import argparse
from pathlib import Path

from emocaliber.errors import UserError
from emocaliber.training.config import STAGES, load_config


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "train",
        help="train one stage, or all of them",
        description="Trains from a TOML file. A broken run goes on where it stopped; a finished stage is left as it is.",
    )
    parser.add_argument("stage", choices=(*STAGES, "all"), help="which stage; `all` trains those the folder has a file for, in order")
    # Settings follow the path: argparse cannot give a positional list what stands after an option.
    parser.add_argument(
        "--config",
        nargs="+",
        required=True,
        metavar=("DIR|FILE", "KEY=VALUE"),
        help="a folder with stage0.toml and so on, or one stage's file; then settings that replace those of the file",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    path, *overrides = args.config
    if args.stage == "all" and not Path(path).is_dir():
        raise UserError(f"{path} is not a folder; `train all` needs one with {', '.join(f'{stage}.toml' for stage in STAGES)}")
    # Read before anything heavy is loaded, so that a mistake shows at once.
    config = None if args.stage == "all" else load_config(args.stage, path, overrides)
    try:
        from emocaliber.training.run import run_all, run_stage
    except ImportError as error:
        raise UserError(f"training needs more packages ({error}); install emocaliber[train]") from error
    if config is None:
        run_all(path, overrides)
    else:
        run_stage(args.stage, config)
    return 0
