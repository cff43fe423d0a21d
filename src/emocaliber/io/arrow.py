"""Rows to and from Arrow tables: those of Parquet files, of data frames and of Arrow files."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa


def arrow_rows(table: pa.Table | pa.RecordBatch) -> list[dict[str, Any]]:
    """The rows of an Arrow table or batch. A number of single precision is the shortest decimal that it stands for, as when it is printed:
    the 0.3 of such a column is 0.3, not 0.30000001192.
    """
    import pyarrow as pa

    rows: list[dict[str, Any]] = table.to_pylist()
    for name, column in zip(table.schema.names, table.columns, strict=True):
        exact = _typed(column.type, pa.float64())
        if exact != column.type:
            for row, value in zip(rows, column.cast(_typed(column.type, pa.string())).cast(exact).to_pylist(), strict=True):
                row[name] = value
    return rows


def _typed(kind: pa.DataType, number: pa.DataType) -> pa.DataType:
    """The type with `number` in place of single precision, also within lists."""
    import pyarrow as pa

    if pa.types.is_float32(kind):
        return number
    return pa.list_(_typed(kind.value_type, number)) if pa.types.is_list(kind) else kind


def arrow_table(rows: Sequence[Mapping[str, Any]], form: Mapping[str, Any] | None = None) -> pa.Table:
    """The rows as an Arrow table: the columns of `form`, in its types (see `rows.Form`), then those that rows have beyond it.

    A column whose values have no common type, or one that Parquet does not have, is JSON text.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    told, table = form or {}, {}
    for name in dict.fromkeys(chain(told, (name for row in rows for name in row))):
        values = [_printable(row.get(name)) for row in rows]
        try:
            column = pa.array(values, _arrow_type(told[name]) if name in told else None)
            pq.write_table(pa.table({name: column.slice(0, 0)}), io.BytesIO())  # some types exist in Arrow but not in Parquet
        except (pa.ArrowException, OverflowError):
            column = pa.array([None if value is None else json.dumps(value) for value in values], pa.string())
        table[name] = column
    return pa.table(table)


def _arrow_type(form: Any) -> Any:
    import pyarrow as pa

    if isinstance(form, Mapping):
        return pa.struct([(name, _arrow_type(part)) for name, part in form.items()])
    if isinstance(form, list):
        return pa.list_(_arrow_type(form[0]))
    return {str: pa.string(), float: pa.float64(), int: pa.int64(), bool: pa.bool_()}[form]


def _printable(value: Any) -> Any:
    """The value with every lone surrogate escaped, as Arrow's strings are strict UTF-8."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        return {_printable(name): _printable(part) for name, part in value.items()}
    return [_printable(part) for part in value] if isinstance(value, list) else value
