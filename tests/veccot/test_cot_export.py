"""VEC-CoT as exported: the stages' shares, no image twice, the same bytes again, and rows that trainers take."""

from __future__ import annotations

import json
from collections import Counter
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emocaliber.core.response import Reasoning, Response, parse, render
from emocaliber.core.samples import Sample, read_samples
from emocaliber.errors import UserError
from emocaliber.io.rows import read_rows
from emocaliber.training.config import Stage1Config
from emocaliber.training.samples import training_rows
from emocaliber.vecbench.splits import assign_stages
from emocaliber.veccot.export import export_stages
from emocaliber.veccot.ledger import Ledger
from small_ledger import ledger_of, record, sample, told

TASKS = ("EmoSet-8", "FI-2", "WebEmo-7")


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """120 accepted samples of three subtasks, and some that were rejected or failed."""
    folder = tmp_path_factory.mktemp("ledger")
    good = [(sample(folder / "images", number, task), ("rejected", "accepted")) for task in TASKS for number in range(40)]
    bad = [(sample(folder / "images", 100 + number), ("rejected", "failed")) for number in range(5)]
    return ledger_of(folder / "ledger.sqlite", [*good, *bad])


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def rows_of(folder: Path) -> dict[int, list[dict[str, Any]]]:
    return {k: list(read_rows(folder / f"stage{k}.jsonl")) for k in (1, 2, 3)}


def test_every_accepted_sample_is_in_one_stage_and_no_other_sample_in_any(ledger: Path, tmp_path: Path) -> None:
    exported = export_stages(ledger, tmp_path)
    ids = [row["id"] for rows in rows_of(tmp_path).values() for row in rows]
    assert sorted(ids) == sorted(f"{task}/{number}" for task in TASKS for number in range(40))
    assert sum(sum(tasks.values()) for tasks in exported.counts.values()) == 120


def test_stages_share_every_subtask_six_to_three_to_one(ledger: Path, tmp_path: Path) -> None:
    counts = export_stages(ledger, tmp_path).counts
    for task in TASKS:
        assert [counts[f"stage{k}"][task] for k in (1, 2, 3)] == pytest.approx([24, 12, 4], abs=1)


def test_another_ratio_is_kept_too(ledger: Path, tmp_path: Path) -> None:
    counts = export_stages(ledger, tmp_path, ratio=(1, 1, 0), formats=("rows",)).counts
    assert [sum(counts[f"stage{k}"].values()) for k in (1, 2, 3)] == [60, 60, 0]


@given(st.lists(st.integers(0, 9), min_size=1, max_size=5).filter(any), st.integers(0, 3))
def test_a_whole_number_of_rounds_is_dealt_exactly(ratio: list[int], seed: int) -> None:
    rows = [{"id": str(n), "image": str(n), "task": "a", "ground_truth": "awe"} for n in range(3 * sum(ratio))]
    dealt = Counter(assign_stages(rows, seed, ratio))
    assert [dealt[k] for k in range(1, len(ratio) + 1)] == [3 * share for share in ratio]


def test_the_same_ledger_and_seed_give_the_same_bytes(ledger: Path, tmp_path: Path) -> None:
    export_stages(ledger, tmp_path / "a", seed=3)
    export_stages(ledger, tmp_path / "b", seed=3)
    export_stages(ledger, tmp_path / "c", seed=4)
    assert files_of(tmp_path / "a") == files_of(tmp_path / "b")
    assert files_of(tmp_path / "a")["stage1.jsonl"] != files_of(tmp_path / "c")["stage1.jsonl"]


def test_samples_that_share_an_image_by_path_or_by_content_are_in_one_stage(tmp_path: Path) -> None:
    first = [sample(tmp_path / "a", number, "EmoSet-8", image=f"{number}.png") for number in range(20)]
    same_file = [sample(tmp_path / "a", number, "FI-8", image=f"{number}.png") for number in range(20)]
    same_bytes = []
    for number in range(20):
        copy = sample(tmp_path / "b", number, "WebEmo-7", image=f"copy-{number}.png")
        Path(copy.image).write_bytes(Path(first[number].image).read_bytes())
        same_bytes.append(copy)
    path = ledger_of(tmp_path / "ledger.sqlite", [(each, ("accepted",)) for each in (*first, *same_file, *same_bytes)])
    export_stages(path, tmp_path / "out")
    numbers = {k: {row["id"].split("/")[1] for row in rows} for k, rows in rows_of(tmp_path / "out").items()}
    assert all(not numbers[a] & numbers[b] for a, b in combinations(numbers, 2))
    assert sum(len(rows) for rows in rows_of(tmp_path / "out").values()) == 60


def test_training_takes_the_files_as_they_are(ledger: Path, tmp_path: Path) -> None:
    export_stages(ledger, tmp_path)
    config = Stage1Config(model="m", samples=str(tmp_path / "stage1.jsonl"), out="o", learning_rate=1e-4, batch_size=1)
    for row in training_rows(config):
        response = parse(row["response"], row["candidates"], confidence="forbidden")  # as stage 1 reads it: without aliases
        assert isinstance(response, Response) and response.answer == row["ground_truth"]
        assert Path(row["image"]).is_file()
    for k in (2, 3):
        taken = list(read_samples(tmp_path / f"stage{k}.jsonl"))
        assert taken and all(Path(each.image).is_file() and each.split == "train" for each in taken)
        assert not any("response" in row for row in read_rows(tmp_path / f"stage{k}.jsonl"))


def test_the_newest_accepted_response_is_learnt_in_the_one_form_with_the_candidates_spelling(tmp_path: Path) -> None:
    each = sample(tmp_path, 0, "WebEmo-25", "irritability")
    path = ledger_of(tmp_path / "ledger.sqlite", [(each, ("accepted",))])
    with Ledger(path) as book:
        text = told("Irritabilty").replace("><", ">\n  <")
        record(book, each, ["accepted"], recipe=book.add_recipe({"prompt": "new"}), response=text)
    export_stages(path, tmp_path / "out", ratio=(1, 0, 0))
    [row] = rows_of(tmp_path / "out")[1]
    assert row["response"] == told("Irritabilty").replace("<answer>Irritabilty", "<answer>irritability")


def test_a_test_sample_is_refused(tmp_path: Path) -> None:
    path = ledger_of(tmp_path / "ledger.sqlite", [(sample(tmp_path, 0, split="test"), ("accepted",))])
    with pytest.raises(UserError, match=r"sample 'EmoSet-8/0': split is 'test'"):
        export_stages(path, tmp_path / "out")


def test_a_lost_image_is_named(tmp_path: Path) -> None:
    each = sample(tmp_path, 0)
    path = ledger_of(tmp_path / "ledger.sqlite", [(each, ("accepted",))])
    Path(each.image).unlink()
    with pytest.raises(UserError, match=r"EmoSet-8-0\.png: cannot be read"):
        export_stages(path, tmp_path / "out")


def test_a_ledger_without_accepted_samples_an_unknown_format_and_a_bad_ratio_are_sentences(ledger: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no accepted samples yet"):
        export_stages(ledger_of(tmp_path / "ledger.sqlite", [(sample(tmp_path, 0), ("rejected",))]), tmp_path / "out")
    with pytest.raises(UserError, match="no format 'csv'; the formats are rows, swift, trl"):
        export_stages(ledger, tmp_path / "out", formats=("csv",))
    with pytest.raises(UserError, match="such as 6:3:1, not 0:0:0"):
        export_stages(ledger, tmp_path / "out", ratio=(0, 0, 0))


def test_ms_swift_rows_place_the_image_and_keep_the_truth_for_rewards(ledger: Path, tmp_path: Path) -> None:
    export_stages(ledger, tmp_path, formats=("rows", "swift"))
    for k, rows in rows_of(tmp_path / "swift").items():
        for row, ours in zip(rows, rows_of(tmp_path)[k], strict=True):
            user, *rest = row["messages"]
            assert user["role"] == "user" and user["content"].startswith("<image>Which")
            assert ("<confidence>" in user["content"]) == (k == 3)
            assert rest == ([{"role": "assistant", "content": ours["response"]}] if k == 1 else [])
            assert [Path(image).is_absolute() and Path(image).is_file() for image in row["images"]] == [True]
            assert (row["ground_truth"], row["candidates"], row["task"]) == (ours["ground_truth"], ours["candidates"], ours["task"])


def test_trl_loads_the_rows_and_puts_the_images_in_their_places(ledger: Path, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    data_utils = pytest.importorskip("trl.data_utils")
    export_stages(ledger, tmp_path, formats=("trl",))
    for k in (1, 3):
        data = datasets.Dataset.from_list(list(read_rows(tmp_path / "trl" / f"stage{k}.jsonl")))
        row = data.cast_column("images", datasets.List(datasets.Image()))[0]
        assert data_utils.is_conversational(row)
        [message] = data_utils.prepare_multimodal_messages(row["prompt"], images=row["images"])
        assert message["content"][0]["image"].size == (16 * 1.5, 16) and message["content"][1]["text"].startswith("Which")
    stage1 = next(read_rows(tmp_path / "trl" / "stage1.jsonl"))
    assert isinstance(parse(stage1["completion"][0]["content"][0]["text"], stage1["candidates"]), Response)


def test_the_card_shows_the_papers_table_beside_ours_and_hashes_every_file(ledger: Path, tmp_path: Path) -> None:
    exported = export_stages(ledger, tmp_path)
    card = (tmp_path / "README.md").read_text("utf-8")
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in card.splitlines() if line.startswith("|")]
    header = next(line for line in lines if "WebEmo-25" in line)
    ours, papers = (next(line for line in lines if line[0] == name) for name in ("VEC-CoT-1", "the paper's"))
    column = header.index("EmoSet-8")
    assert (ours[column], papers[column]) == (str(exported.counts["stage1"]["EmoSet-8"]), "30,022")
    assert all(digest in card for digest in exported.files.values()) and len(exported.files) == 9
    assert "| length" in card and '"prompt": "Describe"' in card and "| dollars" in card


def test_a_label_that_looks_like_a_table_or_markup_does_not_break_the_card(tmp_path: Path) -> None:
    path = tmp_path / "image.png"
    sample(tmp_path, 0, image="image.png")
    odd = Sample("1", str(path), "my|task<b>", ("a|b", "c"), "a|b", "mine", "train")
    text = render(Response(Reasoning("e", "h", "c", "i", "a"), "a|b"))
    ledger = tmp_path / "ledger.sqlite"
    with Ledger(ledger, create=True) as book:
        book.add_samples([odd.to_row()])
        record(book, odd, ["accepted"], recipe=book.add_recipe({}), response=text)
    export_stages(ledger, tmp_path / "out")
    assert "my\\|task&lt;b>" in (tmp_path / "out" / "README.md").read_text("utf-8")
    assert json.loads((tmp_path / "out" / "stage1.jsonl").read_text("utf-8"))["ground_truth"] == "a|b"
