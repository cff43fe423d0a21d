"""The page of `emocaliber serve`, from a real server, in a headless Chromium."""

from __future__ import annotations

import csv
import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from browser import CHROMIUM, Browser
from emocaliber.serving.engine import EngineLimits
from emocaliber.serving.keys import KeyFile
from emocaliber.serving.page import palette
from serving_servers import ServerProcess, picture, served_model
from stand_ins import ColourModel, photo

EXAMPLES = Path(__file__).parents[2] / "examples" / "images"
FILES = ("base.css", "page.css", "page.js", "ask.js", "cards.js", "visit.js", "words.js", "rows.js", "icon.svg", "palette.json")
DONE = "document.querySelectorAll('.card .said').length === {count}"


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    if not CHROMIUM:
        pytest.skip("there is no Chromium on this machine")
    with Browser(tmp_path_factory.mktemp("downloads")) as running:
        yield running


@pytest.fixture
def browser(chromium: Browser) -> Iterator[Browser]:
    """A browser that remembers nothing, with a window of usual size."""
    chromium.look()
    yield chromium
    chromium.evaluate("document.querySelector('#forget')?.click(); try { sessionStorage.clear() } catch { }")
    chromium.open("about:blank")


@pytest.fixture
def three(tmp_path: Path) -> list[Path]:
    """Three pictures, of which the second is broken."""
    whole = (EXAMPLES / "comet_nobody_stars.png").read_bytes()
    (tmp_path / "broken.png").write_bytes(whole[: len(whole) // 2])
    return [EXAMPLES / "fist_man_fire.png", tmp_path / "broken.png", EXAMPLES / "balloons_child_meadow.png"]


def opened(browser: Browser, url: str) -> None:
    browser.open(url)
    browser.wait("document.querySelector('#task').options.length > 2")


def names_and_words(browser: Browser) -> dict[str, str]:
    """What each card says, by the name of its file."""
    return dict(browser.evaluate("[...document.querySelectorAll('.card')].map((card) => [card.ariaLabel, card.innerText])"))


def slide_to(browser: Browser, level: int) -> None:
    browser.evaluate(f"least.value = {level}; least.dispatchEvent(new Event('input'))")


def test_the_files_of_the_page_cannot_be_misread_and_are_asked_about_each_time(tiny_server: ServerProcess) -> None:
    for path in ("/", *(f"/page/{name}" for name in FILES)):
        reply = httpx2.get(tiny_server.url + path)
        assert reply.status_code == 200, path
        policy = reply.headers["content-security-policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy and "http" not in policy
        assert reply.headers["x-content-type-options"] == "nosniff" and reply.headers["cache-control"] == "no-cache"
        kept = httpx2.get(tiny_server.url + path, headers={"If-None-Match": f'"other", W/{reply.headers["etag"]}'})
        assert (kept.status_code, kept.content) == (304, b"")


def test_the_page_names_no_remote_address_and_has_nothing_inline(tiny_server: ServerProcess) -> None:
    for path in ("/", *(f"/page/{name}" for name in FILES)):
        text = httpx2.get(tiny_server.url + path).text.replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"https?:|//[a-z]+\.", text), path
        assert "innerHTML" not in text and "insertAdjacentHTML" not in text and "document.write" not in text
    index = httpx2.get(tiny_server.url).text
    assert not re.search(r"<style|<script(?![^>]* src=)|\son\w+=|\sstyle=", index)


@pytest.mark.parametrize("path", ["/page/../page/page.js", "/page/..%2fpage.js", "/page/%2e%2e/__init__.py", "/page/__init__.py", "/page/"])
def test_no_other_file_is_served(tiny_server: ServerProcess, path: str) -> None:
    words = ["curl", "-s", "--path-as-is", "-o", "/dev/null", "-w", "%{http_code}", tiny_server.url + path]
    assert subprocess.run(words, capture_output=True, text=True).stdout == "404"


def test_every_label_of_a_task_has_a_colour() -> None:
    colours = palette()
    assert {"awe", "sadness", "positive"} <= colours.keys()
    assert all(re.fullmatch("#[0-9a-f]{6}", colour) for pair in colours.values() for colour in pair)


def test_three_pictures_are_dropped_and_the_broken_one_fails_alone(browser: Browser, tiny_server: ServerProcess, three: list[Path]) -> None:
    opened(browser, tiny_server.url)
    browser.drop(three, "#drop")
    browser.wait(DONE.format(count=3))
    said = names_and_words(browser)
    assert list(said) == [path.name for path in three], "in the order of the drop"
    assert re.search(r"anger\n.*Right in about \d of 10 such cases\.\n.*people", said["fist_man_fire.png"], re.DOTALL)
    assert "Why, in five steps" in said["fist_man_fire.png"] and "What it weighed" in said["fist_man_fire.png"]
    assert "No answer" in said["broken.png"] and "the image is missing" in said["broken.png"] and "Try again" in said["broken.png"]
    browser.wait("document.querySelector('#status').textContent.includes('fist_man_fire.png: anger')")
    browser.wait("notices.innerText.includes('drawn scenes')")  # what users of the model must know
    assert browser.complaints() == []


def test_the_slider_shows_what_remains_and_the_rows_saved_say_so(browser: Browser, tiny_server: ServerProcess, three: list[Path]) -> None:
    opened(browser, tiny_server.url)
    browser.drop(three)
    browser.wait(DONE.format(count=3))
    browser.wait("remains.textContent.startsWith('Both answers remain; about')")
    slide_to(browser, 70)
    assert browser.evaluate("remains.textContent") == "70\u00a0%: 1 of 2 answers remain; about 9 of 10 such answers are right."
    said = names_and_words(browser)
    assert "sure enough" in said["fist_man_fire.png"]
    assert (
        "abstains" in said["balloons_child_meadow.png"]
        and "less sure than the 70\u00a0% that you ask for" in said["balloons_child_meadow.png"]
    )
    browser.click("[data-save=jsonl]")
    lines = browser.downloaded("predictions.jsonl").read_text().splitlines()
    rows = {row["image"]: row for row in map(json.loads, lines)}
    assert {name: row["accepted"] for name, row in rows.items()} == {
        "fist_man_fire.png": True,
        "balloons_child_meadow.png": False,
        "broken.png": None,
    }
    browser.click("[data-save=csv]")
    with open(browser.downloaded("predictions.csv"), newline="", encoding="utf-8") as file:
        table = {row["image"]: row for row in csv.DictReader(file)}
    for name, row in rows.items():
        assert table[name]["emotion"] == (row["emotion"] or "") and table[name]["error.code"] == (
            row["error"]["code"] if row["error"] else ""
        )
    browser.click("#hide")
    assert browser.evaluate("[...document.querySelectorAll('.card')].filter((card) => !card.hidden).map((card) => card.ariaLabel)") == [
        "fist_man_fire.png",
        "broken.png",
    ]


def test_everything_is_done_with_the_keyboard_alone(browser: Browser, tiny_server: ServerProcess) -> None:
    opened(browser, tiny_server.url)
    browser.tab_to("#choose")
    pictures = [EXAMPLES / "whale_nobody_mountains.png", EXAMPLES / "heart_child_storm.png"]
    browser.choose_files(pictures, lambda: browser.press("Enter"))
    browser.wait(DONE.format(count=2))
    browser.tab_to("#least")
    browser.press("End")
    assert browser.evaluate("least.value") == "99" and browser.evaluate("document.activeElement.id") == "least"
    browser.press("Home")
    browser.tab_to(".card:nth-child(1) .compare")
    browser.press("Enter")
    assert browser.evaluate("document.activeElement.ariaPressed") == "true", "the focus stays where it was"
    browser.tab_to(".card:nth-child(2) .compare")
    browser.press(" ")
    browser.wait("compare.open && compare.contains(document.activeElement)")
    assert browser.evaluate("both.innerText.includes('whale_nobody_mountains.png') && both.querySelectorAll('tbody tr').length") == 8
    browser.press("Escape")
    browser.wait("!compare.open && document.activeElement.matches('.card:nth-child(2) .compare')")
    browser.tab_to(".card:nth-child(2) .remove")
    browser.press("Enter")
    browser.wait("document.querySelectorAll('.card').length === 1 && document.activeElement.matches('.remove')")
    browser.press("Enter")
    browser.wait("results.hidden && document.activeElement.id === 'choose'")


def test_a_picture_is_pasted(browser: Browser, tiny_server: ServerProcess) -> None:
    opened(browser, tiny_server.url)
    browser.evaluate(
        "(async () => { const canvas = document.createElement('canvas'); canvas.width = canvas.height = 64;"
        "const blob = await new Promise((done) => canvas.toBlob(done)); const data = new DataTransfer();"
        "data.items.add(new File([blob], 'image.png', { type: 'image/png' }));"
        "dispatchEvent(new ClipboardEvent('paste', { clipboardData: data })); })()"
    )
    browser.wait(DONE.format(count=1))
    assert list(names_and_words(browser)) == ["image.png"]


def test_every_control_has_a_name_for_screen_readers(browser: Browser, tiny_server: ServerProcess, three: list[Path]) -> None:
    opened(browser, tiny_server.url)
    browser.drop(three)
    browser.wait(DONE.format(count=3))
    nodes = browser.call("Accessibility.getFullAXTree")["nodes"]
    roles = ("button", "textbox", "slider", "checkbox", "combobox", "image", "article", "heading", "DisclosureTriangle")
    found = [
        (node["role"]["value"], node["name"]["value"]) for node in nodes if node.get("role", {}).get("value") in roles and "name" in node
    ]
    assert len(found) > 20 and all(name.strip() for _, name in found), found
    names = [name for role, name in found if role == "button"]
    assert "Compare: fist_man_fire.png" in names and "Try again: broken.png" in names
    assert len(names) == len(set(names)), "no two buttons are called the same"


def test_labels_of_ones_own_are_asked_and_pictures_can_be_asked_again(browser: Browser, tiny_server: ServerProcess) -> None:
    opened(browser, tiny_server.url)
    browser.drop([EXAMPLES / "fist_man_fire.png"])
    browser.wait(DONE.format(count=1))
    browser.evaluate("task.value = 'own'; task.dispatchEvent(new Event('input'))")
    browser.tab_to("#labels")
    browser.type("calm, grumpy")
    browser.wait("!again.hidden && again.textContent === 'Ask this about the picture below'")
    browser.click("#again")
    browser.wait("document.querySelector('.said')?.textContent.match(/calm|grumpy/)")
    said = names_and_words(browser)["fist_man_fire.png"]
    assert "labels of your own" in said and "A guess: no likelier to be right than drawing a label by lot (50\u00a0%)." in said
    assert "The model was not taught these labels." in said and "Right in" not in said


def test_a_visit_is_there_again_after_a_reload_until_forgotten(browser: Browser, tiny_server: ServerProcess, three: list[Path]) -> None:
    opened(browser, tiny_server.url)
    browser.drop(three)
    browser.wait(DONE.format(count=3))
    before = names_and_words(browser)
    browser.wait("JSON.parse(sessionStorage.emocaliber ?? '[]').filter((each) => each.thumbnail).length >= 2")
    opened(browser, tiny_server.url)
    browser.wait(DONE.format(count=3))
    after = names_and_words(browser)
    assert after.keys() == before.keys() and after["fist_man_fire.png"] == before["fist_man_fire.png"]
    assert "Try again" not in after["broken.png"], "its file is gone with the page"
    assert browser.evaluate("document.querySelector('.card img').src").startswith("data:image/jpeg")
    browser.click("#forget")
    assert browser.evaluate("sessionStorage.emocaliber") is None
    assert names_and_words(browser) == {}


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_the_page_fits_a_phone_and_can_be_read(browser: Browser, tiny_server: ServerProcess, three: list[Path], dark: bool) -> None:
    browser.look(width=360, height=740, dark=dark)
    opened(browser, tiny_server.url)
    browser.drop(three)
    browser.wait(DONE.format(count=3))
    assert browser.evaluate("document.documentElement.scrollWidth") == 360
    shown = "[...document.querySelectorAll('main button')].filter((each) => each.offsetParent)"
    sizes = browser.evaluate(f"{shown}.map((each) => each.offsetHeight)")
    assert min(sizes) >= 40
    paper, ink = browser.evaluate("[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color]")
    lightness = [sum(map(int, re.findall(r"\d+", colour)[:3])) / 3 for colour in (paper, ink)]
    assert lightness[0] < 40 and lightness[1] > 200 if dark else lightness[0] > 200 and lightness[1] < 60
    browser.click(".compare")
    browser.evaluate("document.querySelectorAll('.compare')[1].click()")
    browser.wait("compare.open")
    assert browser.evaluate("compare.scrollWidth <= compare.clientWidth")


def test_names_and_labels_are_text_whatever_they_hold(browser: Browser, tmp_path: Path) -> None:
    name = "<img src=x onerror=window.harmed=1>.png"
    photo(tmp_path / name, "red")
    with served_model(ColourModel(), tmp_path) as (url, _):
        opened(browser, url)
        browser.evaluate("task.value = 'own'; task.dispatchEvent(new Event('input'))")
        browser.evaluate("labels.value = '<b>calm</b>,<script>window.harmed=1</script>'; labels.dispatchEvent(new Event('input'))")
        browser.drop([tmp_path / name])
        browser.wait(DONE.format(count=1))
        assert browser.evaluate("document.querySelector('.said').textContent.startsWith('<')")
        assert browser.evaluate("document.querySelectorAll('#answers b, #answers script').length") == 0
        assert list(names_and_words(browser)) == [name]
        assert browser.evaluate("window.harmed") is None


def test_a_key_is_asked_for_and_what_waits_goes_on(browser: Browser, tmp_path: Path) -> None:
    image = photo(tmp_path / "red.png", "red")
    with served_model(ColourModel(), tmp_path) as (url, _):
        opened(browser, url)
        key = KeyFile(tmp_path / "keys.json").make("web", None)
        browser.drop([image])
        browser.wait("!key.hidden && document.activeElement.id === 'secret'")
        assert "Waits for a key." in names_and_words(browser)["red.png"]
        browser.type("wrong")
        browser.press("Enter")
        browser.wait("refused.textContent.includes('does not know this key')")
        browser.evaluate("secret.value = ''")
        browser.type(key)
        browser.press("Enter")
        browser.wait(DONE.format(count=1) + " && key.hidden")
        opened(browser, url)
        browser.drop([image])
        browser.wait(DONE.format(count=2) + " && key.hidden")


def test_a_busy_server_is_asked_again(browser: Browser, tmp_path: Path) -> None:
    images = [photo(tmp_path / f"{number}.png", "red") for number in range(6)]
    limits = EngineLimits(queue_images=1, batch_images=1)
    with served_model(ColourModel(seconds_each=0.2), tmp_path, engine=limits) as (url, _):
        opened(browser, url)
        browser.drop(images)
        browser.wait("document.querySelector('#answers').innerText.includes('The server is busy; it is asked again in')")
        browser.wait(DONE.format(count=6) + " && !document.querySelector('.card.failed')")


def test_a_server_that_is_gone_is_named_and_the_picture_can_be_tried_again(browser: Browser, tmp_path: Path) -> None:
    image = tmp_path / "red.png"
    image.write_bytes(picture("red"))
    with served_model(ColourModel(), tmp_path) as (url, _):
        opened(browser, url)
    browser.drop([image])
    browser.wait(DONE.format(count=1))
    said = names_and_words(browser)["red.png"]
    assert "The connection broke." in said and "Try again" in said
