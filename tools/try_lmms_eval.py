"""The exported tasks run inside the real lmms-eval, with tiny, and the same answers scored by `score`: `make try-lmms-eval`.

Then the answers go back: as logs that lmms-eval replays. All three give the same numbers, to the last digit.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

from emocaliber.evaluation.score import score
from emocaliber.integrations.frame_metrics import METRICS
from emocaliber.integrations.lmms_eval import export_lmms_eval
from emocaliber.integrations.lmms_eval_log import write_lmms_eval_logs
from emocaliber.io.rows import read_rows
from emocaliber.models import TINY

TASKS = {"vecbench_fi_2": "FI-2", "vecbench_emoset_8": "EmoSet-8"}


def lmms_eval(tasks: Path, out: Path, *model: str) -> dict[str, dict[str, float]]:
    """The numbers of lmms-eval for each task; its logs are left in `out`. What it prints is shown if it fails."""
    words = ["--include_path", str(tasks), "--tasks", ",".join(TASKS), "--batch_size", "1", "--log_samples", "--output_path", str(out)]
    command = [sys.executable, "-m", "lmms_eval", *words, *model]
    told = subprocess.run(command, env={**os.environ, "HF_HUB_OFFLINE": "1"}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if told.returncode:
        raise SystemExit(f"{told.stdout}\nlmms-eval ended with {told.returncode}")
    (file,) = out.rglob("*_results.json")
    found = json.loads(file.read_text())["results"]
    return {task: {name: found[task][f"{name},none"] for name in METRICS} for task in TASKS}


def scored(file: Path, task: str) -> dict[str, float]:
    """The numbers of `score` for one task, which the log does not name."""
    summary: dict[str, Any] = score(file, task=TASKS[task], replicates=200).summary["overall"]
    stated = summary["confidence"]["verb"]
    found = {"accuracy": summary["accuracy"], "f1_macro": summary["f1_macro"], "malformed": summary["malformed"]["share"]}
    return found | {name: stated[name] for name in ("coverage", "ece", "brier", "auroc")}


def compared(there: dict[str, dict[str, float]], here: dict[str, dict[str, float]]) -> None:
    print(f"{'':17} {'':9} {'lmms-eval':21} score")
    for task, numbers in there.items():
        for name, value in numbers.items():
            print(f"{task:17} {name:9} {value!r:21} {here[task][name]!r}")
    assert there == here, "the numbers differ"


def main(bench: Path) -> None:
    print("lmms-eval", version("lmms-eval"))
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        export_lmms_eval(bench, work / "tasks")
        size = json.loads((TINY / "processor_config.json").read_text())["image_processor"]["size"]  # lmms-eval has limits of its own
        pixels = f"min_pixels={size['shortest_edge']},max_pixels={size['longest_edge']}"
        settings = f"pretrained={TINY},device=cpu,device_map=cpu,attn_implementation=eager,{pixels}"
        print("lmms-eval asks tiny itself, by its class qwen2_5_vl: some minutes", flush=True)
        there = lmms_eval(work / "tasks", work / "out", "--model", "qwen2_5_vl", "--model_args", settings)
        samples = {task: next((work / "out").rglob(f"*_samples_{task}.jsonl")) for task in TASKS}
        compared(there, {task: scored(file, task) for task, file in samples.items()})
        answers, docs = work / "answers.jsonl", {}
        for task, file in samples.items():
            docs[task] = (work / "tasks" / "data" / f"{task}.jsonl").read_text("utf-8").splitlines()
            for doc, logged in zip(docs[task], read_rows(file), strict=True):
                with answers.open("a") as rows:
                    rows.write(
                        json.dumps({**json.loads(doc), "response": logged.get("resps", logged["filtered_resps"]), "error": None}) + "\n"
                    )
        only = work / "only" / "data"
        only.mkdir(parents=True)
        for task, lines in docs.items():
            (only / f"{task}.jsonl").write_text("\n".join(lines) + "\n", "utf-8")
        back = work / "back"
        write_lmms_eval_logs(answers, only.parent, back)
        again = lmms_eval(work / "tasks", work / "again", "--model", "from_log", "--model_args", f"logs={back}")
        assert again == there, "the replayed numbers differ"
        print("Shown: the exported tasks, run by lmms-eval, give the numbers of `emocaliber score`")
        print("to the last digit, and so do the same answers replayed from our rows.")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
