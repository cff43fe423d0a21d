"""The options of `score` in its sentences, as arguments of `emocaliber.score` for those who call that."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from emocaliber.errors import UserError

_OPTION = re.compile(
    r"`[^`]*`"  # a command stays one
    r"|--columns (?:'(?P<quoted>\w+=[^']*)'|(?P<plain>\w+=[^\s,;]*[^\s,;.](?:,\w+=[^\s,;]*[^\s,;.])*))"
    r"|--truth FILE|--task (?P<task>'[^']*'|[A-Z]\w+-\d+)|--(?P<name>columns|labels|partial|strict|lenient|out)\b"
)
_QUOTE = "'"
_ARGUMENTS = {
    "columns": "columns",
    "labels": "labels=[...]",
    "partial": "partial=True",
    "strict": "strict=True",
    "lenient": "lenient=True",
    "out": "save(FOLDER)",
}


def in_python(text: str) -> str:
    """The sentence with arguments in place of options: `--columns answer=COLUMN` is `columns={'answer': 'COLUMN'}`."""
    return _OPTION.sub(_argument, text)


@contextmanager
def errors_in_python() -> Iterator[None]:
    """Rewrites the UserErrors that pass through it by `in_python`."""
    try:
        yield
    except UserError as error:
        raise UserError(in_python(str(error))) from error


def check_arguments(function: Callable[..., Any], name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Raises TypeError, under the name that users call the function by, for arguments that it does not take."""
    try:
        inspect.signature(function).bind(*args, **kwargs)
    except TypeError as error:
        raise TypeError(f"{name}() {error}") from None


def _argument(option: re.Match[str]) -> str:
    if columns := option["quoted"] or option["plain"]:
        parts = [columns] if option["quoted"] else columns.split(",")
        return f"columns={dict(tuple(part.split('=', 1)) for part in parts)}"
    if task := option["task"]:
        return f"task={task.strip(_QUOTE)!r}"
    if name := option["name"]:
        return _ARGUMENTS[name]
    return "truth=FILE" if option[0].startswith("--") else option[0]
