"""The sentences of the page, from the module that the browser runs."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from browser import CHROMIUM, Browser
from serving_servers import ServerProcess

Said = Callable[..., Any]
ROW: dict[str, Any] = {
    **{"image": "a.png", "task": "EmoSet-8", "emotion": "awe", "confidence": 0.72, "confidence_source": "calibrated"},
    **{"calibrated": 0.72, "uncalibrated": None, "accepted": None, "certificate": None, "uncertified": None},
    **{"people": None, "people_low": None, "people_high": None, "unfamiliar": None, "untaught": False, "error": None},
}


@pytest.fixture(scope="module")
def say(tiny_server: ServerProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Said]:
    """Calls a function of words.js."""
    if not CHROMIUM:
        pytest.skip("there is no Chromium on this machine")
    with Browser(tmp_path_factory.mktemp("downloads")) as browser:
        browser.open(tiny_server.url)
        yield lambda name, *given: browser.evaluate(f"import('/page/words.js').then((words) => words.{name}(...{json.dumps(given)}))")


TRUST = [
    ({}, "Right in about 7 of 10 such cases."),
    ({"confidence": 0.96}, "Right in about 96 of 100 such cases."),
    ({"confidence": 0.999}, "Right in 99 of 100 or more such cases."),
    ({"confidence": 0.95}, "Right in about 95 of 100 such cases."),
    ({"confidence": 0.04}, "Right in under 1 of 10 such cases."),
    ({"confidence": None}, "The model gives no confidence that can be read."),
    ({"confidence_source": "verb"}, "Says it is 72\u00a0% sure. How often that is right has not been measured here."),
    ({"confidence": 0.125, "confidence_source": "chance"}, "A guess: no likelier to be right than drawing a label by lot (13\u00a0%)."),
    ({"confidence": -0.2, "confidence_source": "margin"}, "Leads the next label by -0.20, which is no probability."),
]


@pytest.mark.parametrize(("fields", "sentence"), TRUST)
def test_how_far_to_trust_an_answer_is_said_in_cases(say: Said, fields: dict[str, Any], sentence: str) -> None:
    assert say("trustWords", ROW | fields) == sentence


PEOPLE = [
    ((None, None, None), None),
    ((0.62, 0.41, 0.83), "About 6 of 10 people would say so, between 4 and 8."),
    ((0.71, 0.68, 0.74), "About 7 of 10 people would say so."),
    ((0.97, 0.92, 1.0), "Nearly all people would say so, at least 9 of 10."),
    ((0.35, 0.22, 0.48), "People would disagree: about 4 of 10 would say so, between 2 and 5."),
    ((0.03, 0.0, 0.08), "People would disagree: under 1 of 10 would say so, between 0 and 1."),
    ((0.45, 0.12, 0.81), "How many people would say so is hard to tell: 1 to 8 of 10."),
]


@pytest.mark.parametrize(("shares", "sentence"), PEOPLE)
def test_that_people_disagree_is_told_apart_from_not_knowing(say: Said, shares: tuple[float | None, ...], sentence: str | None) -> None:
    row = ROW | dict(zip(("people", "people_low", "people_high"), shares, strict=True))
    assert say("peopleWords", row) == sentence


WHY: list[tuple[dict[str, Any], float, str, list[str]]] = [
    ({}, 0, "answered", []),
    ({}, 0.5, "accepted", []),
    ({}, 0.8, "abstained", ["Abstains: less sure than the 80\u00a0% that you ask for."]),
    ({"confidence": None}, 0.1, "abstained", ["Abstains: less sure than the 10\u00a0% that you ask for."]),
    ({"accepted": True, "certificate": "c1"}, 0, "accepted", []),
    ({"accepted": True, "certificate": "c1"}, 0.9, "abstained", ["Abstains: less sure than the 90\u00a0% that you ask for."]),
    ({"accepted": False, "certificate": "c1"}, 0, "abstained", ["Abstains: less sure than certificate c1 asks for."]),
    ({"accepted": False}, 0, "abstained", ["Abstains: less sure than the server asks for."]),
    ({"uncertified": "it has expired"}, 0, "answered", ["Not covered by the certificate: it has expired."]),
    ({"unfamiliar": True}, 0, "answered", ["The model recognises nothing that it knows in this picture, so this is a guess."]),
    ({"untaught": True}, 0, "answered", ["The model was not taught these labels."]),
    ({"confidence_source": "norm", "uncalibrated": "no entry"}, 0, "answered", ["Its confidence is not calibrated: no entry."]),
]


@pytest.mark.parametrize(("fields", "least", "status", "reasons"), WHY)
def test_why_an_answer_is_to_be_taken_with_care_is_said(
    say: Said, fields: dict[str, Any], least: float, status: str, reasons: list[str]
) -> None:
    assert say("statusOf", ROW | fields, least) == status
    assert say("reasons", ROW | fields, least) == reasons


def test_what_remains_counts_answers_and_promises_only_what_was_measured(say: Said) -> None:
    rows = [ROW, ROW | {"confidence": 0.9}, ROW | {"confidence": 0.4}, ROW | {"error": {"code": "empty", "message": ""}}]
    assert say("remainsWords", rows, 0) == "All 3 answers remain; about 7 of 10 such answers are right."
    assert say("remainsWords", rows, 0.7) == "70\u00a0%: 2 of 3 answers remain; about 8 of 10 such answers are right."
    assert say("remainsWords", rows, 0.95) == "95\u00a0%: 0 of 3 answers remain."
    assert say("remainsWords", [ROW | {"confidence_source": "verb"}], 0) == "The one answer remains."


def test_a_saved_row_says_what_the_slider_decided_but_not_against_the_server(say: Said) -> None:
    assert say("savedRow", ROW, 0) == ROW
    assert say("savedRow", ROW, 0.8) == ROW | {"accepted": False} and say("savedRow", ROW, 0.72) == ROW | {"accepted": True}
    decided = ROW | {"accepted": True, "certificate": "c1"}
    assert say("savedRow", decided, 0.99) == decided
    failed = ROW | {"confidence": None, "error": {"code": "empty", "message": "no bytes"}}
    assert say("savedRow", failed, 0.5) == failed
