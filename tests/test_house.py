"""The rules of the house: what may import what, how long a file may be, and what a light import may not load."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import emocaliber

SOURCE = Path(emocaliber.__file__).parent
LONGEST = 400  # lines

# A package imports from those before it alone.
PACKAGES = (
    *("errors", "io", "render", "emotions", "core", "models", "inference", "confidence", "evaluation", "trust", "predict"),
    *("scenes", "photographs", "vecbench", "veccot", "training", "serving", "integrations", "cli"),
)
FRONT_DOOR = ("__init__", "__main__")  # from which every package can be reached


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module_of(path): path for path in sorted(SOURCE.rglob("*.py"))}


def imported(path: Path) -> Iterator[tuple[int, str, str | None]]:
    """Line, module and name of each import of this package's own modules, wherever in the file it stands; the name is None for a module."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}, line {node.lineno}: imports here are absolute"
            found = [(node.module or "", alias.name) for alias in node.names]
        elif isinstance(node, ast.Import):
            found = [(alias.name, "") for alias in node.names]
        else:
            continue
        for module, name in found:
            if module == "emocaliber" or module.startswith("emocaliber."):
                inside = module.removeprefix("emocaliber").removeprefix(".")
                whole = f"{inside}.{name}".strip(".")
                yield (node.lineno, whole, None) if whole in MODULES else (node.lineno, inside or "__init__", name or None)


def test_a_package_imports_from_those_before_it_alone() -> None:
    for module, path in MODULES.items():
        package = module.partition(".")[0]
        assert package in (*PACKAGES, *FRONT_DOOR), f"{package} has no place among the packages"
        for line, other, _ in imported(path):
            theirs = other.partition(".")[0]
            allowed = package in FRONT_DOOR or theirs == package or PACKAGES.index(theirs) < PACKAGES.index(package)
            assert allowed, f"{path}, line {line}: {package} imports {theirs}, which comes after it"


def test_no_module_imports_itself_by_way_of_others() -> None:
    order = TopologicalSorter({module: {other for _, other, _ in imported(path)} - {module} for module, path in MODULES.items()})
    order.prepare()  # raises CycleError with the modules of a cycle


def test_no_module_uses_the_private_names_of_another() -> None:
    for path in MODULES.values():
        for line, other, name in imported(path):
            private = [part for part in (*other.split("."), name or "") if part.startswith("_") and not part.startswith("__")]
            assert not private, f"{path}, line {line}: {', '.join(private)} of {other} is private"


def test_a_file_is_one_idea_and_says_which() -> None:
    for path in MODULES.values():
        text = path.read_text("utf-8")
        assert ast.get_docstring(ast.parse(text)), f"{path} has no docstring"
        assert text.count("\n") <= LONGEST, f"{path} has more than {LONGEST} lines"


def test_the_rules_would_notice_a_breach(tmp_path: Path) -> None:
    breach = tmp_path / "breach.py"
    breach.write_text(
        "import emocaliber.cli.score\ndef f():\n    from emocaliber.io.rows import _reading\n    from emocaliber import emotions, load\n"
    )
    assert list(imported(breach)) == [
        (1, "cli.score", None),
        (3, "io.rows", "_reading"),
        (4, "emotions", None),
        (4, "__init__", "load"),
    ]


# What the software of the other side imports, and which software that is; nothing else needs it.
OTHER_SIDES = {
    "integrations.inspect_task": "inspect_ai",
    "integrations.fiftyone_model": "fiftyone",
    "integrations.fiftyone_plugin": "fiftyone",
}


def test_every_module_can_be_imported_or_says_which_software_it_is_for() -> None:
    for module in MODULES:
        try:
            importlib.import_module(f"emocaliber.{module}" if module not in FRONT_DOOR else "emocaliber")
        except ImportError as error:
            assert module in OTHER_SIDES and f"pip install {OTHER_SIDES[module]}" in str(error), f"{module}: {error}"


LIGHT = {"import": "import emocaliber", "help": "import emocaliber.__main__ as m; m.build_parser().format_help()"}


@pytest.mark.parametrize("words", LIGHT.values(), ids=LIGHT)
def test_a_light_import_loads_nothing_heavy(words: str) -> None:
    code = f"import sys; {words}; print(sorted(set(sys.modules) & {{'torch', 'transformers', 'numpy', 'scipy', 'pyarrow', 'PIL'}}))"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown == "[]\n"
