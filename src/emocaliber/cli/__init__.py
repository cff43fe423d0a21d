"""The command line: one module per command, without logic of its own; and the exit codes of all commands."""

from __future__ import annotations

UNEXPECTED, WRONG_USAGE, SOME_FAILED, INTERRUPTED, BROKEN_PIPE = 1, 2, 3, 130, 141
