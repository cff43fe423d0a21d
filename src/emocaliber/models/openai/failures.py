"""Failures between a request and its answer: which are retried, which are not, and which end the run."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime

from emocaliber.errors import UserError
from emocaliber.models.openai.wire import Counts

_SHOWN = 300  # characters of a server's own message
_TRANSIENT = (408, 409, 425, 429)
_FILTERED = ("content_filter", "content_policy_violation", "responsibleaipolicyviolation", "sensitivecontentdetected")


class FailedAttempt(Exception):
    """An attempt without an answer. `code` is one of `MODEL_ERRORS`.

    `again`: whether a retry may succeed, not earlier than `after` seconds from now. `paid`: whether the server may charge for the attempt;
    `counts` are its tokens, where the server said so. `broken`: whether the server itself is at fault, so that another may succeed.
    """

    def __init__(
        self,
        code: str,
        message: str,
        *,
        again: bool = True,
        after: float | None = None,
        paid: bool = False,
        counts: Counts | None = None,
        broken: bool = False,
    ) -> None:
        super().__init__(message)
        self.code, self.message = code, message
        self.again, self.after = again, after
        self.paid, self.counts = paid, counts
        self.broken = broken


@dataclass(frozen=True)
class ServerMessage:
    """The error message of a server, with its code and the parameter it names."""

    message: str
    code: str = ""
    parameter: str = ""

    @classmethod
    def read(cls, body: bytes) -> ServerMessage:
        """The message in an error's body, in the form of OpenAI, vLLM, Gemini or FastAPI; for any other form the beginning of the body."""
        try:
            found = json.loads(body)
        except (ValueError, RecursionError):
            return cls(_shown(body.decode("utf-8", "replace")))
        found = found[0] if isinstance(found, list) and found else found
        if not isinstance(found, dict):
            return cls(_shown(str(found)))
        error = found.get("error", found)
        if not isinstance(error, dict):
            return cls(_shown(str(error)))
        said = error.get("message") or error.get("detail") or error
        if isinstance(said, list):  # FastAPI's findings; they repeat the request, which does not belong here
            said = "; ".join(f"{'.'.join(map(str, each.get('loc', ())))}: {each.get('msg')}" for each in said if isinstance(each, dict))
        return cls(_shown(str(said)), str(error.get("code") or ""), str(error.get("param") or ""))

    def __str__(self) -> str:
        return self.message or "(no reason given)"


def failure_of(status: int, headers: Mapping[str, str], server_message: ServerMessage, server: str, model: str) -> FailedAttempt:
    """The failure that a status other than 200 stands for. Raises UserError for one that every request would meet."""
    if status in (401, 403):
        raise UserError(f"{server} refuses the key ({status}): {server_message}. Set OPENAI_API_KEY to a key that may use {model!r} there")
    if status == 402 or server_message.code == "insufficient_quota":
        raise UserError(f"{server}: the account has no credit left ({status}): {server_message}. Top it up, then continue with --resume")
    if status == 404 or server_message.code == "model_not_found" or (status == 400 and server_message.parameter == "model"):
        raise UserError(
            f"{server} has no model {model!r} ({status}): {server_message}. Check the model's name, and base_url, which often ends in /v1"
        )
    if 300 <= status < 400:
        raise UserError(
            f"{server} answers that it has moved ({status}) to {headers.get('location', 'somewhere')}; give that as base_url=URL"
        )
    message = f"{server} answered {status}: {server_message}"
    if status in _TRANSIENT or status >= 500:
        code = "rate_limited" if status == 429 else "server_error"
        return FailedAttempt(code, message, after=retry_after(headers), broken=status >= 500)
    if server_message.code.lower() in _FILTERED:
        return FailedAttempt("refused", message, again=False)
    return FailedAttempt("bad_request", message, again=False)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """The seconds in a Retry-After header, given as a number or a date; None without a valid one."""
    value = headers.get("retry-after", "").strip()
    try:
        seconds = float(value)
    except ValueError:
        try:
            when = parsedate_to_datetime(value)
        except ValueError:
            return None
        seconds = (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp() - time.time()
    return max(seconds, 0.0) if math.isfinite(seconds) else None


def _shown(text: str) -> str:
    line = " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
    return line if len(line) <= _SHOWN else f"{line[:_SHOWN]}..."
