"""Taxonomies: what the built-in ones hold, and what a file of one's own may and may not say."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import pytest

from emocaliber.emotions.loop import VAD
from emocaliber.emotions.taxonomy import BUILT_IN, Taxonomy, parse_taxonomy, taxonomy
from emocaliber.errors import UserError

GOOD = """
name = "mine"
labels = ["Calm", "dark mood", "panic"]
[aliases]
serenity = "Calm"
[vad]
Calm = [0.8, -0.8, 0.3]
"dark mood" = [-0.7, -0.2, -0.4]
panic = [-0.8, 0.9, -1]
"""


def test_mikels_labels_are_in_the_order_of_emoset() -> None:
    labels = "amusement awe contentment excitement anger disgust fear sadness"
    assert taxonomy("mikels-8").labels == tuple(labels.split())


@pytest.mark.parametrize(("name", "count"), [("mikels-8", 8), ("webemo-25", 25), ("webemo-7", 7), ("polarity-2", 2), ("unbiasedemo-6", 6)])
def test_a_built_in_taxonomy_has_a_value_for_every_label(name: str, count: int) -> None:
    assert name in BUILT_IN
    assert len(taxonomy(name).labels) == count
    assert taxonomy(name).without_vad() == ()


@pytest.mark.parametrize(
    ("spelling", "name"),
    [
        ("Mikels-8", "mikels-8"),
        ("WebEmo-25", "webemo-25"),
        ("WebEmo-2", "polarity-2"),
        ("FI-2", "polarity-2"),
        ("UNBIASEDEMO-6", "unbiasedemo-6"),
    ],
)
def test_names_are_taken_in_any_case(spelling: str, name: str) -> None:
    assert taxonomy(spelling) is taxonomy(name)


@pytest.mark.parametrize(("child", "parent"), [("webemo-25", "webemo-7"), ("webemo-7", "polarity-2"), ("mikels-8", "polarity-2")])
def test_families_are_the_labels_of_the_coarser_taxonomy(child: str, parent: str) -> None:
    assert set(taxonomy(child).parents.values()) == set(taxonomy(parent).labels)
    assert set(taxonomy(child).parents) == set(taxonomy(child).labels)


def test_surprise_is_positive_and_confusion_negative_unless_one_says_otherwise() -> None:
    seven = taxonomy("webemo-7")
    assert (seven.parents["surprise"], seven.parents["confusion"]) == ("positive", "negative")
    assert replace(seven, parents={**seven.parents, "surprise": "negative"}).parents["surprise"] == "negative"


def test_only_webemo_25_has_a_hierarchical_loop() -> None:
    assert [name for name in BUILT_IN if taxonomy(name).hierarchical] == ["webemo-25"]


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("Anger", "anger"),
        ("  **fear**.\n", "fear"),
        ("sad", "sadness"),
        ("'Content'", "contentment"),
        ("__awe__", "awe"),
        ("danger", None),
        ("anger or fear", None),
        ("", None),
    ],
)
def test_canonical_forgives_case_and_edges_only(text: str, label: str | None) -> None:
    assert taxonomy("mikels-8").canonical(text) == label


def test_the_spellings_of_webemo_are_aliases() -> None:
    webemo = taxonomy("webemo-25")
    assert webemo.canonical("cheerfullness") == "cheerfulness"
    assert webemo.canonical("irritabilty") == "irritability"
    assert "cheerfullness" not in webemo.labels


def test_a_file_of_ones_own_is_read(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(GOOD)
    mine = taxonomy(path)
    assert mine == taxonomy(str(path))
    assert (mine.name, mine.labels, mine.hierarchical) == ("mine", ("Calm", "dark mood", "panic"), False)
    assert mine.canonical("Dark  MOOD!") == "dark mood"
    assert mine.canonical("serenity") == "Calm"
    assert mine.vad["panic"] == VAD(-0.8, 0.9, -1)
    assert mine.loop().order[0] == "Calm"


def test_a_taxonomy_can_be_hashed_and_pickled() -> None:
    webemo = taxonomy("webemo-25")
    assert hash(webemo) == hash(pickle.loads(pickle.dumps(webemo)))
    assert pickle.loads(pickle.dumps(webemo)) == webemo


def test_the_loop_is_computed_once() -> None:
    assert taxonomy("mikels-8").loop() is taxonomy("mikels-8").loop()


HEAD = 'name = "m"\nlabels = ["joy", "fear"]\n'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('labels = ["joy", "fear"]', "name: missing"),
        ('name = "m"', "labels: missing"),
        ('name = "m"\nlabels = ["joy", 3]', "labels: missing or not a list of texts"),
        ('name = "m"\nlabels = ["joy"]', "labels: 1 given; a taxonomy needs at least two"),
        ('name = "m"\nlabels = ["joy", "JOY!"]', "labels: 'joy' and 'JOY!' are the same label"),
        ('name = "m"\nlabels = ["joy", "?"]', "labels: '[?]' has no letter or digit"),
        (HEAD + "colour = 1", "colour: unknown key; a taxonomy file has name, labels, loop"),
        (HEAD + 'loop = "round"', "loop: 'round' is not a kind of loop; write one of flat, hierarchical"),
        (HEAD + 'loop = "hierarchical"', "loop: a hierarchical loop needs families; add a \\[parents\\] table"),
        (HEAD + 'aliases = "none"', "aliases: not a table"),
        (HEAD + "[aliases]\nglad = 1", "aliases: the value of 'glad' is 1, not a text"),
        (HEAD + '[aliases]\nglad = "happy"', "aliases: 'glad' stands for 'happy', which is not a label; use one of 'joy', 'fear'"),
        (HEAD + '[aliases]\nFear = "joy"', "aliases: 'Fear' is the label 'fear' itself"),
        (HEAD + '[aliases]\nglad = "joy"\nGlad = "fear"', "aliases: 'glad' and 'Glad' are the same alias"),
        (HEAD + '[aliases]\n"-" = "joy"', "aliases: '-' has no letter or digit"),
        (HEAD + '[parents]\nhope = "good"', "parents: 'hope' is not a label"),
        (HEAD + '[parents]\njoy = "good"', "parents: none for 'fear'; give every label a parent"),
        (HEAD + '[parents]\njoy = ""\nfear = "bad"', "parents: the parent of 'joy' is ''"),
        (HEAD + '[parents]\njoy = "fear"\nfear = "joy"', "parents: 'fear' is the parent of 'joy' but not its own"),
        (HEAD + "[vad]\nhope = [0, 0, 0]", "vad: 'hope' is not a label"),
        (HEAD + "[vad]\njoy = [0, 0]", "vad: 'joy' has \\[0, 0\\], not three numbers"),
        (HEAD + '[vad]\njoy = [0, 0, "high"]', "vad: 'joy' has .*, not three numbers"),
        (HEAD + "[vad]\njoy = [0, 0, true]", "vad: 'joy' has .*, not three numbers"),
        (HEAD + "[vad]\njoy = [0, 1.5, 0]", "vad: the arousal of 'joy' is 1.5; it must lie between -1 and 1"),
        (HEAD + "[vad]\njoy = [nan, 0, 0]", "vad: the valence of 'joy' is nan"),
        ("name = mine", "not valid TOML: .*line 1"),
    ],
)
def test_a_mistake_in_a_file_is_named_with_file_and_field(text: str, message: str) -> None:
    with pytest.raises(UserError, match=f"^mine.toml: .*{message}"):
        parse_taxonomy(text, "mine.toml")


def test_a_label_may_share_its_familys_name() -> None:
    labels = 'name = "m"\nlabels = ["joy", "pride", "fear"]\nloop = "hierarchical"\n'
    mine = parse_taxonomy(labels + '[parents]\njoy = "joy"\npride = "joy"\nfear = "bad"', "mine.toml")
    assert mine.hierarchical and mine.parents["pride"] == "joy"


def test_an_unknown_name_is_answered_with_the_known_ones() -> None:
    with pytest.raises(UserError, match="unknown taxonomy 'ekman-6'; give one of mikels-8, webemo-25"):
        taxonomy("ekman-6")


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere\.toml: no such file"):
        taxonomy(tmp_path / "nowhere.toml")


def test_a_file_that_is_not_text_is_named(tmp_path: Path) -> None:
    path = tmp_path / "photo.toml"
    path.write_bytes(b"\xff\xd8\xff\xe0")
    with pytest.raises(UserError, match=r"photo\.toml: cannot be read as a UTF-8 text file"):
        taxonomy(path)


def test_labels_without_values_are_named_when_a_loop_is_wanted() -> None:
    bare = Taxonomy("mine", ("joy", "hope", "fear"), vad={"joy": VAD(1, 0, 0)})
    assert bare.canonical("Hope") == "hope"
    with pytest.raises(UserError, match="taxonomy 'mine': no VAD value for 'hope', 'fear'; add a line such as \"hope\" = "):
        bare.loop()


def test_a_lexicon_fills_what_is_missing_and_changes_nothing_else() -> None:
    bare = Taxonomy("mine", ("joy", "Hope"), vad={"joy": VAD(1, 0, 0)})
    filled = bare.with_lexicon({"joy": VAD(0, 0, 0), "hope": VAD(0, 1, 0)})
    assert filled.vad == {"joy": VAD(1, 0, 0), "Hope": VAD(0, 1, 0)}
    assert filled.loop().distance("joy", "Hope") == 0.5


def test_a_label_that_the_lexicon_lacks_too_is_named() -> None:
    with pytest.raises(UserError, match="no VAD value for 'hope'"):
        Taxonomy("mine", ("joy", "hope")).with_lexicon({"joy": VAD(1, 0, 0)})
