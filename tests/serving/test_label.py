"""`emocaliber label`: a real server, asked as the page asks it, and the page itself in a headless Chromium."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from PIL import Image
from starlette.applications import Starlette

import emocaliber
from browser import CHROMIUM, Browser, wait_for
from emocaliber.__main__ import main
from emocaliber.io.rows import read_rows
from emocaliber.predict.predictor import Predictor, Query
from emocaliber.serving.labelling import create_label_app
from emocaliber.serving.server import address_of, bound_socket, server_of
from emocaliber.serving.settings import Settings
from emocaliber.serving.votes import Votes
from stand_ins import ColourModel, photo

SOURCE = Path(emocaliber.__file__).parent.parent
LABELS = ("calm", "tense", "joyful")


class Desk:
    """A server of `emocaliber label`, asked with the secret of its link."""

    def __init__(self, link: str) -> None:
        self.link = link
        self.address, _, secret = link.partition("#")
        self.client = httpx2.Client(base_url=self.address, headers={"Authorization": f"Bearer {secret}"}, timeout=60)

    def vote(self, person: object, place: object, emotion: object, **more: object) -> httpx2.Response:
        return self.client.post("label/votes", content=json.dumps({"person": person, "place": place, "emotion": emotion, **more}))

    def answer(self, person: str, place: int) -> httpx2.Response:
        return self.client.get(f"label/answers/{place}", params={"person": person})

    def state(self, person: str) -> Any:
        return self.client.get("label/state", params={"person": person}).raise_for_status().json()


class Labelling:
    """The command on a folder of pictures, started and killed as often as a test likes."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.votes, self.samples = folder, folder / "votes.jsonl", folder / "samples.jsonl"
        self.process: subprocess.Popen[str] | None = None

    def start(self, *options: str) -> Desk:
        words = ["label", str(self.folder / "photos"), "--out", str(self.votes), "--samples", str(self.samples), "--port", "0", *options]
        environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
        command = [sys.executable, "-m", "emocaliber", *words]
        self.process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert self.process.stdout and self.process.stderr
        line = self.process.stdout.readline()
        found = re.match(r"open (\S+) and stop", line)
        assert found, line + self.process.stderr.read()
        return Desk(found[1])

    def stop(self, number: int = signal.SIGINT) -> str:
        """Ends the server with a signal, and returns what it said on standard error."""
        assert self.process
        self.process.send_signal(number)
        return self.process.communicate()[1]


@pytest.fixture
def labelling(tmp_path: Path) -> Iterator[Labelling]:
    for colour in ("red", "green", "blue"):
        photo(tmp_path / "photos" / f"{colour}.png", colour)
    running = Labelling(tmp_path)
    yield running
    if running.process and running.process.poll() is None:
        running.stop(signal.SIGKILL)


@contextlib.contextmanager
def running(app: Starlette) -> Iterator[str]:
    """The address of an application that is served by a thread."""
    bound, ready = bound_socket("127.0.0.1", 0), threading.Event()
    server = server_of(app, Settings(port=0), ready.set, 10)
    thread = threading.Thread(target=lambda: asyncio.run(server.serve([bound])), daemon=True)
    thread.start()
    assert ready.wait(60)
    try:
        yield address_of(bound)
    finally:
        server.should_exit = True
        thread.join(60)


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Callable[..., Desk]]:
    """Starts a server in this process, with a model of colours if wanted."""
    images = [str(photo(tmp_path / f"{colour}.png", colour)) for colour in ("red", "green", "blue")]
    query = Query.of(labels=LABELS)
    with contextlib.ExitStack() as closing:
        votes = closing.enter_context(Votes(tmp_path / "votes.jsonl", images, query.task, query.candidates))

        def start(model: ColourModel | None = None) -> Desk:
            app = create_label_app(votes, images, query, "secret", Predictor(model) if model else None)
            return Desk(f"{closing.enter_context(running(app))}/#secret")

        yield start


def test_a_killed_server_goes_on_where_it_was(labelling: Labelling) -> None:
    first = labelling.start("--labels", ",".join(LABELS))
    assert first.vote("Ada", 0, "calm", seconds=2.34).json() == {"kept": True}
    assert first.vote("Ben", 0, "tense").json() == {"kept": True}
    labelling.stop(signal.SIGKILL)
    again = labelling.start("--labels", ",".join(LABELS))
    assert again.address != first.address or again.link != first.link, "an old link does not open a new server"
    pictures = again.state("ada")["pictures"]
    assert {(each["place"], each["done"], each["emotion"]) for each in pictures} == {(0, True, "calm"), (1, False, None), (2, False, None)}
    assert again.vote("Ada", 1, "joyful").json() == {"kept": True}
    again.vote("Ada", 0, "tense")
    said = labelling.stop()
    assert "votes.jsonl holds 3 votes by 2 people on 3 pictures" in said
    assert "samples.jsonl: 2 samples; without a sample: 1 with no vote" in said
    assert [row["emotion"] for row in read_rows(labelling.votes)] == ["calm", "tense", "joyful", "tense"]
    assert [(row["id"], row["votes"]) for row in read_rows(labelling.samples)] == [
        ("photos/blue.png", {"tense": 2}),
        ("photos/green.png", {"joyful": 1}),
    ]


def test_score_reads_the_samples_and_knows_how_many_people_agree(labelling: Labelling, capsys: pytest.CaptureFixture[str]) -> None:
    names = sorted((labelling.folder / "photos").iterdir())
    with Votes(labelling.votes, list(map(str, names)), "EmoSet-8", Query.of().candidates) as votes:
        for person, emotion in (("Ada", "awe"), ("Ben", "awe"), ("Cleo", "fear")):
            for place in range(len(names)):
                votes.cast(person, place, emotion)
    options = ["--out", str(labelling.votes), "--samples", str(labelling.samples), "--samples-only"]
    assert main(["label", str(labelling.folder / "photos"), *options]) == 0
    assert "3 samples" in capsys.readouterr().err
    answers = labelling.folder / "rows.jsonl"
    rows = [{"id": f"photos/{path.name}", "image": f"photos/{path.name}", "answer": "awe", "confidence": 0.7} for path in names]
    answers.write_text("".join(json.dumps(row) + "\n" for row in rows))
    out = labelling.folder / "scores"
    assert main(["score", str(answers), "--truth", str(labelling.samples), "--out", str(out), "--numbers-only"]) == 0
    scored = json.loads((out / "metrics.json").read_text())["tasks"]["EmoSet-8"]
    assert scored["n"] == 3 and scored["accuracy"] == 1
    assert scored["emotion"]["agreement"] == pytest.approx(2 / 3)


@pytest.mark.slow
def test_a_model_answers_the_samples_and_is_scored_on_them(labelling: Labelling) -> None:
    for place, path in enumerate(sorted(EXAMPLES.glob("*.png"))):
        shutil.copy(path, labelling.folder / "photos" / f"{place}.png")
    names = sorted(map(str, (labelling.folder / "photos").iterdir()))
    with Votes(labelling.votes, names, "EmoSet-8", Query.of().candidates) as votes:
        for person in ("Ada", "Ben", "Cleo"):
            for place in range(len(names)):
                votes.cast(person, place, votes.candidates[place % 8])
        votes.write_samples(labelling.samples)
    responses = labelling.folder / "responses.jsonl"
    assert main(["respond", str(labelling.samples), "--model", "tiny", "--out", str(responses)]) == 0
    assert main(["score", str(responses), "--out", str(labelling.folder / "scores"), "--numbers-only"]) == 0
    assert all(sum(row["votes"].values()) == 3 for row in read_rows(responses))


EXAMPLES = Path(__file__).parents[2] / "examples" / "images"


def test_without_the_whole_link_nothing_is_told(desk: Callable[..., Desk]) -> None:
    at = desk()
    for header in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "secret\u00e9".encode()}):
        with httpx2.Client(base_url=at.address) as stranger:
            for method, path in (("GET", "label/state?person=Ada"), ("GET", "label/pictures/0"), ("POST", "label/votes")):
                assert stranger.request(method, path, headers=header).status_code == 401
    assert httpx2.get(at.address).status_code == 200, "the page itself holds nothing"


def test_the_models_answer_is_told_after_the_vote_which_then_stays(desk: Callable[..., Desk]) -> None:
    at = desk(ColourModel())
    assert at.state("Ada")["model"] == "colour"
    at.client.get("label/pictures/0").raise_for_status()
    assert at.answer("Ada", 0).status_code == 403
    at.vote("Ada", 0, None)
    assert at.answer("Ada", 0).status_code == 403, "who cannot tell has not voted"
    at.vote("Ada", 0, "calm")
    row = at.answer("Ada", 0).json()
    assert row["emotion"] in LABELS and row["image"].endswith("red.png")
    refused = at.vote("Ada", 0, "tense")
    assert refused.status_code == 403 and "stays as it was" in refused.json()["error"]["message"]
    assert at.answer("Ben", 0).status_code == 403, "Ben has not voted yet"
    assert at.vote("Ben", 0, "tense").status_code == 200


def test_without_a_model_a_vote_may_be_changed_and_there_is_no_answer(desk: Callable[..., Desk]) -> None:
    at = desk()
    at.vote("Ada", 0, "calm")
    assert at.vote("Ada", 0, "tense").status_code == 200
    assert at.answer("Ada", 0).status_code == 403


def test_nobody_is_told_of_the_votes_of_others(desk: Callable[..., Desk]) -> None:
    at = desk()
    at.vote("Ada", 0, "calm")
    assert not any(each["done"] or each["emotion"] for each in at.state("Ben")["pictures"])


def test_a_picture_is_sent_upright_without_its_metadata_and_a_broken_one_says_why(desk: Callable[..., Desk], tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "taken at home"
    Image.new("RGB", (64, 32), "red").save(tmp_path / "red.png", "JPEG", exif=exif)
    (tmp_path / "green.png").write_bytes((tmp_path / "green.png").read_bytes()[:60])
    at = desk()
    shown = at.client.get("label/pictures/0")
    assert shown.headers["content-type"] == "image/jpeg" and shown.headers["cache-control"] == "no-store"
    (tmp_path / "shown.jpg").write_bytes(shown.content)
    with Image.open(tmp_path / "shown.jpg") as image:
        assert image.size == (32, 64) and not image.getexif()
    broken = at.client.get("label/pictures/1")
    assert broken.status_code == 422 and "green.png" in broken.json()["error"]["message"]
    assert at.client.get("label/pictures/3").status_code == 404
    assert at.client.get("label/pictures/..%2f..%2fetc%2fpasswd").status_code == 404


BAD = {
    "no name": ("", 0, "calm"),
    "no text": (7, 0, "calm"),
    "no picture": ("Ada", 3, "calm"),
    "a picture from the end": ("Ada", -1, "calm"),
    "yes as a place": ("Ada", True, "calm"),
    "no label": ("Ada", 0, "sad"),
    "a list": ("Ada", 0, ["calm"]),
}


@pytest.mark.parametrize("vote", BAD.values(), ids=BAD)
def test_what_is_no_vote_is_refused_and_not_kept(desk: Callable[..., Desk], tmp_path: Path, vote: tuple[object, object, object]) -> None:
    assert desk().vote(*vote).status_code == 422
    assert (tmp_path / "votes.jsonl").read_text() == ""


def test_a_body_that_is_no_vote_is_refused(desk: Callable[..., Desk]) -> None:
    at = desk()
    for body, status in ((b"", 422), (b"[]", 422), (b"{", 422), (b"\xff", 422), (b" " * 5000, 413), (b'{"seconds": 1e999}', 422)):
        assert at.client.post("label/votes", content=body).status_code == status


def test_a_port_that_is_taken_is_named(labelling: Labelling, capsys: pytest.CaptureFixture[str]) -> None:
    taken = bound_socket("127.0.0.1", 0)
    taken.listen()
    port = str(taken.getsockname()[1])
    with taken:
        assert main(["label", str(labelling.folder / "photos"), "--out", str(labelling.votes), "--port", port]) == 2
    assert f"port {port}" in capsys.readouterr().err


def test_without_the_servers_packages_the_command_says_what_to_install(labelling: Labelling) -> None:
    code = "import sys; sys.modules['starlette'] = None; from emocaliber.__main__ import main; sys.exit(main(sys.argv[1:]))"
    words = ["label", str(labelling.folder / "photos"), "--out", str(labelling.votes)]
    ran = subprocess.run(
        [sys.executable, "-c", code, *words], capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(SOURCE)}
    )
    assert ran.returncode == 2 and "emocaliber label needs more packages" in ran.stderr and "pip install" in ran.stderr
    assert not labelling.votes.exists()


WRONG = {
    "samples without a file": (["--samples-only"], "name it with --samples"),
    "one file for both": (["--samples", "{votes}"], "cannot both be in"),
    "one label": (["--labels", "calm"], "give two or more"),
    "no such task": (["--task", "EmoSet-9"], "there is no task 'EmoSet-9'"),
}


@pytest.mark.parametrize(("options", "said"), WRONG.values(), ids=WRONG)
def test_wrong_options_are_told(labelling: Labelling, capsys: pytest.CaptureFixture[str], options: list[str], said: str) -> None:
    given = [option.format(votes=labelling.votes) for option in options]
    assert main(["label", str(labelling.folder / "photos"), "--out", str(labelling.votes), *given]) == 2
    assert said in capsys.readouterr().err
    assert not labelling.votes.exists()


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Browser]:
    if not CHROMIUM:
        pytest.skip("there is no Chromium on this machine")
    with Browser(tmp_path) as running:
        running.look()
        yield running


def begin(browser: Browser, at: Desk, name: str) -> None:
    browser.call("Page.navigate", url="about:blank")
    browser.call("Page.navigate", url=at.link)
    browser.wait("document.activeElement?.id === 'person'")
    browser.type(name)
    browser.press("Enter")


def shown(browser: Browser, count: str) -> None:
    browser.wait(f"count.textContent === {count!r} && ask.ariaBusy === 'false' && document.querySelector('#picture img')")


def test_two_people_vote_with_the_keyboard_alone(browser: Browser, desk: Callable[..., Desk], tmp_path: Path) -> None:
    at = desk()
    begin(browser, at, "Ada")
    shown(browser, "1 of 3")
    assert browser.evaluate("location.hash") == "", "the secret is not left where all can read it"
    browser.press("1")
    shown(browser, "2 of 3")
    browser.press("ArrowLeft")
    shown(browser, "1 of 3")
    assert browser.evaluate("document.querySelector('[aria-pressed=true] span').textContent") == "calm"
    browser.press("3")
    shown(browser, "2 of 3")
    browser.press("0")
    shown(browser, "3 of 3")
    browser.press("2")
    browser.wait("!document.querySelector('#end').hidden")
    browser.tab_to("#other")
    browser.press("Enter")
    browser.wait("document.activeElement?.id === 'person'")
    browser.type("Ben")
    browser.press("Enter")
    shown(browser, "1 of 3")
    browser.press("2")
    shown(browser, "2 of 3")
    votes = [(row["person"], row["emotion"]) for row in read_rows(tmp_path / "votes.jsonl")]
    assert votes == [("Ada", "calm"), ("Ada", "joyful"), ("Ada", None), ("Ada", "tense"), ("Ben", "tense")]
    assert all(0 <= row["seconds"] < 60 for row in read_rows(tmp_path / "votes.jsonl"))
    assert browser.complaints() == []


def test_the_page_shows_the_models_answer_only_after_the_vote(browser: Browser, desk: Callable[..., Desk]) -> None:
    begin(browser, desk(ColourModel()), "Ada")
    shown(browser, "1 of 3")
    assert browser.evaluate("answer.hidden && !answer.textContent")
    browser.press("1")
    browser.wait("ask.ariaBusy === 'false' && !answer.hidden && answer.textContent.includes('The model says')")
    assert browser.evaluate("[...labels.children].every((button) => button.disabled)")
    browser.press("2")  # too late
    browser.press("ArrowRight")
    shown(browser, "2 of 3")
    browser.press("ArrowLeft")
    browser.wait("!answer.hidden && document.querySelector('[aria-pressed=true] span')?.textContent === 'calm'")


def test_a_label_is_shown_as_text(browser: Browser, tmp_path: Path) -> None:
    image = str(photo(tmp_path / "red.png", "red"))
    label = '<img src=x onerror="window.harmed = 1">'
    query = Query.of(labels=[label, "calm"])
    votes = Votes(tmp_path / "votes.jsonl", [image], query.task, query.candidates)
    with votes, running(create_label_app(votes, [image], query, "s")) as url:
        begin(browser, Desk(f"{url}/#s"), "<b>Ada</b>")
        shown(browser, "1 of 1")
        assert browser.evaluate("labels.querySelector('span').textContent") == label
        browser.press("1")
        browser.wait("ended.textContent.includes('<b>Ada</b>')")
        assert browser.evaluate("window.harmed") is None


def test_the_page_fits_a_phone(browser: Browser, desk: Callable[..., Desk]) -> None:
    browser.look(width=360, height=740)
    begin(browser, desk(), "Ada")
    shown(browser, "1 of 3")
    assert browser.evaluate("document.documentElement.scrollWidth") == 360
    assert wait_for(lambda: browser.evaluate("Math.min(...[...labels.children].map((each) => each.offsetHeight))") >= 44, "large buttons")
