"""Where answers come from: the model that gave them, and which answers they are."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emocaliber.errors import UserError
from emocaliber.inference.plan import run_record, sha256_of
from emocaliber.io.row_formats import row_files
from emocaliber.io.rows import display_name

if TYPE_CHECKING:
    from emocaliber.evaluation.score import ScoredRows

_SHOWN = 3


def model_of(scored: ScoredRows, what: str, told: str | None = None) -> dict[str, str | None]:
    """The `name` of the model that gave the answers, from their rows or as the user `told`, and `sha256` and `commit` of its weights, where
    the records of the runs agree on them; None for what is not known.

    Raises UserError, saying that `what` is for one model, for answers of several, and where rows and user name different ones.
    """
    where = display_name(scored.source) if scored.source else "these answers"
    names = sorted(scored.facts.models)
    if len(names) > 1:
        shown = ", ".join(names[:_SHOWN])
        raise UserError(f"{where} has answers of {len(names)} models ({shown}); {what} is for one: give a file of each.")
    if told is not None and names and names != [told]:
        raise UserError(f"{where}: the rows say that the model is {names[0]!r}, and --model is {told!r}; leave that out")
    records = [record["what"].get("model", {}) for file in files_of(scored.source) if (record := run_record(file))]
    found: dict[str, str | None] = {"name": names[0] if names else told}
    for key in ("sha256", "commit"):
        values = {each.get(key) for each in records}
        found[key] = values.pop() if len(values) == 1 else None
    return found


def data_of(scored: ScoredRows) -> dict[str, Any]:
    """The `path` of the answers as it was given, the `sha256` of their bytes (of answers in memory, of their rows), and how many `rows`."""
    files = files_of(scored.source)
    if not files:
        digest = hashlib.sha256(json.dumps(list(scored.rows), sort_keys=True, default=str).encode()).hexdigest()
    elif len(files) == 1:
        digest = sha256_of(files[0])
    else:
        digest = hashlib.sha256("".join(f"{sha256_of(file)}  {file.name}\n" for file in files).encode()).hexdigest()
    return {"path": str(scored.source) if scored.source else None, "sha256": digest, "rows": len(scored.outcomes)}


def files_of(source: Path | None) -> list[Path]:
    """The files of answers at a place, a file or a folder of them; none for answers in memory."""
    if source is None:
        return []
    return row_files(source) if source.is_dir() else [source]
