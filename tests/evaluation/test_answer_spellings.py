from __future__ import annotations

import emocaliber as ec
from emocaliber.emotions.labels import Labels
from emocaliber.evaluation.answers.spellings import known_tasks, misspelt_answers, misspelt_truths

TRUTHS = ["amusement", "awe", "fear", "anger"]


def test_answers_near_a_label_are_said_with_their_number() -> None:
    note = misspelt_answers(
        ["amusment", "amusment", "Amusement", "fera", "wonder", None, "the picture evokes amusement"], Labels.of(TRUTHS)
    )
    assert note == "answers that may be misspelt: 'amusment' (2 times, near 'amusement'); as they stand, they count as wrong"
    assert misspelt_answers([*TRUTHS, "wonder"], Labels.of(TRUTHS)) is None


def test_a_truth_that_occurs_once_and_is_near_another_is_said() -> None:
    assert list(misspelt_truths([*TRUTHS * 2, "amusment"])) == [
        "a truth that may be misspelt: 'amusment' (once, near 'amusement'); as it stands, it is a label of its own"
    ]
    assert not list(misspelt_truths([*TRUTHS, "wonder"]))


def test_the_tasks_that_have_the_true_labels_are_named() -> None:
    note = known_tasks(TRUTHS)
    assert note is not None and note.startswith("the true labels are those of EmoSet-8 (and FI-8, ") and "--task EmoSet-8" in note
    assert known_tasks(["amusement", "awe"]) is None and known_tasks([*TRUTHS, "calm"]) is None


def test_the_notes_of_a_score_have_them_unless_the_task_is_named() -> None:
    rows = [{"truth": label, "answer": answer} for label, answer in zip(TRUTHS * 5, ["amusment", *TRUTHS[1:]] * 5, strict=True)]
    notes = ec.score(rows, replicates=200).notes
    assert any("'amusment' (5 times, near 'amusement')" in note for note in notes) and any("task='EmoSet-8'" in note for note in notes)
    told = ec.score(rows, task="EmoSet-8", replicates=200).notes
    assert any("'amusment'" in note for note in told) and not any("reads their other spellings" in note for note in told)
