"""The page of `score` holds every number and every answer, and holds them safely."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from emocaliber.core.response import Reasoning, Response, render
from emocaliber.core.scoring import outcome
from emocaliber.core.source_words import SOURCE_WORDS
from emocaliber.core.sources import SOURCES
from emocaliber.evaluation import report
from emocaliber.evaluation.report import write_report
from stand_ins import photo

NASTY = "</script><script>alert(1)</script>\"'><img src=x onerror=alert(1)>\udcff"


class Page(HTMLParser):
    """All elements with their attributes, all text that is shown, and the data of the list of answers."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.source = path.read_text("utf-8")
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = self.data = ""
        self.feed(self.source)
        self.samples: list[dict[str, Any]] = json.loads(self.data)["samples"]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.elements and self.elements[-1] == ("script", {"type": "application/json", "id": "data"}):
            self.data += data
        else:
            self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def row(identity: str, answer: str | None = "awe", stated: float | None = 0.8, **changes: Any) -> dict[str, Any]:
    steps = Reasoning("a storm", "nobody", "the sea", "none", f"it overwhelms in {identity}")
    return {
        "id": identity,
        "image": f"images/{identity}.png",
        "task": "FI-8",
        "candidates": ["awe", "fear"],
        "ground_truth": "awe",
        "response": None if answer is None else render(Response(steps, answer, stated)),
        "error": None,
    } | changes


def metrics(**changes: Any) -> dict[str, Any]:
    """Numbers of one scope as an old metrics.json may have them: hardly any."""
    stated = {"coverage": 1.0, "ece": None, "undefined": {"ece": "no sample has a confidence"}}
    return {"n": 3, "accuracy": 0.5, "malformed": {"count": 0, "share": 0.0}, "confidence": {"verb": stated}} | changes


def summary(**changes: Any) -> dict[str, Any]:
    m = metrics(**changes)
    return {"n": 3, "tasks": {"FI-8": m}, "groups": {"ID VER": m}, "overall": m, "settings": {"sources": ["verb"]}}


def page(tmp_path: Path, *rows: dict[str, Any], numbers: dict[str, Any] | None = None, **settings: Any) -> Page:
    return Page(
        write_report(
            numbers or summary(),
            [outcome(each) for each in rows],
            rows,
            tmp_path / "out",
            **{"name": "mine", "images": tmp_path, **settings},
        )
    )


def test_headline_and_tables_show_numbers_with_intervals_and_the_band_of_a_calibrated_model(tmp_path: Path) -> None:
    stated = {"coverage": 1.0, "ece": 0.1234, "ece_ci": [0.1, 0.15], "ece_null": [0.01, 0.0333], "nll": 1.5}
    shown = page(tmp_path, row("a"), numbers=summary(accuracy_ci=[0.4, 0.61], confidence={"verb": stated}))
    for expected in ("50.00", "40.00 to 61.00", "12.34", "10.00 to 15.00", "calibrated: 1.00 to 3.33", "1.500", "ID VER", "Overall"):
        assert expected in shown.text


def test_a_number_that_is_not_defined_is_a_dash_with_its_reason(tmp_path: Path) -> None:
    titles = [each["title"] for each in page(tmp_path, row("a")).all("abbr")]
    assert "no sample has a confidence" in titles


def test_answers_are_listed_the_most_overconfident_first(tmp_path: Path) -> None:
    shown = page(tmp_path, row("sure"), row("off", "fear", 0.3), row("worst", "fear", 0.95), row("timid", "awe", 0.1), row("none", None))
    assert [sample["id"] for sample in shown.samples] == ["worst", "off", "none", "sure", "timid"]
    assert [sample["verdict"] for sample in shown.samples] == ["wrong", "wrong", "malformed", "right", "right"]
    assert shown.samples[0]["distance"] > 0 and shown.samples[0]["confidence"] == [0.95]
    assert "overwhelms in worst" in shown.samples[0]["response"]


def test_rows_without_an_answer_say_why(tmp_path: Path) -> None:
    failed = row("gone", None, error={"code": "not_found", "message": "no such file"})
    cut = row("cut") | {"response": "<think><element>a"}
    reasons = {sample["id"]: sample["reason"] for sample in page(tmp_path, failed, cut, row("well")).samples}
    assert reasons == {"gone": "not_found: no such file", "cut": "cut_off: the text ends without </element>", "well": None}


def test_votes_and_posteriors_come_along(tmp_path: Path) -> None:
    shown = page(tmp_path, row("a", votes={"awe": 7, "fear": 4}), row("b", posterior={"awe": 0.9, "fear": 0.1}))
    assert [(sample["votes"], sample["posterior"]) for sample in shown.samples] == [
        ({"awe": 7, "fear": 4}, None),
        (None, {"awe": 0.9, "fear": 0.1}),
    ]


def test_the_first_answers_have_thumbnails_and_all_have_a_link(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "_THUMBNAILS", 3)
    rows = [row(name, "fear", confidence) for name, confidence in (("a 1%", 0.9), ("gone", 0.8), ("c", 0.7), ("d", 0.6))]
    for name in ("a 1%", "c", "d"):
        photo(tmp_path / "images" / f"{name}.png", "teal")
    shown = page(tmp_path, row("imageless", "fear", 1.0, image=None), *rows, numbers=summary() | {"n": 5})
    assert [bool(sample["thumbnail"]) for sample in shown.samples] == [False, True, False, False, False]
    assert [sample["link"] for sample in shown.samples][:2] == [None, "../images/a%201%25.png"]
    assert "The 3 most overconfident answers have thumbnails" in shown.text


@pytest.mark.parametrize("way", ["absolute", "upwards", "linked"])
def test_images_outside_the_folder_of_the_rows_are_not_opened(tmp_path: Path, capsys: pytest.CaptureFixture[str], way: str) -> None:
    secret = photo(tmp_path / "private" / "secret.png", "teal")
    rows = tmp_path / "download"
    photo(rows / "images" / "own.png")
    (rows / "images" / "link.png").symlink_to(secret)
    named = {"absolute": str(secret), "upwards": "../private/secret.png", "linked": "images/link.png"}[way]
    own, outside = row("own", "fear", 0.5), row("outside", "fear", 0.9, image=named)
    shown = page(tmp_path, own, outside, numbers=summary() | {"n": 2}, images=rows)
    assert {sample["id"]: bool(sample["thumbnail"]) for sample in shown.samples} == {"own": True, "outside": False}
    assert "1 of the images lie outside the folder of the responses" in shown.text
    assert "1 images lie outside the folder of the responses and are not shown in the page; --images DIR" in capsys.readouterr().err
    for allowed in ({"image_folders": [tmp_path / "private"]}, {"known": {secret.resolve()}}):
        shown = page(tmp_path, own, outside, numbers=summary() | {"n": 2}, images=rows, **allowed)
        assert all(sample["thumbnail"] for sample in shown.samples)
        assert "lie outside" not in shown.text + capsys.readouterr().err


def test_an_image_name_that_no_file_can_have_is_no_image(tmp_path: Path) -> None:
    shown = page(tmp_path, row("a", image="a\0.png"), row("b", image="\ud800.png"))
    assert [sample["link"] for sample in shown.samples] == [None, None]


def test_the_reliability_diagram_leads_to_the_answers_of_each_bin(tmp_path: Path) -> None:
    shown = page(tmp_path, row("a", "awe", 0.85), row("b", "fear", 0.9), row("c", "awe", 0.3))
    assert [link["href"] for link in shown.all("a") if "low=" in (link["href"] or "")] == [
        "#source=verb&low=0.2&high=0.3",
        "#source=verb&low=0.8&high=0.9",
    ]
    assert "2 answers over 0.8 up to 0.9: mean confidence 87.50 %, right 50.00 %" in shown.text


def test_each_source_is_explained_and_names_its_axis(tmp_path: Path) -> None:
    stated = {"coverage": 1.0, "ece": 0.2}
    numbers = summary(confidence=dict.fromkeys(SOURCES, stated)) | {"settings": {"sources": list(SOURCES)}}
    shown = page(tmp_path, row("a") | {"confidence": dict.fromkeys(SOURCES, 0.6)}, numbers=numbers)
    for source in SOURCES:
        words = SOURCE_WORDS[source]
        assert f"{source} is {words.sentence}." in shown.text and f"{words.axis}, %" in shown.text
    assert shown.text.count("Stated confidence, %") == 1
    assert len(shown.all("details")) == 2, "more diagrams, and more tables"


def test_synthetic_scenes_are_said_to_be(tmp_path: Path) -> None:
    drawn = row("b", posterior={"awe": 0.9, "fear": 0.1})
    assert "1 of these are answers about synthetic scenes" in page(tmp_path, row("a"), drawn, numbers=summary() | {"n": 2}).text
    assert "synthetic" not in page(tmp_path, row("a")).text


def test_labels_that_do_not_occur_keep_their_place_in_the_confusion(tmp_path: Path) -> None:
    confusion = {"labels": ["awe", "fear"], "rows": {"awe": {"fear": 2}}}
    shown = page(tmp_path, row("a"), numbers=summary(emotion={"confusion": confusion}))
    assert shown.text.count("contentment") == 2, "as a row and as a column"


def test_each_count_of_the_confusion_leads_to_its_answers(tmp_path: Path) -> None:
    confusion = {"labels": ["awe", "fear"], "rows": {"awe": {"fear": 2, "malformed": 1}}}
    shown = page(tmp_path, row("a"), numbers=summary(emotion={"confusion": confusion}))
    links = [link["href"] for link in shown.all("a") if "truth=" in (link["href"] or "")]
    assert links == ["#task=FI-8&truth=awe&answer=fear", "#task=FI-8&truth=awe&show=malformed"]


def test_figures_are_embedded(tmp_path: Path) -> None:
    shown = page(tmp_path, row("a"), figures=[photo(tmp_path / "risk_coverage.png")])
    (picture,) = shown.all("img")
    assert (picture["src"] or "").startswith("data:image/png;base64,") and picture["alt"] == "risk coverage"


def test_nothing_that_a_row_or_a_name_holds_becomes_markup(tmp_path: Path) -> None:
    numbers = summary(confidence={NASTY: {"ece": 0.1}})
    numbers["tasks"] = {NASTY: numbers["overall"] | {"emotion": {"confusion": {"labels": [NASTY], "rows": {NASTY: {NASTY: 1}}}}}}
    numbers["settings"]["sources"] = [NASTY]
    labels: dict[str, Any] = {"task": NASTY, "candidates": [NASTY, "awe"], "ground_truth": NASTY}
    broken = row(NASTY, None, error={"code": NASTY, "message": NASTY}, votes={NASTY: 1}, confidence={NASTY: 0.5}, **labels)
    nasty = row(NASTY + "2", response=NASTY, confidence={NASTY: 0.5}, image=NASTY, **labels)
    shown, plain = page(tmp_path, broken, nasty, numbers=numbers, name=NASTY), page(tmp_path, row("a"))
    assert len(shown.all("script")) == len(plain.all("script")) == 2
    assert not shown.all("img") and not any(name.startswith("on") for _, attributes in shown.elements for name in attributes)
    assert {sample["response"] for sample in shown.samples} == {NASTY, None}
    assert all(":" not in (sample["link"] or "") for sample in shown.samples)


def test_nothing_is_fetched_and_only_its_own_style_and_script_may_run(tmp_path: Path) -> None:
    shown = page(tmp_path, row("a"))
    for _, attributes in shown.elements:
        assert "style" not in attributes
        for name in ("src", "href", "srcset", "action"):
            assert (attributes.get(name) or "#").startswith(("data:", "#"))
    policy = next(meta["content"] or "" for meta in shown.all("meta") if meta.get("http-equiv") == "Content-Security-Policy")
    assert "default-src 'none'" in policy
    for tag in ("style", "script"):
        (content,) = re.findall(rf"<{tag}>(.*?)</{tag}>", shown.source, re.DOTALL)
        assert f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'" in policy
    assert not re.search(r"url\(|@import|https?:", shown.source)


def test_there_is_no_link_to_an_image_that_is_not_there(tmp_path: Path) -> None:
    photo(tmp_path / "images" / "a.png")
    shown = page(tmp_path, row("a"), row("b"))
    assert {sample["id"]: sample["link"] is not None for sample in shown.samples} == {"a": True, "b": False}
    assert json.loads(shown.data)["pictured"] and not json.loads(page(tmp_path, row("b")).data)["pictured"]
