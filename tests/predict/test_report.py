"""The report page holds everything itself, and holds it safely."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from emocaliber.predict import report as prediction_report
from emocaliber.predict.predictor import Predictor
from emocaliber.predict.report import write_prediction_report
from stand_ins import ColourModel, photo


class Page(HTMLParser):
    """All elements with their attributes, and all text."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def rows(*paths: Path, least: float | None = None) -> list[dict[str, Any]]:
    return [each.to_row() for each in Predictor(ColourModel()).predict_many(paths, min_confidence=least)]


def page(rows: list[dict[str, Any]], folder: Path, **settings: Any) -> Page:
    return Page(write_prediction_report(rows, folder / "report", **({"model": "colour", "notice": "Colours only."} | settings)).read_text())


def test_it_shows_thumbnail_emotion_confidence_reasoning_and_alternatives(tmp_path: Path) -> None:
    (row,) = given = rows(photo(tmp_path / "sea.png", "teal"))
    row["confidence"] = 0.42
    shown = page(given, tmp_path)
    (picture,) = shown.all("img")
    assert (picture["src"] or "").startswith("data:image/jpeg;base64,")
    for expected in ("sea.png", row["emotion"], "42 %", *row["reasoning"].values(), "80 %", "colour", "Colours only."):
        assert expected in shown.text
    assert any(rect["width"] == "42.0" for rect in shown.all("rect"))


def test_cards_can_be_sorted_by_confidence(tmp_path: Path) -> None:
    shown = page(rows(*(photo(tmp_path / f"{colour}.png", colour) for colour in ("maroon", "red", "teal"))), tmp_path)
    assert [card["data-confidence"] for card in shown.all("article")] == ["0.5", "1.0", "0.125"], (
        "an answer of eight is never surer wrong than by chance"
    )
    assert {"-confidence", "confidence", "name", "emotion"} <= {option["value"] for option in shown.all("option")}


def test_accepted_and_abstained_images_are_told_apart(tmp_path: Path) -> None:
    shown = page(rows(photo(tmp_path / "a.png", "red"), photo(tmp_path / "b.png", "teal"), least=0.5), tmp_path)
    assert [card["data-status"] for card in shown.all("article")] == ["accepted", "abstained"]


def test_failed_images_are_listed_with_code_and_sentence(tmp_path: Path) -> None:
    (tmp_path / "zero.jpg").touch()
    shown = page(rows(tmp_path / "zero.jpg", photo(tmp_path / "dark.png", "black")), tmp_path)
    assert not shown.all("article")
    for expected in (
        "2 images without an answer",
        "empty",
        "the file is empty; copy or download it again.",
        "malformed",
        "<element>darkness",
    ):
        assert expected in shown.text


NASTY = '<script>alert(1)</script> & "><img src=x onerror=alert(1)>'


def test_names_labels_and_answers_are_escaped(tmp_path: Path) -> None:
    (row,) = rows(photo(tmp_path / "a.png"))
    row["reasoning"]["human"] = row["alternatives"][0]["emotion"] = row["emotion"] = row["response"] = NASTY
    failed = row | {"error": {"code": NASTY, "message": NASTY}}
    (row["image"], failed["image"]) = (f"{NASTY}.png", "line\nbreak\udcff" + NASTY)
    plain = page(rows(tmp_path / "a.png") * 2, tmp_path)
    shown = page([row, failed], tmp_path, model=NASTY, notice=NASTY)
    assert len(shown.all("script")) == 1
    assert not any(name.startswith("on") for _, attributes in shown.elements for name in attributes)
    assert len(shown.all("img")) == 0 < len(plain.all("img"))
    assert NASTY in shown.text and r"line\nbreak\udcff" in shown.text


def test_nothing_is_fetched_and_only_its_own_style_and_script_may_run(tmp_path: Path) -> None:
    shown = page(rows(photo(tmp_path / "a.png")), tmp_path)
    source = (tmp_path / "report/index.html").read_text()
    for _, attributes in shown.elements:
        for name in ("src", "href", "srcset", "action", "data"):
            assert (attributes.get(name) or "#").startswith(("data:", "#"))
        assert "style" not in attributes
    policy = next(meta["content"] or "" for meta in shown.all("meta") if meta.get("http-equiv") == "Content-Security-Policy")
    assert "default-src 'none'" in policy
    for tag in ("style", "script"):
        (content,) = re.findall(rf"<{tag}>(.*?)</{tag}>", source, re.DOTALL)
        assert f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'" in policy
    assert not re.search(r"url\(|@import|https?:", source)


def test_an_image_that_is_gone_by_now_has_no_thumbnail(tmp_path: Path) -> None:
    given = rows(photo(tmp_path / "a.png"), photo(tmp_path / "b.png"))
    (tmp_path / "a.png").unlink()
    shown = page(given, tmp_path)
    assert len(shown.all("img")) == 1 and "no thumbnail" in shown.text


def test_too_many_images_for_thumbnails_are_said_to_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prediction_report, "_THUMBNAILS", ((1, 100),))
    shown = page(rows(photo(tmp_path / "a.png"), photo(tmp_path / "b.png")), tmp_path)
    assert not shown.all("img") and "too many images for thumbnails" in shown.text


def test_a_report_of_nothing_is_still_a_page(tmp_path: Path) -> None:
    assert "mean confidencenone" in page([], tmp_path, notice=None).text
