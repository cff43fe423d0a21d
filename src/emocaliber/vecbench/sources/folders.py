"""Finding a data set in the folder a user names, and the files in it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NoReturn

from emocaliber.emotions import Taxonomy
from emocaliber.errors import UserError
from emocaliber.rows import display_name

_SHOWN = 12


def find_folder(given: Path, below: Sequence[str], is_it: Callable[[Path], bool], *, name: str, expected: str) -> Path:
    """The absolute path of the first folder that `is_it` among the given one and the paths `below` it.

    Raises UserError, saying what was expected and what was found instead, if there is none.
    """
    present = [folder for folder in (given, *(given / path for path in below)) if folder.is_dir()]
    if not present:
        raise UserError(f"{display_name(given)}: no such folder; give the folder of {name}: {expected}.")
    for folder in present:
        try:
            if is_it(folder):
                return Path(os.path.abspath(folder))
        except OSError as error:
            _unreadable(error)
    raise not_the_data_set(present[-1], name, expected)


def not_the_data_set(folder: Path, name: str, expected: str) -> UserError:
    """The complaint that a folder is not what it was said to be."""
    return UserError(f"{display_name(folder)}: this is not {name}. Expected {expected}; found {_contents(folder)}.")


def files_below(folder: Path) -> list[str]:
    """The paths, relative and with slashes, of all files in the folder and its subfolders, sorted. Hidden ones are left out.

    Linked folders are entered, each once. Raises UserError for a folder that cannot be read, as it would go missing otherwise.
    """
    found: list[str] = []
    entered: set[tuple[int, int]] = set()
    for path, folders, files in os.walk(folder, onerror=_unreadable, followlinks=True):
        status = os.stat(path)
        if (status.st_dev, status.st_ino) in entered:
            folders.clear()
            continue
        entered.add((status.st_dev, status.st_ino))
        folders[:] = sorted(_visible(folders))  # the order decides under which name a folder linked twice is entered
        inner = Path(os.path.relpath(path, folder)).as_posix()
        found += [name if inner == "." else f"{inner}/{name}" for name in _visible(files)]
    return sorted(found)


def subfolders(folder: Path) -> list[str]:
    """The names of the folders directly in it, sorted, without hidden ones."""
    return sorted(_visible(entry.name for entry in os.scandir(folder) if entry.is_dir()))


def has_folder_per_label(taxonomy: Taxonomy) -> Callable[[Path], bool]:
    """Whether a folder holds one for each label of the taxonomy, aliases included, for `find_folder`."""
    return lambda folder: {taxonomy.canonical(name) for name in subfolders(folder)} >= set(taxonomy.labels)


def _contents(folder: Path) -> str:
    names = sorted(_visible(entry.name + "/" * entry.is_dir() for entry in os.scandir(folder)))
    if not names:
        return "nothing in it"
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(map(display_name, names[:_SHOWN])) + more


def _visible(names: Iterable[str]) -> list[str]:
    return [name for name in names if not name.startswith(".")]


def _unreadable(error: OSError) -> NoReturn:
    raise UserError(f"{display_name(error.filename)}: this folder cannot be read ({error.strerror}); change its permissions.") from error
