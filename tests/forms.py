"""Sample rows as other tools would hold them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from emocaliber.core.prompts import EMOCALIBER

FORMS_OF_OTHERS = ("ms-swift", "TRL", "LLaMA-Factory", "verl", "the released evaluation")


def in_form(form: str, row: Mapping[str, Any]) -> dict[str, Any]:
    """A sample row, with its `response` if it has one, in the form of another tool."""
    question, answer = EMOCALIBER.question(row["task"], row["candidates"], confidence="response" not in row), row.get("response")
    kept = {key: value for key, value in row.items() if key not in ("image", "response")}
    parts = [{"type": "image"}, {"type": "text", "text": question}]
    if form == "ms-swift":
        said = [("user", f"<image>{question}"), *([("assistant", answer)] if answer else [])]
        return kept | {"messages": [{"role": role, "content": text} for role, text in said], "images": [row["image"]]}
    if form == "TRL":
        spoken = {"completion": [{"role": "assistant", "content": [{"type": "text", "text": answer}]}]} if answer else {}
        return kept | {"prompt": [{"role": "user", "content": parts}], "images": [{"path": row["image"], "bytes": None}]} | spoken
    if form == "LLaMA-Factory":
        said = [("human", f"<image>{question}"), *([("gpt", answer)] if answer else [])]
        return kept | {"conversations": [{"from": who, "value": text} for who, text in said], "images": [row["image"]], "system": "Help."}
    if form == "verl":
        truth = {"reward_model": {"style": "rule", "ground_truth": kept.pop("ground_truth")}}
        spoken = {"response": answer} if answer else {}
        return kept | truth | {"prompt": [{"role": "user", "content": f"<image>{question}"}], "images": [row["image"]]} | spoken
    parts[0] = {"type": "image", "image": row["image"]}
    said_ = [{"role": "user", "content": parts}, *([{"role": "assistant", "content": answer}] if answer else [])]
    return kept | {"conversations": said_}


def written(path: Path, rows: Iterable[Mapping[str, Any]]) -> Path:
    """A file of these rows."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path
