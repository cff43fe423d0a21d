"""`emocaliber train rehearse`: all stages for two steps each with a miniature of the model, and a report of what would have gone wrong."""

from __future__ import annotations

import argparse
import sys
import tempfile
from contextlib import ExitStack, redirect_stdout
from dataclasses import fields
from pathlib import Path

from emocaliber.cli.arguments import SETTINGS, refuse_as_options
from emocaliber.errors import UserError
from emocaliber.io.configurations import find_configuration
from emocaliber.render.terminal import width_of
from emocaliber.training.config import CONFIGS
from emocaliber.training.distributed import check_packages

_HELP = (
    "Checks settings, every row and every image, then trains stages 1 to 3 for two steps each on the CPU, with your own data and a model "
    "of the real class, tokenizer and settings at reduced depth and width. Reports what would have gone wrong. Exit code 3: training "
    "would have stopped."
)


def add_parser(kinds: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = kinds.add_parser("rehearse", help="all stages in small on a CPU, to find what would go wrong", description=_HELP)
    parser.add_argument("settings", nargs="*", metavar=SETTINGS, help="settings that override the files, as of `train all`")
    parser.add_argument("--config", required=True, metavar="DIR|NAME", help="a folder with stage1.toml etc., or a name such as 7b")
    parser.add_argument("--devices", type=int, default=8, metavar="N", help="number of devices of the real training (default: 8)")
    parser.add_argument("--memory", metavar="SIZE", help="memory of one of them, such as 80GB (default: whether it fits is not judged)")
    parser.add_argument(
        "--tokenizer",
        metavar="DIR",
        help="a folder with the model's config.json, tokenizer and preprocessor, where the hub cannot be reached; weights are not needed",
    )
    parser.add_argument("--steps", type=int, default=2, metavar="N", help="training steps of each stage (default: 2)")
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="a new folder that keeps what the rehearsal made (default: nothing is kept)"
    )
    refuse_as_options(parser, dict.fromkeys(field.name for kind in CONFIGS.values() for field in fields(kind)))
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    path = find_configuration(args.config, "train")
    if not path.is_dir():
        raise UserError(f"{path} is not a folder; a rehearsal needs one with stage1.toml, stage2.toml, stage3.toml, or some of them")
    for name in ("devices", "steps"):
        if getattr(args, name) < 1:
            raise UserError(f"--{name} must be at least 1, not {getattr(args, name)}")
    if args.out and args.out.exists() and any(args.out.iterdir()):
        raise UserError(f"{args.out} is not empty; give a new folder for what the rehearsal makes")
    check_packages()
    from emocaliber.training.checks import read_stages
    from emocaliber.training.plan import parse_memory
    from emocaliber.training.rehearsal import rehearse

    memory = parse_memory(args.memory) if args.memory else 0.0
    with ExitStack() as held:
        folder = args.out or Path(held.enter_context(tempfile.TemporaryDirectory(prefix="rehearsal-")))
        folder.mkdir(parents=True, exist_ok=True)
        with redirect_stdout(sys.stderr):  # of which only the report is the command's
            report = rehearse(
                str(args.config),
                read_stages(path, args.settings, check=False),
                folder,
                devices=args.devices,
                memory=memory,
                tokenizer=args.tokenizer,
                steps=args.steps,
            )
    print(report.text(width_of(sys.stdout)), end="")
    return 3 if report.stops else 0
