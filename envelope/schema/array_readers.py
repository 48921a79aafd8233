"""Readers of Series, arrays and sparse matrices."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from envelope.schema import types as t
from envelope.schema.columns import column_codec
from envelope.schema.faults import BAD, Faults, Reader
from envelope.schema.frames import read_array, read_cells
from envelope.schema.readers import items_of
from envelope.schema.words import Path, describe

if TYPE_CHECKING:
    from envelope.schema.compiler import Compiler


def series_reader(kind: t.SeriesOf, compiler: Compiler) -> Reader:
    codec = column_codec(kind.column, compiler)
    name: Any = kind.column.name

    def read(value: Any, path: Path, faults: Faults) -> Any:
        before = len(faults.found)
        if isinstance(value, np.ndarray) and value.ndim == 1:
            value = pd.Series(value)
        if isinstance(value, pd.Series):
            array = read_array(codec, value, lambda row: (path, row), faults)
        else:
            cells = read_cells(codec, value, path, faults)
            array = codec.build(cells) if len(faults.found) == before else BAD
        if array is BAD or len(faults.found) > before:
            return BAD
        return pd.Series(array, dtype=codec.dtype, name=name)

    return read


def array_reader(kind: t.Array, compiler: Compiler) -> Reader:
    codec = column_codec(array_column(kind), compiler)
    expected = describe(kind)
    dtype = codec.dtype

    def read(value: Any, path: Path, faults: Faults) -> Any:
        if isinstance(value, pd.Series | pd.DataFrame):
            value = value.to_numpy()
        if isinstance(value, np.ndarray):
            if not _has_shape(value.shape, kind.shape):
                return faults.add_value(path, expected, value)
            if value.dtype == dtype and dtype.kind != "O":
                return value
            at = _place_path(path, value.shape)
            flat = read_array(codec, pd.Series(value.ravel()), at, faults)
            return flat if flat is BAD else flat.reshape(value.shape)
        if rank(kind) and items_of(value) is None:
            return faults.add_value(path, expected, value)
        cells: list[Any] = []
        before = len(faults.found)
        shape = _walk(value, path, faults, codec.read, cells, rank(kind))
        if shape is None or len(faults.found) > before:
            return BAD
        if not _has_shape(shape, kind.shape):
            got = " x ".join(map(str, shape)) or "no dimension"
            return faults.add(path, expected, f"array of {got}")
        return codec.build(cells).reshape(_filled(shape, kind.shape))

    return read


def _filled(shape: tuple[int, ...], expected: tuple[int | None, ...] | None) -> tuple[int, ...]:
    """Return the shape with the lengths that an empty list leaves unsaid."""
    if expected is None or 0 not in shape:
        return shape
    said = shape.index(0) + 1
    return (*shape[:said], *(length or 0 for length in expected[said:]))


def _place_path(path: Path, shape: tuple[int, ...]) -> Callable[[int], Path]:
    def at(flat: int) -> Path:
        place = path
        for index in np.unravel_index(flat, shape):
            place = (place, int(index))
        return place

    return at


def array_column(kind: t.Array) -> t.Column:
    """Return the column that the elements of an array are, whatever its shape."""
    return t.Column(
        name=None,
        type=kind.of,
        dtype=kind.dtype,
        storage="object" if kind.dtype == "object" else "numpy",
    )


def rank(kind: t.Array) -> int | None:
    """Return the number of axes; None when any is fine."""
    return None if kind.shape is None else len(kind.shape)


def _has_shape(shape: tuple[int, ...], expected: tuple[int | None, ...] | None) -> bool:
    if expected is None:
        return True
    return len(shape) == len(expected) and all(
        want is None or have == want or 0 in shape[:axis]
        for axis, (have, want) in enumerate(zip(shape, expected, strict=True))
    )


def _walk(
    value: Any,
    path: Path,
    faults: Faults,
    read: Reader,
    cells: list[Any],
    depth: int | None,
) -> tuple[int, ...] | None:
    """Append the elements of nested lists and return their shape; None after a fault."""
    items = None if depth == 0 else items_of(value)
    if items is None:
        if depth:
            faults.add_value(path, "list", value)
            return None
        cells.append(read(value, path, faults))
        return ()
    below = None if depth is None else depth - 1
    shape: tuple[int, ...] | None = None
    for place, item in enumerate(items):
        found = _walk(item, (path, place), faults, read, cells, below)
        if found is None:
            shape = shape or ()
        elif shape is None:
            shape = found
        elif shape != found:
            faults.add((path, place), "lists of one length", "a list of another length")
            return None
    if shape is None:
        shape = (0,) * (below or 0)
    return (len(items), *shape)


def sparse_reader(kind: t.SparseMatrix, compiler: Compiler) -> Reader:
    sparse: Any = importlib.import_module("scipy.sparse")
    column = t.Column(name=None, type=kind.of, dtype=kind.dtype, storage="numpy")
    codec = column_codec(column, compiler)
    place = column_codec(t.Column(None, t.Integer(64), "int64", "numpy"), compiler)
    expected = describe(kind)
    build = getattr(sparse, f"{kind.format}_{'array' if kind.is_array else 'matrix'}")
    coo = sparse.coo_array if kind.is_array else sparse.coo_matrix

    def read(value: Any, path: Path, faults: Faults) -> Any:
        if sparse.issparse(value):
            if value.ndim != 2 or value.shape[1] != kind.columns or value.dtype != codec.dtype:
                return faults.add(path, expected, "sparse matrix of another shape or dtype")
            return value if value.format == kind.format else build(value)
        if not isinstance(value, dict):
            return faults.add_value(path, expected, value)
        before = len(faults.found)
        parts = {}
        for name, one in (("shape", place), ("row", place), ("column", place), ("value", codec)):
            if name not in value:
                faults.add((path, name), "list", "nothing")
            else:
                parts[name] = read_cells(one, value[name], (path, name), faults)
        for name in value.keys() - {"shape", "row", "column", "value"}:
            faults.add((path, str(name)), "no such member", "a value")
        if len(faults.found) > before:
            return BAD
        shape = tuple(parts["shape"])
        if len(shape) != 2 or shape[0] < 0 or shape[1] != kind.columns:
            return faults.add((path, "shape"), f"[rows, {kind.columns}]", "another shape")
        if len({len(parts[name]) for name in ("row", "column", "value")}) > 1:
            return faults.add(path, "row, column and value of one length", "different lengths")
        try:
            made = coo((codec.build(parts["value"]), (parts["row"], parts["column"])), shape=shape)
        except ValueError:
            return faults.add(path, expected, "places outside of its shape")
        return build(made)

    return read
