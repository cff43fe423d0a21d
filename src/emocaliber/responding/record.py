"""The record beside a run's rows: everything needed to repeat the run, and when each part of it was done. It never holds a secret."""

from __future__ import annotations

import json
import os
import platform
import re
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from emocaliber.models.remote.redaction import Redactor
from emocaliber.vecbench.manifest import package_version
from emocaliber.workspace import Workspace, record_of

# Settings that say how fast, where or at what price a model is asked, but not what it is: they may change when a run goes on.
# Not `retries`: a local model asks again, sampled, where an answer cannot be read.
_PACE = (
    "batch_size",
    "concurrency",
    "requests_per_minute",
    "tokens_per_minute",
    "prices",
    "budget",
    "base_url",
    "backoff",
    "timeout",
)
_PACKAGES = ("torch", "transformers", "tokenizers", "vllm", "httpx2", "PIL", "numpy")


class Record(Workspace):
    """The record beside the file `rows`: `what` was asked, the `results`, and the sessions (`sittings`) in which it was asked.

    A session has its command, the versions of what was loaded, when it began and ended, and what came of it; `ended` is null for a killed
    one. The file is written atomically.
    """

    def __init__(self, rows: Path, what: Mapping[str, Any]) -> None:
        super().__init__(
            record_of(rows),
            without_secrets(what),
            path=rows,
            remedy="Give the same settings, or another --out",
            free=[f"settings.{name}" for name in _PACE],
            contents=("model.commit",),
        )
        self._sessions: list[dict[str, Any]] = []
        self._results: dict[str, Any] = {}

    def resume(self) -> None:
        """Goes on from the record on the disk. Raises UserError if there is none, or it has other settings, naming what differs."""
        self.check(needed=True)
        self._sessions = json.loads(self.record.read_text(encoding="utf-8")).get("sittings", [])

    def read(self) -> dict[str, Any] | None:
        """As in every workspace. In a record from before commits were settings, that of the model is among the versions of its sessions."""
        what = super().read()
        if what is not None and "commit" not in what.get("model", {}):
            sessions = json.loads(self.record.read_text(encoding="utf-8")).get("sittings", [])
            commits = {session.get("versions", {}).get(what["model"]["name"]) for session in sessions}
            what["model"]["commit"] = commits.pop() if len(commits) == 1 else None
        return what

    def begin(self, command: Sequence[str], versions: Mapping[str, str]) -> None:
        """Writes down that a session begins."""
        session = {"command": without_secrets(command), "versions": dict(versions), "began": _now(), "ended": None}
        self._sessions.append(session)
        self._write()

    def end(self, session: Mapping[str, Any], results: Mapping[str, Any]) -> None:
        """Writes down that it ended, what came of it, and what there is of the whole run by now."""
        self._sessions[-1] |= {"ended": _now(), **session}
        self._results = dict(results)
        self._write()

    def _write(self) -> None:
        self.write({"results": self._results, "sittings": self._sessions})


def loaded_versions() -> dict[str, str]:
    """The versions of Python, this package, and of what it has loaded for the model."""
    loaded = {name: str(sys.modules[name].__version__) for name in _PACKAGES if hasattr(sys.modules.get(name), "__version__")}
    return {"emocaliber": package_version(), "python": platform.python_version(), **loaded}


def without_secrets(value: Any) -> Any:
    """A JSON value without the API key of the environment, and without what addresses may carry: a password, or a query with a token."""
    if isinstance(value, Mapping):
        return {name: without_secrets(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [without_secrets(part) for part in value]
    if not isinstance(value, str):
        return value
    text = Redactor(os.environ.get("OPENAI_API_KEY", "").strip()).text(value)
    return re.sub(r"(://)[^/@\s]*@", r"\1***@", re.sub(r"(://[^?\s]*)\?\S*", r"\1?***", text))


def _now() -> str:
    return datetime.now().astimezone().isoformat(timespec="seconds")
