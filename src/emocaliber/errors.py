"""The one error a user is meant to read."""

from __future__ import annotations


class UserError(Exception):
    """A mistake the user can mend. The message is a sentence saying what was wrong, where, and what would be right."""
