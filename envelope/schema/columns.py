"""One column of a frame: JSON cells -> the array of exactly its dtype, and back."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import pandas as pd
import pyarrow as pa
from msgspec import Meta

from envelope.schema import types as t
from envelope.schema.cells import Cells, ColumnCodec, NotPlain, Uncarried, each, nullable
from envelope.schema.faults import Faults, Reader
from envelope.schema.moment_columns import moment_codec
from envelope.schema.nested_columns import nested_codec
from envelope.schema.scalars import (
    EXACT,
    LARGEST,
    boolean_reader,
    bytes_reader,
    float_reader,
    integer_range,
    integer_reader,
    text_reader,
)
from envelope.schema.words import Path, describe

if TYPE_CHECKING:
    from envelope.schema.compiler import Compiler


def column_codec(column: t.Column, compiler: Compiler | None = None) -> ColumnCodec:
    """Compile one column. compiler: needed for what is nested in object and Arrow columns."""
    of, nullable = _split(column.type)
    if column.storage in ("object", "arrow"):
        codec = nested_codec(column, of, compiler)
    elif isinstance(of, t.Categorical):
        codec = _category(column, of, compiler)
    elif isinstance(of, t.Timestamp | t.Duration):
        codec = moment_codec(column, of)
    else:
        codec = _plain(column, of)
    return _nullable(codec) if nullable else codec


def _split(kind: t.Type) -> tuple[t.Type, bool]:
    return (kind.of, True) if isinstance(kind, t.Maybe) else (kind, False)


def _nullable(codec: ColumnCodec) -> ColumnCodec:
    wire = codec.wire if codec.wire is Any else codec.wire | None
    return _replace(codec, read=nullable(codec.read), wire=wire)


def _replace(codec: ColumnCodec, **changes: Any) -> ColumnCodec:
    values = {name: getattr(codec, name) for name in ColumnCodec.__dataclass_fields__}
    return ColumnCodec(**{**values, **changes})


# -- numbers, booleans and texts -----------------------------------------------------------------


def float_wire(kind: t.Float) -> Any:
    """Return the msgspec type of a float: an integer too, as long as it is exact."""
    exact, largest = EXACT[kind.bits], LARGEST[kind.bits]
    bounded = float if math.isinf(largest) else Annotated[float, Meta(ge=-largest, le=largest)]
    wire: Any = Annotated[int, Meta(ge=-exact, le=exact)] | bounded
    return wire | None if kind.nan else wire


def integer_wire(kind: t.Integer) -> Any:
    """Return the msgspec type of an integer. uint64 has no upper bound there: see `_below`."""
    bounds = integer_range(kind)
    if bounds is None:
        return int
    low, high = bounds
    return Annotated[int, Meta(ge=low) if high >= 2**63 else Meta(ge=low, le=high)]


def _below(limit: int) -> Callable[[Cells], Cells]:
    def parse(cells: Cells) -> Cells:
        if any(cell is not None and cell >= limit for cell in cells):
            raise NotPlain
        return cells

    return parse


def _plain(column: t.Column, of: t.Type) -> ColumnCodec:
    build, dtype = _BUILDERS[column.storage](column)
    block = column.dtype if column.storage == "numpy" and dtype.kind in "biuf" else None
    common: dict[str, Any] = {"column": column, "dtype": dtype, "build": build, "block": block}
    match of:
        case t.Boolean():
            return ColumnCodec(
                **common,
                wire=bool,
                is_text=False,
                parse=None,
                read=boolean_reader(of),
                write=_listed,
            )
        case t.Integer():
            is_uint64 = of.bits == 64 and not of.signed
            return ColumnCodec(
                **common,
                wire=integer_wire(of),
                is_text=False,
                parse=_below(2**64) if is_uint64 else None,
                read=integer_reader(of),
                write=_listed,
            )
        case t.Float():
            return ColumnCodec(
                **common,
                wire=float_wire(of),
                is_text=False,
                parse=None,
                read=float_reader(of),
                write=_floats_listed,
            )
        case t.Text():
            is_numpy = column.storage == "numpy"
            return ColumnCodec(
                **common,
                wire=str,
                is_text=True,
                parse=_not_ending_in_nul if is_numpy else None,
                read=_not_cut(text_reader(of), "\0") if is_numpy else text_reader(of),
                write=_listed,
            )
        case t.Bytes():
            read_bytes = _not_cut(bytes_reader(of), b"\0")
            return ColumnCodec(
                **common,
                wire=str,
                is_text=True,
                parse=each(read_bytes),
                read=read_bytes,
                write=_listed,
            )
    raise AssertionError(f"no plain column of {describe(of)}")


def _not_cut(read: Reader, nul: Any) -> Reader:
    """Return a reader that refuses what numpy's texts and bytes would cut off: NULs at the end."""

    def read_whole(value: Any, path: Path, faults: Faults) -> Any:
        found = read(value, path, faults)
        if isinstance(found, str | bytes) and found.endswith(nul):
            return faults.add(path, type(found).__name__, "NUL at the end, which numpy cuts off")
        return found

    return read_whole


def _not_ending_in_nul(cells: Cells) -> Cells:
    if any(cell is not None and cell.endswith("\0") for cell in cells):
        raise NotPlain
    return cells


def _numpy_builder(column: t.Column) -> tuple[Callable[[Cells], Any], Any]:
    dtype = np.dtype(column.dtype)
    return (lambda cells: np.array(cells, dtype)), dtype


def _masked_builder(column: t.Column) -> tuple[Callable[[Cells], Any], Any]:
    dtype: Any = pd.api.types.pandas_dtype(column.dtype)
    array_type = dtype.construct_array_type()
    numpy_dtype = dtype.numpy_dtype
    zero = numpy_dtype.type(0).item()

    def build(cells: Cells) -> Any:
        mask = np.fromiter((cell is None for cell in cells), bool, len(cells))
        if mask.any():
            cells = [zero if cell is None else cell for cell in cells]
        return array_type(np.array(cells, numpy_dtype), mask)

    return build, dtype


def _string_builder(column: t.Column) -> tuple[Callable[[Cells], Any], Any]:
    family, _, storage = column.dtype.rstrip("]").partition("[")
    dtype: Any = pd.StringDtype(storage)
    if family == "str" and dtype.na_value is pd.NA:  # pandas 3; in pandas 2 the storage says it
        dtype = pd.StringDtype(storage, na_value=np.nan)
    if storage == "python":
        return (lambda cells: pd.array(list(cells), dtype=dtype)), dtype
    return (lambda cells: dtype.__from_arrow__(pa.array(cells, pa.large_string()))), dtype


_BUILDERS: dict[str, Callable[[t.Column], tuple[Callable[[Cells], Any], Any]]] = {
    "numpy": _numpy_builder,
    "masked": _masked_builder,
    "string": _string_builder,
}


def _listed(array: Any) -> list[Any]:
    if isinstance(array, np.ndarray):
        return array.tolist()  # type: ignore[no-any-return]  # one axis: a list
    return array.to_numpy(object, na_value=None).tolist()  # type: ignore[no-any-return]


def _floats_listed(array: Any) -> list[Any]:
    if isinstance(array, np.ndarray):
        if np.isinf(array).any():
            raise Uncarried("infinity")
        return array.tolist()  # type: ignore[no-any-return]
    values = array.to_numpy(np.float64, na_value=0.0)
    if not np.isfinite(values).all():
        raise Uncarried("infinity, or NaN beside null")
    return array.to_numpy(object, na_value=None).tolist()  # type: ignore[no-any-return]


# -- categories ----------------------------------------------------------------------------------


def _category(column: t.Column, of: t.Categorical, compiler: Compiler | None) -> ColumnCodec:
    assert column.levels is not None
    levels = column_codec(column.levels, compiler)
    cells = _read_levels(levels, of.levels)
    categories = pd.Index(pd.Series(levels.build(cells), dtype=levels.dtype))
    dtype = pd.CategoricalDtype(categories, ordered=of.ordered)
    codes = {cell: code for code, cell in enumerate(cells)}
    shown = [*of.levels, None]  # code -1 is null
    expected = describe(of)

    def read(value: Any, path: Path, faults: Faults) -> Any:
        probe = Faults()
        cell = levels.read(value, path, probe)
        if probe.found or cell not in codes:
            got = probe.found[0].got if probe.found else f"{describe(of.of)} that is none of them"
            return faults.add(path, expected, got)
        return codes[cell]

    def parse(wire_cells: Cells) -> Cells:
        if levels.parse is not None:
            present = iter(levels.parse([cell for cell in wire_cells if cell is not None]))
            wire_cells = [None if cell is None else next(present) for cell in wire_cells]
        try:
            return [None if cell is None else codes[cell] for cell in wire_cells]
        except KeyError:
            raise NotPlain from None

    def build(cells: Cells) -> Any:
        numbers = np.array([-1 if cell is None else cell for cell in cells], np.int64)
        return pd.Categorical.from_codes(numbers, dtype=dtype)

    def write(array: Any) -> list[Any]:
        return [shown[code] for code in array.codes.tolist()]

    return ColumnCodec(
        column=column,
        dtype=dtype,
        wire=levels.wire,
        is_text=levels.is_text,
        parse=parse,
        read=read,
        build=build,
        write=write,
    )


def _read_levels(codec: ColumnCodec, levels: Sequence[t.Plain]) -> list[Any]:
    faults = Faults()
    cells = [codec.read(level, None, faults) for level in levels]
    assert not faults.found, "levels are written by the codec that reads them"
    return cells
