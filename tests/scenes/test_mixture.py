"""Several subtasks in one file: dealt out by shares, each sample as it would be alone."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from emocaliber.core.samples import read_samples
from emocaliber.errors import UserError
from emocaliber.scenes.dataset import draw_mixture, draw_samples, mixture_counts, mixture_ids, parse_mixture

SIZE = 32


def draw(out: Path, text: str, n: int) -> list[int]:
    return list(draw_mixture(out, parse_mixture(text), n, 0, size=SIZE, split="train", workers=1))


def test_a_share_that_is_not_given_is_one() -> None:
    assert parse_mixture("EmoSet-8 3, fi-8,WebEmo-2  2") == {"EmoSet-8": 3, "FI-8": 1, "WebEmo-2": 2}


@pytest.mark.parametrize(
    ("text", "what"),
    [("FI-9", "no task 'FI-9'"), ("FI-8 0", "'FI-8 0'"), ("FI-8 x", "'FI-8 x'"), ("FI-8, fi-8 2", "each subtask once"), ("", "no task ''")],
)
def test_a_mixture_that_is_none_is_refused(text: str, what: str) -> None:
    with pytest.raises(UserError, match=what):
        parse_mixture(text)


def test_counts_add_up() -> None:
    shares = {"EmoSet-8": 6, "FI-8": 1, "WebEmo-7": 1, "FI-2": 1}
    for n in (1, 8, 9, 10, 1000):
        counts = mixture_counts(shares, n)
        assert sum(counts.values()) == n
        assert all(abs(counts[name] - n * share / 9) < 1 for name, share in shares.items())


def test_each_sample_is_drawn_as_it_would_be_alone(tmp_path: Path) -> None:
    assert draw(tmp_path / "joint", "EmoSet-8 2, FI-2", 6)[-1] == 6
    samples = list(read_samples(tmp_path / "joint" / "samples.jsonl"))
    assert Counter(sample.task for sample in samples) == {"EmoSet-8": 4, "FI-2": 2}
    assert len({sample.id for sample in samples}) == 6
    list(draw_samples(tmp_path / "alone", 2, 0, "FI-2", size=SIZE, split="train", workers=1))
    for alone in read_samples(tmp_path / "alone" / "samples.jsonl"):
        joint = next(sample for sample in samples if sample.id == f"FI-2/{alone.id}")
        assert (joint.ground_truth, joint.posterior) == (alone.ground_truth, alone.posterior)
        assert Path(joint.image).read_bytes() == Path(alone.image).read_bytes()


def test_one_subtask_is_drawn_into_the_folder_itself(tmp_path: Path) -> None:
    draw(tmp_path / "mixture", "EmoSet-8", 3)
    list(draw_samples(tmp_path / "plain", 3, 0, size=SIZE, split="train", workers=1))
    assert (tmp_path / "mixture" / "samples.jsonl").read_bytes() == (tmp_path / "plain" / "samples.jsonl").read_bytes()


def test_a_mixture_that_was_broken_off_goes_on_to_the_same_bytes(tmp_path: Path) -> None:
    for done in draw_mixture(tmp_path / "broken", {"EmoSet-8": 1, "FI-2": 1}, 6, 0, size=SIZE, split="train", workers=1):
        if done == 4:
            break
    assert not (tmp_path / "broken" / "samples.jsonl").exists()
    draw(tmp_path / "broken", "EmoSet-8, FI-2", 6)
    draw(tmp_path / "whole", "EmoSet-8, FI-2", 6)
    broken, whole = ([json.loads(line) for line in (tmp_path / name / "samples.jsonl").open()] for name in ("broken", "whole"))
    assert broken == whole


@pytest.mark.slow
def test_another_seed_or_number_is_added_and_ids_say_which_is_meant(tmp_path: Path) -> None:
    shares = parse_mixture("EmoSet-8, FI-2")
    for n, seed in ((6, 0), (4, 5), (8, 0)):
        list(draw_mixture(tmp_path / "joint", shares, n, seed, size=SIZE, split="train", workers=1))
        alone = tmp_path / f"{n}-{seed}"
        list(draw_mixture(alone, shares, n, seed, size=SIZE, split="train", workers=1))
        found = {sample.id: sample for sample in read_samples(tmp_path / "joint" / "samples.jsonl")}
        wanted = list(read_samples(alone / "samples.jsonl"))
        assert [sample.id for sample in wanted] == mixture_ids(shares, n, seed)
        for sample in wanted:
            assert (found[sample.id].ground_truth, found[sample.id].posterior) == (sample.ground_truth, sample.posterior)
            assert Path(found[sample.id].image).read_bytes() == Path(sample.image).read_bytes()


def test_the_ids_of_one_subtask_are_those_of_its_own_folder() -> None:
    assert mixture_ids({"FI-2": 3}, 2, 7) == ["scene-7-000000", "scene-7-000001"]
