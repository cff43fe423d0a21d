"""The documentation's site is built strictly, holds what the code knows, fetches nothing, and its links lead somewhere."""

from __future__ import annotations

import html
import json
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote

import pytest

import emocaliber
from browser import CHROMIUM, Browser
from emocaliber.__main__ import COMMANDS

ROOT = Path(__file__).parents[1]
FETCHED = re.compile(
    r"""<(?:script|img|iframe|source)[^>]*\ssrc=["']?(https?:)?//"""
    r"""|<link[^>]*rel=["']?(?:stylesheet|preconnect|preload)[^>]*href=["']?(https?:)?//"""
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    for package in ("mkdocs", "material", "mkdocstrings"):
        pytest.importorskip(package, reason=f"{package} is not installed; make docs installs it")
    out = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", out]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return out


def test_every_page_of_the_folder_is_on_the_site(site: Path) -> None:
    pages = {file.relative_to(site).as_posix() for file in site.rglob("*.html")}
    assert {f"{file.stem}.html" for file in (ROOT / "docs").glob("*.md")} <= pages
    assert {f"notebooks/{file.stem}.html" for file in (ROOT / "examples" / "notebooks").glob("*.ipynb")} <= pages


def test_the_reference_has_every_command_and_every_public_name(site: Path) -> None:
    commands = (site / "reference" / "commands.html").read_text("utf-8")
    for name in COMMANDS:
        assert f'id="emocaliber-{name}"' in commands
    names = (site / "reference" / "python.html").read_text("utf-8")
    for name in set(emocaliber.__all__) - {"__version__"}:
        assert f"ec.{name}" in names


def test_nothing_is_fetched_from_elsewhere(site: Path) -> None:
    for page in site.rglob("*.html"):
        found = FETCHED.search(page.read_text("utf-8"))
        assert not found, f"{page.name}: {found and found[0]}"
        assert "iframe-worker.js" in page.read_text("utf-8"), "from the disk, the search would not work"


def test_links_between_pages_lead_to_a_page_and_a_heading(site: Path) -> None:
    ids: dict[Path, set[str]] = {}

    def headings(page: Path) -> set[str]:
        if page not in ids:
            ids[page] = set(re.findall(r'\sid="?([^"\s>]+)', page.read_text("utf-8")))
        return ids[page]

    for page in site.rglob("*.html"):
        for link in set(re.findall(r'<a[^>]*\shref="([^"]+)"', page.read_text("utf-8"))):
            path, _, heading = html.unescape(link).partition("#")
            if ":" in path.split("/")[0] or page.name == "404.html":
                continue
            target = (page.parent / unquote(path)).resolve() if path else page
            assert target.exists(), f"{page.name}: {link}"
            if heading and target.suffix == ".html" and not heading.startswith("__"):
                assert unquote(heading) in headings(target), f"{page.name}: {link}"


def test_every_picture_is_on_the_site_and_described(site: Path) -> None:
    for page in site.rglob("*.html"):
        for tag in re.findall(r"<img[^>]*>", page.read_text("utf-8")):
            source, told = (re.search(rf"""\s{name}=(?:"([^"]*)"|([^\s>]+))""", tag) for name in ("src", "alt"))
            assert source and told and (told[1] or told[2]), f"{page.name}: {tag}"
            path = unquote(html.unescape(source[1] or source[2]))
            assert path.startswith("data:") or (page.parent / path).is_file(), f"{page.name}: {tag}"


def test_the_search_knows_the_words_of_the_pages(site: Path) -> None:
    index = json.loads((site / "search" / "search_index.json").read_text("utf-8"))
    texts = {entry["location"]: entry["text"] for entry in index["docs"]}
    assert any("biometric" in text for place, text in texts.items() if place.startswith("ethics"))


@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
def test_opened_from_the_disk_it_is_searched_without_a_network_and_fits_a_phone(site: Path, tmp_path: Path) -> None:
    with Browser(tmp_path) as browser:
        browser.look(width=1300)
        browser.open((site / "index.html").as_uri())
        browser.evaluate("document.querySelector('[data-md-component=search-query]').focus()")
        browser.type("certificate")
        browser.wait("document.querySelectorAll('.md-search-result__item').length > 0")
        assert "Certificates" in browser.evaluate("document.querySelector('.md-search-result__item').textContent")
        assert browser.complaints() == []
        browser.look(width=400)
        for page in ("index", "how-to-answers", "reference/python"):
            browser.open((site / f"{page}.html").as_uri())
            assert browser.evaluate("document.documentElement.scrollWidth") <= 400
