"""The files of a watch: rows that grow, labels, a state that survives, a certificate that is voided."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from emocaliber.errors import UserError
from emocaliber.trust.watch import Alarm
from emocaliber.trust.watch_files import Followed, WatchedFiles, live_certificate, void_certificate
from watched_rows import LABELS, certificate, prediction, predictions, write

HOW: dict[str, Any] = {"alpha": 0.05, "seed": 0}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a reference, a certificate and a stream without a change."""
    write(tmp_path / "reference.jsonl", predictions(200, 0))
    certificate().save(tmp_path / "certificate.json")
    write(tmp_path / "rows.jsonl", predictions(300, 1))
    return tmp_path


def watched(folder: Path, **changes: Any) -> WatchedFiles:
    """The watch of a folder, run once over what is there."""
    how = {"certificate": folder / "certificate.json", "reference": folder / "reference.jsonl"} | HOW | changes
    with WatchedFiles.open(folder / "rows.jsonl", folder / "state.json", **how) as files:
        files.run()
    return files


def test_rows_are_read_once_however_often_one_looks(folder: Path) -> None:
    for rows in (300, 300, 320):
        if rows == 320:
            write(folder / "rows.jsonl", predictions(20, 2), add=True)
        assert watched(folder).watch.rows == rows
    numbers = json.loads((folder / "state.json").read_text())["watch"]
    (folder / "state.json").unlink()
    assert json.loads(json.dumps(watched(folder).watch.to_dict())) == numbers


def test_a_line_that_is_still_being_written_waits(folder: Path) -> None:
    line = json.dumps(prediction("late.jpg", "awe", 0.5))
    with open(folder / "rows.jsonl", "a") as out:
        out.write(line[:40])
    assert watched(folder).watch.rows == 300
    with open(folder / "rows.jsonl", "a") as out:
        out.write(line[40:])  # without an end of line: whole all the same
    assert watched(folder).watch.rows == 301
    with open(folder / "rows.jsonl", "a") as out:
        out.write("\n" + json.dumps(prediction("later.jpg", "awe", 0.5)) + "\n")
    assert watched(folder).watch.rows == 302


def test_a_file_that_shrank_or_was_replaced_is_refused(folder: Path) -> None:
    watched(folder)
    rows = (folder / "rows.jsonl").read_text().splitlines()
    (folder / "rows.jsonl").write_text("\n".join(rows[:10]) + "\n")
    with pytest.raises(UserError, match=r"rows\.jsonl: the file shrank to .* a watch follows a file that only grows"):
        watched(folder)
    write(folder / "rows.jsonl", predictions(400, 7))
    with pytest.raises(UserError, match=r"rows\.jsonl: its first .* bytes are not those that were read: the file was replaced"):
        watched(folder)


def test_a_row_that_cannot_be_read_is_named_by_its_line(folder: Path) -> None:
    write(folder / "rows.jsonl", [prediction("a.jpg", "awe", float("nan"))], add=True)
    with pytest.raises(UserError, match=r"rows\.jsonl, line 301: field 'confidence': NaN is not JSON"):
        watched(folder)


def test_an_alarm_voids_the_certificate_which_then_is_refused(folder: Path) -> None:
    write(folder / "rows.jsonl", predictions(100, 2, first="awe"), add=True)
    files = watched(folder)
    assert files.watch.alarm
    voided = json.loads((folder / "certificate.json").read_text())["voided"]
    assert voided["since"].startswith(f"row {files.watch.alarm.since} of ") and voided["reason"] == files.watch.alarm.sentence
    assert watched(folder).watch.alarm == files.watch.alarm  # told again
    (folder / "state.json").unlink()
    with pytest.raises(UserError, match=r"certificate.json is void since row \d+ of .*rows.jsonl \(the .* moved.*certify again"):
        watched(folder)


def test_a_kill_between_the_state_and_the_certificate_is_made_good(folder: Path) -> None:
    write(folder / "rows.jsonl", predictions(100, 2, first="awe"), add=True)
    watched(folder)
    certificate().save(folder / "certificate.json")
    watched(folder)
    assert json.loads((folder / "certificate.json").read_text())["voided"]


def test_the_first_alarm_is_the_one_that_stays_in_a_certificate(folder: Path) -> None:
    first, second = (Alarm((test,), 3, 9, 99.0, 0.05, "now") for test in ("answers", "confidence"))
    for alarm in (first, second):
        void_certificate(folder / "certificate.json", alarm)
    assert json.loads((folder / "certificate.json").read_text())["voided"]["reason"] == first.sentence


def test_labels_are_taken_as_they_trickle_in(folder: Path) -> None:
    accepted = [row for row in predictions(300, 1) if row["confidence"] >= 0.5]
    (folder / "labels.csv").write_text(
        "image,label\n" + "".join(f"{row['image']},{row['emotion']}\n" for row in accepted[:50]) + "half.jpg,a"
    )
    labels = {"labels": folder / "labels.csv"}
    assert watched(folder, **labels).watch.labels == 0  # the last line is not whole yet
    text = (folder / "labels.csv").read_text()
    (folder / "labels.csv").write_text(text + "we\n")
    assert (watched(folder, **labels).watch.labels, watched(folder, **labels).watch.right) == (50, 50)
    (folder / "labels.csv").write_text(text + "we\n" + f"{accepted[50]['image']},awe\n")
    assert watched(folder, **labels).watch.labels == 51
    (folder / "labels.csv").write_text("image,label\na.jpg,awe\n")
    with pytest.raises(UserError, match=r"labels\.csv: 52 labels were read, but 1 are there"):
        watched(folder, **labels)


def test_wrong_answers_void_the_certificate_by_their_labels(folder: Path) -> None:
    rows = [row for row in predictions(300, 1) if row["confidence"] >= 0.5]
    truths = [LABELS[(LABELS.index(row["emotion"]) + 1) % 8] for row in rows]
    (folder / "labels.csv").write_text("id,label\n" + "".join(f"{row['image']},{truth}\n" for row, truth in zip(rows, truths, strict=True)))
    assert watched(folder, labels=folder / "labels.csv").watch.alarm
    assert "fell below what was promised" in json.loads((folder / "certificate.json").read_text())["voided"]["reason"]


def test_a_state_goes_on_only_with_what_it_was_made_with(folder: Path) -> None:
    watched(folder)
    changes: list[tuple[dict[str, Any], str]] = [
        ({"alpha": 0.1}, "its alpha is 0.05, not 0.1"),
        ({"only": ["answers"]}, "its tests is"),
        ({"seed": 3}, "its seed is 0, not 3"),
    ]
    for change, words in changes:
        with pytest.raises(UserError, match=f"state.json is the state of another watch: {words}"):
            watched(folder, **change)
    with pytest.raises(UserError, match="its reference is"):
        watched(folder, reference=None)
    with pytest.raises(UserError, match=r"state\.json follows .*rows\.jsonl, not .*other\.jsonl"):
        other = write(folder / "other.jsonl", predictions(5, 1))
        WatchedFiles.open(
            other, folder / "state.json", certificate=folder / "certificate.json", reference=folder / "reference.jsonl", **HOW
        )
    (folder / "state.json").write_text("[]")
    with pytest.raises(UserError, match=r"state\.json: not the state of a watch"):
        watched(folder)


def test_without_a_certificate_a_reference_is_enough_and_without_either_there_is_nothing(folder: Path) -> None:
    assert watched(folder, certificate=None).watch.promise is None
    (folder / "state.json").unlink()
    with pytest.raises(UserError, match="there is nothing to compare with: give --certificate FILE, or --reference FILE"):
        watched(folder, certificate=None, reference=None)


def test_a_summary_in_the_certificate_is_reference_enough(folder: Path) -> None:
    write(folder / "rows.jsonl", predictions(100, 2, sure=0.3), add=True)
    files = watched(folder, reference=None)
    assert files.watch.alarm and files.watch.alarm.since > 280


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "is no certificate, as it is not JSON"),
        ('{"id": 1}', "is no certificate"),
        (json.dumps(certificate(threshold=None).to_json()), "certifies no threshold"),
        (json.dumps(certificate(expires="2026-02-01T00:00:00+00:00").to_json()), "expired on 2026-02-01; certify again"),
    ],
)
def test_what_is_no_certificate_is_refused(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "c.json").write_text(text)
    with pytest.raises(UserError, match=rf"c\.json.*{words}"):
        live_certificate(tmp_path / "c.json")


def test_two_watches_on_one_state_and_other_formats_are_refused(folder: Path) -> None:
    how = HOW | {"reference": folder / "reference.jsonl"}
    with (
        WatchedFiles.open(folder / "rows.jsonl", folder / "state.json", **how),
        pytest.raises(UserError, match=r"state\.json is in use by process"),
    ):
        WatchedFiles.open(folder / "rows.jsonl", folder / "state.json", **how)
    with pytest.raises(UserError, match="a watch follows JSON Lines"):
        WatchedFiles.open(folder / "rows.csv", folder / "state.json", **how)
    with pytest.raises(UserError, match="there is no such file"):
        WatchedFiles.open(folder / "none.jsonl", folder / "state.json", **how)


def test_lines_are_counted_with_the_blank_ones(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"a": 1}\n\n{"a": 2}\n')
    followed = Followed(tmp_path / "rows.jsonl")
    assert [(where[-6:], row["a"]) for where, row in followed.new_rows(1)] == [("line 1", 1)]
    assert [(where[-6:], row["a"]) for where, row in followed.new_rows(9)] == [("line 3", 2)]
    assert list(followed.new_rows(9)) == []
