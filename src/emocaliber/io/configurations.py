"""Configurations by name: the files of `configs/`, which come with the installed package, for every command that takes `--config`."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Literal

from emocaliber.errors import UserError, did_you_mean

Kind = Literal["train", "respond", "sweep", "bench", "cot"]

_PATTERNS: dict[Kind, str] = {
    "train": "**/stage?.toml",  # the folder is the configuration
    "respond": "baselines/*.toml",
    "sweep": "ablations/*.toml",
    "bench": "vecbench.toml",
    "cot": "vec-cot.toml",
}


@cache
def configs_folder() -> Path:
    """The folder of the configurations: in the installed package, or that of the source tree."""
    package = Path(__file__).parents[1]
    installed = package / "configs"
    return installed if installed.is_dir() else package.parents[1] / "configs"


def configurations(kind: Kind) -> dict[str, Path]:
    """The configurations of a kind, by name: files, and for training the folders of the stages' files."""
    found: dict[str, Path] = {}
    for file in sorted(configs_folder().glob(_PATTERNS[kind])):
        path = file.parent if kind == "train" else file
        name = path.relative_to(configs_folder()).as_posix() if kind == "train" else path.stem
        found.setdefault(name.removeprefix("baselines/"), path)
    return dict(sorted(found.items()))


def find_configuration(name: str | Path, kind: Kind) -> Path:
    """The file or folder of a configuration.

    A file or folder that exists is returned as it is. Otherwise `name` is that of one that comes with the package, such as "7b",
    "qwen2.5-vl", or "configs/7b/stage1.toml". A name of none of them is returned as a path if it looks like one (a suffix, a folder), so
    that reading it gives the error; any other raises UserError with the names there are.
    """
    path = Path(name)
    if path.exists():
        return path
    known = configurations(kind)
    asked = path.as_posix().rstrip("/").removeprefix("configs/").removeprefix("baselines/").removeprefix("ablations/")
    if kind == "train" and asked.removesuffix(".toml") in known and path.suffix == ".toml":
        raise UserError(f"there is no file {name}; the configuration that comes with the package is a folder, and its name is {path.stem}")
    if (shipped := known.get(asked.removesuffix(".toml"))) is not None:
        return shipped
    folder, _, file = asked.rpartition("/")
    if kind == "train" and folder in known and (known[folder] / file).is_file():
        return known[folder] / file
    if path.suffix == ".toml" or len(path.parts) > 1:
        return path
    raise UserError(
        f"there is no file or folder {name}, and no configuration of that name comes with the package; its names are "
        f"{', '.join(known)}{did_you_mean(asked, known)}"
    )
