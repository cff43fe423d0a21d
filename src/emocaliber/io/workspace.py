"""Resumable files and folders: a record of the settings that made them, and a lock, so that results of other settings are never reused.

The record keeps the settings themselves, not a hash, so that messages can name the differences. Large contents (sample files, weights) are
kept as their SHA-256.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self

from emocaliber.errors import UserError
from emocaliber.io.lock import Lock
from emocaliber.io.rows import display_name, write_atomically

Settings = Mapping[str, Any]
_NONE: Settings = MappingProxyType({})
_SHOWN = 70


def record_of(rows: Path) -> Path:
    """The record beside a file of rows: `responses.run.json` for `responses.jsonl`."""
    return rows.with_suffix(".run.json")


def package_version() -> str:
    """The version of this package; "from source" if it is not installed."""
    try:
        return version("emocaliber")
    except PackageNotFoundError:
        return "from source"


class Workspace:
    """Compares the settings that made a file or folder with those of the current run. As a context manager it holds the lock.

    `record` is the JSON file that keeps `settings`, under the key `what`, or at its top level if `flat`. `path` is the file or folder, and
    `remedy` the sentence of error messages that says what the user can do. Names of settings are dotted where they are nested:

    - `free`: settings that do not change the result, only how fast or where it is made; they may differ.
    - `contents`: digests; None means not known, and is not a difference.
    - `places`: maps a setting that is a location to the one with the digest of its content; with equal known contents, it may differ.
    - `usual`: values of settings that older records lack.
    """

    def __init__(
        self,
        record: Path,
        settings: Settings,
        *,
        path: Path,
        remedy: str,
        flat: bool = False,
        free: Collection[str] = (),
        contents: Collection[str] = (),
        places: Mapping[str, str] = _NONE,
        usual: Settings = _NONE,
    ) -> None:
        self.record, self.path = record, path
        self.settings: dict[str, Any] = json.loads(json.dumps(settings))  # as they will be read back
        self._flat, self._remedy, self._usual = flat, remedy, usual
        self._free, self._contents, self._places = free, contents, places
        self._before: Settings | None = None
        self._lock: Lock | None = None

    def lock(self) -> None:
        """Acquires the lock. Raises UserError if another process holds it, naming that, or if the folder cannot be written."""
        try:
            self.record.parent.mkdir(parents=True, exist_ok=True)
            self._lock = Lock(self.record, display_name(self.path))
        except OSError as error:
            raise UserError(f"{display_name(self.record.parent)}: cannot be written ({error.strerror or error}).") from error

    def release(self) -> None:
        """Releases the lock. May be called twice, and without `lock`."""
        if self._lock is not None:
            self._lock.release()

    def __enter__(self) -> Self:
        self.lock()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def read(self) -> dict[str, Any] | None:
        """The settings in the record; None if there is none. Raises UserError if it cannot be read."""
        if not self.record.exists():
            return None
        try:
            content = json.loads(self.record.read_text("utf-8"))
            found = content if self._flat else content["what"]
            if isinstance(found, dict):
                return found
            problem: object = "it is no object"
        except (OSError, ValueError, KeyError, TypeError) as error:
            problem = error
        where, name = display_name(self.record), display_name(self.path)
        raise UserError(f"{where}: cannot be read ({problem}), so it is not known how {name} was made. {self._remedy}, or mend it.")

    def check(self, *, needed: bool = False) -> bool:
        """Whether there is a record. Raises UserError if it has other settings, naming each, or if it is `needed` and missing."""
        before = self.read()
        if before is None and needed:
            where, name = display_name(self.record), display_name(self.path)
            raise UserError(f"{where} is missing, so it is not known how {name} was made. {self._remedy}, or put it back.")
        if before is not None:
            self.compare(before)
        return before is not None

    def compare(self, before: Settings) -> None:
        """Compares the settings with those `before`, which made the file or folder. Raises UserError if they differ."""
        old, new = _flattened({**self._usual, **before}), _flattened(self.settings)
        changed = [name for name in dict.fromkeys((*old, *new)) if self._differs(name, old, new)]
        if changed:
            listed = "; ".join(f"{name} was {_shown(old, name)}, and is {_shown(new, name)}" for name in changed)
            raise UserError(f"{display_name(self.path)} was made with other settings: {listed}. {self._remedy}.")
        self._before = before

    def write(self, further: Settings = _NONE) -> None:
        """Writes the record: the settings, and the keys of `further`. A content that was unknown in the first run stays unknown."""
        if self._before is not None:
            self.settings = _kept(self._before, self.settings, self._contents)
        content = {**(self.settings if self._flat else {"what": self.settings}), **further}
        write_atomically(self.record, json.dumps(content, indent=2, allow_nan=False) + "\n")

    def _differs(self, name: str, old: Settings, new: Settings) -> bool:
        if old.get(name) == new.get(name) or name in self._free:
            return False
        if name in self._contents:
            return None not in (old.get(name), new.get(name))
        content = self._places.get(name)
        return content is None or old.get(content) is None or old.get(content) != new.get(content)


def _flattened(values: Settings, prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in values.items():
        found |= _flattened(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return found


def _kept(before: Settings, now: Settings, contents: Collection[str], prefix: str = "") -> dict[str, Any]:
    """The settings `now`, with the `contents` of `before`."""
    found: dict[str, Any] = {}
    for name, value in now.items():
        if isinstance(value, dict):
            found[name] = _kept(before.get(name) or {}, value, contents, f"{prefix}{name}.")
        else:
            found[name] = before.get(name) if prefix + name in contents else value
    return found


def _shown(values: Settings, name: str) -> str:
    text = repr(values[name]) if values.get(name) is not None else "not given"
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
