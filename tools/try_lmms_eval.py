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
from emocaliber.models import TINY

TASKS = {"vecbench_fi_2": "FI-2", "vecbench_emoset_8": "EmoSet-8"}


def lmms_eval(tasks: Path, out: Path, *model: str) -> dict[str, dict[str, float]]:
    """The numbers of lmms-eval for each task; its logs are left in `out`."""
    words = ["--include_path", str(tasks), "--tasks", ",".join(TASKS), "--batch_size", "1", "--log_samples", "--output_path", str(out)]
    subprocess.run([sys.executable, "-m", "lmms_eval", *words, *model], check=True, env={**os.environ, "HF_HUB_OFFLINE": "1"})
    (file,) = out.rglob("*_results.json")
    found = json.loads(file.read_text())["results"]
    return {task: {name: found[task][f"{name},none"] for name in METRICS} for task in TASKS}


def scored(file: Path) -> dict[str, float]:
    """The numbers of `score` for one task."""
    summary: dict[str, Any] = score(file, replicates=200).summary["overall"]
    stated = summary["confidence"]["verb"]
    found = {"accuracy": summary["accuracy"], "f1_macro": summary["f1_macro"], "malformed": summary["malformed"]["share"]}
    return found | {name: stated[name] for name in ("coverage", "ece", "brier", "auroc")}


def compared(there: dict[str, dict[str, float]], here: dict[str, dict[str, float]]) -> None:
    for task, numbers in there.items():
        for name, value in numbers.items():
            print(f"{task:18} {name:10} lmms-eval {value!r:22} score {here[task][name]!r}")
    assert there == here, "the numbers differ"
    print("equal to the last digit")


def main(bench: Path) -> None:
    print("lmms-eval", version("lmms-eval"))
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        export_lmms_eval(bench, work / "tasks")
        settings = f"pretrained={TINY},device=cpu,device_map=cpu,attn_implementation=eager"
        there = lmms_eval(work / "tasks", work / "out", "--model", "qwen2_5_vl", "--model_args", settings)
        samples = {task: next((work / "out").rglob(f"*_samples_{task}.jsonl")) for task in TASKS}
        compared(there, {task: scored(file) for task, file in samples.items()})
        back = work / "back"
        back.mkdir()
        for task, file in samples.items():
            score(file, replicates=200).save_numbers(work / task)
            from emocaliber.integrations.lmms_eval_log import write_lmms_eval_logs

            only = work / f"only-{task}" / "data"
            only.mkdir(parents=True)
            (only / f"{task}.jsonl").write_bytes((work / "tasks" / "data" / f"{task}.jsonl").read_bytes())
            write_lmms_eval_logs(work / task / "answers.jsonl", only.parent, back)
        again = lmms_eval(work / "tasks", work / "again", "--model", "from_log", "--model_args", f"logs={back}")
        assert again == there, "the replayed numbers differ"
        print("replayed from our rows: the same numbers")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
