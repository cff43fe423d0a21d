"""VECBench for lmms-eval: the task folder, and the functions that its tasks call, with this package's parser and metrics.

The format is that of lmms-eval's task guide (docs/guides/task_guide.md of EvolvingLMMs-Lab/lmms-eval): a YAML file per task, one per
group, and `utils.py` with the functions they name.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from emocaliber.core.samples import Sample, read_samples
from emocaliber.core.scoring import outcome
from emocaliber.core.tasks import GROUPS, group_of
from emocaliber.inference.engine import question_for
from emocaliber.integrations.frame_metrics import AGGREGATE, METRICS, auroc_of, brier_of, contributions, ece_of, f1_macro_of, mean_of
from emocaliber.io.images import open_image
from emocaliber.io.rows import write_atomically, write_rows

__all__ = [  # what `utils.py` of an exported folder takes from here
    "METRICS",
    "auroc_of",
    "brier_of",
    "doc_to_text",
    "ece_of",
    "export_lmms_eval",
    "f1_macro_of",
    "mean_of",
    "process_results",
    "visual",
]

_UTILS = '''\
"""The functions of VECBench's tasks for lmms-eval. The package emocaliber must be installed beside lmms-eval."""

from pathlib import Path

from emocaliber.integrations.lmms_eval import (
    auroc_of,
    brier_of,
    doc_to_text,
    ece_of,
    f1_macro_of,
    mean_of,
    process_results,
    visual,
)

__all__ = ["auroc_of", "brier_of", "doc_to_text", "doc_to_visual", "ece_of", "f1_macro_of", "mean_of", "process_results"]


def doc_to_visual(doc):
    return visual(doc, Path(__file__).parent)
'''


def export_lmms_eval(folder: Path, out: Path) -> list[str]:
    """Writes the test samples of the benchmark in `folder` as lmms-eval tasks to `out`, and returns the tasks' names.

    `out/data/TASK.jsonl` names images relative to `out`, where they stay; the YAML files name their data by absolute paths, as lmms-eval
    resolves others from wherever it is started. Run with `--include_path out --tasks vecbench`.
    """
    out = out.absolute()
    by_task: dict[str, list[Sample]] = {}
    for sample in read_samples(folder / "test.jsonl"):
        by_task.setdefault(sample.task, []).append(sample)
    names = {task: "vecbench_" + _identifier(task) for task in by_task}
    for task, samples in by_task.items():
        data = out / "data" / f"{names[task]}.jsonl"
        write_rows(data, (_doc(sample, out) for sample in samples))
        write_atomically(out / f"{names[task]}.yaml", _task_yaml(names[task], data))
    for group, members in _groups(names).items():
        write_atomically(out / f"{group}.yaml", "\n".join([f"group: {group}", "task:", *(f"- {name}" for name in members), ""]))
    write_atomically(out / "utils.py", _UTILS)
    return list(names.values())


def visual(doc: Mapping[str, Any], folder: Path) -> list[Image.Image]:
    """The image of a row, opened under this package's limits."""
    return [open_image(folder / doc["image"]).image]


def doc_to_text(doc: Mapping[str, Any], lmms_eval_specific_kwargs: object = None) -> str:
    """The question about a row, asking for reasoning, answer and confidence."""
    return question_for(doc["task"], doc["candidates"])


def process_results(doc: Mapping[str, Any], results: Sequence[str]) -> dict[str, Any]:
    """One answer's contribution to each metric."""
    return contributions(outcome({**doc, "response": results[0]}, where=doc["id"]))


def _doc(sample: Sample, out: Path) -> dict[str, object]:
    return {name: value for name, value in sample.to_row(out).items() if name not in ("votes", "posterior", "split")}


def _identifier(task: str) -> str:
    return "".join(letter if letter.isalnum() else "_" for letter in task.casefold())


def _groups(names: Mapping[str, str]) -> dict[str, list[str]]:
    groups = {"vecbench": list(names.values())}
    for group in GROUPS:
        if members := [name for task, name in names.items() if group_of(task) == group]:
            groups["vecbench_" + _identifier(group)] = members
    return groups


def _task_yaml(name: str, data: Path) -> str:
    metrics = "\n".join(map(_metric_yaml, METRICS))
    return f"""\
task: {name}
dataset_path: json
dataset_kwargs:
  data_files:
    test: {json.dumps(str(data))}
test_split: test
output_type: generate_until
doc_to_visual: !function utils.doc_to_visual
doc_to_text: !function utils.doc_to_text
doc_to_target: ground_truth
generation_kwargs:
  max_new_tokens: 1024
  temperature: 0
  do_sample: false
process_results: !function utils.process_results
metric_list:
{metrics}
metadata:
  version: 1.0
"""


def _metric_yaml(name: str) -> str:
    better = str(METRICS[name]).lower()
    return f"  - metric: {name}\n    aggregation: !function utils.{AGGREGATE[name].__name__}\n    higher_is_better: {better}"
