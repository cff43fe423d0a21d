"""`emocaliber train`: trains one stage, all configured stages, or a sweep; and exports a finished run as a checkpoint."""

from __future__ import annotations

import argparse
from dataclasses import fields
from pathlib import Path

from emocaliber.cli import rehearse
from emocaliber.cli.arguments import SETTINGS, refuse_as_options
from emocaliber.errors import UserError
from emocaliber.io.configurations import find_configuration
from emocaliber.training.config import CONFIGS, STAGES, ModelConfig, load_config
from emocaliber.training.distributed import check_packages, print_once

_DEVICES = 8  # those of the paper

_HELP = {
    "stage0": "a base checkpoint from scratch, for tiny",
    "stage1": "structured reasoning (eq. 1)",
    "stage2": "verbalized confidence (eq. 2, 3)",
    "stage3": "calibration by reinforcement learning (eq. 4, 5)",
    "all": "all stages with a file in the folder, in order",
}
_HELP_SWEEP = (
    "Trains a stage once for each run of the file, evaluates all on the same samples, and prints a table with intervals. "
    "Finished runs are not repeated."
)
_HELP_EXPORT = (
    "Writes a checkpoint for transformers and vLLM, with a model card that reports its calibration. "
    "LoRA adapters are merged into the weights."
)


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "train",
        help="train one stage, or all of them",
        description="Trains from a TOML file. An interrupted run resumes; a finished stage is not repeated.",
    )
    kinds = parser.add_subparsers(required=True, metavar="STAGE", title="what to train")
    for stage in (*STAGES, "all"):
        _add_stage(kinds.add_parser(stage, help=_HELP[stage], description=parser.description), stage)
    rehearse.add_parser(kinds)
    sweep = kinds.add_parser("sweep", help="one stage with several settings, compared in a table", description=_HELP_SWEEP)
    sweep.add_argument("file", metavar="SWEEP.toml", help="such as configs/ablations/table7.toml, or table7")
    sweep.add_argument("settings", nargs="*", metavar=SETTINGS, help="settings that override the file, such as test_scenes=200")
    sweep.set_defaults(run=_sweep)
    export = kinds.add_parser("export", help="export a finished run as a checkpoint", description=_HELP_EXPORT)
    export.add_argument("folder", type=Path, metavar="RUN", help="the folder of a finished stage (its `out`)")
    export.add_argument("--out", type=Path, required=True, metavar="DIR", help="the folder to write")
    export.add_argument("--name", help="name of the model (default: the name of DIR)")
    export.add_argument(
        "--scored", type=Path, metavar="DIR", help="a folder of `score`, for the numbers on the card (default: held-out samples)"
    )
    export.add_argument("--dtype", choices=("float32", "bfloat16", "float16"), help="type of the weights (default: that of training)")
    export.add_argument(
        "--held-out",
        type=Path,
        metavar="SAMPLES",
        help="samples that no stage was trained on, to calibrate the confidence, each question by itself",
    )
    export.add_argument("--push", metavar="ID", help="also upload it to the hub, as a private repository")
    export.set_defaults(run=_export)


def _add_stage(parser: argparse.ArgumentParser, stage: str) -> None:
    parser.add_argument("settings", nargs="*", metavar=SETTINGS, help="settings that override the file, such as learning_rate=5e-6")
    parser.add_argument(
        "--config",
        required=True,
        metavar="DIR|FILE|NAME",
        help="a folder with stage0.toml etc., the file of one stage, or the name of a configuration of the package, such as 7b or tiny",
    )
    plan = parser.add_argument_group(
        "plan", "What a stage takes of memory, compute, time and money; needs the shape of the model alone, and no network for Qwen2.5-VL."
    )
    plan.add_argument(
        "--plan", action="store_true", help="print bytes (weights, optimiser, activations, roll-outs ...), tokens and FLOP, and stop"
    )
    plan.add_argument("--devices", type=int, metavar="N", help="number of devices to shard over (default: 8)")
    plan.add_argument(
        "--memory", metavar="SIZE", help="memory of a device, such as 80GB (default: that of the first GPU, or of this machine)"
    )
    plan.add_argument(
        "--answer-tokens", type=int, default=0, metavar="N", help="length of an answer in tokens (default: the maximum of the stage)"
    )
    plan.add_argument("--flops", type=float, metavar="N", help="FLOP a second of a device at its peak, such as 989e12, for the hours")
    plan.add_argument("--mfu", type=float, metavar="X", help="share of them that training reaches (default: 0.35)")
    plan.add_argument("--generation-mfu", type=float, metavar="X", help="share of them that sampling answers reaches (default: 0.03)")
    plan.add_argument("--price", type=float, metavar="P", help="price of an hour of one device, in any currency")
    kinds = CONFIGS.values() if stage == "all" else [CONFIGS[stage]]
    refuse_as_options(parser, dict.fromkeys(field.name for kind in kinds for field in fields(kind)))
    parser.set_defaults(run=run, stage=stage)


def run(args: argparse.Namespace) -> int:
    path, overrides = find_configuration(args.config, "train"), args.settings
    if args.stage == "all" and not path.is_dir():
        raise UserError(f"{path} is not a folder; `train all` needs one with {', '.join(f'{stage}.toml' for stage in STAGES)}")
    if args.plan:
        return _print_plan(args, path)
    from emocaliber.training.checks import check_single_stage, load_stages

    # Checked before torch is loaded, so that errors show at once.
    if args.stage == "all":
        load_stages(path, overrides)
    else:
        config = load_config(args.stage, path, overrides)
        check_single_stage(args.stage, config, path)
    check_packages()
    from emocaliber.training.run import next_commands, run_all, run_stage

    if args.stage == "all":
        run_all(path, overrides)
    else:
        run_stage(args.stage, config)
        print_once(next_commands(args.stage, config, args.config))
    return 0


def _print_plan(args: argparse.Namespace, path: Path) -> int:
    if args.devices is not None and args.devices < 1:
        raise UserError(f"--devices must be at least 1, not {args.devices}")
    if args.flops is None and any(each is not None for each in (args.mfu, args.generation_mfu, args.price)):
        raise UserError("--mfu, --generation-mfu and --price need --flops, the FLOP a second of a device, such as --flops 989e12")
    from emocaliber.training.checks import read_stages
    from emocaliber.training.compute import Speed, plan_compute
    from emocaliber.training.plan import device_memory, parse_memory, plan_memory, with_base_model

    folder = path if path.is_dir() else path.parent
    if args.stage == "all":
        configs = read_stages(folder, args.settings)
        planned = {stage: config for stage, config in configs.items() if isinstance(config, ModelConfig)}
    else:
        others = (stage for stage in STAGES if stage != args.stage and (folder / f"{stage}.toml").is_file())
        configs = {stage: load_config(stage, folder) for stage in others}
        one = load_config(args.stage, path, args.settings)
        planned = {args.stage: one} if isinstance(one, ModelConfig) else {}
    if not planned:
        raise UserError("--plan is for stage1, stage2 and stage3, or all of them")
    memory, whose = (parse_memory(args.memory), "") if args.memory else device_memory()
    devices = args.devices or _DEVICES
    speed = None if args.flops is None else Speed(args.flops, args.mfu, args.generation_mfu, args.price)
    for stage, config in planned.items():
        if args.stage == "all":
            print(stage)
        config = with_base_model(config, [other for name, other in configs.items() if name != stage])
        print(plan_memory(config, devices, args.answer_tokens).report(memory, whose))
        print(plan_compute(config, devices, args.answer_tokens).report(devices, speed), end="\n" * (args.stage == "all"))
    if args.devices is None:
        print(f"Sharded means over {_DEVICES} devices, the default: --devices N is for another number.")
    return 0


def _sweep(args: argparse.Namespace) -> int:
    check_packages()
    from emocaliber.training.sweep import run_sweep

    print(run_sweep(find_configuration(args.file, "sweep"), args.settings), end="")
    return 0


def _export(args: argparse.Namespace) -> int:
    from emocaliber.training.export import export_model, push_to_hub

    print(export_model(args.folder, args.out, name=args.name, scored=args.scored, dtype=args.dtype, held_out=args.held_out))
    if args.push:
        print(push_to_hub(args.out, args.push))
    return 0
