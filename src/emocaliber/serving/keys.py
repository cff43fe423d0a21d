"""The keys of a server: kept as hashes in a file that only its owner reads, checked in constant time, with a quota for each.

A key is 256 random bits, so a plain SHA-256 keeps it: there is nothing to guess that a slow hash would protect.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import math
import os
import secrets
import time
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from emocaliber.errors import UserError
from emocaliber.io.lock import Lock
from emocaliber.io.rows import display_name, write_atomically

PREFIX = "emo_"
_LONGEST_NAME = 64


@dataclass(frozen=True)
class Key:
    """A key: what it is called, its SHA-256, its quota (None: no limit), and when it was made and revoked."""

    name: str
    sha256: str
    images_per_minute: int | None
    made: str
    revoked: str | None = None


class OverQuota(Exception):
    """A key has used its quota; `retry_after` is in how many whole seconds it may ask again, None if never for as many images."""

    def __init__(self, message: str, retry_after: int | None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


CURRENT: ContextVar[Key | None] = ContextVar("key of the request", default=None)


def default_file() -> Path:
    """The file of keys that is used where none is named."""
    home = os.environ.get("XDG_CONFIG_HOME") or os.path.join(os.path.expanduser("~"), ".config")
    return Path(home) / "emocaliber" / "keys.json"


@dataclass(frozen=True)
class KeyFile:
    """A file of keys. It is read by its owner only (mode 0600), and changed by one process at a time."""

    path: Path

    def read(self) -> list[Key]:
        """All keys, also revoked ones; none if there is no file. Raises UserError for a file that is none, or that others can read."""
        name = display_name(self.path)
        try:
            with open(self.path, "rb") as file:
                if os.name == "posix" and os.fstat(file.fileno()).st_mode & 0o077:
                    raise UserError(f"{name}: others can read the file of keys; make it yours alone: chmod 600 {name}")
                content = json.load(file)
            return [Key(**each) for each in content["keys"]]
        except FileNotFoundError:
            return []
        except OSError as error:
            raise UserError(f"{name}: cannot be read ({error.strerror}); name the file of `emocaliber serve keys make`") from error
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f"{name}: not a file of keys; `emocaliber serve keys make` writes one") from error

    def make(self, name: str, images_per_minute: int | None = None) -> str:
        """Adds a key and returns it; it cannot be read again. Raises UserError for a name that is taken, empty or too long."""
        if not name.strip() or not name.isprintable() or len(name) > _LONGEST_NAME:
            raise UserError(f"the name of a key has 1 to {_LONGEST_NAME} printable characters, such as web-shop")
        key = PREFIX + secrets.token_urlsafe(32)

        def added(keys: list[Key]) -> list[Key]:
            if any(each.name == name and not each.revoked for each in keys):
                raise UserError(f"there is a key called {name!r}; revoke it first, or give this one another name")
            return [*keys, Key(name, sha256_of(key), images_per_minute, _now())]

        self._change(added)
        return key

    def revoke(self, name: str) -> None:
        """Revokes the key called `name`; a running server refuses it at once. Raises UserError if there is none."""

        def revoked(keys: list[Key]) -> list[Key]:
            if not any(each.name == name and not each.revoked for each in keys):
                raise UserError(f"there is no key called {name!r}; `emocaliber serve keys list` names them")
            return [replace(each, revoked=_now()) if each.name == name and not each.revoked else each for each in keys]

        self._change(revoked)

    def _change(self, change: Callable[[list[Key]], list[Key]]) -> None:
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = Lock(self.path, display_name(self.path))
        except OSError as error:
            raise UserError(f"{display_name(self.path)}: cannot be written ({error.strerror}); name another file with --keys") from error
        before = os.umask(0o077)
        try:
            keys = change(self.read())
            write_atomically(self.path, json.dumps({"keys": [asdict(each) for each in keys]}, indent=1) + "\n")
        finally:
            os.umask(before)
            lock.release()


@dataclass
class _Bucket:
    """Images that a key may still ask about: refilled steadily up to a minute's worth."""

    per_minute: int
    left: float
    at: float = field(default_factory=time.monotonic)


class KeyRing:
    """The keys that a server takes, read again whenever their file changes. `needed`: whether a request must have one."""

    def __init__(self, file: KeyFile, *, needed: bool) -> None:
        self._file = file
        self._keys: list[Key] = []
        self._mark: tuple[int, int, int] | None = None
        self._buckets: dict[str, _Bucket] = {}
        self._keys = file.read()  # says at the start what is wrong with the file
        self._needed = needed
        self._read()

    @property
    def needed(self) -> bool:
        """Whether a request must have a key: as given, and from the first key on that was made."""
        self._read()
        return self._needed

    @property
    def count(self) -> int:
        """The number of keys that are taken."""
        self._read()
        return sum(not each.revoked for each in self._keys)

    def find(self, presented: str) -> Key | None:
        """The key that was presented, unless it is unknown or revoked. Takes as long for a wrong one as for any other."""
        self._read()
        digest, found = sha256_of(presented), None
        for each in self._keys:
            if hmac.compare_digest(each.sha256, digest) and not each.revoked:
                found = each
        return found

    def charge(self, images: int) -> None:
        """Counts images against the quota of the key of this request. Raises OverQuota where it does not suffice."""
        key = CURRENT.get()
        if key is None or key.images_per_minute is None:
            return
        most, now = key.images_per_minute, time.monotonic()
        if images > most:
            raise OverQuota(f"{images} images are more than the {most} a minute of this key; send fewer at a time", None)
        bucket = self._buckets.get(key.sha256)
        if bucket is None or bucket.per_minute != most:
            bucket = self._buckets[key.sha256] = _Bucket(most, most)
        bucket.left = min(most, bucket.left + (now - bucket.at) * most / 60)
        bucket.at = now
        if images > bucket.left:
            wait = math.ceil((images - bucket.left) * 60 / most)
            raise OverQuota(f"this key may ask about {most} images a minute; try again in {wait} s", wait)
        bucket.left -= images

    def _read(self) -> None:
        """Reads the file again if it changed; one that cannot be read any more lets nobody in."""
        try:
            found = os.stat(self._file.path)
            mark = (found.st_mtime_ns, found.st_size, found.st_ino)
        except OSError:
            mark = None
        if mark == self._mark:
            return
        try:
            self._keys, self._mark = self._file.read(), mark
        except UserError:
            self._keys, self._mark = [], mark
            self._needed = True
        self._needed = self._needed or bool(self._keys)


def sha256_of(key: str) -> str:
    """The SHA-256 of a key, in hexadecimal."""
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
