"""`emocaliber completion`: the script with which a shell completes commands, options and their values."""

from __future__ import annotations

import argparse

from emocaliber.errors import missing_packages

# Where each shell looks for such scripts.
_PLACES = {
    "bash": "~/.local/share/bash-completion/completions/emocaliber",
    "zsh": "~/.zfunc/_emocaliber (with `fpath+=~/.zfunc` before `compinit` in ~/.zshrc)",
    "fish": "~/.config/fish/completions/emocaliber.fish",
}


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    places = "; ".join(f"{shell}: {place}" for shell, place in _PLACES.items())
    parser = subparsers.add_parser(
        "completion",
        help="print a script that completes commands in a shell",
        description=f"Prints the script for a shell; write it where the shell looks for it ({places}), and open a new shell.",
    )
    parser.add_argument("shell", choices=tuple(_PLACES), help="the shell")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    try:
        import shtab
    except ImportError as error:
        raise missing_packages("completion", "emocaliber completion", error) from error
    from emocaliber.core.tasks import TASKS

    parser: argparse.ArgumentParser = args.front
    _complete(parser, {"file": shtab.FILE, "folder": shtab.DIRECTORY}, list(TASKS))
    print(shtab.complete(parser, shell=args.shell))
    return 0


# The ends of metavars of files, and of those of folders.
_FILES = ("FILE", "PATH", "SAMPLES", "ANSWERS", "RESPONSES", "ROWS", "OUT", "F", ".toml", ".json", ".jsonl", ".html", ".png", ".prom")
_FOLDERS = ("DIR", "FOLDER", "RUN")


def _complete(parser: argparse.ArgumentParser, kinds: dict[str, dict[str, str]], tasks: list[str]) -> None:
    """Says what the values of each argument of all commands are: tasks, folders or files, by its metavar, as readers of the help do."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            short = {each.dest: each.help for each in action._choices_actions}
            for name, command in action.choices.items():
                command.description = short.get(name)  # shells show it beside the name, in one line
                _complete(command, kinds, tasks)
        elif action.choices is None and action.nargs != 0:
            metavar = action.metavar if isinstance(action.metavar, str) else ""
            if action.dest == "task":
                action.choices = tasks
            elif metavar.partition("|")[0].endswith(_FOLDERS) or action.dest == "model":
                action.complete = kinds["folder"]  # type: ignore[attr-defined]  # shtab's own
            elif metavar.partition("|")[0].endswith(_FILES):
                action.complete = kinds["file"]  # type: ignore[attr-defined]
