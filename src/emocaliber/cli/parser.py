"""The parser of the command line: argparse, with the usage of the command that was typed and a suggestion for what was mistyped."""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from emocaliber.errors import did_you_mean

_CHOICE = re.compile(r"invalid choice: '(?P<typed>[^']*)' \(choose from (?P<choices>.*)\)$")
_SYNONYMS = {"gpu": "cuda", "nvidia": "cuda", "metal": "mps"}  # other words for a choice


class CommandParser(argparse.ArgumentParser):
    """An `ArgumentParser` in which the command itself refuses what it does not know, and says what may have been meant.

    Positional arguments, such as KEY=VALUE, may stand before, between and after the options.
    """

    _inside = False

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:  # Any, as the stubs overload it
        """As in argparse; a command without subcommands leaves nothing unknown."""
        # After `--`, all words are positional anyway, and argparse's intermixed parsing does not know it.
        literal = "--" in (sys.argv[1:] if args is None else args)
        whole = any(action.nargs in (argparse.PARSER, argparse.REMAINDER) for action in self._get_positional_actions())
        if self._inside or literal or whole:
            found, unknown = super().parse_known_args(args, namespace)
        else:
            self._inside = True
            try:
                found, unknown = self.parse_known_intermixed_args(args, namespace)
            finally:
                self._inside = False
        if unknown and not self._inside and not any(isinstance(action, argparse._SubParsersAction) for action in self._actions):
            self.error(f"unrecognized arguments: {' '.join(unknown)}{self._suggested(unknown)}")
        return found, unknown

    def error(self, message: str) -> NoReturn:
        """Prints the usage and the message, with a suggestion for a mistyped choice, and exits with code 2."""
        if match := _CHOICE.search(message):
            typed = _SYNONYMS.get(match["typed"].casefold(), match["typed"])
            meant = did_you_mean(typed, [choice.strip(" '") for choice in match["choices"].split(",")])
            if not meant and "COMMAND" in message and os.path.exists(match["typed"]):
                meant = f", and it is a file or folder; for images: {self.prog} predict {match['typed']}"
            message = f"{message[: match.start()]}there is no '{match['typed']}'{meant}" if meant else message
        super().error(message)

    def _suggested(self, unknown: Sequence[str]) -> str:
        """The option that the first unknown one is like."""
        option = next((word.partition("=")[0] for word in unknown if word.startswith("-")), "")
        return did_you_mean(option, self._option_string_actions)
