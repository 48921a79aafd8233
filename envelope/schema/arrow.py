"""Arrow tables in and out. Arrow types are the physical truth: nothing is converted through text.

In: a column of the Arrow type that the schema has is taken as it is; another type is taken when
Arrow casts it without losing anything; what is left goes value by value and reports its faults.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from envelope.errors import SchemaError
from envelope.schema import types as t
from envelope.schema.array_readers import array_column
from envelope.schema.cells import ColumnCodec
from envelope.schema.columns import column_codec
from envelope.schema.example_tables import arrow_from_text
from envelope.schema.faults import BAD, Faults, Reader, collect
from envelope.schema.frames import Found, FrameCodec
from envelope.schema.nested_columns import arrow_array
from envelope.schema.scalars import is_null, is_same
from envelope.schema.words import Path, describe

if TYPE_CHECKING:
    from envelope.schema.compiler import Compiler

OUTPUT = "output"  # the column of outputs that are no frame


def read_table(codec: FrameCodec, table: pa.Table, path: Path, faults: Faults) -> Any:
    """Return what was `Found` in a table; BAD after faults."""
    before = len(faults.found)
    names = {str(name): place for place, name in enumerate(table.column_names)}
    if len(names) < table.num_columns:
        faults.add(path, "columns of different names", "two columns of one name")
    arrays = []
    for one in codec.codecs:
        place = names.get(one.label)
        if place is None:
            faults.add((path, one.label), describe(one.column.type), "nothing")
        else:
            arrays.append(read_column(one, table.column(place), path, faults))
    if not codec.ignores_extra:
        for name in names:
            if name not in codec.places:
                faults.add((path, name), "no such column", "a value")
    if len(faults.found) > before:
        return BAD
    return Found("frame", table.num_rows, frame=codec.of_arrays(arrays, table.num_rows))


def read_column(codec: ColumnCodec, column: pa.ChunkedArray, path: Path, faults: Faults) -> Any:
    """Return an Arrow column as an array of exactly the column's dtype; BAD after faults."""
    if isinstance(codec.dtype, pd.CategoricalDtype):
        codes = _codes(codec, column)
        if codes is not None:
            return codec.build(codes)
    cast = _cast(column, arrow_type(codec.column))
    if cast is not None and (cast.null_count == 0 or _accepts_null(codec.column.type)):
        taken = _taken(codec, cast)
        if taken is not None:
            return taken
    start: Path = (None, "rows") if path is None else path
    before = len(faults.found)
    cells = [
        codec.read(_without_absent(value, codec.column.type), ((start, row), codec.label), faults)
        for row, value in enumerate(column.to_pylist())
    ]
    return codec.build(cells) if len(faults.found) == before else BAD


def _codes(codec: ColumnCodec, column: pa.ChunkedArray) -> Any:
    """Return the codes of a column of levels, each level read once; None where one does not fit."""
    array = _one_array(column)
    if not pa.types.is_dictionary(array.type):
        array = array.dictionary_encode()
    faults = Faults()
    levels = [
        None if level is None else codec.read(level, None, faults)
        for level in array.dictionary.to_pylist()
    ]
    if faults.found:
        return None
    known = np.array([-1 if level is None else level for level in levels] or [-1], np.int64)
    places = pc.fill_null(array.indices, len(known) - 1)
    codes = known[places.to_numpy(zero_copy_only=False)]
    codes[array.indices.is_null().to_numpy(zero_copy_only=False)] = -1
    return codes


def _one_array(column: pa.ChunkedArray) -> pa.Array:
    if column.num_chunks == 1:  # combining copies even this one
        return column.chunk(0)
    array = column.combine_chunks()
    if isinstance(array, pa.ChunkedArray):
        return pa.concat_arrays(array.chunks) if array.num_chunks else pa.array([], array.type)
    return array


def _without_absent(value: Any, kind: t.Type) -> Any:
    """Leave out the members that a struct can only hold as null, and a record as absent."""
    if isinstance(kind, t.Maybe):
        return _without_absent(value, kind.of)
    if isinstance(kind, t.ListOf) and isinstance(value, list):
        return [_without_absent(item, kind.item) for item in value]
    if not isinstance(kind, t.Record) or not isinstance(value, dict):
        return value
    absent = {f.name for f in kind.fields if not f.required and not _accepts_null(f.type)}
    types = {field.name: field.type for field in kind.fields}
    return {
        name: _without_absent(item, types[name]) if name in types else item
        for name, item in value.items()
        if item is not None or name not in absent
    }


def _accepts_null(kind: t.Type) -> bool:
    return isinstance(kind, t.Maybe | t.Null) or (isinstance(kind, t.Float) and kind.nan)


_FAMILIES = (
    (pa.types.is_integer, "number"),
    (pa.types.is_floating, "number"),
    (pa.types.is_boolean, "boolean"),
    (pa.types.is_timestamp, "moment"),
    (pa.types.is_date, "moment"),
    (pa.types.is_duration, "duration"),
    (pa.types.is_string, "text"),
    (pa.types.is_large_string, "text"),
    (pa.types.is_decimal, "decimal"),
)


def _family(kind: pa.DataType) -> str | None:
    return next((name for is_kind, name in _FAMILIES if is_kind(kind)), None)


def _cast(column: pa.ChunkedArray, wanted: pa.DataType | None) -> pa.Array | None:
    """Return the column as the wanted type when Arrow casts it and nothing is lost, else None."""
    if wanted is None:
        return None
    array = _one_array(column)
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    if array.type == wanted:
        return array
    family = _family(array.type)
    if family is None or family != _family(wanted):
        return None
    if family == "moment" and (getattr(array.type, "tz", None) is None) != (wanted.tz is None):
        return None
    try:
        return array.cast(wanted)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return None


def _taken(codec: ColumnCodec, array: pa.Array) -> Any:
    """Return an Arrow array of the right type as the column's own array; None where cells must."""
    column = codec.column
    of = column.type.of if isinstance(column.type, t.Maybe) else column.type
    if column.storage == "arrow":
        return pd.arrays.ArrowExtensionArray(array)
    if column.storage == "numpy":
        if isinstance(of, t.Timestamp | t.Duration):
            counts = array.cast(pa.int64())
            nat = np.iinfo(np.int64).min
            return pc.fill_null(counts, nat).to_numpy(zero_copy_only=False).view(codec.dtype)
        if isinstance(of, t.Float | t.Integer | t.Boolean):
            return array.to_numpy(zero_copy_only=False).astype(codec.dtype, copy=False)
        return None
    if column.storage == "masked":  # by hand: pandas would make NaN null
        values = pc.fill_null(array, False if isinstance(of, t.Boolean) else 0)
        mask = array.is_null().to_numpy(zero_copy_only=False)
        return codec.dtype.construct_array_type()(
            values.to_numpy(zero_copy_only=False).astype(codec.dtype.numpy_dtype), mask
        )
    if column.storage == "string":
        return codec.dtype.__from_arrow__(array)
    if column.storage == "zoned":
        counts = pc.fill_null(array.cast(pa.int64()), np.iinfo(np.int64).min)
        return pd.array(counts.to_numpy(zero_copy_only=False), dtype=codec.dtype)
    return None


def arrow_type(column: t.Column) -> pa.DataType | None:
    """Return the Arrow type of a column; None where only the values can tell."""
    if column.arrow is not None:
        return arrow_from_text(column.arrow)
    return arrow_type_of(column.type)


def arrow_type_of(kind: t.Type) -> pa.DataType | None:
    """Return the Arrow type of an element; None for what Arrow has no single type for."""
    match kind:
        case t.Maybe(of=of) | t.Constrained(of=of) | t.NumpyScalar(of=of):
            return arrow_type_of(of)
        case t.Categorical(of=of):
            return arrow_type_of(of)
        case t.Integer(bits=bits, signed=signed):
            return getattr(pa, f"{'' if signed else 'u'}int{bits or 64}")()
        case t.Float(bits=bits):
            return getattr(pa, f"float{bits}")()
        case t.Decimal(precision=int(precision), scale=scale):
            return pa.decimal128(precision, scale or 0)
        case t.Timestamp(unit=unit, zone=zone) if zone != "any":
            return pa.timestamp(unit, tz=_arrow_zone(zone))
        case t.Duration(unit=unit):
            return pa.duration(unit)
        case t.Time(unit=unit):
            return pa.time32(unit) if unit in ("s", "ms") else pa.time64(unit)
        case t.ListOf(item=item):
            inner = arrow_type_of(item)
            return None if inner is None else pa.list_(inner)
        case _:
            return _SIMPLE.get(type(kind))


_SIMPLE: dict[type, pa.DataType] = {
    t.Boolean: pa.bool_(),
    t.Text: pa.string(),
    t.Bytes: pa.binary(),
    t.Date: pa.date32(),
    t.Null: pa.null(),
    t.Uuid: pa.string(),
}


def _arrow_zone(zone: str | None) -> str | None:
    """Return a zone as Arrow spells it: "+02:00" for "UTC+02:00"."""
    return zone if zone is None or zone == "UTC" else zone.removeprefix("UTC")


def write_table(kind: t.Type, output: Any, compiler: Compiler) -> pa.Table:
    """Return an output as a table: a frame's columns, or one column (`output`, `output_0`, ...).

    Raises SchemaError when the output is not of its type, or Arrow has no type for it.
    """
    read = compiler.reader(kind)
    found = collect(lambda faults: read(output, None, faults), "the output does not fit the schema")
    match kind:
        case t.Frame(library="arrow"):
            return found
        case t.Frame():
            codec = compiler.frame_codec(kind)
            arrays = [
                _written(one, _own(column))
                for one, (_, column) in zip(codec.codecs, found.items(), strict=True)
            ]
            return pa.table(arrays, names=list(codec.labels))
        case t.SeriesOf(column=column):
            return pa.table([_written(column_codec(column, compiler), _own(found))], names=[OUTPUT])
        case t.Array() if found.ndim <= 2:
            codec_of = column_codec(array_column(kind), compiler)
            if found.ndim < 2:
                return pa.table([_written(codec_of, found.reshape(-1))], names=[OUTPUT])
            names = [f"{OUTPUT}_{place}" for place in range(found.shape[1])]
            columns = [np.ascontiguousarray(found[:, place]) for place in range(found.shape[1])]
            return pa.table([_written(codec_of, one) for one in columns], names=names)
        case t.Array():
            return pa.table([_values(list(found.tolist()), None, kind)], names=[OUTPUT])
        case t.ListOf(item=item) | t.TupleOf(rest=item) if item is not None:
            cells = _values(list(found), arrow_type_of(item), item, compiler.reader(item))
            return pa.table([cells], names=[OUTPUT])
        case _:
            return pa.table([_values([found], arrow_type_of(kind), kind, read)], names=[OUTPUT])


def _own(series: Any) -> Any:
    return series.to_numpy() if isinstance(series.dtype, np.dtype) else series.array


def _written(codec: ColumnCodec, array: Any) -> pa.Array:
    """Return a column's array as Arrow, in the type that the schema has."""
    wanted = arrow_type(codec.column)
    kind = codec.column.type
    if codec.column.storage == "object":
        cells = [None if is_null(cell) else cell for cell in array]
        return _values(cells, wanted, kind, codec.read)
    with _uncarried(kind):
        if isinstance(codec.dtype, pd.CategoricalDtype):
            return pa.array(array)  # dictionary, with the levels and their order
        if codec.column.storage == "masked":  # NaN beside null stays NaN
            values = array.to_numpy(codec.dtype.numpy_dtype, na_value=codec.dtype.type(0))
            return pa.array(values, wanted, mask=array.isna(), from_pandas=False)
        if codec.column.storage == "numpy" and isinstance(kind, t.Float):
            return pa.array(array, wanted, from_pandas=False)
        return pa.array(array, wanted, from_pandas=True)


def _values(
    cells: list[Any], wanted: pa.DataType | None, kind: t.Type, read: Reader | None = None
) -> pa.Array:
    """Return Python values of a type as Arrow.

    read: the reader of the type, by which values are read back where Arrow might bend them: it
    drops the zone of a time, and takes a date beside a datetime for midnight.
    """
    plain = [str(cell) if isinstance(cell, uuid.UUID) else cell for cell in cells]
    with _uncarried(kind):
        array = arrow_array(plain, wanted) if wanted is not None else pa.array(plain)
        if read is not None and (wanted is None or _holds_times(wanted)):
            faults = Faults()
            for cell, found in zip(cells, array.to_pylist(), strict=True):
                back = None if found is None else read(_without_absent(found, kind), None, faults)
                if faults.found or not is_same(back, cell):
                    raise pa.ArrowInvalid("a value would not come back as it was")
        return array


def _holds_times(kind: pa.DataType) -> bool:
    return pa.types.is_time(kind) or (pa.types.is_list(kind) and _holds_times(kind.value_type))


@contextmanager
def _uncarried(kind: t.Type) -> Iterator[None]:
    """Say of values that Arrow refuses that it has no form for their type."""
    try:
        yield
    except (
        pa.ArrowInvalid,
        pa.ArrowTypeError,
        pa.ArrowNotImplementedError,
        OverflowError,
        UnicodeEncodeError,
    ) as exc:
        raise SchemaError(f"Arrow has no type for {describe(kind)}; ask for JSON instead") from exc
