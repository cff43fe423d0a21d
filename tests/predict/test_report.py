"""The report page holds everything itself, and holds it safely."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import statistics
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emocaliber.core.source_words import SOURCE_WORDS
from emocaliber.emotions.colours import emotion_colour
from emocaliber.predict import report as prediction_report
from emocaliber.predict.predictor import Predictor
from emocaliber.predict.report import kept_by_threshold, write_prediction_report
from emocaliber.trust.acceptance import Acceptance
from stand_ins import ColourModel, photo


class Page(HTMLParser):
    """All elements with their attributes, all text that is shown, and the rows for downloads."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = self.data = ""
        self.feed(source)
        self.rows: list[dict[str, Any]] = json.loads(self.data)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.elements and self.elements[-1] == ("script", {"type": "application/json", "id": "data"}):
            self.data += data
        elif not self.elements or self.elements[-1][0] not in ("style", "script"):
            self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def rows(*paths: Path, least: float | None = None) -> list[dict[str, Any]]:
    return [each.to_row() for each in Predictor(ColourModel()).predict_many(paths, min_confidence=least)]


def page(rows: list[dict[str, Any]], folder: Path, **settings: Any) -> Page:
    return Page(write_prediction_report(rows, folder / "report", **({"model": "colour", "notice": "Colours only."} | settings)).read_text())


def test_it_shows_thumbnail_emotion_confidence_reasoning_and_alternatives(tmp_path: Path) -> None:
    (row,) = rows(photo(tmp_path / "sea.png", "teal"))
    row["confidence"] = 0.42
    shown = page([row], tmp_path)
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
    assert len(shown.all("script")) == len(plain.all("script")) == 2
    assert shown.rows == [row, failed]
    assert not any(name.startswith("on") for _, attributes in shown.elements for name in attributes)
    assert len(shown.all("img")) == 0 < len(plain.all("img"))
    assert NASTY in shown.text and r"line\nbreak\udcff" in shown.text


def test_nothing_is_fetched_and_only_its_own_style_and_script_may_run(tmp_path: Path) -> None:
    shown = page(rows(photo(tmp_path / "a.png")), tmp_path)
    source = (tmp_path / "report/index.html").read_text()
    for _, attributes in shown.elements:
        for name in ("src", "srcset", "action", "data"):
            assert (attributes.get(name) or "data:").startswith("data:")
        assert "style" not in attributes
    policy = next(meta["content"] or "" for meta in shown.all("meta") if meta.get("http-equiv") == "Content-Security-Policy")
    assert "default-src 'none'" in policy
    for tag in ("style", "script"):
        (content,) = re.findall(rf"<{tag}>(.*?)</{tag}>", source, re.DOTALL)
        assert f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'" in policy
    assert not re.search(r"url\(|@import|https?:", source)


def test_a_picture_opens_its_file_whatever_its_name(tmp_path: Path) -> None:
    image = photo(tmp_path / "javascript:alert(1) 5%.png")
    (link,) = (each for each in page(rows(image), tmp_path).all("a") if each["class"] == "picture")
    assert link["href"] == "../javascript%3Aalert%281%29%205%25.png"
    assert (tmp_path / "report" / unquote(link["href"])).resolve() == image


def test_the_source_of_the_confidence_is_named_in_words(tmp_path: Path) -> None:
    (row,) = rows(photo(tmp_path / "a.png"))
    for source, words in SOURCE_WORDS.items():
        row["confidence_source"] = source
        shown = page([row, row], tmp_path)
        assert words.sentence in shown.text and words.axis in shown.text
        assert ("Expected accuracy" in shown.text) == (source != "margin"), "margin is no probability"
    assert "of my own" in page([row | {"confidence_source": "of my own"}], tmp_path).text


def test_the_thin_bars_are_explained_where_there_are_any(tmp_path: Path) -> None:
    (row,) = rows(photo(tmp_path / "a.png"))
    assert "thin bars" in page([row], tmp_path).text
    assert "thin bars" not in page([row | {"alternatives": []}], tmp_path).text


def test_what_the_model_does_not_know_is_said_and_can_be_chosen(tmp_path: Path) -> None:
    (row,) = rows(photo(tmp_path / "a.png"))
    flagged = [row | {"unfamiliar": True, "untaught": True}, row | {"unfamiliar": False, "untaught": None}, row]
    shown, plain = page(flagged, tmp_path), page([row], tmp_path)
    assert [(card.get("data-unfamiliar"), card.get("data-untaught")) for card in shown.all("article")] == [
        *(("yes", "yes"), ("no", None), (None, None))
    ]
    names = [{field["name"] for field in each.all("select")} for each in (shown, plain)]
    assert names[0] - names[1] == {"unfamiliar", "untaught"}
    assert shown.text.count("unfamiliar") > plain.text.count("unfamiliar") == 0


def test_the_folder_that_all_images_lie_in_is_shown_once(tmp_path: Path) -> None:
    shown = page(rows(photo(tmp_path / "long/a/1.png"), photo(tmp_path / "long/ab/2.png")), tmp_path)
    assert shown.text.count(f"{tmp_path}/long/") == 1 and "a/1.png" in shown.text and "ab/2.png" in shown.text
    assert "folder" not in page([row | {"image": "1.png"} for row in rows(tmp_path / "long/a/1.png")], tmp_path).text


@given(st.lists(st.floats(0, 1)))
def test_a_least_confidence_keeps_what_predict_would_accept(confidences: list[float]) -> None:
    kept = kept_by_threshold(confidences)
    assert [point.threshold for point in kept] == ([each / 100 for each in range(101)] if confidences else [])
    for threshold, share, mean in kept:
        accepted = [each for each in confidences if Acceptance(threshold).decide(each, "EmoSet-8", (), source="verb", model="m").accepted]
        assert share == len(accepted) / len(confidences)
        assert mean == (pytest.approx(statistics.fmean(accepted)) if accepted else None)


def test_the_histogram_has_every_confidence_in_its_place(tmp_path: Path) -> None:
    (row,) = rows(photo(tmp_path / "a.png"))
    shown = page([row | {"confidence": each, "emotion": "awe"} for each in (0.0, 0.05, 0.06, 1.0, None)], tmp_path)
    assert [text for text in re.findall(r"(\d+ to \d+ %: \d) awe", shown.text)] == ["0 to 5 %: 1", "5 to 10 %: 2", "95 to 100 %: 1"]


def test_an_emotion_has_the_same_colour_in_every_report(tmp_path: Path) -> None:
    (row,) = rows(photo(tmp_path / "a.png"))
    for labels in (["fear", "awe"], ["awe", "my own"]):
        named = [row | {"emotion": label, "alternatives": []} for label in labels]
        source = write_prediction_report(named, tmp_path / "report", model="m").read_text()
        for place, label in enumerate(labels):
            assert f".shade{place}{{--shade:{emotion_colour(label).light}}}" in source


def test_an_image_that_is_gone_by_now_has_no_thumbnail(tmp_path: Path) -> None:
    found = rows(photo(tmp_path / "a.png"), photo(tmp_path / "b.png"))
    (tmp_path / "a.png").unlink()
    shown = page(found, tmp_path)
    assert (
        len(shown.all("img")) == 1 == len([each for each in shown.all("a") if each["class"] == "picture"]) and "no thumbnail" in shown.text
    )


def test_too_many_images_for_thumbnails_are_said_to_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prediction_report, "_THUMBNAILS", ((1, 100),))
    shown = page(rows(photo(tmp_path / "a.png"), photo(tmp_path / "b.png")), tmp_path)
    assert not shown.all("img") and "too many images for thumbnails" in shown.text


def test_a_report_of_nothing_is_still_a_page(tmp_path: Path) -> None:
    assert "mean confidencenone" in page([], tmp_path, notice=None).text
