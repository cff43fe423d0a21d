"""The watch of a server: it voids the certificate when the answers are no longer those that it was made from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from emocaliber.__main__ import main
from emocaliber.errors import UserError
from emocaliber.predict.prediction import Failure, Prediction
from emocaliber.predict.predictor import Predictor, Query
from emocaliber.serving.watching import ServerWatch
from emocaliber.trust.certificate_file import read_certificate
from serving_servers import picture
from stand_ins import ColourModel
from watched_rows import LABELS, certificate, predictions

EMOSET = Query.of()
(ANY,) = Predictor(ColourModel(name="mine")).ask([picture("orange")], EMOSET)


def answers(n: int, seed: int, **how: float) -> list[Prediction]:
    """Answers as those of the certificate."""
    rows = predictions(n, seed, **how)
    return [replace(ANY, emotion=row["emotion"], confidence=row["confidence"], confidence_source="verb", model="mine") for row in rows]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    certificate().save(tmp_path / "certificate.json")
    return tmp_path / "certificate.json"


def test_answers_like_those_of_the_certificate_leave_it_and_others_void_it(file: Path, tmp_path: Path) -> None:
    with ServerWatch(file, tmp_path / "state.json") as watch:
        for each in answers(400, 1):
            watch.answered(each, EMOSET, 0.1)
        assert watch.watch.alarm is None and read_certificate(file).voided is None
    with ServerWatch(file, tmp_path / "state.json") as watch:  # goes on after a restart
        assert watch.watch.rows == 400
        for each in answers(400, 2, sure=0.95):
            watch.answered(each, EMOSET, 0.1)
        assert watch.watch.alarm is not None and read_certificate(file).voided
        assert "emocaliber_watch_alarm 1" in watch.metrics()
        seen = watch.watch.rows
    with ServerWatch(file, tmp_path / "state.json") as watch:
        watch.answered(ANY, EMOSET, 0.1)
        assert watch.watch.rows == seen  # nothing more to see


def test_broken_pictures_and_other_questions_do_not_count(file: Path, tmp_path: Path) -> None:
    with ServerWatch(file, tmp_path / "state.json") as watch:
        for _ in range(500):
            watch.answered(replace(ANY, emotion=None, error=Failure("corrupt", "damaged")), EMOSET, 0.1)
            watch.answered(replace(ANY, task="FI-2"), EMOSET, 0.1)
        assert watch.watch.rows == 0 and watch.unwatched == 500 and watch.watch.alarm is None


def test_a_state_belongs_to_its_certificate_and_to_one_server(file: Path, tmp_path: Path) -> None:
    state = tmp_path / "state.json"
    with ServerWatch(file, state), pytest.raises(UserError, match=r"state\.json"):
        ServerWatch(file, state)
    other = certificate()
    replace(other, reference=dict(other.reference) | {"answers": dict.fromkeys(LABELS, 50)}).save(file)
    with pytest.raises(UserError, match="another certificate"):
        ServerWatch(file, state)
    state.write_text("{}")
    with pytest.raises(UserError, match="not the state"):
        ServerWatch(file, state)


def test_a_watch_needs_a_certificate(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "--watch", str(tmp_path / "state.json")]) == 2
    assert "--certificate" in capsys.readouterr().err
