from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from emocaliber.core.samples import read_samples
from emocaliber.errors import UserError
from emocaliber.vecbench.audit import Audit, FindingKind, audit, drop

LABELS = ["awe", "fear"]


class Bench:
    """Sample files in a folder, with the images they need: `picture` names what is seen, `quality` the file it is stored in."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def image(self, picture: int, quality: int = 90) -> str:
        path = self.folder / "images" / f"{picture}-{quality}.jpg"
        if not path.exists():
            path.parent.mkdir(exist_ok=True)
            noise = np.random.default_rng(picture).integers(0, 256, (9, 12, 3), np.uint8)
            Image.fromarray(noise).resize((96, 72), Image.Resampling.BICUBIC).save(path, quality=quality)
        return f"images/{path.name}"

    def copy(self, image: str, name: str) -> str:
        (self.folder / "images" / name).write_bytes((self.folder / image).read_bytes())
        return f"images/{name}"

    def row(self, identity: str, image: str, label: str = "awe", task: str = "FI-8", split: str = "train") -> dict[str, Any]:
        return {
            "id": identity,
            "image": image,
            "task": task,
            "candidates": LABELS,
            "ground_truth": label,
            "source": "fi",
            "split": split,
            "votes": {"awe": 3, "fear": 1},
        }

    def write(self, name: str, *rows: dict[str, Any]) -> Path:
        path = self.folder / name
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return path


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    folder = tmp_path / "bench"
    folder.mkdir()
    return Bench(folder)


def found(result: Audit) -> list[tuple[str, bool, list[str]]]:
    return [(finding.kind.name, finding.exact, [member.id for member in finding.members]) for finding in result.findings]


def test_different_pictures_give_no_finding(bench: Bench) -> None:
    train = bench.write("train.jsonl", *(bench.row(f"a{n}", bench.image(n)) for n in range(6)))
    test = bench.write("test.jsonl", *(bench.row(f"b{n}", bench.image(n), split="test") for n in range(6, 9)))
    result = audit([train, test])
    assert not found(result) and not result.leaks
    assert (result.samples, result.images) == (9, 9)


def test_the_same_bytes_under_two_names_are_an_exact_duplicate(bench: Bench) -> None:
    first = bench.image(1)
    train = bench.write("train.jsonl", bench.row("a", first), bench.row("b", bench.copy(first, "other.jpg")))
    assert found(audit([train])) == [("EXACT", True, ["a", "b"])]


def test_a_recompressed_picture_is_a_near_duplicate(bench: Bench) -> None:
    train = bench.write("train.jsonl", bench.row("a", bench.image(1)), bench.row("b", bench.image(1, quality=60)))
    result = audit([train])
    assert found(result) == [("NEAR", False, ["a", "b"])]
    assert not audit([train], distance=None).findings


def test_one_image_in_two_tasks_of_one_side_is_no_duplicate(bench: Bench) -> None:
    image = bench.image(1)
    rows = [bench.row("a", image), bench.row("b", image, task="FI-2")]
    assert not found(audit([bench.write("train.jsonl", *rows)]))
    assert found(audit([bench.write("train.jsonl", *rows, bench.row("c", image))])) == [("EXACT", True, ["b", "a", "c"])]


@pytest.mark.parametrize(("quality", "exact"), [(90, True), (60, False)])
def test_a_picture_of_the_test_that_is_trained_on_is_a_leak_in_whatever_task(bench: Bench, quality: int, exact: bool) -> None:
    train = bench.write("train.jsonl", bench.row("a", bench.image(1), task="FI-2"), bench.row("b", bench.image(2)))
    test = bench.write("test.jsonl", bench.row("c", bench.image(1, quality), split="test"))
    result = audit([train, test])
    assert ("LEAK", exact, ["c", "a"]) in found(result) and result.leaks


def test_two_labels_of_one_picture_in_one_task_are_a_conflict(bench: Bench) -> None:
    rows = [bench.row("a", bench.image(1)), bench.row("b", bench.image(1), "fear"), bench.row("c", bench.image(1), "fear", "FI-2")]
    assert ("CONFLICT", True, ["a", "b"]) in found(audit([bench.write("train.jsonl", *rows)]))


def test_an_exact_conflict_is_not_reported_again_as_a_near_one(bench: Bench) -> None:
    first = bench.image(1)
    rows = [bench.row("a", first, "awe"), bench.row("b", first, "fear"), bench.row("c", bench.image(1, 60), "awe", "EmoSet-8")]
    kinds = [(kind, exact) for kind, exact, _ in found(audit([bench.write("train.jsonl", *rows)]))]
    assert kinds == [("CONFLICT", True), ("EXACT", True), ("NEAR", False)]


def test_a_test_sample_in_a_training_file_is_found_by_its_split_or_by_the_test_file(bench: Bench) -> None:
    train = bench.write("stage1.jsonl", bench.row("a", bench.image(1), split="test"), bench.row("c", bench.image(2)))
    test = bench.write("test.jsonl", bench.row("c", bench.image(2), split="test"))
    result = audit([train, test])
    assert found(result) == [("MISPLACED", True, ["a"]), ("MISPLACED", True, ["c"])] and result.leaks


def test_a_sample_may_stand_in_the_training_file_and_in_that_of_a_stage(bench: Bench) -> None:
    row = bench.row("a", bench.image(1))
    result = audit([bench.write("train.jsonl", row), bench.write("stage1.jsonl", row)])
    assert not found(result) and result.samples == 1


def test_files_of_any_other_name_go_by_their_rows_splits(bench: Bench) -> None:
    image = bench.image(1)
    both = bench.write("all.jsonl", bench.row("a", image), bench.row("b", image, split="test"))
    assert ("LEAK", True, ["b", "a"]) in found(audit([both]))


def test_plain_images_are_told_apart_by_their_bytes_alone(bench: Bench) -> None:
    bench.image(0)
    for name, colour in (("red.png", "red"), ("blue.png", "blue")):
        Image.new("RGB", (64, 64), colour).save(bench.folder / "images" / name)
    rows = [bench.row("a", "images/red.png"), bench.row("b", "images/blue.png"), bench.row("c", bench.copy("images/red.png", "r.png"))]
    kinds = [(kind, ids) for kind, _, ids in found(audit([bench.write("train.jsonl", *rows)]))]
    assert kinds == [("EXACT", ["a", "c"]), ("PLAIN", ["a"]), ("PLAIN", ["b"]), ("PLAIN", ["c"])]


def test_an_image_that_cannot_be_read_is_told_and_compared_with_nothing(bench: Bench) -> None:
    result = audit([bench.write("train.jsonl", bench.row("a", "no.jpg"), bench.row("b", "nor.jpg"))])
    assert [kind for kind, *_ in found(result)] == ["UNREADABLE", "UNREADABLE"]
    assert "no.jpg" in result.findings[0].detail


def test_the_rows_and_the_table_say_what_was_found(bench: Bench) -> None:
    train = bench.write("train.jsonl", bench.row("a", bench.image(1)))
    test = bench.write("test.jsonl", bench.row("b", bench.image(1), split="test"))
    result = audit([train, test])
    (row,) = json.loads(json.dumps(result.to_rows(bench.folder)))
    assert (row["kind"], row["distance"], [sample["image"] for sample in row["samples"]]) == (FindingKind.LEAK, 0, ["images/1-90.jpg"] * 2)
    assert [sample["files"] for sample in row["samples"]] == [["test.jsonl"], ["train.jsonl"]]
    assert "train-test leak" in result.as_table().as_text()


def mixed(bench: Bench) -> list[Path]:
    """Every kind of trouble at once."""
    first, second, third = bench.image(1), bench.image(2), bench.image(3)
    rows = [
        bench.row("leaks", bench.image(1, 60)),
        bench.row("leaks-too", first),
        bench.row("one", second, "awe"),
        bench.row("other", second, "fear"),
        bench.row("kept", third),
        bench.row("again", bench.copy(third, "again.jpg")),
        bench.row("ours", bench.image(4)),
        bench.row("theirs", bench.image(5), split="test"),
    ]
    test = bench.write("test.jsonl", bench.row("t", first, split="test"))
    return [bench.write("train.jsonl", *rows), bench.write("stage1.jsonl", *rows[4:7]), test]


def ids(path: Path) -> list[str]:
    return [sample.id for sample in read_samples(path)]


def test_what_is_dropped_leaves_the_test_whole_and_one_of_each_picture(bench: Bench, tmp_path: Path) -> None:
    files = mixed(bench)
    clean = tmp_path / "clean"
    result = drop(audit(files), files, clean)
    assert ids(clean / "train.jsonl") == ["again", "ours"] and ids(clean / "stage1.jsonl") == ["again", "ours"]
    assert ids(clean / "test.jsonl") == ["t"]
    reasons = {row["id"]: (row["reason"], row["beside"]) for row in map(json.loads, (clean / "dropped.jsonl").read_text().splitlines())}
    assert reasons == {
        "theirs": (FindingKind.MISPLACED, None),
        "leaks": (FindingKind.LEAK, "t"),
        "leaks-too": (FindingKind.LEAK, "t"),
        "one": (FindingKind.CONFLICT, "other"),
        "other": (FindingKind.CONFLICT, "one"),
        "kept": (FindingKind.EXACT, "again"),
    }
    assert list(result.kept.values()) == [2, 2, 1]
    assert "rows kept" in result.as_table().as_text()


def test_what_is_left_is_clean_and_finds_its_images(bench: Bench, tmp_path: Path) -> None:
    files = mixed(bench)
    kept = drop(audit(files), files, tmp_path / "clean").kept
    again = audit(list(kept))
    assert not again.findings and again.images == 3


def test_dropping_twice_gives_the_same_bytes(bench: Bench, tmp_path: Path) -> None:
    files = mixed(bench)

    def contents() -> Iterator[bytes]:
        drop(audit(files), files, tmp_path / "clean")
        return (path.read_bytes() for path in sorted((tmp_path / "clean").glob("*.jsonl")))

    assert list(contents()) == list(contents())


def test_the_audited_files_are_never_overwritten(bench: Bench) -> None:
    files = mixed(bench)
    with pytest.raises(UserError, match="give another folder"):
        drop(audit(files), files, bench.folder)
