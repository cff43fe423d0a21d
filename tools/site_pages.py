"""Pages of the documentation's site that are made from the code, and links out of docs/; MkDocs loads it as a hook (mkdocs.yml).

Made here: the help of every command, the public names of the package, the notebooks (with what they print, once `tools/run_notebooks.py`
has run them), and the changelog. A link to a file of the source outside docs/ becomes its name, as the site lacks it; a picture from
there is copied into the site.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import re
import sys
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from mkdocs.utils import get_relative_url

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "src"))
NOTEBOOKS, EXECUTED = ROOT / "examples" / "notebooks", ROOT / "build" / "notebooks"
# Modules whose functions users of the library call, or read to see what a number is.
MODULES = (
    *("core.response", "core.samples", "core.model", "core.sources", "core.scoring", "core.calibrators"),
    *("emotions.taxonomy", "emotions.labels", "emotions.loop", "emotions.affect"),
    *("confidence.targets", "confidence.rewards", "confidence.incentives"),
    *("evaluation.metrics", "evaluation.calibration", "evaluation.ranking", "evaluation.stated", "evaluation.compare"),
    *("trust.certificate", "trust.martingale", "trust.people", "io.plugins", "scenes.annotators"),
)
_OUTSIDE = re.compile(r"\[(?P<text>[^\]]*)\]\((?P<path>\.\./[^)#]+)\)")
_PICTURE = re.compile(r'(?P<tag><img[^>]*\ssrc=")(?P<path>\.\./[^"]+)')
_SHIM = "https://unpkg.com/iframe-worker/shim"
_COLUMNS = 92  # what fits into a block of code on a screen
_LINK = re.compile(r"\]\(docs/")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages that are made, and lists what `nav` does not name."""
    pages = {
        "changelog.md": _LINK.sub("](", (ROOT / "CHANGELOG.md").read_text("utf-8")),
        "reference/commands.md": commands_page(),
        "reference/python.md": python_page(),
        "reference/modules.md": modules_page(),
    }
    for notebook in sorted(NOTEBOOKS.glob("*.ipynb")):
        executed = EXECUTED / notebook.name
        made = notebook_page(json.loads((executed if executed.is_file() else notebook).read_text("utf-8")), notebook.stem)
        pages[f"notebooks/{notebook.stem}.md"], pictures = made
        for name, data in pictures.items():
            files.append(File.generated(config, f"notebooks/{name}", content=data))
    for name, text in pages.items():
        files.append(File.generated(config, name, content=text))
    listed = set(_listed(config.nav))
    more = sorted(file.src_uri for file in files.documentation_pages() if file.src_uri not in listed)
    if more:
        config.nav = [*(config.nav or []), {"More": more}]
    return files


def on_post_page(output: str, page: Page, config: MkDocsConfig) -> str:
    """Takes the one script that Material would fetch from elsewhere from the site itself."""
    return output.replace(_SHIM, get_relative_url("iframe-worker.js", page.url))


def on_post_template(output_content: str, template_name: str, config: MkDocsConfig) -> str:
    """As `on_post_page`, for the page that is shown where there is none."""
    return output_content.replace(_SHIM, "iframe-worker.js")


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Makes the name of a link to a file of the source, and copies a picture from there; both must exist."""
    place = Path(config.docs_dir) / page.file.src_uri

    def copied(match: re.Match[str]) -> str:
        picture = (place.parent / match["path"]).resolve()
        if not picture.is_file():
            raise PluginError(f"{page.file.src_uri} shows {match['path']}, which does not exist")
        name = picture.relative_to(ROOT).as_posix()
        if files.get_file_from_path(name) is None:
            files.append(File.generated(config, name, content=picture.read_bytes()))
        return match["tag"] + get_relative_url(name, page.url)

    def named(match: re.Match[str]) -> str:
        target = (place.parent / match["path"]).resolve()
        if target.is_relative_to(Path(config.docs_dir)):
            return match[0]
        if not target.exists():
            raise PluginError(f"{page.file.src_uri} links to {match['path']}, which does not exist")
        name = target.relative_to(ROOT)
        return match["text"] if str(name) in match["text"] else f"{match['text']} (`{name}` in the source)"

    return _OUTSIDE.sub(named, _PICTURE.sub(copied, markdown))


def _listed(nav: Any) -> Iterator[str]:
    if isinstance(nav, str):
        yield nav
    elif nav:
        for each in nav.values() if isinstance(nav, Mapping) else nav:
            yield from _listed(each)


def commands_page() -> str:
    """The help of every command, as it is printed in 100 columns."""
    os.environ["COLUMNS"] = "100"
    from emocaliber.__main__ import build_parser

    parts = ["# Commands", "What `emocaliber COMMAND --help` prints. [The same names in all commands](../commands.md)."]
    for words, parser in _parsers(build_parser(), ["emocaliber"]):
        parts += [f"{'##' if len(words) < 3 else '###'} {' '.join(words)}", f"```text\n{parser.format_help().rstrip()}\n```"]
    return "\n\n".join(parts) + "\n"


def _parsers(parser: argparse.ArgumentParser, words: list[str]) -> Iterator[tuple[list[str], argparse.ArgumentParser]]:
    yield words, parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, inner in action.choices.items():
                if name != "help":
                    yield from _parsers(inner, [*words, name])


def python_page() -> str:
    """The public names of the package, each with its docstring."""
    import emocaliber

    parts = ["# Python", "`import emocaliber as ec` has these names; [examples of each](../python.md)."]
    for name in sorted(emocaliber.__all__, key=lambda name: (not name.islower(), name)):  # what one calls, before what one gets
        found = getattr(emocaliber, name)
        if hasattr(found, "__module__"):
            options = f"heading: ec.{name}\n      toc_label: ec.{name}\n      heading_level: 2"
            parts.append(f"::: {found.__module__}.{found.__qualname__}\n    options:\n      {options}")
    return "\n\n".join(parts) + "\n"


def modules_page() -> str:
    """The functions and classes of the modules that users call or read."""
    lines = [f"## {name}\n\n::: emocaliber.{name}\n    options:\n      show_root_heading: false" for name in MODULES]
    intro = "The parts that a program of one's own, or a reader of a number, looks into. All others: [architecture](../architecture.md)."
    return "\n\n".join(["# Modules", intro, *lines]) + "\n"


def _folded(text: str) -> str:
    """The text with its long sentences over several lines; tables, whose columns stand two spaces apart, stay as they are."""
    lines = text.splitlines()
    return "\n".join(line if "  " in line else textwrap.fill(line, _COLUMNS) for line in lines)


def notebook_page(notebook: Mapping[str, Any], name: str) -> tuple[str, dict[str, bytes]]:
    """A notebook as Markdown, and its pictures by file name. What a cell printed follows it, if the notebook was run."""
    parts, pictures = [], {}
    for number, cell in enumerate(notebook["cells"]):
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(source)
            continue
        parts.append(f"```python\n{source}\n```")
        for output in cell["outputs"]:
            data = output.get("data", {})
            text = "" if output.get("name") == "stderr" else "".join(output.get("text", data.get("text/plain", "")))
            if "image/png" in data:
                file = f"{name}-{number}-{len(pictures)}.png"
                pictures[file] = base64.b64decode("".join(data["image/png"]))
                parts.append(f"![What this cell draws]({file})")
            elif text.strip() and "IPython.core.display" not in text:  # a progress bar
                parts.append(f"```text\n{_folded(text.rstrip())}\n```")
    return "\n\n".join(parts) + "\n", pictures
