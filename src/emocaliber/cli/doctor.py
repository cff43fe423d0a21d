"""`emocaliber doctor`: what is installed, what is missing for what, and how fast this machine is."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from emocaliber.cli import SOME_FAILED
from emocaliber.errors import UserError
from emocaliber.render.terminal import explain, say, show

if TYPE_CHECKING:
    from emocaliber.io.installed import Machine, Package
    from emocaliber.predict.speed import Speed

_MODELS = "predict, respond and serve with a model that runs here"
# What each group of packages is for; an extra that is not named here goes by its own name.
_PURPOSES = {
    "": "score, compare, calibrate, bench; models of others over HTTP",
    "train": "train",
    "heif": "photographs of iPhones (HEIC)",
    "serve": "serve, label",
    "vllm": "models named vllm:ID",
    "ray": "many workers (respond --engine ray)",
    "completion": "completion in a shell",
    "frames": "tables of pandas and Polars",
}
_OWN = ("dev", "docs")  # the tests and the site of EmoCaliber itself, for which make installs what they need


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "doctor",
        help="show what is installed, what is missing for what, and how fast this machine is",
        description="Looks at the packages that are installed and times the model that ships. Nothing is sent or changed. "
        "Exit code 3: something that is always needed is missing or has the wrong version.",
    )
    parser.add_argument("--no-speed", action="store_true", help="do not load a model and time it")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from emocaliber.io.installed import Machine, packages
    from emocaliber.io.workspace import package_version
    from emocaliber.models import DEFAULT_MODEL
    from emocaliber.models.available import LOCAL_PACKAGES

    wanted = packages()
    if not wanted:
        raise UserError("emocaliber is not installed, only run from its folder; pip install . says what it needs")
    core = wanted.pop("")
    for own in _OWN:
        wanted.pop(own, None)
    groups = {_PURPOSES[""]: [each for each in core if each.name not in LOCAL_PACKAGES]}
    groups[_MODELS] = [each for each in core if each.name in LOCAL_PACKAGES]
    order = sorted(wanted, key=lambda extra: list(_PURPOSES).index(extra) if extra in _PURPOSES else len(_PURPOSES))
    groups |= {_PURPOSES.get(extra, extra): wanted[extra] for extra in order}
    broken = any(each.problem for each in groups[_PURPOSES[""]])
    usable = not broken and not any(each.problem for each in groups[_MODELS])
    machine, speed = Machine.here(), None
    if not args.json:
        explain(f"EmoCaliber {package_version()} on {_told(machine, _gpu() if usable else None)}")
        _show(groups)
    if usable and not args.no_speed:
        speed = _speed(DEFAULT_MODEL)
    if args.json:
        print(json.dumps(_as_json(package_version(), machine, groups, speed), indent=1))
    elif speed:
        for sentence in _in_words(speed):
            explain(sentence)
    if speed and machine.busy:
        say(f"other programs use this machine ({machine.load:.1f} at work on {machine.cores} cores); without them it is faster")
    return SOME_FAILED if broken else 0


def _told(machine: Machine, gpu: str | None) -> str:
    memory = [f"{machine.memory / 2**30:.0f} GiB of memory"] if machine.memory else []
    cores = f"{machine.cores} core{'s' * (machine.cores != 1)}"
    return ", ".join([f"Python {machine.python}", machine.system, cores, *memory, gpu or "no GPU that torch can use"])


def _gpu() -> str | None:
    """The name of the GPU that models run on by default, or None."""
    import torch

    if torch.cuda.is_available():
        return str(torch.cuda.get_device_name())
    return "Apple's GPU (mps)" if torch.backends.mps.is_available() else None


def _show(groups: Mapping[str, Sequence[Package]]) -> None:
    from emocaliber.render.table import Table

    rows, commands = [], []
    for purpose, found in groups.items():
        missing = [each.name for each in found if each.version is None]
        problems = [problem for each in found if each.version and (problem := each.problem)]
        rows.append([purpose, "; ".join([*problems, *([f"missing: {', '.join(missing)}"] if missing else [])]) or "yes"])
        if missing or problems:
            commands.append((purpose, "pip install " + " ".join(f"'{each.requirement}'" for each in found if each.problem)))
    explain("")
    show(Table(("for", "all there"), rows, words=2))
    for purpose, command in commands:
        explain("")
        explain(f"For {purpose}:")
        print(f"  {command}")
    explain("")


def _speed(model: str) -> Speed:
    from emocaliber.predict.speed import measure
    from emocaliber.render.progress import Progress

    with Progress(f"timing {model}"):
        return measure(model)


def _in_words(speed: Speed) -> list[str]:
    seconds = 1000 * speed.batched
    thousand = f"{seconds / 60:.0f} minutes" if seconds > 90 else f"{seconds:.0f} seconds"
    return [
        f"{speed.model}: loaded in {speed.loading:.1f} s, first image {speed.first:.2f} s; then {speed.alone:.2f} s for one image alone "
        f"and {speed.batched:.2f} s for each of {speed.images} together.",
        f"A thousand images take about {thousand}.",
    ]


def _as_json(version: str, machine: Machine, groups: Mapping[str, Sequence[Package]], speed: Speed | None) -> dict[str, object]:
    found = {purpose: [asdict(each) | {"problem": each.problem} for each in packages] for purpose, packages in groups.items()}
    return {"emocaliber": version, "machine": asdict(machine), "packages": found, "speed": asdict(speed) if speed else None}
