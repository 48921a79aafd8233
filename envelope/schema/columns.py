"""One column of a frame: JSON cells -> the array of exactly its dtype, and back.

A *cell* is what a column holds per row between reading and building: a plain Python value, or an
integer for moments (count of their unit), durations and categories (code of the level); None for
null. Cells are checked when a request is read, and made an array once per shared call.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from msgspec import Meta

from envelope.schema import types as t
from envelope.schema.example_tables import arrow_from_text
from envelope.schema.faults import Faults, Reader
from envelope.schema.moments import show_duration, show_moment
from envelope.schema.scalars import (
    EXACT,
    LARGEST,
    boolean_reader,
    duration_counter,
    float_reader,
    integer_range,
    integer_reader,
    is_null,
    moment_counter,
    text_reader,
)
from envelope.schema.words import Path, describe

if TYPE_CHECKING:
    from envelope.schema.compiler import Compiler

Cells = Sequence[Any]
NAT = np.iinfo(np.int64).min


class Uncarried(Exception):
    """A value that JSON cannot hold: infinity, or NaN beside null. The words name it."""


class NotPlain(Exception):
    """The fast way does not apply; the slow one accepts the cells or finds their faults."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnCodec:
    """How one column is read and written.

    wire: the msgspec type of one cell as JSON has it. is_text: its JSON is a string.
    parse: JSON cells -> cells; None when they are the same. Raises NotPlain.
    read: any value -> cell, with faults.
    build: cells -> array. block: the numpy dtype of the 2-D block that such columns share.
    write: array -> JSON cells; NaN stays NaN, which the encoder writes as null. Raises Uncarried.
    dtype: what a Series of it has.
    """

    column: t.Column
    dtype: Any
    wire: Any
    is_text: bool | None
    parse: Callable[[Cells], Cells] | None
    read: Reader
    build: Callable[[Cells], Any]
    write: Callable[[Any], list[Any]]
    block: str | None = None

    @property
    def label(self) -> str:
        """The member name of the column in JSON."""
        return str(self.column.name)


def column_codec(column: t.Column, compiler: Compiler | None = None) -> ColumnCodec:
    """Compile one column. compiler: needed for what is nested in object and Arrow columns."""
    of, nullable = _split(column.type)
    if column.storage in ("object", "arrow"):
        codec = _nested(column, of, compiler)
    elif isinstance(of, t.Categorical):
        codec = _category(column, of, compiler)
    elif isinstance(of, t.Timestamp | t.Duration):
        codec = _moments(column, of)
    else:
        codec = _plain(column, of)
    return _nullable(codec) if nullable else codec


def _split(kind: t.Type) -> tuple[t.Type, bool]:
    return (kind.of, True) if isinstance(kind, t.Maybe) else (kind, False)


def _nullable(codec: ColumnCodec) -> ColumnCodec:
    inner = codec.read

    def read(value: Any, path: Path, faults: Faults) -> Any:
        return None if is_null(value) else inner(value, path, faults)

    wire = codec.wire if codec.wire is Any else codec.wire | None
    return _replace(codec, read=read, wire=wire)


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
            return ColumnCodec(
                **common,
                wire=str,
                is_text=True,
                parse=None,
                read=text_reader(of),
                write=_listed,
            )
    raise AssertionError(f"no plain column of {describe(of)}")


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
    dtype: Any
    if family == "string":
        dtype = pd.StringDtype(storage)
    else:
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


# -- moments and durations -----------------------------------------------------------------------


def _moments(column: t.Column, of: t.Timestamp | t.Duration) -> ColumnCodec:
    if isinstance(of, t.Duration):
        read = duration_counter(of)
        show: Callable[[int], str] = lambda count: show_duration(count, of.unit)  # noqa: E731
    else:
        read = moment_counter(of)
        aware = of.zone is not None
        show = lambda count: show_moment(count, of.unit, aware=aware)  # noqa: E731
    dtype: Any
    if column.storage == "zoned":
        dtype = pd.DatetimeTZDtype(of.unit, of.zone)  # type: ignore[union-attr]
    else:
        dtype = np.dtype(column.dtype)

    def build(cells: Cells) -> Any:
        counts = np.array([NAT if cell is None else cell for cell in cells], np.int64)
        if column.storage == "zoned":
            return pd.array(counts, dtype=dtype)  # integers are UTC
        return counts.view(dtype)

    def write(array: Any) -> list[Any]:
        counts = array.asi8 if hasattr(array, "asi8") else array.view(np.int64)
        return [None if count == NAT else show(count) for count in counts.tolist()]

    return ColumnCodec(
        column=column,
        dtype=dtype,
        wire=str,
        is_text=True,
        parse=_each(read) if isinstance(of, t.Duration) else _moment_parser(of, read),
        read=read,
        build=build,
        write=write,
    )


FEW_CELLS = 16  # below, one by one is quicker than a trip through Arrow


def _moment_parser(of: t.Timestamp, read: Reader) -> Callable[[Cells], Cells]:
    """Return a parser that has Arrow read many moments at once: 0.2 us each instead of 3.

    The pattern is what `read` takes too, so that a moment's fate does not hang on its company.
    """
    digits = {"s": 0, "ms": 3, "us": 6, "ns": 9}[of.unit]
    fraction = rf"(\.\d{{1,{digits}}})?" if digits else ""
    clock = rf"[T ]\d\d:\d\d:\d\d{fraction}"
    aware = of.zone is not None
    tail = rf"{clock}(Z|[+-]\d\d:\d\d)" if aware else f"({clock})?"
    pattern = rf"^\d{{4}}-\d\d-\d\d{tail}$"
    wanted = pa.timestamp(of.unit, tz="UTC" if aware else None)
    one_by_one = _each(read)

    def parse(cells: Cells) -> Cells:
        if len(cells) >= FEW_CELLS:
            texts = pa.array(cells, pa.string())
            if pc.all(pc.match_substring_regex(texts, pattern)).as_py() is not False:
                try:
                    return texts.cast(wanted).cast(pa.int64()).to_pylist()  # type: ignore[no-any-return]
                except pa.ArrowInvalid:  # the 30th of February: the slow way names its row
                    raise NotPlain from None
        return one_by_one(cells)

    return parse


def _each(read: Reader) -> Callable[[Cells], Cells]:
    """Return a parser that reads cell by cell, for columns that need more than a type check."""

    def parse(cells: Cells) -> Cells:
        faults = Faults()
        parsed = [None if cell is None else read(cell, None, faults) for cell in cells]
        if faults.found:
            raise NotPlain
        return parsed

    return parse


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
            wire_cells = levels.parse(wire_cells)
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


# -- object and Arrow columns --------------------------------------------------------------------

_NULLS: dict[str, Any] = {"none": None, "nan": math.nan, "na": pd.NA, "nat": pd.NaT}


def _nested(column: t.Column, of: t.Type, compiler: Compiler | None) -> ColumnCodec:
    is_arrow = column.storage == "arrow"
    read, write_cell = _element(of, compiler, is_arrow=is_arrow)
    is_direct = isinstance(of, t.Text | t.Boolean)
    return ColumnCodec(
        column=column,
        dtype=_arrow_dtype(column) if is_arrow else np.dtype(object),
        wire={t.Text: str, t.Boolean: bool}.get(type(of), Any),
        is_text={t.Text: True, t.Boolean: False}.get(type(of)),
        parse=None if is_direct else _each(read),
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
