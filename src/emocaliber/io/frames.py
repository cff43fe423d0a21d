"""Tables of other libraries: rows out of pandas, Polars, Arrow and `datasets`, and results into them.

Both ways go through plain rows; none of these libraries is imported before somebody has one or asks for one. Arrow's C stream interface
(`__arrow_c_stream__`) is what Polars, PyArrow, DuckDB and others share: https://arrow.apache.org/docs/format/CDataInterface/PyCapsuleInterface.html
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Protocol

from emocaliber.errors import UserError
from emocaliber.io.arrow import arrow_rows, arrow_table
from emocaliber.io.rows import Form, Row

if TYPE_CHECKING:
    import datasets
    import pandas as pd
    import polars as pl
    import pyarrow as pa

_NARROW = {"float32": "float32", "float16": "float16", "float[pyarrow]": "float32", "halffloat[pyarrow]": "float16"}  # of NumPy and pandas
_KINDS = "a DataFrame of pandas or Polars, an Arrow table, a datasets.Dataset, or rows as dicts"


class ArrowStream(Protocol):
    """A table that others can read by Arrow's C stream interface, such as a DataFrame of pandas or Polars."""

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object: ...


TableLike = Iterable[Mapping[str, Any]] | ArrowStream  # what `rows_of` reads; datasets.Dataset gives rows as dicts


def rows_of(table: Any, what: str = "answers") -> list[Row]:
    """The rows of a table in memory as dicts, in order, with plain Python values; what is missing there (NaN, NA, NaT, null) is None.

    An index of pandas that has a name, or that holds texts, is a column, as in `to_csv`. In a `datasets.Dataset`, class labels are their
    names, and images their paths. Raises TypeError, beginning with `what`, for anything that is no table; UserError for a table in which
    two columns have one name.
    """
    found: Sequence[Mapping[str, Any]]
    if isinstance(table, Tabular):
        found = table.flat_rows()
    elif hasattr(table, "iloc") and hasattr(table, "columns"):
        found = _of_pandas(table, what)
    elif hasattr(table, "with_format") and hasattr(table, "features"):
        found = _of_dataset(table)
    elif hasattr(table, "__arrow_c_stream__"):
        found = _of_arrow(table, what)
    elif hasattr(table, "collect") and hasattr(table, "lazy"):
        raise TypeError(f"{what} must be rows, and a LazyFrame has none yet; give its .collect()")
    elif isinstance(table, Mapping) and any(hasattr(part, "features") for part in table.values()):
        raise TypeError(f"{what} must be one table, not a DatasetDict; give one of its splits: {', '.join(map(repr, table))}")
    elif not isinstance(table, Iterable) or isinstance(table, Mapping | str | bytes):
        raise TypeError(f"{what} must be a path, {_KINDS}, not {type(table).__name__}")
    else:
        found = list(table)
        if others := [row for row in found if not isinstance(row, Mapping)]:
            raise TypeError(f"{what}: rows must be dicts, not {type(others[0]).__name__}")
    return [{str(name): plain(value) for name, value in row.items()} for row in found]


def plain(value: Any) -> Any:
    """The value without the types of NumPy, pandas and Decimal; NaN, NA and NaT are None. NaN within a nested value is no missing cell, and
    stays, as JSON does not have it either."""
    if isinstance(value, float | Decimal) and value != value:
        return None
    return _plain(value)


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, str | bool):
        return value
    if isinstance(value, float | Decimal):
        return float(value)
    if isinstance(value, Mapping):
        return {str(name): _plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    if hasattr(value, "tolist"):
        return _plain((value.astype(str).astype(float) if _narrow(getattr(value, "dtype", None)) else value).tolist())
    return None if type(value).__name__ in ("NAType", "NaTType") else value


def _narrow(dtype: Any) -> str | None:
    """NumPy's name of a type of single or half precision; each of its numbers is read as the shortest decimal that it stands for."""
    return _NARROW.get(str(dtype).lower())


def _of_pandas(frame: Any, what: str) -> list[Mapping[str, Any]]:
    index = frame.index
    named = [name for name in index.names if name is not None]
    texts = not named and index.nlevels == 1 and index.dtype.kind not in "iufbmM" and index.is_unique
    if named or texts:
        names = [name if name is not None else "" for name in index.names]
        if clash := next((name for name in names if name in frame.columns), None):
            raise UserError(f"{what}: {clash!r} is both the name of the index and a column; rename one, or drop the index")
        frame = frame.reset_index(names=names)
    if not frame.columns.is_unique:
        twice = frame.columns[frame.columns.duplicated()][0]
        raise UserError(f"{what}: the column {str(twice)!r} occurs twice; give each its own name")
    narrow = [(name, type_) for name, column in frame.items() if (type_ := _narrow(column.dtype))]
    frame = frame.copy(deep=False) if narrow else frame
    for name, type_ in narrow:
        frame[name] = frame[name].to_numpy(dtype=type_, na_value=float("nan")).astype(str).astype(float)
    rows: list[Mapping[str, Any]] = frame.to_dict("records")
    return rows


def _of_arrow(table: Any, what: str) -> list[Row]:
    import pyarrow as pa

    try:
        read = table if isinstance(table, pa.Table) else pa.table(table)
    except (TypeError, ValueError) as error:  # a Series, whose stream is no table
        raise TypeError(f"{what} must be a path, {_KINDS}, not a {type(table).__name__}") from error
    if twice := next((name for name in read.column_names if read.column_names.count(name) > 1), None):
        raise UserError(f"{what}: the column {twice!r} occurs twice; give each its own name")
    return arrow_rows(read)


def _of_dataset(table: Any) -> list[Mapping[str, Any]]:
    """The rows of a data set of `datasets`, without decoding its images."""
    features = dict(table.features or {})
    if hasattr(table, "data"):  # one that is not streamed
        rows = _of_arrow(table.with_format("arrow")[:], "the data set")
    else:
        rows = list(table.decode(False) if hasattr(table, "decode") else table)
    named = {name: feature.names for name, feature in features.items() if hasattr(feature, "names") and hasattr(feature, "int2str")}
    files = [name for name, feature in features.items() if type(feature).__name__ in ("Image", "Audio", "Video")]

    def read(row: Mapping[str, Any]) -> Row:
        labels = {name: None if (at := row[name]) is None or at < 0 else names[at] for name, names in named.items()}
        return {**row, **labels, **{name: row[name] and row[name].get("path") for name in files}}

    return [read(row) for row in rows]


class Tabular:
    """A result that is a table: `to_frame` for pandas, `to_polars`, `to_arrow`, `to_dataset` for Hugging Face's `datasets`.

    What reads Arrow's C stream interface takes it as it is, such as `pyarrow.table(result)`; Polars takes a sequence for rows of its own.
    """

    def flat_rows(self) -> Sequence[Row]:
        """The rows of the table, whose values are texts, numbers, truth values or None."""
        raise NotImplementedError

    def form(self) -> Form:
        """The types of columns that the table has in any case, and whose values may all be None."""
        return {}

    def to_frame(self) -> pd.DataFrame:
        """The table as a pandas DataFrame. Raises UserError without pandas."""
        return pandas("to_frame").DataFrame(list(self.flat_rows()))

    def to_polars(self) -> pl.DataFrame:
        """The table as a Polars DataFrame. Raises UserError without Polars."""
        try:
            import polars
        except ImportError as error:
            raise UserError("to_polars needs Polars: pip install polars; `to_arrow` needs nothing more") from error
        return polars.from_arrow(self.to_arrow())

    def to_arrow(self) -> pa.Table:
        """The table as a PyArrow table."""
        return arrow_table(self.flat_rows(), self.form())

    def to_dataset(self) -> datasets.Dataset:
        """The table as a data set of Hugging Face's `datasets`. Raises UserError without that library."""
        try:
            from datasets import Dataset
        except ImportError as error:
            raise UserError("to_dataset needs datasets: pip install datasets; `to_arrow` needs nothing more") from error
        return Dataset(self.to_arrow())

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        return self.to_arrow().__arrow_c_stream__(requested_schema)


@dataclass(frozen=True)
class RowTable(Tabular):
    """Rows as a table."""

    rows: Sequence[Row]
    columns: Form

    def flat_rows(self) -> Sequence[Row]:
        return self.rows

    def form(self) -> Form:
        return self.columns

    def __len__(self) -> int:
        return len(self.rows)

    def __repr__(self) -> str:
        return f"<{len(self.rows):,} rows; to_frame(), to_polars(), to_arrow() or to_dataset() for a table>"


def pandas(what: str) -> Any:
    """The module pandas. Raises UserError, saying that `what` needs it, where it is not installed."""
    try:
        import pandas as pd
    except ImportError as error:
        raise UserError(f"{what} needs pandas: pip install pandas; `to_arrow` needs nothing more") from error
    return pd
