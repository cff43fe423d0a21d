from __future__ import annotations

from typing import Any

import pytest

from emocaliber.errors import UserError
from emocaliber.evaluation import evolvement_table, markdown, summarise
from emocaliber.scoring import Outcome

KNOWN = {"awe": 0.8, "fear": 0.2}


def run(
    *answers: tuple[str | None, float | None], task: str = "FI-8", posterior: dict[str, float] | None = None, **sources: float
) -> dict[str, Any]:
    return summarise(
        Outcome(
            id=str(number),
            task=task,
            ground_truth="awe",
            answer=answer,
            correct=answer == "awe",
            malformed=None if answer else "empty",
            distance=None,
            confidence={"verb": verb, **sources},
            posterior=posterior,
        )
        for number, (answer, verb) in enumerate(answers)
    )


def cells(table: str, row: str) -> dict[str, str]:
    """The row that begins with `row`, by column."""
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines() if line.startswith("|")]
    header, found = lines[0], next(line for line in lines if line[0] == row)
    return dict(zip(header[1:], found[1:], strict=True))


def test_a_row_prints_percentages_with_two_decimals() -> None:
    row = cells(markdown(run(("awe", 0.9), ("fear", 0.6), (None, None))), "FI-8")
    assert row == {
        "n": "3",
        "Acc": "33.33",
        "F1 macro": "25.00",
        "F1 weighted": "50.00",
        "Malformed": "33.33",
        "Coverage": "66.67",
        "ECE": "35.00",
        "Brier": "18.50",
        "AUROC": "100.00",
    }


def test_what_is_not_defined_is_a_dash_and_not_a_number() -> None:
    row = cells(markdown(run(("awe", None))), "FI-8")
    assert (row["Coverage"], row["ECE"], row["Brier"], row["AUROC"]) == ("0.00", "–", "–", "–")  # noqa: RUF001


def test_tasks_come_before_their_groups_and_overall() -> None:
    table = markdown(run(("awe", 0.9)))
    assert table.index("| FI-8") < table.index("| ID VER") < table.index("| Overall")


def test_the_best_possible_has_columns_only_where_it_is_known() -> None:
    row = cells(markdown(run(("awe", 0.9), ("fear", 0.5), posterior=KNOWN)), "FI-8")
    assert (row["Best Acc"], row["Best Brier"], row["Best AUROC"]) == ("80.00", "16.00", "50.00")
    assert "Best" not in markdown(run(("awe", 0.9)))


def test_every_other_source_of_confidence_has_its_own_table() -> None:
    other = markdown(run(("awe", 0.9), ans=0.75)).split("| Confidence: ans")[1]
    assert "25.00" in other and "6.25" in other


def test_the_evolvement_table_has_a_row_per_stage_and_ends_with_the_best_possible() -> None:
    scaffold = run(("awe", None), (None, None), posterior=KNOWN)
    final = run(("awe", 0.8), ("fear", 0.4), posterior=KNOWN)
    table = evolvement_table({"scaffold": scaffold, "final": final}).split("\n\n")[0]
    assert [line.split("|")[1].strip() for line in table.splitlines()][2:] == ["scaffold", "final", "best possible"]
    assert cells(table, "scaffold") == {"Acc": "50.00", "ECE": "–", "Brier": "–", "AUROC": "–", "Malformed": "50.00"}  # noqa: RUF001
    assert cells(table, "final") == {"Acc": "50.00", "ECE": "30.00", "Brier": "10.00", "AUROC": "100.00", "Malformed": "0.00"}
    assert cells(table, "best possible")["Acc"] == "80.00"


def test_the_evolvement_table_covers_each_group_and_overall() -> None:
    table = evolvement_table({"only": run(("awe", 0.8), task="Abstract-8")})
    assert "| OOD VER" in table and "| Overall" in table and "| ID VER" not in table
    assert "best possible" not in table


@pytest.mark.parametrize("other", [run(("awe", 0.8)), run(*[("awe", 0.8)] * 2, task="FI-2"), run(*[("awe", 0.8)] * 2, posterior=KNOWN)])
def test_runs_on_different_samples_are_not_put_side_by_side(other: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="'a' and 'b' were not scored on the same ID VER samples"):
        evolvement_table({"a": run(("awe", 0.8), ("fear", 0.8)), "b": other})


def test_a_name_with_a_bar_does_not_break_the_table() -> None:
    assert "| a\\|b " in markdown(run(("awe", 0.8), task="a|b"))
