"""Widths of text and of columns in terminal cells."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from emocaliber.render.layout import GAP, cells, fitted, folded, padded, shortened, shortened_list

TEXTS = st.text(st.sampled_from("ab/日本é🎉\u0301\u200d👩.,"), max_size=30)


@given(TEXTS, st.integers(0, 40))
def test_a_shortened_text_fits_and_a_short_one_stays(text: str, width: int) -> None:
    found = shortened(text, width)
    assert cells(found) <= width
    assert found == text if cells(text) <= width else width == 0 or "…" in found


@given(TEXTS.filter(lambda text: "\u200d" not in text), st.integers(0, 40), st.booleans())
def test_padding_counts_cells(text: str, width: int, right: bool) -> None:
    assert cells(padded(text, width, right=right)) == max(width, cells(text))


def test_a_shortened_path_keeps_its_end() -> None:
    assert shortened("photos/holidays/日本語の写真 🎉 2026.jpg", 24) == "photos/…写真 🎉 2026.jpg"


def test_a_list_loses_whole_items() -> None:
    assert shortened_list("awe 61%, disgust 25%, fear 9%", 24) == "awe 61%, disgust 25%, …"
    assert shortened_list("awe 61%, disgust 25%", 5) == ""


@given(st.lists(st.integers(3, 40), min_size=1, max_size=8), st.integers(5, 120))
def test_columns_give_way_in_the_declared_order(widths: list[int], room: int) -> None:
    order = [(column, 3) for column in reversed(range(len(widths)))]
    found = fitted(widths, room, order)
    narrowed = [new < old for new, old in zip(found, widths, strict=True)]
    assert all(new == 3 for new, column in zip(found, narrowed, strict=True) if column and new != found[narrowed.index(True)])
    assert sum(found) + GAP * (len(found) - 1) <= room or set(found) == {3}
    assert found == widths if sum(widths) + GAP * (len(widths) - 1) <= room else True


def test_a_column_left_out_gives_its_room_to_those_narrowed_before() -> None:
    order = [(0, 10), (2, 0), (0, 5)]
    assert fitted([30, 10, 20], 60, order) == [26, 10, 20]
    assert fitted([30, 10, 20], 43, order) == [30, 10, 0]
    assert fitted([30, 10, 20], 30, order) == [18, 10, 0]
    assert fitted([30, 10, 20], 19, order) == [7, 10, 0]


@given(st.lists(st.integers(3, 20), min_size=2, max_size=12), st.integers(1, 80))
def test_a_folded_table_has_every_column_once_and_its_names_in_each_block(widths: list[int], room: int) -> None:
    blocks = list(folded(widths, room, 1))
    assert all(block[0] == 0 for block in blocks)
    assert [column for block in blocks for column in block[1:]] == list(range(1, len(widths)))
    for block in blocks:
        assert len(block) == 2 or sum(widths[column] for column in block) + GAP * (len(block) - 1) <= room
