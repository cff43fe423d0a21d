"""`emocaliber respond`: asks a model about every sample of a file; `emocaliber score` scores the responses."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from contextlib import closing, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emocaliber.cli import INTERRUPTED, SOME_FAILED
from emocaliber.cli.arguments import (
    MODELS,
    add_image_limits,
    add_local_settings,
    also_called,
    image_limits,
    local_settings,
    natural,
    non_negative,
    parse_settings,
    positive,
    split_settings,
)
from emocaliber.errors import UserError
from emocaliber.render.terminal import complain, conclude, say

if TYPE_CHECKING:
    from emocaliber.inference.ray_data import RayEngine
    from emocaliber.inference.run import Run


_SETTINGS = (
    *("temperature", "seed", "batch_size", "max_new_tokens", "min_pixels", "max_pixels"),
    *("base_url", "concurrency", "requests_per_minute", "tokens_per_minute", "prices", "budget"),
)


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "respond",
        help="ask a model about every sample of a file",
        description="Appends one response row per sample, and writes a record of the settings. `emocaliber score` scores the responses. "
        "Exit code 3 means that some samples failed, or that the run stopped early.",
    )
    parser.add_argument(
        "samples",
        nargs="+",
        metavar="SAMPLES|KEY=VALUE",
        help="sample rows, the released test_metadata.csv, or a folder that `bench build` or `scenes` made; and settings that override the "
        "run file, such as temperature=0.7",
    )
    parser.add_argument("--out", required=True, metavar="RESPONSES.jsonl|DIR", help="the file to write; in a folder: responses.jsonl")
    what = "a run file, or the name of one in configs/baselines, such as qwen2.5-vl; flags override it"
    parser.add_argument("--config", metavar="FILE.toml|NAME", help=what)
    parser.add_argument("--resume", action="store_true", help="resume from the rows in --out; failed samples are not repeated")
    parser.add_argument("--retry-failed", action="store_true", help="resume, and repeat the failed samples")
    _add_what(parser.add_argument_group("model, prompt and samples"))
    _add_settings(parser.add_argument_group("settings of the model; not every kind has all of them"))
    _add_workers(parser.add_argument_group("workers of a Ray cluster (RAY_ADDRESS), or of this machine"))
    add_image_limits(parser)
    parser.set_defaults(run=run)


def _add_what(group: argparse._ArgumentGroup) -> None:
    yes_or_no = argparse.BooleanOptionalAction
    group.add_argument("--model", metavar="M", help=MODELS)
    group.add_argument(
        "--prompt", metavar="NAME|FILE", help="a built-in prompt or a TOML file (default: emocaliber, the question of the model card)"
    )
    group.add_argument(
        "--lenient",
        action=yes_or_no,
        help="an <answer> is enough (default); --no-lenient: answers must have the five steps, as in training",
    )
    ask = group.add_argument("--ask-confidence", action=yes_or_no, dest="confidence", help="ask for a stated confidence (default: yes)")
    also_called(group, ask, "--confidence", "--no-confidence")
    group.add_argument(
        "--consistency", type=natural, metavar="K", help="self-consistency: sample K more answers, and measure their agreement"
    )
    group.add_argument("--p-true", action=yes_or_no, help="P(True): also ask the model whether its answer is right")
    group.add_argument("--calibrator", type=Path, metavar="FILE.json", help="calibrate the confidence by this file of `calibrate fit`")
    group.add_argument("--max-samples", type=positive, metavar="N", help="a random sample of N, the same in every run")
    group.add_argument("--shard", metavar="I/N", help="part I of N of the samples, counted from 1")


def _add_settings(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--temperature", type=non_negative, metavar="T", help="0: greedy decoding (default); above: sampling")
    group.add_argument("--seed", type=natural, metavar="S", help="seed of sampling (default: 0)")
    group.add_argument("--batch-size", type=positive, metavar="B", help="images per batch")
    group.add_argument("--max-new-tokens", type=positive, metavar="N", help="maximum length of an answer in tokens")
    group.add_argument("--min-pixels", type=positive, metavar="N", help="smaller images are scaled up")
    group.add_argument("--max-pixels", type=positive, metavar="N", help="larger images are scaled down")
    group.add_argument("--base-url", action="append", metavar="URL", help="address of the API; repeat it for several servers")
    group.add_argument("--concurrency", type=positive, metavar="N", help="concurrent requests")
    requests = group.add_argument("--requests-per-minute", type=positive, metavar="N", help="requests per minute")
    tokens = group.add_argument("--tokens-per-minute", type=positive, metavar="N", help="tokens per minute")
    what = "dollars per million tokens, read and written"
    prices = group.add_argument("--prices", type=non_negative, nargs=2, metavar=("IN", "OUT"), help=what)
    for option, old in ((requests, "--rpm"), (tokens, "--tpm"), (prices, "--price")):
        also_called(group, option, old)
    group.add_argument("--budget", type=non_negative, metavar="D", help="stop before this many dollars are spent")
    add_local_settings(group, free=False)


def _add_workers(group: argparse._ArgumentGroup) -> None:
    what = "who asks the model: this process (default), or workers on Ray, each with the model"
    group.add_argument("--engine", choices=("process", "ray"), default="process", help=what)
    group.add_argument("--workers", type=positive, metavar="N", help="how many (default: one per GPU, or else per four cores)")
    group.add_argument("--worker-gpus", type=non_negative, metavar="G", help="GPUs of each (default: 1, where there are any)")
    group.add_argument("--worker-cpus", type=non_negative, metavar="C", help="cores of each (default: 1 with a GPU, up to 4 without)")


def run(args: argparse.Namespace) -> int:
    from emocaliber.inference.plan import Shard, read_run_config, select, with_settings
    from emocaliber.inference.run import Outputs, Run, summarise_run
    from emocaliber.io.rows import display_name

    samples, settings = split_settings(args.samples)
    if not samples:
        raise UserError("no samples are named; give a file or folder of samples")
    config = read_run_config(args.config, with_settings(_flags(args), parse_settings(settings)))
    shard = Shard.parse(args.shard) if args.shard else None
    selection = select([Path(each) for each in samples], max_samples=args.max_samples, shard=shard)
    out = Outputs.at(args.out, shard)
    asking = Run(
        config,
        selection,
        out,
        resume=args.resume,
        retry_failed=args.retry_failed,
        limits=image_limits(args),
        command=["emocaliber", *sys.argv[1:]],
        calibrator=args.calibrator,
        engine=_engine(args),
    )
    if asking.model.notice:
        say(asking.model.notice)
    try:
        _ask(asking)
    except KeyboardInterrupt:
        complain(f"interrupted; the rows so far are kept; give --resume to continue {display_name(out.rows)}")
        return INTERRUPTED
    ended = summarise_run(asking)
    conclude(ended.sentences())
    return 0 if ended.complete else SOME_FAILED


def _engine(args: argparse.Namespace) -> RayEngine | None:
    given = {name: getattr(args, name) for name in ("workers", "worker_gpus", "worker_cpus") if getattr(args, name) is not None}
    if args.engine == "ray":
        from emocaliber.inference.ray_data import RayEngine, Workers

        return RayEngine(Workers(**given), args.plugin)
    if given:
        raise UserError(f"--{min(given).replace('_', '-')} is of --engine ray; give that too, or leave it out")
    return None


def _flags(args: argparse.Namespace) -> dict[str, Any]:
    """The flags given, under the names of a run file."""

    def given(*names: str) -> Mapping[str, Any]:
        return {name: value for name in names if (value := getattr(args, name)) is not None}

    return {
        **given("model", "prompt", "lenient", "confidence"),
        "settings": {**given(*_SETTINGS), **local_settings(args)},
        "strategy": given("consistency", "p_true"),
    }


def _ask(asking: Run) -> None:
    from emocaliber.render.progress import Progress

    model, total = asking.model, len(asking.selection.samples)
    finished = (lambda: model.finished) if hasattr(model, "finished") and not asking.done else None
    progress = Progress("asking", "samples", total, done=asking.done, count=finished)
    with redirect_stdout(sys.stderr), progress as bar, closing(asking.ask()) as rows:  # where Ray's messages belong
        for _ in rows:
            cost = asking.spent.cost if asking.spent else None
            failed = f"{asking.failed:,} failed" if asking.failed else ""
            bar.note = ", ".join(filter(None, (failed, "" if cost is None else f"${cost:.2f} spent")))
            bar.advance()
