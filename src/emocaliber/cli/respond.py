"""`emocaliber respond`: asks a model about every sample of a file. Scoring is another command."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from emocaliber.cli.arguments import natural, non_negative, positive
from emocaliber.errors import UserError

SOME_FAILED = 3


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "respond",
        help="ask a model about every sample of a file",
        description="Writes one response row for each sample, as it goes. `emocaliber score` makes numbers of them.",
    )
    parser.add_argument("samples", type=Path, metavar="SAMPLES", help="sample rows, as `emocaliber scenes` writes them")
    parser.add_argument("--model", required=True, metavar="M", help="tiny, a checkpoint folder, or a hub id")
    parser.add_argument("--out", type=Path, required=True, metavar="RESPONSES.jsonl", help="the file to write")
    parser.add_argument("--resume", action="store_true", help="keep the rows in the file and go on; without it the file starts empty")
    parser.add_argument(
        "--temperature", type=non_negative, default=0.0, metavar="T", help="0: the likeliest token (default); above: sampled"
    )
    parser.add_argument("--seed", type=natural, default=0, metavar="S", help="what is sampled (default: 0)")
    parser.add_argument("--batch-size", type=positive, default=32, metavar="B", help="images at once (default: 32)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from tqdm import tqdm

    from emocaliber.answering import respond
    from emocaliber.models import load_model
    from emocaliber.rows import RowWriter, display_name, read_rows
    from emocaliber.vecbench import read_samples

    samples = list(read_samples(args.samples))
    if not samples:
        raise UserError(f"{display_name(args.samples)} holds no samples")
    if args.out.exists() and args.out.samefile(args.samples):
        raise UserError(f"{display_name(args.out)} is the file of samples itself; write the responses to another")
    model = load_model(args.model, batch_size=args.batch_size, temperature=args.temperature, seed=args.seed)
    if model.notice:
        print(model.notice, file=sys.stderr)
    with RowWriter(args.out, resume=args.resume) as writer, tqdm(total=len(samples), desc="asking", unit="sample", mininterval=0.5) as bar:
        rows = respond(samples, model, done=writer.done, folder=args.out.parent, progress=lambda count: bar.update(count - bar.n))
        for row in rows:
            writer.write(row)
    failed = sum(row["error"] is not None for row in read_rows(args.out))
    print(f"{args.out}: {len(samples):,} samples asked, {failed:,} failed")
    return SOME_FAILED if failed else 0
