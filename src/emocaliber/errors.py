"""The one error a user is meant to read, and parts of its messages."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from difflib import get_close_matches


class UserError(Exception):
    """A mistake the user can mend. The message is a sentence saying what was wrong, where, and what would be right."""


def missing_packages(extra: str | None, what: str, error: ImportError, names: Collection[str] = ()) -> UserError:
    """The error for `what` needing the packages of an extra of this package, with the command that installs them.

    Without an extra they are those called `names` among the packages that are installed by default. The command names the packages
    themselves, so it is right wherever this package was installed from.
    """
    from importlib.metadata import PackageNotFoundError, requires

    try:
        lines = [line.replace('"', "'") for line in requires("emocaliber") or ()]
    except PackageNotFoundError:
        lines = []
    wanted = [line.partition(";") for line in lines if extra is None or f"extra == '{extra}'" in line]
    needed = [line.strip() for line, _, marker in wanted if extra or (line.startswith(tuple(names)) and "extra ==" not in marker)]
    source = f"'.[{extra}]'" if extra else "."
    command = " ".join(f"'{each}'" for each in needed) or f"{source} (in the folder with pyproject.toml)"
    return UserError(f"{what} needs more packages ({error}): pip install {command}")


def did_you_mean(typed: str, known: Iterable[str]) -> str:
    """The end of a message about an unknown name: "; did you mean NAME?", with the closest of `known` in any case; empty if none is."""
    by_letters = {name.casefold(): name for name in known}
    close = get_close_matches(typed.casefold(), by_letters, n=1, cutoff=0.6)
    return f"; did you mean {by_letters[close[0]]}?" if close else ""
