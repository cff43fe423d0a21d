"""Open tables: what ships with the package and what its users add go through the same door.

A plug-in is a module that adds to these tables when it is imported. It is found by an entry point of the group `emocaliber.plugins`, or
named on the command line (`--plugin mine.py`); a program of one's own just imports it.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import entry_points
from pathlib import Path
from typing import Generic, TypeVar

from emocaliber.errors import UserError

GROUP = "emocaliber.plugins"

T = TypeVar("T")


class Registry(Mapping[str, T], Generic[T]):
    """Entries by name, in the order in which they were added. `kind` is what messages call an entry.

    A missing name raises KeyError here, as in any mapping; `named` has the sentence for users.
    """

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._entries: dict[str, T] = {}

    def add(self, name: str, entry: T) -> T:
        """Adds an entry and returns it. Raises UserError for a name that is taken or blank."""
        if not name.strip():
            raise UserError(f"a {self._kind} needs a name that is not blank")
        if name in self._entries:
            raise UserError(f"there is a {self._kind} {name!r} already; give this one another name")
        self._entries[name] = entry
        return entry

    def register(self, name: str | None = None) -> Callable[[T], T]:
        """`add` as a decorator. Without a name the entry's own is taken."""

        def added(entry: T) -> T:
            return self.add(name or str(getattr(entry, "__name__", "")), entry)

        return added

    def named(self, name: str) -> T:
        """The entry called `name`. Raises UserError, listing all names, where there is none."""
        if name not in self._entries:
            raise UserError(f"there is no {self._kind} {name!r}; there are {', '.join(self._entries)}")
        return self._entries[name]

    def __getitem__(self, name: str) -> T:
        return self._entries[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)


def load_plugins(named: Sequence[str] = ()) -> None:
    """Imports the installed plug-ins, then those `named`: Python files, or modules. Each is imported once.

    Raises UserError, naming the plug-in, for one that is not there or fails while it is imported.
    """
    for point in entry_points(group=GROUP):
        _import(point.value.partition(":")[0], f"the plug-in {point.name!r} ({point.value})")
    for name in named:
        if name.endswith(".py"):
            _import_file(Path(name))
        else:
            _import(name, f"the plug-in {name!r}")


def _import(module: str, what: str) -> None:
    try:
        importlib.import_module(module)
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"{what} cannot be imported ({type(error).__name__}: {error})") from error


def _import_file(file: Path) -> None:
    name = f"emocaliber_plugin_{file.stem}"
    if name in sys.modules and getattr(sys.modules[name], "__file__", None) == str(file.absolute()):
        return
    spec = importlib.util.spec_from_file_location(name, file.absolute())
    if not file.is_file() or spec is None or spec.loader is None:
        raise UserError(f"the plug-in {file}: there is no such file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except UserError:
        raise
    except Exception as error:
        del sys.modules[name]
        raise UserError(f"the plug-in {file} cannot be imported ({type(error).__name__}: {error})") from error
