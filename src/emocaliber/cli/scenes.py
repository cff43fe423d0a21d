"""`emocaliber scenes`: makes synthetic scenes, samples whose true label probabilities are known."""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emocaliber.cli.arguments import fraction, natural, positive

if TYPE_CHECKING:
    from emocaliber.core.samples import Sample


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "scenes",
        help="make synthetic scenes whose true label probabilities are known",
        description="Writes images and OUT/samples.jsonl. The same seed gives the same bytes; an interrupted run resumes, and a larger N "
        "adds samples; another seed or task needs another folder.",
    )
    parser.add_argument("out", type=Path, metavar="OUT", help="the folder to write to")
    parser.add_argument("--n", type=positive, required=True, metavar="N", help="number of scenes")
    parser.add_argument("--seed", type=natural, required=True, metavar="S", help="seed of the scenes")
    parser.add_argument("--task", default="EmoSet-8", metavar="T", help="the subtask whose kind of image is made (default: EmoSet-8)")
    parser.add_argument("--split", default="test", choices=("train", "test"), help="the split of the samples (default: test)")
    parser.add_argument("--size", type=positive, default=224, metavar="PIXELS", help="side of the square images (default: 224)")
    parser.add_argument(
        "--unfamiliar",
        type=fraction,
        default=0.0,
        metavar="SHARE",
        help="share of out-of-distribution images, which show nothing known, 0 to 1 (default: 0)",
    )
    parser.add_argument("--json", action="store_true", help="print the numbers of samples as JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from emocaliber.core.samples import read_samples
    from emocaliber.core.tasks import task
    from emocaliber.render.progress import Progress
    from emocaliber.scenes.dataset import draw_samples

    name = task(args.task).name
    with Progress("drawing", "scenes", args.n) as bar:
        for done in draw_samples(args.out, args.n, args.seed, name, size=args.size, split=args.split, ood_share=args.unfamiliar):
            bar.to(done)
    rows = args.out / "samples.jsonl"
    counted = _counted(list(read_samples(rows)))
    print(json.dumps({"samples": str(rows), "tasks": counted}, indent=2) if args.json else f"{rows}\n\n{_overview(counted)}")
    return 0


def _counted(samples: Sequence[Sample]) -> dict[str, dict[str, Any]]:
    """For each task in the file: the number of samples, the best possible accuracy, and the number of samples per label."""
    counted = {}
    for name, count in Counter(sample.task for sample in samples).items():
        own = [sample for sample in samples if sample.task == name]
        drawn = Counter(sample.ground_truth for sample in own)
        ceiling = sum(max((sample.posterior or {}).values(), default=0.0) for sample in own) / count
        labels = {str(label): drawn[label] for label in own[0].candidates}
        counted[name] = {"samples": count, "best_possible_accuracy": ceiling, "labels": labels}
    return counted


def _overview(counted: Mapping[str, Mapping[str, Any]]) -> str:
    parts = []
    for name, task in counted.items():
        head = f"{name}: {task['samples']:,} samples; best possible accuracy {100 * task['best_possible_accuracy']:.2f} %"
        width = max(map(len, task["labels"]))
        parts.append("\n".join([head, *(f"  {label:<{width}}  {count:>6,}" for label, count in task["labels"].items())]))
    return "\n\n".join(parts)
