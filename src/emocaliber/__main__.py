"""`emocaliber`: parses the command line, runs the command, and turns every outcome into an exit code and, if needed, a message."""

from __future__ import annotations

import argparse
import os
import sys
import traceback
from collections.abc import Sequence
from importlib import import_module

from emocaliber.cli import BROKEN_PIPE, INTERRUPTED, UNEXPECTED, WRONG_USAGE
from emocaliber.cli.parser import CommandParser
from emocaliber.errors import UserError
from emocaliber.io.plugins import load_plugins
from emocaliber.render.terminal import complain, quiet

# In the order in which --help lists them. Importing a command imports nothing heavy; running it may.
COMMANDS = (
    *("predict", "respond", "score", "compare", "calibrate", "trace", "convert"),
    *("scenes", "data", "bench", "cot", "emotions", "tasks", "rewards", "train", "serve", "label", "label-studio"),
    *("doctor", "completion"),
)


def module_of(command: str) -> str:
    """The module that adds a command."""
    return f"emocaliber.cli.{command.replace('-', '_')}"


class _Version(argparse.Action):
    """Prints the version; looks it up only then, as that takes time."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from importlib.metadata import PackageNotFoundError, version

        try:
            print(f"emocaliber {version('emocaliber')}")
        except PackageNotFoundError:
            print("emocaliber (run from its source folder, not installed)")
        parser.exit()


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    parser = CommandParser(
        prog="emocaliber",
        description="Which emotion an image evokes, why, and how far to trust the answer.",
        epilog="Begin with: emocaliber predict photo.jpg, or emocaliber score answers.csv. "
        "Exit codes: 0 all well, 1 unexpected failure, 2 wrong usage, 3 finished but some inputs failed (their rows say why).",
    )
    parser.add_argument("-V", "--version", action=_Version, nargs=0, help="print the version and stop")
    parser.add_argument("--debug", action="store_true", help=_DEBUG)
    parser.add_argument("-q", "--quiet", action="store_true", help=_QUIET)
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND", title="commands")
    for name in COMMANDS:
        import_module(module_of(name)).add_parser(subparsers)
    _add_common_options(parser)
    subparsers.choices["completion"].set_defaults(front=parser)  # what it completes
    subparsers.add_parser("help", help="show the help of a command: emocaliber help [COMMAND]")
    return parser


_DEBUG = "show the traceback of an unexpected error (also EMOCALIBER_DEBUG=1)"
_QUIET = "no notices and no progress; errors are still shown"


def _add_common_options(parser: argparse.ArgumentParser) -> None:
    """Gives the options of all commands to every command that can be run."""
    inner = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    for action in inner:
        for command in action.choices.values():
            _add_common_options(command)
    if not inner or parser.get_default("run"):
        what = "also load this plug-in, a Python file or module that adds tasks, metrics, rewards and so on (may be repeated)"
        parser.add_argument("--plugin", action="append", default=[], metavar="FILE.py|MODULE", help=what)
        # Without a default, so that the same option before the command keeps its value.
        parser.add_argument("-q", "--quiet", action="store_true", default=argparse.SUPPRESS, help=_QUIET)
        parser.add_argument("--debug", action="store_true", default=argparse.SUPPRESS, help=argparse.SUPPRESS)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code. Raises SystemExit only for --help, --version and arguments that argparse rejects."""
    words = list(sys.argv[1:] if argv is None else argv)
    if not words:
        build_parser().print_help()
        return WRONG_USAGE
    args = build_parser().parse_args([*words[1:], "--help"] if words[:1] == ["help"] else words)
    try:
        load_plugins(getattr(args, "plugin", ()))
        with quiet(getattr(args, "quiet", False)):
            code: int = args.run(args)
        sys.stdout.flush()  # here, so that a closed pipe is noticed inside this `try`
        return code
    except UserError as error:
        complain(str(error))
        return WRONG_USAGE
    except KeyboardInterrupt:
        complain("interrupted")
        return INTERRUPTED
    except BrokenPipeError:
        # Python flushes stdout again at exit; that must not fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except Exception as error:
        if args.debug or os.environ.get("EMOCALIBER_DEBUG") == "1":
            traceback.print_exc()
        else:
            what = " ".join(f"{type(error).__name__}: {error}".split())
            complain(f"unexpected error ({what}); --debug shows where it happened")
        return UNEXPECTED


if __name__ == "__main__":
    sys.exit(main())
