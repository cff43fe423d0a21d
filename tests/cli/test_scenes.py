"""`emocaliber scenes` draws samples and says what it drew."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from emocaliber.__main__ import main
from emocaliber.core.samples import read_samples


def test_six_scenes_are_drawn_and_described(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["scenes", str(tmp_path), "--n", "6", "--seed", "3", "--task", "webemo-7", "--size", "32"]) == 0
    shown = capsys.readouterr()
    path, _, head, *lines = shown.out.splitlines()
    samples = list(read_samples(path))
    assert (Path(path), len(samples)) == (tmp_path / "samples.jsonl", 6)
    assert len(list((tmp_path / "images").iterdir())) == 6
    ceiling = sum(max((sample.posterior or {}).values()) for sample in samples) / 6
    assert head == f"WebEmo-7: 6 samples; best possible accuracy {100 * ceiling:.2f} %"
    drawn = Counter(sample.ground_truth for sample in samples)
    assert {label: int(count) for label, count in map(str.split, lines)} == {label: drawn[label] for label in samples[0].candidates}
    assert shown.err == "", "short work leaves no progress in a log"


def test_drawing_again_draws_nothing_new(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["scenes", str(tmp_path), "--n", "3", "--seed", "0", "--size", "32"]
    assert main(words) == 0
    before = (tmp_path / "samples.jsonl").read_bytes()
    assert main(words) == 0
    assert (tmp_path / "samples.jsonl").read_bytes() == before


def test_an_unknown_task_is_named_and_nothing_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["scenes", str(tmp_path / "out"), "--n", "1", "--seed", "0", "--task", "Joy-1"]) == 2
    assert "there is no task 'Joy-1'" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("n", "seed"), [("0", "0"), ("-1", "0"), ("many", "0"), ("1", "-1")])
def test_a_number_of_scenes_is_positive_and_a_seed_is_not_negative(n: str, seed: str, tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as leaving:
        main(["scenes", str(tmp_path), "--n", n, "--seed", seed])
    assert leaving.value.code == 2


def test_another_seed_in_the_same_folder_is_wrong_usage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["scenes", str(tmp_path), "--n", "2", "--seed", "1", "--size", "32"]) == 0
    assert main(["scenes", str(tmp_path), "--n", "2", "--seed", "2", "--size", "32"]) == 2
    assert "seeds was [1], and is [2]. Give the same settings, or another folder." in capsys.readouterr().err
    assert len(list(read_samples(tmp_path / "samples.jsonl"))) == 2
