"""What the benchmarks share that ask a model: its greedy answers to samples, kept in a file for as long as its weights are the same."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from emocaliber.core.samples import Sample
from emocaliber.inference.engine import respond_into
from emocaliber.inference.plan import sha256_of_model
from emocaliber.io.rows import write_atomically
from emocaliber.models import load_model


def ask(model: str, samples: Sequence[Sample], out: Path, **asked: Any) -> Path:
    """Completes the answers in `out`, and returns it. Answers of other weights are removed first; `asked` goes on to `respond`."""
    stamp, weights = out.with_suffix(".model"), sha256_of_model(model) or model
    if not stamp.is_file() or stamp.read_text() != weights:
        out.unlink(missing_ok=True)
        out.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(stamp, weights)
    respond_into(out, samples, lambda: load_model(model, batch_size=128, max_new_tokens=160), label=str(out), folder=out.parent, **asked)
    return out
