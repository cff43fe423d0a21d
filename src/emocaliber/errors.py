"""The one error a user is meant to read."""

from __future__ import annotations


class UserError(Exception):
    """A mistake the user can mend. The message is a sentence saying what was wrong, where, and what would be right."""


def missing_packages(extra: str, what: str, error: ImportError) -> UserError:
    """The error for `what` needing the packages of an extra of this package, with the command that installs them.

    The command names the packages themselves, so it is right wherever this package was installed from.
    """
    from importlib.metadata import PackageNotFoundError, requires

    try:
        needed = [
            line.partition(";")[0].strip() for line in requires("emocaliber") or () if f"extra == '{extra}'" in line.replace('"', "'")
        ]
    except PackageNotFoundError:
        needed = []
    command = " ".join(f"'{each}'" for each in needed) or f"'.[{extra}]' (in the folder with pyproject.toml)"
    return UserError(f"{what} needs more packages ({error}): pip install {command}")
