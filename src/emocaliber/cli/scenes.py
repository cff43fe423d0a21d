"""`emocaliber scenes`: draws samples whose right confidence is known."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from emocaliber.cli.arguments import natural, positive, share

if TYPE_CHECKING:
    from emocaliber.core.samples import Sample


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "scenes",
        help="draw samples whose right confidence is known",
        description="Draws images and OUT/samples.jsonl. The same seed gives the same bytes; a broken run goes on, a larger N adds to it; "
        "another seed or kind needs another folder.",
    )
    parser.add_argument("out", type=Path, metavar="OUT", help="the folder to draw into")
    parser.add_argument("--n", type=positive, required=True, metavar="N", help="how many scenes")
    parser.add_argument("--seed", type=natural, required=True, metavar="S", help="which scenes")
    parser.add_argument("--task", default="EmoSet-8", metavar="T", help="the subtask whose kind of picture is drawn (default: EmoSet-8)")
    parser.add_argument("--split", default="test", choices=("train", "test"), help="what the samples are for (default: test)")
    parser.add_argument("--size", type=positive, default=224, metavar="PIXELS", help="the side of the square images (default: 224)")
    parser.add_argument(
        "--unfamiliar", type=share, default=0.0, metavar="SHARE", help="the share of pictures that show nothing known, 0 to 1 (default: 0)"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from tqdm import tqdm

    from emocaliber.core.samples import read_samples
    from emocaliber.core.tasks import task
    from emocaliber.scenes.dataset import draw_samples

    name = task(args.task).name
    with tqdm(total=args.n, desc="drawing", unit="scene", mininterval=0.5) as bar:
        for done in draw_samples(args.out, args.n, args.seed, name, size=args.size, split=args.split, ood_share=args.unfamiliar):
            bar.update(done - bar.n)
    rows = args.out / "samples.jsonl"
    print(f"{rows}\n\n{_overview(list(read_samples(rows)))}")
    return 0


def _overview(samples: Sequence[Sample]) -> str:
    """For each task in the file: how many samples, how often each label was drawn, and what is known of the best possible answers."""
    parts = []
    for name, count in Counter(sample.task for sample in samples).items():
        own = [sample for sample in samples if sample.task == name]
        drawn = Counter(sample.ground_truth for sample in own)
        ceiling = sum(max((sample.posterior or {}).values(), default=0.0) for sample in own) / count
        width = max(map(len, own[0].candidates))
        lines = [f"  {label:<{width}}  {drawn[label]:>6,}" for label in own[0].candidates]
        parts.append("\n".join([f"{name}: {count:,} samples; best possible accuracy {ceiling:.2%}", *lines]))
    return "\n\n".join(parts)
