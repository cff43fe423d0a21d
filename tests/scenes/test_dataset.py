"""Scenes on disk: the same seed gives the same bytes, interrupted drawing resumes, and labels follow the posteriors."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy.stats import chi2

from emocaliber.core.response import parse
from emocaliber.core.samples import read_samples
from emocaliber.core.tasks import TASKS
from emocaliber.emotions.taxonomy import taxonomy
from emocaliber.errors import UserError
from emocaliber.io.workspace import record_of
from emocaliber.scenes.annotators import posterior, scene_vad
from emocaliber.scenes.concepts import CONTEXTS, ELEMENTS, HUMANS, INTERACTIONS, Scene, random_scene
from emocaliber.scenes.dataset import draw_samples, read_scene_rows

SIZE = 32


def draw(out: Path, n: int, seed: int = 0, task: str = "EmoSet-8", size: int = SIZE) -> Path:
    assert list(draw_samples(out, n, seed, task, size=size, workers=1))[-1] == n
    return out


def files(out: Path) -> dict[str, bytes]:
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file()}


def rows(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "samples.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def six(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw(tmp_path_factory.mktemp("six"), 6)


def test_there_is_one_image_and_one_row_for_each_scene(six: Path) -> None:
    samples = list(read_samples(six / "samples.jsonl"))
    assert [sample.id for sample in samples] == [f"scene-0-{index:06d}" for index in range(6)]
    for sample in samples:
        with Image.open(sample.image) as image:
            assert (image.size, image.mode) == ((SIZE, SIZE), "RGB")
        assert (sample.task, sample.source, sample.split) == ("EmoSet-8", "scenes", "test")
        assert tuple(sample.candidates) == taxonomy("mikels-8").labels
        assert sample.posterior is not None
        assert sum(sample.posterior.values()) == pytest.approx(1, abs=1e-5)


def test_a_row_says_what_was_drawn_and_what_its_posterior_is(six: Path) -> None:
    labels = taxonomy("mikels-8")
    for row in rows(six):
        expected = posterior(scene_vad(*Scene(**row["scene"])), labels)
        assert list(row["posterior"].values()) == pytest.approx(expected, abs=1e-6)


def test_the_stored_response_is_a_training_example_for_the_rows_own_label(six: Path) -> None:
    for row in rows(six):
        response = parse(row["response"], row["candidates"], confidence="forbidden")
        assert getattr(response, "answer", response) == row["ground_truth"]


def test_the_same_seed_gives_the_same_bytes_with_any_number_of_workers(six: Path, tmp_path: Path) -> None:
    list(draw_samples(tmp_path, 6, 0, size=SIZE, workers=2))
    assert files(tmp_path) == files(six)


def test_another_seed_gives_other_scenes(six: Path, tmp_path: Path) -> None:
    other = draw(tmp_path, 6, seed=1)
    assert [row["scene"] for row in rows(other)] != [row["scene"] for row in rows(six)]


def test_a_draw_that_was_broken_off_goes_on_to_the_same_bytes(six: Path, tmp_path: Path) -> None:
    for done in draw_samples(tmp_path, 6, 0, size=SIZE, workers=1):
        if done == 3:
            break
    text = (tmp_path / "samples.jsonl").read_bytes()
    (tmp_path / "samples.jsonl").write_bytes(text[:-20])  # the kill came in the middle of a row
    assert files(draw(tmp_path, 6)) == files(six)


def test_a_larger_number_only_adds(six: Path, tmp_path: Path) -> None:
    before = files(draw(tmp_path, 4))
    stamps = {path: path.stat().st_mtime_ns for path in (tmp_path / "images").iterdir()}
    assert list(draw_samples(tmp_path, 6, 0, size=SIZE, workers=1)) == [4, 5, 6]
    assert files(tmp_path) == files(six)
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in stamps.items())
    assert files(tmp_path)["samples.jsonl"].startswith(before["samples.jsonl"])


def test_drawing_what_is_there_draws_nothing(six: Path) -> None:
    before = files(six)
    assert list(draw_samples(six, 6, 0, size=SIZE, workers=1)) == [6]
    assert files(six) == before


def test_what_emoset_scenes_are_never_changes(tmp_path: Path) -> None:
    """The shipped model learned from these pictures: pixels and rows of sixty of them, as they were at its training.

    So many, because only some are blurred or noisy.
    """
    drawn = draw(tmp_path, 60, seed=7, size=64)
    pixels = hashlib.sha256()
    for path in sorted((drawn / "images").iterdir()):
        with Image.open(path) as image:
            pixels.update(image.tobytes())
    assert pixels.hexdigest().startswith("bc7a41b086dd3e21")
    assert hashlib.sha256((drawn / "samples.jsonl").read_bytes()).hexdigest().startswith("a6fe079b973b49a1")


@pytest.mark.parametrize("task", TASKS)
def test_every_subtask_draws_the_same_bytes_again_and_no_picture_of_another(task: str, six: Path, tmp_path: Path) -> None:
    first, second = files(draw(tmp_path / "first", 6, task=task)), files(draw(tmp_path / "second", 6, task=task.lower()))
    assert first == second
    images = {name: data for name, data in first.items() if name.startswith("images/")}
    assert len(set(images.values())) == 6
    assert (set(images.values()) == {data for name, data in files(six).items() if name in images}) == (task == "EmoSet-8")
    for sample in read_samples(tmp_path / "first" / "samples.jsonl"):
        assert (sample.task, set(sample.posterior or {})) == (task, set(sample.candidates))


def test_an_unknown_task_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no task 'Joy-1'"):
        draw(tmp_path, 1, task="Joy-1")


@pytest.mark.slow
def test_labels_are_drawn_as_the_posteriors_say(tmp_path: Path) -> None:
    drawn = rows(draw(tmp_path, 600, seed=5, size=16))
    labels = taxonomy("mikels-8").labels
    shares = np.array([[row["posterior"][label] for label in labels] for row in drawn])
    hits = np.array([[row["ground_truth"] == label for label in labels] for row in drawn])
    expected = shares.sum(0)
    variance = (shares * (1 - shares)).sum(0)
    statistic = ((hits.sum(0) - expected) ** 2 / variance).sum()
    assert statistic < chi2.ppf(0.999, len(labels))
    top = shares.max(-1)  # and the likeliest label of each scene wins as often as it says
    wins = hits[np.arange(len(hits)), shares.argmax(-1)]
    assert abs(wins.sum() - top.sum()) < 3.3 * np.sqrt((top * (1 - top)).sum())


def test_every_concept_is_equally_likely_and_independent_of_the_others() -> None:
    rng = np.random.default_rng(0)
    scenes = [random_scene(rng) for _ in range(20_000)]
    for part, kind in zip(Scene._fields, (ELEMENTS, HUMANS, CONTEXTS, INTERACTIONS), strict=True):
        counts = np.array([sum(getattr(scene, part) == key for scene in scenes) for key in kind])
        expected = len(scenes) / len(kind)
        assert ((counts - expected) ** 2 / expected).sum() < chi2.ppf(0.999, len(kind) - 1)
    table = np.array([[sum(s.human == h and s.context == c for s in scenes) for c in CONTEXTS] for h in HUMANS])
    expected_table = table.sum(1, keepdims=True) * table.sum(0) / len(scenes)
    assert ((table - expected_table) ** 2 / expected_table).sum() < chi2.ppf(0.999, (len(HUMANS) - 1) * (len(CONTEXTS) - 1))


def test_a_folder_of_another_task_split_or_size_is_refused(tmp_path: Path) -> None:
    list(draw_samples(tmp_path, 1, 3, size=32, workers=1))
    for different in ({"size": 64}, {"size": 32, "split": "train"}, {"size": 32, "task_name": "WebEmo-7"}):
        with pytest.raises(UserError, match=r"was made with other settings: (size|split|task) was .* or another folder"):
            list(draw_samples(tmp_path, 2, 3, workers=1, **different))  # type: ignore[arg-type]


def ids(out: Path) -> list[str]:
    return [row["id"] for row in rows(out)]


def test_a_folder_says_what_was_drawn_there(six: Path) -> None:
    what = json.loads((six / "samples.run.json").read_text())["what"]
    assert what == {"task": "EmoSet-8", "split": "test", "size": SIZE, "unfamiliar": 0.0, "seeds": [0]}


def test_another_seed_is_not_added_unasked(tmp_path: Path) -> None:
    before = files(draw(tmp_path, 3, seed=1))
    with pytest.raises(
        UserError, match=r"samples\.jsonl was made with other settings: seeds was \[1\], and is \[2\]\. .* or another folder"
    ):
        draw(tmp_path, 3, seed=2)
    assert files(tmp_path) == before


def test_a_folder_whose_samples_were_removed_may_have_others(tmp_path: Path) -> None:
    (draw(tmp_path, 2, seed=1) / "samples.jsonl").unlink()
    assert ids(draw(tmp_path, 2, seed=2, size=48)) == ["scene-2-000000", "scene-2-000001"]


def test_where_it_is_asked_for_several_seeds_lie_side_by_side_and_each_can_be_read(tmp_path: Path) -> None:
    for seed in (1, 2, 1):
        assert list(draw_samples(tmp_path, 3, seed, size=SIZE, workers=1, other_seeds=True))[-1] == 3
    assert ids(tmp_path) == [f"scene-{seed}-{index:06d}" for seed in (1, 2) for index in range(3)]
    for seed in (1, 2):
        alone = draw(tmp_path / str(seed), 3, seed)
        assert read_scene_rows(tmp_path, 3, seed) == rows(alone)
        assert all((tmp_path / row["image"]).read_bytes() == (alone / row["image"]).read_bytes() for row in rows(alone))
    with pytest.raises(UserError, match=r"seeds was \[1, 2\], and is \[1\]"):
        draw(tmp_path, 3, seed=1)


def test_rows_are_chosen_by_number_not_by_how_it_is_spelt(tmp_path: Path) -> None:
    names = [f"scene-0-{index:06d}" for index in (1_000_001, 999_999, 1_000_000, 5)]
    lines = (json.dumps({"id": name}) for name in (*names, "scene-7-000000", "FI-2/scene-0-000002"))
    (tmp_path / "samples.jsonl").write_text("\n".join(lines))
    assert [row["id"][8:] for row in read_scene_rows(tmp_path, 1_000_001, 0)] == ["000005", "999999", "1000000"]


def test_a_folder_without_a_record_is_taken_over_if_its_rows_agree(six: Path, tmp_path: Path) -> None:
    record_of(draw(tmp_path, 4) / "samples.jsonl").unlink()
    for different in ({"size": 64}, {"split": "train"}, {"task_name": "WebEmo-7"}, {"ood_share": 0.5}, {"seed": 1}):
        with pytest.raises(UserError, match=r"was made with other settings: (size|split|task|unfamiliar|seeds) was "):
            list(draw_samples(tmp_path, **{"n": 6, "seed": 0, "size": SIZE, "workers": 1} | different))  # type: ignore[arg-type]
    with (tmp_path / "samples.jsonl").open("a") as file:
        file.write('{"id": "scene-0')  # broken off
    assert files(draw(tmp_path, 6)) == files(six)


def test_the_share_of_ood_pictures_is_checked_row_by_row_where_there_is_no_record(tmp_path: Path) -> None:
    list(draw_samples(tmp_path, 6, 0, size=SIZE, workers=1, ood_share=0.5))
    record_of(tmp_path / "samples.jsonl").unlink()
    with pytest.raises(UserError, match=r"unfamiliar was 0\.5, and is 0\.25"):
        list(draw_samples(tmp_path, 6, 0, size=SIZE, workers=1, ood_share=0.25))
    assert list(draw_samples(tmp_path, 6, 0, size=SIZE, workers=1, ood_share=0.5)) == [6]


DRAWING = """
import sys
from multiprocessing import active_children
from emocaliber.scenes import draw_samples
for done in draw_samples(sys.argv[1], 400, 0, size=64, workers=1):
    print(done, *(child.pid for child in active_children()), flush=True)
"""


@pytest.mark.slow
def test_a_second_process_does_not_draw_into_the_same_folder(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", DRAWING, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    while (words := process.stdout.readline().split())[0] != "5":
        pass
    with pytest.raises(UserError, match=rf"samples\.jsonl is in use by process {process.pid} on "):
        draw(tmp_path, 400, size=64)
    process.kill()
    process.wait()
    assert len(set(ids(draw(tmp_path, 40, size=64)))) == len(ids(tmp_path)) >= 40
    end = time.monotonic() + 30
    while any(is_alive(int(worker)) for worker in words[1:]):
        assert time.monotonic() < end, "the workers outlived their parent"
        time.sleep(0.01)


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_what_is_drawn_may_be_asked_for_by_many_at_once(six: Path) -> None:
    first, second = (draw_samples(six, 6, 0, size=SIZE) for _ in range(2))
    assert [next(first), next(second)] == [6, 6]


def test_abstract_scenes_which_have_no_element_are_taken_over_too(tmp_path: Path) -> None:
    record_of(draw(tmp_path, 2, task="Abstract-8") / "samples.jsonl").unlink()
    assert list(draw_samples(tmp_path, 3, 0, "Abstract-8", size=SIZE, workers=1)) == [2, 3]
