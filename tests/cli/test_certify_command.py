"""`emocaliber calibrate certify` and `predict --certificate`, as people and scripts use them."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from emocaliber.__main__ import main
from emocaliber.predict import predictor
from stand_ins import ColourModel, photo


def written(file: Path, n: int, model: str | None = "colour") -> Path:
    draw = random.Random(0)
    rows = []
    for number in range(n):
        confidence = round(draw.betavariate(4, 1.5), 2)
        said = "awe" if draw.random() < confidence else "fear"
        rows.append({"id": str(number), "task": "EmoSet-8", "candidates": LABELS, "ground_truth": "awe", "model": model, "seconds": 0.1})
        rows[-1]["response"] = f"<answer>{said}</answer><confidence>{confidence}</confidence>"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


LABELS = ["amusement", "anger", "awe", "contentment", "disgust", "excitement", "fear", "sadness"]


def test_json_is_exactly_one_object_with_the_fields_of_the_contract(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "certificate.json"
    assert main(["calibrate", "certify", str(written(tmp_path / "a.jsonl", 1500)), "--json", "--out", str(out)]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert {"id", "certified", "threshold", "coverage", "accuracy", "delta", "n", "source", "terms", "per_question"} <= shown.keys()
    assert shown == json.loads(out.read_text()) and shown["source"] == "verb" and shown["certified"] is True


def test_the_table_fits_80_columns_and_what_cannot_be_certified_has_exit_code_3(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        main(["calibrate", "certify", str(written(tmp_path / "a.jsonl", 120)), "--accuracy", ".9", "--report", str(tmp_path / "page")]) == 3
    )
    shown = capsys.readouterr().out
    assert "cannot be certified with 120 answers" in shown and str(tmp_path / "page" / "index.html") in shown
    assert max(map(len, shown.splitlines()[:2])) <= 80


def test_terms_outside_0_to_1_are_wrong_usage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["calibrate", "certify", str(written(tmp_path / "a.jsonl", 20)), "--accuracy", "80"]) == 2
    assert "for 80 percent write 0.8" in capsys.readouterr().err


def test_predictions_by_a_certificate_say_which_one_decided_and_their_page_does_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predictor, "load_model", lambda *_, **__: ColourModel())
    file, out = tmp_path / "c.json", tmp_path / "rows.jsonl"
    main(["calibrate", "certify", str(written(tmp_path / "a.jsonl", 1500)), "--out", str(file)])
    images = [str(photo(tmp_path / f"{colour}.png", colour)) for colour in ("red", "teal")]
    assert main(["predict", *images, "--certificate", str(file), "--out", str(out), "--report", str(tmp_path / "page")]) == 0
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    named = json.loads(file.read_text())["id"]
    assert [(row["accepted"], row["certificate"], row["uncertified"]) for row in rows] == [(True, named, None), (False, named, None)]
    page = (tmp_path / "page" / "index.html").read_text()
    assert f"Certificate {named}: answers to EmoSet-8" in page and "abstained" in page
    capsys.readouterr()

    file.write_text(json.dumps(json.loads(file.read_text()) | {"voided": {"since": "row 3", "reason": "darker pictures", "at": "now"}}))
    assert main(["predict", *images, "--certificate", str(file)]) == 0
    shown = capsys.readouterr()
    assert "void since row 3: darker pictures" in shown.err and "2 answered" in shown.err
    with pytest.raises(SystemExit):
        main(["predict", *images, "--certificate", str(file), "--min-confidence", "0.5"])
