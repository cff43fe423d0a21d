"""Rows out of the tables of other libraries, and results into them."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Any

import pytest

import emocaliber as ec
from emocaliber.io.frames import RowTable, rows_of

ROWS = [{"id": "a", "truth": "awe", "p": 0.5, "n": 3, "sure": True}, {"id": "b", "truth": None, "p": None, "n": None, "sure": None}]


def made_by(library: str, rows: list[dict[str, Any]]) -> Any:
    """A table of a library with these rows; a skipped test where it is not installed."""
    module = pytest.importorskip({"arrow": "pyarrow"}.get(library, library), reason=f"{library} is not installed")
    if library == "datasets":
        return module.Dataset.from_list(rows)
    return module.Table.from_pylist(rows) if library == "arrow" else module.DataFrame(rows)


@pytest.mark.parametrize("library", ["pandas", "polars", "arrow", "datasets"])
def test_a_table_of_any_library_has_the_rows_it_was_made_of(library: str) -> None:
    assert rows_of(made_by(library, ROWS)) == ROWS


@pytest.mark.parametrize("library", ["polars", "arrow", "datasets"])
def test_nested_fields_stay(library: str) -> None:
    rows = [{"id": "a", "confidence": {"verb": 0.5, "ans": None}, "candidates": ["awe", "fear"]}]
    assert rows_of(made_by(library, rows)) == rows


def test_what_pandas_says_is_missing_is_none() -> None:
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    assert rows_of(made_by("pandas", ROWS).convert_dtypes()) == ROWS, "NA"
    assert rows_of(pandas.DataFrame({"when": [pandas.NaT], "p": [math.nan]})) == [{"when": None, "p": None}]


def test_numbers_of_other_kinds_are_plain_ones() -> None:
    numpy = pytest.importorskip("numpy")
    (row,) = rows_of([{"a": numpy.float32(0.5), "b": numpy.int8(3), "c": numpy.array([0.25, 1]), "d": Decimal("0.75")}])
    assert row == {"a": 0.5, "b": 3, "c": [0.25, 1.0], "d": 0.75}
    assert [type(value) for value in row.values()] == [float, int, list, float]


@pytest.mark.parametrize("library", ["pandas", "polars", "arrow"])
def test_a_number_of_single_precision_is_the_decimal_that_it_stands_for(library: str) -> None:
    table = made_by(library, [{"p": 0.3}, {"p": 0.85}, {"p": None}])
    if library == "arrow":
        arrow = pytest.importorskip("pyarrow")
        table = table.cast(arrow.schema([("p", arrow.float32())]))
    else:
        table = table.astype({"p": "float32"}) if library == "pandas" else table.cast({"p": pytest.importorskip("polars").Float32})
    assert rows_of(table) == [{"p": 0.3}, {"p": 0.85}, {"p": None}]


def test_single_precision_within_lists_and_in_numpy_is_read_alike() -> None:
    arrow, numpy = pytest.importorskip("pyarrow"), pytest.importorskip("numpy")
    nested = arrow.table({"p": arrow.array([[0.3, 0.7], None], arrow.list_(arrow.float32()))})
    assert rows_of(nested) == [{"p": [0.3, 0.7]}, {"p": None}]
    assert rows_of([{"p": numpy.float32(0.3), "q": numpy.array([0.1], numpy.float16)}]) == [{"p": 0.3, "q": [0.1]}]


def test_an_index_with_a_name_or_texts_is_a_column_and_a_count_is_not() -> None:
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    frame = pandas.DataFrame({"truth": ["awe", "fear"]})
    assert rows_of(frame) == rows_of(frame.iloc[[1, 0]])[::-1] == [{"truth": "awe"}, {"truth": "fear"}]
    assert rows_of(frame.set_axis(["x.jpg", "y.jpg"]))[0] == {"": "x.jpg", "truth": "awe"}, "the name that to_csv gives it"
    assert rows_of(frame.rename_axis("id"))[1] == {"id": 1, "truth": "fear"}


def test_class_labels_are_names_and_images_are_paths() -> None:
    datasets = pytest.importorskip("datasets", reason="datasets is not installed")
    features = datasets.Features({"label": datasets.ClassLabel(names=["awe", "fear"]), "image": datasets.Image()})
    images = [{"path": "a.jpg", "bytes": b"no image"}, {"path": "b.jpg", "bytes": b"nor this"}]
    table = datasets.Dataset.from_dict({"label": [1, 0], "image": images}, features=features)
    expected = [{"label": "fear", "image": "a.jpg"}, {"label": "awe", "image": "b.jpg"}]
    assert rows_of(table) == expected
    assert rows_of(table.select([1])) == expected[1:], "a selection has its own rows"


@pytest.mark.parametrize(
    ("library", "make", "error", "complaint"),
    [
        ("polars", lambda table: table.lazy(), TypeError, "give its .collect()"),
        ("pandas", lambda table: table["id"], TypeError, "not a Series"),
        ("pandas", lambda table: table.set_axis(["id", "id", "p", "n", "sure"], axis=1), ec.UserError, "'id' occurs twice"),
        ("pandas", lambda table: table.set_index("id", drop=False), ec.UserError, "the name of the index and a column"),
        ("datasets", lambda table: {"train": table}, TypeError, "one of its splits: 'train'"),
        ("pandas", lambda table: table.to_numpy(), TypeError, "rows must be dicts, not ndarray"),
    ],
)
def test_what_is_no_table_or_not_clear_is_refused(library: str, make: Any, error: type[Exception], complaint: str) -> None:
    with pytest.raises(error, match=complaint):
        rows_of(make(made_by(library, ROWS)))


@pytest.mark.parametrize("table", [3, "rows", {"id": ["a"]}, None])
def test_what_is_no_table_at_all_is_refused(table: Any) -> None:
    with pytest.raises(TypeError, match="a DataFrame of pandas or Polars, an Arrow table"):
        rows_of(table)


@pytest.mark.parametrize("library", ["frame", "polars", "arrow", "dataset"])
def test_a_result_is_a_table_of_any_library(library: str) -> None:
    for name in {"frame": ["pandas"], "polars": ["polars"], "dataset": ["datasets"]}.get(library, []):
        pytest.importorskip(name, reason=f"{name} is not installed")
    result = RowTable(ROWS, {"why": str, "id": str})
    table = getattr(result, f"to_{library}")()
    assert [{name: row[name] for name in ROWS[0]} for row in rows_of(table)] == ROWS


def test_columns_have_their_types_though_no_row_has_a_value() -> None:
    pytest.importorskip("polars", reason="polars is not installed")
    result = RowTable([{"p": None}, {"p": None}], {"p": float, "why": str})
    assert {name: str(kind) for name, kind in result.to_polars().schema.items()} == {"p": "Float64", "why": "String"}


def test_what_reads_arrow_takes_a_result_as_it_is() -> None:
    polars = pytest.importorskip("polars", reason="polars is not installed")
    assert polars.DataFrame(RowTable(ROWS, {}))["id"].to_list() == ["a", "b"]


@pytest.mark.parametrize(("library", "method"), [("pandas", "to_frame"), ("polars", "to_polars"), ("datasets", "to_dataset")])
def test_a_library_that_is_missing_is_named(library: str, method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, library, None)
    with pytest.raises(ec.UserError, match=f"pip install {library}"):
        getattr(RowTable(ROWS, {}), method)()
