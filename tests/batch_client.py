"""A client of batches for tests that kill one: it is imported once and forked."""

from __future__ import annotations

import json
from pathlib import Path

from PIL import Image

from emocaliber.core.model import Request
from emocaliber.veccot.batch_model import BatchModel
from emocaliber.veccot.ledger import Ledger


def ask_40(folder: Path, url: str) -> None:
    """Asks 40 questions in batches of 5 and writes the texts to a file; resumes what an earlier client of the folder left."""
    picture = Image.new("RGB", (8, 8), "teal")
    requests = (Request(picture, f"question {number}", key=str(number)) for number in range(40))
    with Ledger(folder / "ledger.sqlite", create=True) as book:
        model = BatchModel("gpt", notes=book, journal=folder / "journal.jsonl", base_url=url, api_key="EMPTY", poll=0.02, most_requests=5)
        texts = [reply.text for reply in model.answer(requests)]
    (folder / "texts.json").write_text(json.dumps(texts), "utf-8")
