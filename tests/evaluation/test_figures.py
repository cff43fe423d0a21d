from __future__ import annotations

import re
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from emocaliber.core.scoring import Outcome
from emocaliber.emotions import taxonomy
from emocaliber.errors import UserError
from emocaliber.evaluation.figures import confidence_figure, confusion_figure, draw_figures, reliability_figure, risk_coverage_figure
from emocaliber.evaluation.metrics import Tally
from emocaliber.evaluation.shown import shown_sources
from emocaliber.evaluation.summary import summarise
from emocaliber.render.figure import PanelFigure, png, style


def answered(task: str, n: int, *, verb: bool = True, seed: int = 0) -> list[Outcome]:
    random = np.random.default_rng(seed)
    return [
        Outcome(
            id=f"{task}-{number}",
            task=task,
            ground_truth="awe",
            answer=answer,
            correct=answer == "awe",
            malformed=None if answer else "empty",
            distance=None,
            confidence={"verb": round(float(random.random()), 2) if verb and answer else None},
        )
        for number, answer in enumerate(random.choice(["awe", "fear", None], size=n).tolist())
    ]


def drawn(outcomes: list[Outcome], folder: Path, most_tasks: int = 30) -> list[str]:
    paths = draw_figures(summarise(outcomes, replicates=10), outcomes, folder, most_tasks=most_tasks)
    for path in paths:
        with Image.open(path) as image:
            assert image.format == "PNG" and len(image.convert("L").getcolors() or []) > 20, f"{path.name} is empty"
    return [path.stem for path in paths]


TALLY = Tally(np.array([0.25, 0.75, 0.85]), np.array([1.0, 1.0, 3.0]), np.array([3.0, 1.0, 0.0]))
MANY = Tally(TALLY.values, 10 * TALLY.right, 10 * TALLY.wrong)


def test_reliability_shows_the_accuracy_at_each_mean_confidence() -> None:
    above, below = reliability_figure("title", {"verb": TALLY}, {"verb": {}}).axes
    diagonal, line = above.lines[:2]
    assert np.array_equal(diagonal.get_xdata(), diagonal.get_ydata())
    assert np.array_equal(line.get_xydata(), [[0.25, 0.25], [0.75, 0.5], [0.85, 1.0]])
    assert [bar.get_height() for bar in below.patches] == [4, 2, 3]  # type: ignore[attr-defined]


def test_risk_against_coverage_ends_at_the_error_rate_of_all_answers() -> None:
    (axes,) = risk_coverage_figure("title", {"overall": {"verb": MANY}}, ["verb"]).axes
    curve = np.asarray(axes.lines[0].get_xydata())
    assert np.allclose(curve, [[0, 0], [3 / 9, 0], [5 / 9, 1 / 5], [1, 4 / 9]])


def test_the_risk_of_a_few_answers_is_left_out_and_that_there_are_few_is_said() -> None:
    (axes,) = risk_coverage_figure("title", {"overall": {"verb": TALLY}}, ["verb"]).axes
    assert np.allclose(np.asarray(axes.lines[0].get_xydata()), [[5 / 9, 1 / 5], [1, 4 / 9]])
    assert "few" in axes.get_title(loc="left")
    (axes,) = risk_coverage_figure("title", {"overall": {"verb": Tally(TALLY.values, 99 * TALLY.right, TALLY.wrong)}}, ["verb"]).axes
    assert "few" not in axes.get_title(loc="left")


def test_every_curve_has_its_area_in_the_title() -> None:
    sources = ["verb", "ans", "avg", "commit", "norm"]
    (axes,) = risk_coverage_figure("title", {"overall": dict.fromkeys(sources, MANY)}, sources).axes
    assert len(re.findall(r"\w+ \d\d?\.\d\d", axes.get_title(loc="left"))) == len(sources)


def test_the_main_source_and_those_with_the_most_answers_are_shown() -> None:
    coverage = {"verb": 0.4, "ans": 0.5, "avg": 0.7, "norm": 0.0, "commit": 0.9, "margin": 0.7}
    numbers = {
        "overall": {"confidence": {source: {"coverage": share} for source, share in coverage.items()}},
        "settings": {"sources": list(coverage)},
    }
    assert shown_sources(numbers) == ["verb", "avg", "commit", "margin"]
    assert shown_sources(numbers, 99) == ["verb", "ans", "avg", "commit", "margin"]


def test_axes_are_called_by_their_source() -> None:
    for draw in (
        reliability_figure("t", {"ans": TALLY}, {"ans": {}}, {"ans": "Token"}),
        confidence_figure("t", {"ans": TALLY}, {"ans": "Token"}),
    ):
        assert draw.axes[-1].get_xlabel() == "Token"


def test_confidence_of_right_and_wrong_answers_is_shown_as_shares_of_each() -> None:
    (axes,) = confidence_figure("title", {"verb": TALLY}).axes
    heights = np.array([bar.get_height() for bar in axes.patches])  # type: ignore[attr-defined]
    assert np.allclose(heights[:10][[2, 7, 8]], [1 / 5, 1 / 5, 3 / 5]) and np.allclose(heights[10:][[2, 7, 8]], [3 / 4, 1 / 4, 0])
    assert heights.sum() == pytest.approx(2)


@pytest.mark.slow
def test_a_run_of_two_tasks_has_figures_of_all_answers_and_by_task(tmp_path: Path) -> None:
    assert drawn([*answered("FI-8", 40), *answered("EmoSet-8", 30)], tmp_path) == [
        "reliability",
        "risk_coverage",
        "confidence",
        "reliability_by_task",
        "risk_coverage_by_task",
        "confidence_by_task",
        "confusion_EmoSet-8",
        "confusion_FI-8",
    ]


def test_one_task_has_no_figures_by_task(tmp_path: Path) -> None:
    first = next(outcome for outcome in answered("FI-8", 20) if outcome.answer)
    assert drawn([first], tmp_path) == ["reliability", "risk_coverage", "confidence", "confusion_FI-8"]


def test_without_confidence_only_the_confusion_is_drawn(tmp_path: Path) -> None:
    assert drawn(answered("FI-8", 5, verb=False), tmp_path) == ["confusion_FI-8"]


def test_confidence_in_none_of_the_tasks_drawn_leaves_out_the_figures_by_task(tmp_path: Path) -> None:
    silent = [*answered("a", 9, verb=False), *answered("b", 9, verb=False)]
    names = drawn([*silent, *answered("c", 8)], tmp_path, most_tasks=2)
    assert names == ["reliability", "risk_coverage", "confidence", "confusion_a", "confusion_b"]


def test_a_task_without_confidence_is_left_out_of_the_panels_but_not_of_the_confusions(tmp_path: Path) -> None:
    names = drawn([*answered("FI-8", 20), *answered("EmoSet-8", 20, verb=False)], tmp_path)
    assert "reliability_by_task" in names and "confusion_EmoSet-8" in names


@pytest.mark.parametrize("correct", [True, False])
def test_answers_that_are_all_right_or_all_wrong_can_be_drawn(tmp_path: Path, correct: bool) -> None:
    outcomes = [outcome for outcome in answered("FI-8", 60) if outcome.answer and outcome.correct is correct]
    assert "risk_coverage" in drawn(outcomes, tmp_path)


@pytest.mark.slow
def test_names_of_tasks_are_made_fit_for_files_and_kept_apart(tmp_path: Path) -> None:
    names = drawn([*answered("../a b", 5), *answered("../a_b", 5), *answered("../A b", 5), *answered("気分 $x$", 5)], tmp_path)
    confusions = [name for name in names if name.startswith("confusion")]
    assert confusions == ["confusion_A_b", "confusion_a_b_2", "confusion_a_b_3", "confusion_x"]
    assert all(path.parent == tmp_path for path in tmp_path.rglob("*.png"))


def test_odd_names_give_no_warnings(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert drawn([*answered("$x^{$", 5), *answered("気分", 5)], tmp_path)


def test_the_same_run_gives_the_same_files(tmp_path: Path) -> None:
    outcomes = answered("FI-8", 20)
    summary = summarise(outcomes, replicates=10)
    first, second = draw_figures(summary, outcomes, tmp_path / "a"), draw_figures(summary, outcomes, tmp_path / "b")
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


def test_only_the_largest_of_very_many_tasks_are_drawn(tmp_path: Path) -> None:
    names = drawn([*answered("a", 3), *answered("b", 2), *answered("c", 3)], tmp_path, most_tasks=2)
    assert [name for name in names if name.startswith("confusion")] == ["confusion_a", "confusion_c"]


def test_a_folder_that_cannot_be_written_is_a_users_mistake(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    outcomes = answered("FI-8", 3)
    with pytest.raises(UserError, match="file"):
        draw_figures(summarise(outcomes, replicates=10), outcomes, tmp_path / "file")


def texts(confusion: dict[str, Any]) -> dict[tuple[int, int], str]:
    """The counts written into the cells, by row and column."""
    axes = confusion_figure("moods", confusion).axes[0]
    return {(round(text.get_position()[1]), round(text.get_position()[0])): text.get_text() for text in axes.texts}


def test_a_confusion_keeps_the_order_of_its_labels_and_writes_its_counts() -> None:
    rows = {"awe": {"awe": 3, "malformed": 1}, "fear": {"awe": 2}}
    assert texts({"labels": ["awe", "fear"], "rows": rows}) == {(0, 0): "3", (0, 2): "1", (1, 0): "2"}


def test_a_confusion_is_shaded_by_the_share_of_its_row() -> None:
    figure = confusion_figure("moods", {"labels": ["awe", "fear"], "rows": {"awe": {"awe": 3, "fear": 1}, "fear": {}}})
    assert figure.axes[0].images[0].get_array().tolist() == [[0.75, 0.25], [0.0, 0.0]]  # type: ignore[union-attr]


def test_a_confusion_names_its_axes_and_keeps_labels_that_do_not_occur() -> None:
    axes = confusion_figure("FI-8", {"labels": ["awe", "fear"], "rows": {"awe": {"awe": 3}}}).axes[0]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("Answer", "Truth (number of answers)")
    assert [text.get_text() for text in axes.get_xticklabels()] == list(taxonomy("mikels-8").loop().order)


def test_text_of_a_confusion_stays_inside_the_figure() -> None:
    labels = [f"a rather long emotion {number}" for number in range(25)]
    with style():
        figure = confusion_figure("Moods", {"labels": labels, "rows": {label: {label: 1000, "malformed": 1} for label in labels}})
        png(figure)
        tight = figure.get_tightbbox()
    width, height = figure.get_size_inches()
    assert tight.x0 >= 0 and tight.y0 >= 0 and tight.x1 <= width and tight.y1 <= height


def test_panels_do_not_overlap() -> None:
    sheet = PanelFigure(5, "title")
    boxes = [sheet.axes(panel).get_position() for panel in range(5)]
    assert not any(a.overlaps(b) for place, a in enumerate(boxes) for b in boxes[:place])
    assert all(box.x0 >= 0 and box.x1 <= 1 and box.y0 >= 0 and box.y1 <= 1 for box in boxes)


def test_numbers_without_figures_do_not_load_matplotlib() -> None:
    code = "import sys, emocaliber.evaluation; print('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
