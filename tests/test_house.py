"""The rules of the house: who may import whom, how long a file may be, and what a light import may not load."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import emocaliber

SOURCE = Path(emocaliber.__file__).parent
FILES = sorted(SOURCE.rglob("*.py"))
NAMES = [path.relative_to(SOURCE).as_posix() for path in FILES]
MODULES = [".".join(("emocaliber", *name.removesuffix(".py").removesuffix("__init__").strip("/").split("/"))).rstrip(".") for name in NAMES]
LONGEST = 400

# A room may import from rooms of its own floor or below. `__init__` is the front door, from which every room can be reached.
FLOORS = {
    **dict.fromkeys(("errors", "emotions", "response", "images", "image_errors", "rows", "row_formats", "inputs"), 0),
    **dict.fromkeys(("layout", "canvas", "html_page", "settings_file", "lock", "workspace"), 0),
    **dict.fromkeys(("vecbench", "scenes", "models"), 1),
    **dict.fromkeys(("scoring", "answering", "sources", "prompts", "strategies"), 2),
    **dict.fromkeys(("confidence", "evaluation", "prediction", "prediction_file", "prediction_report", "report", "responding"), 3),
    **dict.fromkeys(("veccot", "training"), 4),
    "serving": 5,
    **dict.fromkeys(("cli", "__main__", "__init__"), 6),
}

every_file = pytest.mark.parametrize("path", FILES, ids=NAMES)


def room_of(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def imported(path: Path) -> Iterator[tuple[int, str, list[str]]]:
    """Line, module and names of each import of this package's own modules, wherever in the file it stands."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}, line {node.lineno}: imports here are absolute"
            found = [(node.module or "", [alias.name for alias in node.names])]
        elif isinstance(node, ast.Import):
            found = [(alias.name, list[str]()) for alias in node.names]
        else:
            continue
        for module, names in found:
            if module == "emocaliber":
                # `from emocaliber import emotions` names rooms; any other name is the front door's own.
                yield from ((node.lineno, f"emocaliber.{name if name in FLOORS else '__init__'}", []) for name in names or ["__init__"])
            elif module.startswith("emocaliber."):
                yield node.lineno, module, names


@every_file
def test_no_room_imports_from_a_higher_floor(path: Path) -> None:
    room = room_of(path)
    assert room in FLOORS, f"give {room} a floor in this test"
    for line, module, _ in imported(path):
        other = module.split(".")[1]
        assert FLOORS[other] <= FLOORS[room], f"{path}, line {line}: {room} (floor {FLOORS[room]}) imports {other} (floor {FLOORS[other]})"


@every_file
def test_no_room_uses_the_private_names_of_another(path: Path) -> None:
    for line, module, names in imported(path):
        _, other, *rest = module.split(".")
        private = [name for name in (*rest, *names) if name.startswith("_") and not name.startswith("__")]
        assert other == room_of(path) or not private, f"{path}, line {line}: {', '.join(private)} of {other} is private"


def test_the_rules_would_notice_a_breach(tmp_path: Path) -> None:
    breach = tmp_path / "breach.py"
    lines = (
        "import emocaliber.serving.page",
        "def f():",
        "    from emocaliber.rows import _reading",
        "    from emocaliber import emotions, load",
    )
    breach.write_text("\n".join(lines))
    assert list(imported(breach)) == [
        (1, "emocaliber.serving.page", []),
        (3, "emocaliber.rows", ["_reading"]),
        (4, "emocaliber.emotions", []),
        (4, "emocaliber.__init__", []),
    ]


@every_file
def test_a_file_is_one_idea_and_says_which(path: Path) -> None:
    text = path.read_text("utf-8")
    assert ast.get_docstring(ast.parse(text)), f"{path} has no docstring"
    assert text.count("\n") <= LONGEST, f"{path} has more than {LONGEST} lines"


@pytest.mark.parametrize("module", MODULES)
def test_every_module_can_be_imported(module: str) -> None:
    importlib.import_module(module)


LIGHT = {"import": "import emocaliber", "help": "import emocaliber.__main__ as m; m.build_parser().format_help()"}


@pytest.mark.parametrize("words", LIGHT.values(), ids=LIGHT)
def test_a_light_import_loads_nothing_heavy(words: str) -> None:
    code = f"import sys; {words}; print(sorted(set(sys.modules) & {{'torch', 'transformers', 'numpy', 'scipy', 'pyarrow', 'PIL'}}))"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown == "[]\n"
