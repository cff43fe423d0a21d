from __future__ import annotations

import copy
from typing import Any

import pytest

from emocaliber.core.scoring import Outcome
from emocaliber.core.tasks import paper_counts
from emocaliber.errors import UserError
from emocaliber.evaluation.summary import summarise
from emocaliber.evaluation.tables import evolvement_table, headline, latex, main_source, markdown
from emocaliber.render.table import Table, marks_of

KNOWN = {"awe": 0.8, "fear": 0.2}
DASH = "–"  # noqa: RUF001


def run(
    *answers: tuple[str | None, float | None],
    task: str = "FI-8",
    posterior: dict[str, float] | None = None,
    truth: str = "awe",
    **sources: float,
) -> dict[str, Any]:
    return summarise(
        (
            Outcome(
                id=str(number),
                task=task,
                ground_truth=truth,
                answer=answer,
                correct=answer == truth,
                malformed=None if answer else "empty",
                distance=None,
                confidence={"verb": verb, **sources},
                posterior=posterior,
            )
            for number, (answer, verb) in enumerate(answers)
        ),
        replicates=20,
    )


def whole(group_tasks: tuple[str, ...] = ("FI-2", "WebEmo-2"), /, **changed: Any) -> dict[str, Any]:
    """A summary of whole tasks, with the numbers of a small one."""
    small = run(("positive", 0.9), ("negative", 0.6), ("positive", 0.7), ("positive", 0.8), task="FI-2", truth="positive")
    metrics = small["tasks"]["FI-2"] | changed
    tasks = {task: metrics | {"n": paper_counts()["test"][task]} for task in group_tasks}
    return small | {"tasks": tasks, "groups": {"ID VSA": small["groups"]["ID VSA"] | changed}}


def section(text: str, title: str) -> str:
    (found,) = [part for part in text.split("### ")[1:] if part.startswith(title)]
    return found


def cells(table: str, row: str) -> dict[str, str]:
    """The row that begins with `row`, by column."""
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines() if line.startswith("|")]
    header, found = lines[0], next(line for line in lines if line[0] == row)
    return dict(zip(header[1:], found[1:], strict=True))


def number(cell: str) -> str:
    """A cell without its interval."""
    return cell.split(" [")[0]


def test_a_row_prints_percentages_with_two_decimals() -> None:
    text = markdown(run(("awe", 0.9), ("fear", 0.6), (None, None)))
    answers = cells(section(text, "Answers\n"), "FI-8")
    assert {name: number(cell) for name, cell in answers.items()} == {
        "n": "3",
        "Acc": "33.33",
        "Acc pooled": DASH,
        "F1 macro": "25.00",
        "F1 weighted": "50.00",
        "Malformed": "33.33",
    }
    stated = cells(section(text, "Confidence: verb"), "FI-8")
    assert [number(stated[name]) for name in ("Coverage", "ECE", "Brier", "AUROC")] == ["66.67", "35.00", "18.50", "100.00"]


def test_a_number_is_printed_with_its_interval_and_ece_with_that_of_calibrated_models() -> None:
    summary = run(("awe", 0.9), ("fear", 0.6))
    summary["tasks"]["FI-8"] |= {"accuracy": 0.5, "accuracy_ci": [0.25, 0.754]}
    summary["tasks"]["FI-8"]["confidence"]["verb"] |= {"ece_null": [0.01, 0.25]}
    text = markdown(summary)
    assert cells(section(text, "Answers\n"), "FI-8")["Acc"] == "50.00 [25.00, 75.40]"
    assert cells(section(text, "Confidence: verb"), "FI-8")["ECE if calibrated"] == "[1.00, 25.00]"


def test_what_is_not_defined_is_a_dash_and_not_a_number() -> None:
    row = cells(section(markdown(run(("awe", None))), "Confidence: verb"), "FI-8")
    assert (number(row["Coverage"]), row["ECE"], row["Brier"], row["AUROC"]) == ("0.00", DASH, DASH, DASH)


def test_a_summary_that_lacks_all_but_the_accuracy_has_tables() -> None:
    bare = {"n": 4, "accuracy": 0.75}
    summary = {"n": 4, "tasks": {"FI-8": bare}, "groups": {"ID VER": bare}, "overall": bare, "settings": {"sources": ["verb"]}}
    row = cells(section(markdown(summary), "Answers\n"), "FI-8")
    assert (row["Acc"], row["F1 macro"], row["Malformed"]) == ("75.00", DASH, DASH)
    assert "75.00" in headline(summary) and "75.00" in latex(summary) and "75.00" in evolvement_table({"old": summary})


def test_malformed_answers_are_in_the_table_for_a_terminal() -> None:
    header, row = headline(run((None, None), (None, None))).splitlines()[:2]
    assert "Malformed" in header and "100.00" in row.split("]")[1].split()[0]


def test_the_five_steps_have_a_column_where_outcomes_say_so() -> None:
    assert "Five steps" not in markdown(run(("awe", 0.9)))
    outcomes = [Outcome(str(n), "FI-8", "awe", "awe", True, None, None, {"verb": 0.5}, format=n > 0) for n in range(4)]
    text = markdown(summarise(outcomes, replicates=20))
    assert number(cells(section(text, "Answers\n"), "FI-8")["Five steps"]) == "75.00"
    assert "Five steps: the share" in text


def test_tasks_come_before_their_groups_and_overall() -> None:
    table = section(markdown(run(("awe", 0.9))), "Answers\n")
    assert table.index("| FI-8") < table.index("| ID VER") < table.index("| Overall")


def test_the_first_line_says_how_to_read_it() -> None:
    line = markdown(run(("awe", 0.9), ("awe", 0.8))).splitlines()[0]
    assert "n = 2 samples in 1 task." in line and "percentages" in line and "exact for shares" in line and "20 bootstrap replicates" in line


def test_a_run_is_the_last_row_beside_the_papers_systems() -> None:
    table = section(markdown(whole(f1_weighted=0.5), "mine"), "Answers on ID VSA")
    names = [line.split("|")[1].strip() for line in table.splitlines() if line.startswith("|")][2:]
    assert names == [
        "Qwen2.5-VL", "InternVL3.5", "Qwen3-VL", "GPT-5", "EmoVIT", "Emotion-LLaMA", "EmoCaliber", "mine", "95 % interval",
    ]  # fmt: skip
    assert cells(table, "EmoCaliber")["WebEmo-2 F1"] == "**75.78**"
    assert cells(table, "mine")["FI-2 Acc"] == "75.00" and cells(table, "mine")["Average Acc"] == "75.00"


def test_the_best_is_bold_and_the_second_underlined_over_the_paper_and_the_run() -> None:
    table = section(markdown(whole(accuracy=0.9), "mine"), "Answers on ID VSA")
    assert cells(table, "mine")["FI-2 Acc"] == "**90.00**"
    assert cells(table, "GPT-5")["FI-2 Acc"] == "<u>88.60</u>"
    assert cells(table, "EmoCaliber")["FI-2 Acc"] == "88.10"


def test_f1_beside_the_paper_is_the_weighted_one() -> None:
    table = section(markdown(whole(f1_weighted=0.4321, f1_macro=0.1), "mine"), "Answers on ID VSA")
    assert cells(table, "mine")["FI-2 F1"] == "43.21"


def test_a_part_of_a_group_has_neither_average_nor_pooled_confidence_beside_the_papers() -> None:
    text = markdown(whole(("FI-2",)))
    assert "Average" not in section(text, "Answers on ID VSA")
    assert "### Confidence, after the paper's Table 5" not in text
    assert "### Confidence, after the paper's Table 5" in markdown(whole())


def test_every_table_about_a_run_tells_its_malformed_answers() -> None:
    text = markdown(whole())
    for title in ("Answers on ID VSA", "Confidence, after", "Answers\n", "Confidence: verb"):
        assert "alformed" in section(text, title), title


def test_confidence_beside_the_paper_has_a_row_per_source_and_the_band_of_calibrated_models() -> None:
    summary = whole()
    summary["settings"]["sources"] = ["verb", "ans"]
    summary["groups"]["ID VSA"]["confidence"]["ans"] = {"ece": 0.001, "brier": 0.2, "auroc": 0.5, "ece_null": [0.01, 0.02]}
    table = section(markdown(summary, "mine"), "Confidence, after")
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines() if line.startswith("|")]
    assert [row[3:] for row in rows if row[:2] == ["mine", "ans"]] == [["20.00", "50.00"]]
    assert ["mine", "ans", "**0.10**"] in [row[:3] for row in rows]
    assert ["if calibrated", "ans", "[1.00, 2.00]", DASH, DASH] in rows


def test_other_samples_than_the_test_splits_are_named() -> None:
    assert "other samples" not in section(markdown(whole()), "Answers on ID VSA")
    summary = whole()
    summary["tasks"]["FI-2"]["n"] = 50
    assert "test split: FI-2 50 (theirs: 1,000)." in section(markdown(summary), "Answers on ID VSA")


def test_synthetic_scenes_are_not_put_beside_the_paper() -> None:
    text = markdown(run(("awe", 0.9), ("fear", 0.5), posterior=KNOWN))
    assert "GPT-5" not in text and "synthetic scenes" in text
    assert cells(section(text, "Answers on ID VER"), "best possible")["FI-8 Acc"] == "80.00"


def test_the_best_possible_has_a_table_only_where_it_is_known() -> None:
    row = cells(section(markdown(run(("awe", 0.9), ("fear", 0.5), posterior=KNOWN)), "Best possible"), "FI-8")
    assert (row["Best Acc"], row["Best Brier"], row["Best AUROC"]) == ("80.00", "16.00", "50.00")
    assert "Best" not in markdown(run(("awe", 0.9)))


def test_every_other_source_of_confidence_has_its_own_table() -> None:
    other = cells(section(markdown(run(("awe", 0.9), ans=0.75)), "Confidence: ans"), "FI-8")
    assert (number(other["ECE"]), number(other["Brier"])) == ("25.00", "6.25")


def test_the_penalised_numbers_stand_only_where_something_is_missing() -> None:
    title = "### Penalised (missing or malformed = wrong at confidence 1): verb"
    assert title in markdown(run(("awe", 0.9), ("fear", 0.6), (None, None)))
    assert title not in markdown(run(("awe", 0.9), ("fear", 0.6)))


def test_a_probability_that_is_tiny_does_not_print_as_zero() -> None:
    summary = run(("awe", 0.9), ("fear", 0.6))
    summary["tasks"]["FI-8"]["confidence"]["verb"]["spiegelhalter_p"] = 1.234e-9
    assert cells(section(markdown(summary), "Calibration, further metrics"), "FI-8")["p"] == "1.23e-09"


def test_the_source_shown_first_is_the_stated_one_unless_only_others_have_numbers() -> None:
    assert main_source(run(("awe", 0.9), ans=0.5)) == "verb"
    assert main_source(run(("awe", None), ans=0.5)) == "ans"
    assert main_source(run(("awe", None))) == "verb"


def test_the_headline_has_a_line_per_scope_and_fits_the_terminal() -> None:
    summary = run(*[("awe", 0.9)] * 5, *[("fear", 0.6)] * 5)
    wide, narrow = headline(summary), headline(summary, 80)
    assert [line.split()[0] for line in wide.splitlines()[1:4]] == ["FI-8", "ID", "Overall"]
    assert "50.00 [" in wide and "50.00 [" not in narrow and "50.00" in narrow
    needed = max(map(len, wide.split("\n\n")[0].splitlines()))
    assert f"intervals are in tables.md, or shown in a terminal of {needed} columns" in narrow and "in brackets" in wide
    assert max(map(len, narrow.split("\n\n")[0].splitlines())) <= 80


def test_latex_has_the_same_tables_with_booktabs_and_escapes() -> None:
    summary = run(("awe", 0.9), task="100% a_b")
    text = latex(summary, "mine")
    assert text.count("\\begin{tabular}") == text.count("\\toprule") == text.count("\\end{table*}") == markdown(summary).count("### ")
    assert "100\\% a\\_b" in text
    assert "\\textbf{75.78}" in latex(whole(f1_weighted=0.5)) and "\\underline{75.80}" in latex(whole())


def test_no_latex_row_begins_with_what_its_line_end_would_swallow() -> None:
    text = Table(("a", "b"), [("[x]", "1"), ("*", "2")]).as_latex()
    assert "\n{}[x] & 1 \\\\\n{}* & 2 \\\\" in text


def test_what_prints_alike_is_equally_good() -> None:
    assert marks_of([(1, [0.50001, 0.5, 0.4, None, 0.3], True)]) == {(0, 1): "best", (1, 1): "best", (2, 1): "second"}
    assert marks_of([(0, [0.2, 0.1], False)]) == {(1, 0): "best", (0, 0): "second"}
    assert marks_of([(0, [None, 0.1], False)]) == {}


def test_the_evolvement_table_has_a_row_per_stage_and_ends_with_the_best_possible() -> None:
    scaffold = run(("awe", None), (None, None), posterior=KNOWN)
    final = run(("awe", 0.8), ("fear", 0.4), posterior=KNOWN)
    table = evolvement_table({"scaffold": scaffold, "final": final}).split("\n\n")[0]
    assert [line.split("|")[1].strip() for line in table.splitlines()][2:] == ["scaffold", "final", "best possible"]
    assert cells(table, "scaffold") == {"Acc": "50.00 [1.26, 98.74]", "ECE": DASH, "Brier": DASH, "AUROC": DASH, "Malformed": "50.00"}
    final_cells = {name: cell.split(" [")[0] for name, cell in cells(table, "final").items()}
    assert final_cells == {"Acc": "50.00", "ECE": "30.00", "Brier": "10.00", "AUROC": "100.00", "Malformed": "0.00"}
    assert cells(table, "best possible")["Acc"] == "80.00"


def test_the_evolvement_table_covers_each_group_and_overall() -> None:
    table = evolvement_table({"only": run(("awe", 0.8), task="Abstract-8")})
    assert "| OOD VER" in table and "| Overall" in table and "| ID VER" not in table
    assert "best possible" not in table


def test_the_evolvement_table_has_the_papers_rows_where_a_group_is_whole() -> None:
    table = evolvement_table({"mine": whole()}).split("\n\n")[0]
    assert cells(table, "Cold-Start Model (paper)") == {"Acc": "81.60", "ECE": "7.28", "Brier": "14.79", "AUROC": DASH, "Malformed": DASH}
    assert "(paper)" not in evolvement_table({"mine": whole(("FI-2",))})


@pytest.mark.parametrize("other", [run(("awe", 0.8)), run(*[("awe", 0.8)] * 2, task="FI-2"), run(*[("awe", 0.8)] * 2, posterior=KNOWN)])
def test_runs_on_different_samples_are_not_put_side_by_side(other: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="'a' and 'b' were not scored on the same ID VER samples"):
        evolvement_table({"a": run(("awe", 0.8), ("fear", 0.8)), "b": other})


def test_odd_names_do_not_break_the_tables() -> None:
    summary = run(("awe", 0.8), task="a|b\nc")
    assert "| a\\|b\\nc " in markdown(summary)
    assert len(headline(summary).split("\n\n")[0].splitlines()) == 2


def test_tables_leave_the_summary_as_it_is() -> None:
    summary = whole()
    before = copy.deepcopy(summary)
    markdown(summary), latex(summary), headline(summary)
    assert summary == before
