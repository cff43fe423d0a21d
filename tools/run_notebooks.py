"""Runs the notebooks in examples/notebooks and writes them with what they print into a folder, build/notebooks by default.

    python tools/run_notebooks.py [--out DIR] [NAME ...]

Each runs in a copy of examples/, so that nothing it writes stays. It ends with the name and the seconds of each, as JSON.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"
LONGEST = 1200  # seconds that a cell may take on a busy machine


def run(source: Path, out: Path) -> float:
    """Runs one notebook, writes it to `out`, and returns the seconds it took. Raises CellExecutionError if a cell fails."""
    start = time.perf_counter()
    notebook = nbformat.read(source, as_version=4)
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(EXAMPLES, Path(folder) / "examples")
        here = Path(folder) / "examples" / "notebooks"
        NotebookClient(notebook, timeout=LONGEST, kernel_name="python3", resources={"metadata": {"path": str(here)}}).execute()
    out.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, out / source.name)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="only these, such as my-photographs")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "notebooks")
    args = parser.parse_args()
    chosen = [file for file in sorted((EXAMPLES / "notebooks").glob("*.ipynb")) if not args.names or file.stem in args.names]
    print(json.dumps({file.stem: round(run(file, args.out), 1) for file in chosen}))


if __name__ == "__main__":
    main()
