"""Columns of Python objects and of Arrow's own arrays, whatever is nested in them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa

from envelope.schema import types as t
from envelope.schema.cells import Cells, ColumnCodec, Uncarried, each, nullable
from envelope.schema.example_tables import arrow_from_text
from envelope.schema.faults import Faults, Reader
from envelope.schema.moments import show_duration, show_moment
from envelope.schema.scalars import duration_counter, is_null, moment_counter
from envelope.schema.words import Path

if TYPE_CHECKING:
    from envelope.schema.compiler import Compiler

_NULLS: dict[str, Any] = {"none": None, "nan": math.nan, "na": pd.NA, "nat": pd.NaT}


def nested_codec(column: t.Column, of: t.Type, compiler: Compiler | None) -> ColumnCodec:
    is_arrow = column.storage == "arrow"
    read, write_cell = _element(of, compiler, is_arrow=is_arrow)
    is_nullable = isinstance(column.type, t.Maybe)
    is_direct = isinstance(of, t.Text | t.Boolean)
    return ColumnCodec(
        column=column,
        dtype=_arrow_dtype(column) if is_arrow else np.dtype(object),
        wire={t.Text: str, t.Boolean: bool}.get(type(of), Any),
        is_text={t.Text: True, t.Boolean: False}.get(type(of)),
        parse=None if is_direct else each(nullable(read) if is_nullable else read),
        read=read,
        build=_arrow_builder(column) if is_arrow else _object_builder(_NULLS[column.null]),
        write=_arrow_writer(of, write_cell) if is_arrow else _object_writer(write_cell),
    )


def _element(
    of: t.Type, compiler: Compiler | None, *, is_arrow: bool
) -> tuple[Reader, Callable[[Any, Path, Faults], Any]]:
    if is_arrow and isinstance(of, t.Timestamp):
        aware = of.zone is not None
        return moment_counter(of), lambda count, path, faults: show_moment(
            count, of.unit, aware=aware
        )
    if is_arrow and isinstance(of, t.Duration):
        return duration_counter(of), lambda count, path, faults: show_duration(count, of.unit)
    if compiler is None:
        from envelope.schema.compiler import Compiler

        compiler = Compiler()
    return compiler.reader(of), compiler.writer(of)


def _object_builder(null: Any) -> Callable[[Cells], Any]:
    def build(cells: Cells) -> Any:
        filled = (null if cell is None else cell for cell in cells)
        return np.fromiter(filled, object, len(cells))

    return build


def _object_writer(write: Callable[[Any, Path, Faults], Any]) -> Callable[[Any], list[Any]]:
    def write_all(array: Any) -> list[Any]:
        return _written((None if is_null(value) else value for value in array), write)

    return write_all


def _written(values: Any, write: Callable[[Any, Path, Faults], Any]) -> list[Any]:
    faults = Faults()
    cells = [None if value is None else write(value, None, faults) for value in values]
    if faults.found:
        raise Uncarried(faults.found[0].got)
    return cells


def _arrow_dtype(column: t.Column) -> Any:
    assert column.arrow is not None
    return pd.ArrowDtype(arrow_from_text(column.arrow))


def _arrow_builder(column: t.Column) -> Callable[[Cells], Any]:
    dtype = _arrow_dtype(column)
    kind = dtype.pyarrow_dtype

    def build(cells: Cells) -> Any:
        return pd.arrays.ArrowExtensionArray(arrow_array(cells, kind))

    return build


def arrow_array(cells: Cells, kind: pa.DataType) -> pa.Array:
    """Return cells as an Arrow array; a dictionary array is built from its values."""
    if pa.types.is_float16(kind):  # Arrow takes these from numpy alone
        missing = np.array([cell is None for cell in cells], bool)
        halves = np.array([0.0 if cell is None else cell for cell in cells], np.float16)
        return pa.array(halves, kind, mask=missing)
    if pa.types.is_dictionary(kind):
        return pa.array(list(cells), kind.value_type).dictionary_encode().cast(kind)
    return pa.array(list(cells), kind)


def _arrow_writer(
    of: t.Type, write: Callable[[Any, Path, Faults], Any]
) -> Callable[[Any], list[Any]]:
    def write_all(array: Any) -> list[Any]:
        values = array.__arrow_array__() if hasattr(array, "__arrow_array__") else array
        if isinstance(of, t.Timestamp | t.Duration):
            values = values.cast(pa.int64())
        return _written(values.to_pylist(), write)

    return write_all
