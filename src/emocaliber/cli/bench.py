"""`emocaliber bench`: builds, counts, audits and exports VECBench."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from emocaliber.cli import SOME_FAILED
from emocaliber.cli.arguments import also_called, at_most, natural, positive
from emocaliber.errors import UserError

if TYPE_CHECKING:
    from emocaliber.vecbench.build import BuildConfig


_SOURCES = ("fi", "webemo", "emoset", "abstract", "artphoto", "unbiasedemo")


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "bench", help="build, count, audit and export VECBench", description="Builds VECBench from its six data sets."
    )
    actions = parser.add_subparsers(required=True, metavar="ACTION", title="actions")
    _add_build(actions)
    _add_others(actions)


def _add_build(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = actions.add_parser(
        "build",
        help="build the benchmark from the folders of its data sets",
        description="Writes train.jsonl, test.jsonl, stage1.jsonl to stage3.jsonl, skipped.jsonl, manifest.json and README.md. Images "
        "stay where they are. The same data sets and seed give the same bytes; an interrupted build resumes.",
    )
    parser.add_argument("config", nargs="?", metavar="CONFIG.toml", help="folders and settings (see configs/vecbench.toml)")
    parser.add_argument("--config", dest="config_option", metavar="CONFIG.toml", help="the same as an option")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="the folder to write to")
    for name in _SOURCES:
        parser.add_argument(f"--{name}", type=Path, metavar="PATH", help=f"the folder of {name}; overrides the configuration")
    parser.add_argument("--seed", type=natural, metavar="S", help="the seed of splits and scenes; overrides the configuration (default: 0)")
    parser.add_argument(
        "--scenes",
        type=positive,
        default=0,
        metavar="N",
        help="make synthetic scenes for subtasks without a data set: N test and 4 N training samples each",
    )
    parser.add_argument("--size", type=positive, default=224, metavar="PIXELS", help="side of synthetic images (default: 224)")
    parser.add_argument(
        "--rebuild", action="store_true", help="replace a benchmark in DIR that was built with other settings, and its audit"
    )
    parser.add_argument("--trust-images", action="store_true", help="skip the check for broken images; much faster")
    parser.set_defaults(run=_build)


def _add_others(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    stats = actions.add_parser(
        "stats", help="count a built benchmark", description="Counts a built benchmark, next to the paper's numbers."
    )
    stats.add_argument("files", type=Path, nargs="+", metavar="DIR|FILE", help="a folder that `bench build` wrote, or sample files")
    stats.add_argument("--json", action="store_true", help="print JSON")
    figure = stats.add_argument("--figure", type=Path, metavar="FILE.png", help="also write a figure of the label distribution")
    also_called(stats, figure, "--picture")
    stats.set_defaults(run=_stats)

    audit = actions.add_parser(
        "audit",
        help="find duplicates, leaks and conflicting labels",
        description="Finds duplicate images, images in both train and test, and conflicting labels. Exit code 3: test images leak.",
    )
    audit.add_argument("files", type=Path, nargs="+", metavar="DIR|FILE", help="a folder that `bench build` wrote, or sample files")
    audit.add_argument(
        "--distance",
        type=at_most(16),
        metavar="BITS",
        help="largest distance of perceptual hashes of near duplicates: 0 to 16 of 64 bits",
    )
    audit.add_argument("--json", action="store_true", help="print the numbers as JSON")
    audit.add_argument("--drop", action="store_true", help="also write clean/: the files without leaked, conflicting or duplicate samples")
    audit.set_defaults(run=_audit)

    export = actions.add_parser(
        "export",
        help="write a built benchmark for other tools",
        description="Writes a built benchmark for Hugging Face datasets or for lmms-eval.",
    )
    export.add_argument("folder", type=Path, metavar="DIR", help="a folder that `bench build` wrote")
    target = export.add_mutually_exclusive_group(required=True)
    target.add_argument("--hf", type=Path, metavar="OUT", help="for Hugging Face's datasets")
    target.add_argument("--lmms-eval", type=Path, metavar="OUT", help="a folder of tasks for lmms-eval")
    choices = ("leave", "link", "copy")
    export.add_argument("--images", choices=choices, default="leave", help="with --hf: leave, link or copy the images (default: leave)")
    export.set_defaults(run=_export)


def _build(args: argparse.Namespace) -> int:
    from emocaliber.render.progress import Progress
    from emocaliber.render.terminal import explain, show
    from emocaliber.vecbench.build import build_benchmark
    from emocaliber.vecbench.manifest import task_table

    with Progress("building", "images") as bar:

        def progress(name: str, done: int) -> None:
            if bar.what != name:
                bar.restart(name)
            bar.to(done)

        manifest = build_benchmark(_config(args), args.out, scenes=args.scenes, size=args.size, rebuild=args.rebuild, progress=progress)
    show(task_table(manifest))
    left_out = sum(count for source in manifest.sources.values() for count in source["skipped"].values())
    explain("".join(f"\n{note}" for note in manifest.notes))
    print(f"\n{left_out:,} files left out, in {args.out / 'skipped.jsonl'}\n{args.out / 'README.md'}")
    return 0


def _config(args: argparse.Namespace) -> BuildConfig:
    from emocaliber.vecbench.build import BuildConfig, read_config

    if args.config and args.config_option:
        raise UserError(f"there are two configurations, {args.config} and {args.config_option}; give one")
    named = args.config or args.config_option
    config = read_config(named) if named else BuildConfig()
    given = {name: path for name in _SOURCES if (path := getattr(args, name)) is not None}
    return replace(
        config,
        sources={**config.sources, **given},
        seed=config.seed if args.seed is None else args.seed,
        check_images=config.check_images and not args.trust_images,
    )


def _stats(args: argparse.Namespace) -> int:
    from emocaliber.io.rows import write_atomically
    from emocaliber.render.terminal import say, show
    from emocaliber.vecbench.stats import benchmark_stats

    counted = benchmark_stats(*args.files)
    if args.json:
        print(json.dumps(counted.as_dict(), indent=2))
    else:
        show(*counted.tables())
    if args.figure:
        from emocaliber.vecbench.stats import label_figure

        write_atomically(args.figure, label_figure(counted))
        say(f"wrote {args.figure}")
    return 0


def _audit(args: argparse.Namespace) -> int:
    from emocaliber.io.rows import write_rows
    from emocaliber.render.progress import Progress
    from emocaliber.render.terminal import show
    from emocaliber.vecbench.audit import audit, drop
    from emocaliber.vecbench.duplicates import DISTANCE
    from emocaliber.vecbench.manifest import AUDIT, CLEAN, describe_anew, sample_files

    files = sample_files(args.files)
    folder = files[0].parent
    with Progress("comparing", "images") as bar:
        distance = DISTANCE if args.distance is None else args.distance
        audited = audit(files, distance=distance, progress=bar.to)
    write_rows(folder / AUDIT, audited.to_rows(folder))
    if args.json:
        print(json.dumps(audited.as_dict(), indent=2))
    else:
        show(replace(audited.as_table(), title=""))
        print(f"\n{folder / AUDIT}")
    if args.drop:
        dropped = drop(audited, files, folder / CLEAN)
        describe_anew(folder, folder / CLEAN, f"Without {len(dropped.dropped):,} samples that leaked, contradicted or repeated others.")
        if not args.json:
            print()
            show(replace(dropped.as_table(), title=""))
            print(f"\n{folder / CLEAN}")
    return SOME_FAILED if audited.leaks else 0


def _export(args: argparse.Namespace) -> int:
    if args.lmms_eval:
        from emocaliber.integrations.lmms_eval import export_lmms_eval

        names = export_lmms_eval(args.folder, args.lmms_eval)
        print(f"python -m lmms_eval --include_path {args.lmms_eval.absolute()} --tasks vecbench ...\n\n" + "\n".join(names))
        return 0
    from emocaliber.render.progress import Progress
    from emocaliber.vecbench.export import export_hf

    with Progress("exporting", "rows") as bar:
        sizes = export_hf(args.folder, args.hf, images=args.images, progress=bar.to)
    print("\n".join(f"{split}: {count:,} rows" for split, count in sizes.items()) + f"\n{args.hf / 'README.md'}")
    return 0
