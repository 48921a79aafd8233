"""Values of the function's types -> what JSON can hold, checked on the way.

A writer returns builtins that `msgspec` encodes: NaN stays NaN (encoded as null where the type
says that it may be one); infinity is a fault, because JSON has no form for it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from envelope.schema import types as t
from envelope.schema.array_readers import array_column
from envelope.schema.cells import ColumnCodec, Uncarried
from envelope.schema.columns import column_codec
from envelope.schema.faults import BAD, Faults, Reader
from envelope.schema.frames import FrameCodec
from envelope.schema.moments import show_duration, show_moment
from envelope.schema.readers import record_members
from envelope.schema.scalars import duration_counter, is_null, moment_counter
from envelope.schema.words import Entry, Path, describe

if TYPE_CHECKING:
    from envelope.schema.compiler import Compiler

Writer = Callable[[Any, Path, Faults], Any]


def compile_writer(kind: t.Type, compiler: Compiler) -> Writer:
    """Return the closure that checks a value against its type and makes it JSON-able."""
    special = _WRITERS.get(type(kind))
    return compiler.reader(kind) if special is None else special(kind, compiler)


def _float(kind: t.Float, compiler: Compiler) -> Writer:
    read = compiler.reader(kind)
    expected = describe(kind)

    def write(value: Any, path: Path, faults: Faults) -> Any:
        found = read(value, path, faults)
        if found is not BAD and math.isinf(found):
            return faults.add(path, expected, "infinity, which JSON cannot hold")
        return found

    return write


def _numpy_scalar(kind: t.NumpyScalar, compiler: Compiler) -> Writer:
    return compiler.writer(kind.of)


def _timestamp(kind: t.Timestamp, compiler: Compiler) -> Writer:
    if kind.zone == "any":
        read = compiler.reader(kind)

        def write_any(value: Any, path: Path, faults: Faults) -> Any:
            found = read(value, path, faults)
            return found.isoformat() if isinstance(found, pd.Timestamp) else found

        return write_any
    count = moment_counter(kind)

    def write(value: Any, path: Path, faults: Faults) -> Any:
        counted = count(value, path, faults)
        if type(counted) is not int:
            return counted
        return show_moment(counted, kind.unit, aware=kind.zone is not None)

    return write


def _duration(kind: t.Duration, compiler: Compiler) -> Writer:
    count = duration_counter(kind)

    def write(value: Any, path: Path, faults: Faults) -> Any:
        counted = count(value, path, faults)
        return show_duration(counted, kind.unit) if type(counted) is int else counted

    return write


def _maybe(kind: t.Maybe, compiler: Compiler) -> Writer:
    inner = compiler.writer(kind.of)

    def write(value: Any, path: Path, faults: Faults) -> Any:
        return None if is_null(value) else inner(value, path, faults)

    return write


def _any_of(kind: t.AnyOf, compiler: Compiler) -> Writer:
    pairs = [(compiler.reader(member), compiler.writer(member)) for member in kind.members]
    expected = describe(kind)

    def write(value: Any, path: Path, faults: Faults) -> Any:
        widened = None
        for read, inner in pairs:
            probe = Faults()
            read(value, path, probe)
            if probe.found:
                continue
            if not probe.widened:
                return inner(value, path, faults)
            widened = widened or inner
        if widened is not None:
            return widened(value, path, faults)
        return faults.add_value(path, expected, value)

    return write


def _constrained(kind: t.Constrained, compiler: Compiler) -> Writer:
    read, inner = compiler.reader(kind), compiler.writer(kind.of)

    def write(value: Any, path: Path, faults: Faults) -> Any:
        before = len(faults.found)
        read(value, path, faults)
        return inner(value, path, faults) if len(faults.found) == before else BAD

    return write


def _enumeration(kind: t.Enumeration, compiler: Compiler) -> Writer:
    read = compiler.reader(kind)

    def write(value: Any, path: Path, faults: Faults) -> Any:
        found = read(value, path, faults)
        return found if found is BAD else found.value

    return write


def _list(kind: t.ListOf, compiler: Compiler) -> Writer:
    return _items(kind, compiler, compiler.writer(kind.item))


def _set(kind: t.SetOf, compiler: Compiler) -> Writer:
    inner = compiler.writer(kind.item)
    read = compiler.reader(kind)

    def write(value: Any, path: Path, faults: Faults) -> Any:
        found = read(value, path, faults)
        if found is BAD:
            return BAD
        items = [inner(item, (path, place), faults) for place, item in enumerate(found)]
        return sorted(items, key=lambda item: (type(item).__name__, item))

    return write


def _items(kind: t.Type, compiler: Compiler, inner: Writer) -> Writer:
    expected = describe(kind)

    def write(value: Any, path: Path, faults: Faults) -> Any:
        if isinstance(value, np.ndarray | pd.Series) and value.ndim > 0:
            value = value.tolist() if value.ndim == 1 else list(value)
        if not isinstance(value, list | tuple):
            return faults.add_value(path, expected, value)
        return [inner(item, (path, place), faults) for place, item in enumerate(value)]

    return write


def _tuple(kind: t.TupleOf, compiler: Compiler) -> Writer:
    places = [compiler.writer(item) for item in kind.items]
    rest = None if kind.rest is None else compiler.writer(kind.rest)
    expected = describe(kind)

    def write(value: Any, path: Path, faults: Faults) -> Any:
        if not isinstance(value, list | tuple):
            return faults.add_value(path, expected, value)
        if len(value) < len(places) or (rest is None and len(value) > len(places)):
            return faults.add(path, expected, f"tuple of {len(value)}")
        return [
            (places[place] if place < len(places) else rest)(item, (path, place), faults)  # type: ignore[misc]
            for place, item in enumerate(value)
        ]

    return write


def _map(kind: t.MapOf, compiler: Compiler) -> Writer:
    key_writer, inner = compiler.writer(kind.key), compiler.writer(kind.value)
    expected = describe(kind)

    def write(value: Any, path: Path, faults: Faults) -> Any:
        if not isinstance(value, dict):
            return faults.add_value(path, expected, value)
        return {
            key_writer(key, (path, Entry(place)), faults): inner(item, (path, Entry(place)), faults)
            for place, (key, item) in enumerate(value.items())
        }

    return write


def _record(kind: t.Record, compiler: Compiler) -> Writer:
    members = record_members(kind, compiler)
    if kind.path is not None:
        compiler.open_record(kind.path, "write")
    fields = [(field, compiler.writer(field.type)) for field in kind.fields]
    expected = describe(kind)

    def write(value: Any, path: Path, faults: Faults) -> Any:
        found = members(value)
        if found is None:
            return faults.add_value(path, expected, value)
        written = {}
        for field, inner in fields:
            item = found.get(field.name, BAD)
            if item is not BAD:
                written[field.name] = inner(item, (path, field.name), faults)
            elif field.required:
                faults.add((path, field.name), describe(field.type), "nothing")
        for key in found.keys() - {field.name for field in kind.fields}:
            faults.add((path, str(key)), "no such member", "a value")
        return written

    if kind.path is not None:
        compiler.close_record(kind.path, "write", write)
    return write


def _recursion(kind: t.Recursion, compiler: Compiler) -> Writer:
    holder = compiler.open_record(kind.path, "write")
    return lambda value, path, faults: holder[0](value, path, faults)


def _frame(kind: t.Frame, compiler: Compiler) -> Writer:
    codec = compiler.frame_codec(kind)

    def write(value: Any, path: Path, faults: Faults) -> Any:
        columns = frame_columns(codec, value, path, faults)
        return BAD if columns is BAD else codec.rows_of(columns)

    return write


def frame_columns(codec: FrameCodec, value: Any, path: Path, faults: Faults) -> Any:
    """Return the JSON cells of a frame by column; BAD after faults.

    An array of as many columns is taken for the frame: models answer with arrays where the
    example was a frame.
    """
    if isinstance(value, pd.Series) and len(codec.codecs) == 1:
        value = value.to_frame(codec.names[0])
    if isinstance(value, np.ndarray) and value.ndim in (1, 2):
        value = pd.DataFrame(value.reshape(len(value), -1))
        if value.shape[1] == len(codec.names):
            value.columns = codec.index
    found = codec.read(value, path, faults)
    if found is BAD:
        return BAD
    try:
        return codec.write_columns(found)
    except Uncarried as exc:
        return faults.add(path, "values that JSON can hold", str(exc))


def _series(kind: t.SeriesOf, compiler: Compiler) -> Writer:
    codec = column_codec(kind.column, compiler)
    read = compiler.reader(kind)
    expected = describe(kind)

    def write(value: Any, path: Path, faults: Faults) -> Any:
        found = read(value, path, faults)
        if found is BAD:
            return BAD
        array = found.to_numpy() if isinstance(found.dtype, np.dtype) else found.array
        return written_array(codec, array, path, faults, expected)

    return write


def written_array(codec: ColumnCodec, array: Any, path: Path, faults: Faults, expected: str) -> Any:
    """Return the JSON cells of one array; a fault for what JSON cannot hold."""
    try:
        return codec.write(array)
    except Uncarried as exc:
        return faults.add(path, expected, f"{exc}, which JSON cannot hold")


def _array(kind: t.Array, compiler: Compiler) -> Writer:
    codec = column_codec(array_column(kind), compiler)
    read = compiler.reader(kind)
    expected = describe(kind)

    def write(value: Any, path: Path, faults: Faults) -> Any:
        found = read(value, path, faults)
        if found is BAD:
            return BAD
        if found.ndim == 1:
            return written_array(codec, found, path, faults, expected)
        cells = written_array(codec, found.ravel(), path, faults, expected)
        if cells is BAD:
            return BAD
        return _nest(cells, found.shape) if found.ndim else cells[0]

    return write


def _nest(cells: list[Any], shape: tuple[int, ...]) -> list[Any]:
    """Return flat cells as lists nested to a shape."""
    if len(shape) == 1:
        return cells
    size = math.prod(shape[1:])
    return [_nest(cells[start * size : (start + 1) * size], shape[1:]) for start in range(shape[0])]


def _sparse(kind: t.SparseMatrix, compiler: Compiler) -> Writer:
    column = t.Column(name=None, type=kind.of, dtype=kind.dtype, storage="numpy")
    codec = column_codec(column, compiler)
    read = compiler.reader(kind)
    expected = describe(kind)

    def write(value: Any, path: Path, faults: Faults) -> Any:
        found = read(value, path, faults)
        if found is BAD:
            return BAD
        coo = found.tocoo()
        return {
            "shape": [int(length) for length in coo.shape],
            "row": coo.row.tolist(),
            "column": coo.col.tolist(),
            "value": written_array(codec, coo.data, path, faults, expected),
        }

    return write


_WRITERS: dict[type, Callable[[Any, Any], Reader]] = {
    t.Float: _float,
    t.NumpyScalar: _numpy_scalar,
    t.Timestamp: _timestamp,
    t.Duration: _duration,
    t.Maybe: _maybe,
    t.AnyOf: _any_of,
    t.Constrained: _constrained,
    t.Enumeration: _enumeration,
    t.ListOf: _list,
    t.SetOf: _set,
    t.TupleOf: _tuple,
    t.MapOf: _map,
    t.Record: _record,
    t.Recursion: _recursion,
    t.Frame: _frame,
    t.SeriesOf: _series,
    t.Array: _array,
    t.SparseMatrix: _sparse,
}
