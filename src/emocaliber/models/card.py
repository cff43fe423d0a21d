"""The card of a checkpoint trained here: its name, notice, tasks and decoding settings, in a file beside the weights."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

CARD = "emocaliber.json"


def read_card(folder: str | Path) -> dict[str, Any]:
    """The card of a checkpoint trained here (`emocaliber.json`); empty for other checkpoints."""
    card = Path(folder) / CARD
    return dict(json.loads(card.read_text(encoding="utf-8"))) if card.is_file() else {}


def write_card(folder: str | Path, card: Mapping[str, Any]) -> None:
    """Writes the card of the checkpoint in `folder`."""
    (Path(folder) / CARD).write_text(json.dumps(card, indent=1) + "\n", encoding="utf-8")
