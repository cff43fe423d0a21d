"""A lock between processes that names its holder. The operating system releases it when the process ends, even if it is killed."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import socket
import sys
import time
from datetime import datetime
from pathlib import Path
from typing import Self
from weakref import WeakSet

from emocaliber.errors import UserError

_UNSUPPORTED = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS)  # raised by file systems without locks, such as some network mounts

if sys.platform == "win32":
    import msvcrt

    def _lock(descriptor: int) -> None:
        os.lseek(descriptor, 2**30, os.SEEK_SET)  # locked bytes cannot be read, so they must lie beyond the holder's name
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
else:
    import fcntl

    def _lock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


_LOOKS, _PAUSE = 20, 0.05  # times and seconds


class Lock:
    """The lock of a file or folder `path`, acquired on creation.

    The lock is the hidden file `.NAME.lock` beside `path`, with the process, host and time of its holder. `release` removes it; the lock
    of a killed process is taken over. `name` is used in messages. Raises UserError if another process, or another lock of this process,
    holds it, and OSError if the file cannot be written. On a file system without locks, a warning is printed and nothing is locked.
    """

    def __init__(self, path: str | os.PathLike[str], name: str) -> None:
        target = Path(os.path.realpath(path))
        self.path = target.with_name(f".{target.name}.lock")
        while True:
            self._file = open(self.path, "a+b")  # noqa: SIM115, `release` closes it
            try:
                _lock(self._file.fileno())
            except OSError as error:
                if error.errno not in _UNSUPPORTED:
                    raise self._refusal(error, name) from error
                print(f"emocaliber: warning: no file locks where {name} lies; start no second process on it", file=sys.stderr)
            if self._is_in_place():
                break
            self._file.close()  # its holder released and removed it after it was opened here
        self._file.truncate(0)
        since = datetime.now().astimezone().isoformat(timespec="seconds")
        self._file.write(json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "since": since}).encode() + b"\n")
        self._file.flush()
        _held.add(self)

    def release(self) -> None:
        """Releases the lock. May be called twice; does nothing in a forked child, which does not hold the lock."""
        if not self._file.closed:
            with contextlib.suppress(OSError):  # Windows removes no open file; an unlocked one does no harm
                self.path.unlink()
            self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def forget(self) -> None:
        """Closes the copy of a forked child, which would keep the lock after the parent is killed."""
        self._file.close()

    def _is_in_place(self) -> bool:
        try:
            return os.path.samestat(os.fstat(self._file.fileno()), self.path.stat())
        except FileNotFoundError:
            return False

    def _refusal(self, error: OSError, name: str) -> Exception:
        """The exception for a lock that cannot be acquired."""
        with self._file:
            if not isinstance(error, BlockingIOError | PermissionError):
                return error
            for _ in range(_LOOKS):
                self._file.seek(0)
                if (text := self._file.read()).endswith(b"\n"):
                    break
                time.sleep(_PAUSE)  # the holder is just writing it
        try:
            holder = json.loads(text)
            who = f"process {holder['pid']} on {holder['host']} since {holder['since']}"
        except (ValueError, KeyError, TypeError):
            who = "another process"
        return UserError(f"{name} is in use by {who}; wait until that has ended, or use another file or folder")


_held: WeakSet[Lock] = WeakSet()


def _forget_all() -> None:
    for lock in _held:
        lock.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_all)
