"""Response rows as logs that lmms-eval replays (`--model from_log`) and `emocaliber score` reads back."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Any

from emocaliber.errors import UserError
from emocaliber.evaluation.answers.reader import read_answers, system_name
from emocaliber.integrations.inspect_log import kept_in_log, said_in
from emocaliber.io.rows import display_name, numbered_rows, write_atomically


def write_lmms_eval_logs(answers: Path, tasks: Path, out: Path) -> list[Path]:
    """Writes the answers to the tasks in the folder `tasks`, that `bench export --lmms-eval` wrote, as a log for each, to the folder `out`.

    `python -m lmms_eval --include_path TASKS --tasks vecbench --model from_log --model_args logs=OUT` then scores them in lmms-eval. An
    answer that is not there is an empty text there, which is malformed. Raises UserError if the ids of answers and tasks differ.
    """
    read = read_answers(answers)
    rows = {str(row["id"]): row for _, row in read.rows}
    name = system_name(answers, rows.values())
    files = sorted((tasks / "data").glob("*.jsonl"))
    if not files:
        raise UserError(f"{display_name(tasks)} has no tasks in data/; write them with `emocaliber bench export DIR --lmms-eval {tasks}`.")
    docs = {file.stem: [doc for _, doc in numbered_rows(file)] for file in files}
    wanted = [str(doc["id"]) for each in docs.values() for doc in each]
    _check(rows, wanted, display_name(answers), display_name(tasks))
    written = []
    for task, listed in docs.items():
        logs = []
        for number, doc in enumerate(listed):
            row = rows[str(doc["id"])]
            text = said_in(row) or ""
            known: dict[str, Any] = {"id": doc["id"], **kept_in_log(row, answers.parent)}
            logs.append({"doc_id": number, "doc": known, "target": doc["ground_truth"], "resps": [[text]], "filtered_resps": [text]})
        content = {
            "args": {"model": name, "model_args": "", "limit": None},
            "model_configs": {"task": task},
            "time": datetime.now().strftime("%m%d_%H%M"),
            "logs": logs,
        }
        written.append(out / f"{task}.json")
        write_atomically(written[-1], json.dumps(content, ensure_ascii=False, allow_nan=False) + "\n")
    return written


def _check(answered: Iterable[str], wanted: Iterable[str], answers: str, tasks: str) -> None:
    have, need = set(answered), set(wanted)
    if lacking := sorted(need - have):
        raise UserError(f"{answers} has no answer for {len(lacking):,} of the {len(need):,} samples of {tasks}, such as {lacking[0]!r}.")
    if stray := sorted(have - need):
        raise UserError(f"{answers} has {len(stray):,} answers to other samples than those of {tasks}, such as {stray[0]!r}.")
