from __future__ import annotations

from pathlib import Path

import pytest

import emocaliber as ec
from emocaliber.__main__ import main
from emocaliber.evaluation.python_words import in_python


@pytest.mark.parametrize(
    ("option", "argument"),
    [
        ("name it with --columns answer=COLUMN. Columns: x", "name it with columns={'answer': 'COLUMN'}. Columns: x"),
        ("--columns truth=A,answer=B, or --labels.", "columns={'truth': 'A', 'answer': 'B'}, or labels=[...]."),
        ("--columns 'truth=My column'.", "columns={'truth': 'My column'}."),
        ("--task EmoSet-8 reads, --task 'My task'", "task='EmoSet-8' reads, task='My task'"),
        ("give --truth FILE; `emocaliber respond --resume`; --partial", "give truth=FILE; `emocaliber respond --resume`; partial=True"),
    ],
)
def test_options_become_arguments(option: str, argument: str) -> None:
    assert in_python(option) == argument


def test_a_score_in_python_names_arguments_and_the_command_options(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "a.csv"
    file.write_text("id,pred,My x\n1,awe,awe\n2,fear,fear\n")
    with pytest.raises(ec.UserError, match=r"columns=\{'truth': 'COLUMN'\}.*truth=FILE"):
        ec.score(file)
    assert main(["score", str(file)]) == 2
    assert "--columns truth=COLUMN" in capsys.readouterr().err
    notes = ec.score(file, columns={"truth": "My x"}, replicates=200).notes
    assert any("labels=[...]" in note for note in notes) and not any("--" in note for note in notes)
