"""`emocaliber train`: trains one stage, all that a folder has configurations for, or one several times; and hands on what it made."""

from __future__ import annotations

import argparse
from pathlib import Path

from emocaliber.errors import UserError
from emocaliber.training.config import STAGES, ModelConfig, load_config

_HELP = {
    "stage0": "a base checkpoint from nothing, for tiny",
    "stage1": "structured reasoning (eq. 1)",
    "stage2": "verbalized confidence (eq. 2, 3)",
    "stage3": "calibration by reinforcement (eq. 4, 5)",
    "all": "those the folder has a file for, in order",
}
_HELP_SWEEP = (
    "Trains a stage once for each run of the file, asks all about the same samples, and prints a table with intervals. "
    "What is finished is not done again."
)
_HELP_EXPORT = (
    "Writes a folder that transformers and vLLM load, with a model card that says how well it is calibrated. "
    "Adapters (LoRA) are merged into its weights."
)


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "train",
        help="train one stage, or all of them",
        description="Trains from a TOML file. A broken run goes on where it stopped; a finished stage is left as it is.",
    )
    kinds = parser.add_subparsers(required=True, metavar="STAGE", title="what to train")
    for stage in (*STAGES, "all"):
        _add_stage(kinds.add_parser(stage, help=_HELP[stage], description=parser.description), stage)
    sweep = kinds.add_parser("sweep", help="one stage with several settings, and a table of them", description=_HELP_SWEEP)
    sweep.add_argument("file", type=Path, metavar="SWEEP.toml", help="such as configs/ablations/table7.toml")
    sweep.set_defaults(run=run_sweep)
    export = kinds.add_parser("export", help="a finished run as a checkpoint to hand on", description=_HELP_EXPORT)
    export.add_argument("folder", type=Path, metavar="RUN", help="the folder of a finished stage (its `out`)")
    export.add_argument("--out", type=Path, required=True, metavar="DIR", help="the folder to make")
    export.add_argument("--name", help="what the model is called (default: the name of DIR)")
    export.add_argument("--scored", type=Path, metavar="DIR", help="a folder that `score` made, for the card (default: held-out samples)")
    export.add_argument("--dtype", choices=("float32", "bfloat16", "float16"), help="of the weights (default: as they were trained)")
    export.add_argument(
        "--held-out",
        type=Path,
        metavar="SAMPLES",
        help="recalibrate its confidence by these samples, which no stage has learnt from (temperature and bias)",
    )
    export.add_argument("--push", metavar="ID", help="also upload it to the hub, as a private repository")
    export.set_defaults(run=run_export)


def _add_stage(parser: argparse.ArgumentParser, stage: str) -> None:
    # Settings follow the path: argparse cannot give a positional list what stands after an option.
    parser.add_argument(
        "--config",
        nargs="+",
        required=True,
        metavar=("DIR|FILE", "KEY=VALUE"),
        help="a folder with stage0.toml and so on, or one stage's file; then settings that replace those of the file",
    )
    plan = parser.add_argument_group("plan", "What a stage takes of the memory; needs the model's config.json, nothing else.")
    plan.add_argument("--plan", action="store_true", help="print bytes of weights, gradients, optimiser, activations, logits, roll-outs")
    plan.add_argument("--devices", type=int, default=8, metavar="N", help="devices among which it is sharded (default: 8)")
    plan.add_argument("--memory", metavar="SIZE", help="of a device, such as 80GB (default: that of the first GPU, or of this machine)")
    plan.add_argument("--answer-tokens", type=int, default=0, metavar="N", help="length of an answer (default: the most a stage allows)")
    parser.set_defaults(run=run, stage=stage)


def run(args: argparse.Namespace) -> int:
    path, *overrides = args.config
    if args.stage == "all" and not Path(path).is_dir():
        raise UserError(f"{path} is not a folder; `train all` needs one with {', '.join(f'{stage}.toml' for stage in STAGES)}")
    if args.plan:
        return print_plan(args)
    from emocaliber.training.checks import check_single_stage, load_stages

    # Before anything heavy is loaded, so that a mistake shows at once.
    if args.stage == "all":
        load_stages(path, overrides)
    else:
        config = load_config(args.stage, path, overrides)
        check_single_stage(args.stage, config, path)
    try:
        from emocaliber.training.distributed import print_once
        from emocaliber.training.run import next_commands, run_all, run_stage
    except ImportError as error:
        raise UserError(f"training needs more packages ({error}); install emocaliber[train]") from error
    if args.stage == "all":
        run_all(path, overrides)
    else:
        run_stage(args.stage, config)
        print_once(next_commands(args.stage, config))
    return 0


def print_plan(args: argparse.Namespace) -> int:
    path, *overrides = args.config
    config = None if args.stage == "all" else load_config(args.stage, path, overrides)
    if not isinstance(config, ModelConfig):
        raise UserError("--plan is for one of stage1, stage2 and stage3")
    if args.devices < 1:
        raise UserError(f"--devices must be at least 1, not {args.devices}")
    from emocaliber.training.plan import device_memory, parse_memory, plan_memory

    memory = parse_memory(args.memory) if args.memory else device_memory()
    print(plan_memory(config, args.devices, args.answer_tokens).report(memory), end="")
    return 0


def run_sweep(args: argparse.Namespace) -> int:
    try:
        from emocaliber.training.sweep import run_sweep
    except ImportError as error:
        raise UserError(f"training needs more packages ({error}); install emocaliber[train]") from error
    print(run_sweep(args.file), end="")
    return 0


def run_export(args: argparse.Namespace) -> int:
    from emocaliber.training.export import export_model, push_to_hub

    print(export_model(args.folder, args.out, name=args.name, scored=args.scored, dtype=args.dtype, held_out=args.held_out))
    if args.push:
        print(push_to_hub(args.out, args.push))
    return 0
