"""Readers of values that hold other values: lists, maps, records, arrays, Series, unions."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from envelope.errors import SchemaError
from envelope.schema import types as t
from envelope.schema.columns import column_codec
from envelope.schema.constraints import breaks
from envelope.schema.faults import BAD, Faults, Reader
from envelope.schema.frames import read_array, read_cells
from envelope.schema.scalars import is_null
from envelope.schema.words import Path, describe

if TYPE_CHECKING:
    from envelope.schema.compiler import Compiler


def find_class(path: str, known: Mapping[str, type]) -> Any:
    """Return the class of "module:qualified name".

    known: classes that the function's own annotations hold, so that those written in a notebook
    are found. Raises SchemaError when the class is nowhere.
    """
    if path in known:
        return known[path]
    module, _, name = path.partition(":")
    try:
        found: Any = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as exc:
        raise SchemaError(
            f"the class {name} of module {module} is needed and cannot be imported ({exc}); save "
            "the model again with modules=[...] that hold it"
        ) from exc
    return found


def maybe_reader(kind: t.Maybe, compiler: Compiler) -> Reader:
    inner = compiler.reader(kind.of)

    def read(value: Any, path: Path, faults: Faults) -> Any:
        return None if is_null(value) else inner(value, path, faults)

    return read


def any_of_reader(kind: t.AnyOf, compiler: Compiler) -> Reader:
    readers = [compiler.reader(member) for member in kind.members]
    expected = describe(kind)

    def read(value: Any, path: Path, faults: Faults) -> Any:
        widened = BAD
        for inner in readers:
            probe = Faults()
            found = inner(value, path, probe)
            if probe.found:
                continue
            if not probe.widened:
                return found
            if widened is BAD:
                widened = found
        if widened is not BAD:
            faults.widened = True
            return widened
        return faults.add_value(path, expected, value)

    return read


def constrained_reader(kind: t.Constrained, compiler: Compiler) -> Reader:
    inner = compiler.reader(kind.of)
    is_broken = breaks(kind)
    expected = describe(kind)

    def read(value: Any, path: Path, faults: Faults) -> Any:
        found = inner(value, path, faults)
        if found is not BAD and is_broken(found):
            return faults.add(path, expected, "a value outside of that")
        return found

    return read


def enumeration_reader(kind: t.Enumeration, compiler: Compiler) -> Reader:
    members = find_class(kind.path, compiler.classes)
    by_value = {(type(member.value), member.value): members[member.name] for member in kind.members}
    expected = describe(kind)

    def read(value: Any, path: Path, faults: Faults) -> Any:
        if isinstance(value, members):
            return value
        if isinstance(value, np.generic):
            value = value.item()
        if isinstance(value, str | int | float | None):
            found = by_value.get((type(value), value), BAD)
            if found is not BAD:
                return found
        return faults.add_value(path, expected, value)

    return read


def _sequence(value: Any) -> list[Any] | None:
    """Return the items of what a list may be given as, or None."""
    if isinstance(value, list):
        return value
    if isinstance(value, tuple):
        return list(value)
    if isinstance(value, np.ndarray | pd.Series) and value.ndim > 0:
        return list(value) if value.ndim > 1 else value.tolist()
    return None


def list_reader(kind: t.ListOf, compiler: Compiler) -> Reader:
    inner = compiler.reader(kind.item)
    expected = describe(kind)

    def read(value: Any, path: Path, faults: Faults) -> Any:
        items = _sequence(value)
        if items is None:
            return faults.add_value(path, expected, value)
        return [inner(item, (path, place), faults) for place, item in enumerate(items)]

    return read


def set_reader(kind: t.SetOf, compiler: Compiler) -> Reader:
    inner = compiler.reader(kind.item)
    expected = describe(kind)
    build = frozenset if kind.frozen else set

    def read(value: Any, path: Path, faults: Faults) -> Any:
        items = list(value) if isinstance(value, set | frozenset) else _sequence(value)
        if items is None:
            return faults.add_value(path, expected, value)
        before = len(faults.found)
        found = [inner(item, (path, place), faults) for place, item in enumerate(items)]
        if len(faults.found) > before:
            return BAD
        made = build(found)
        if len(made) < len(found):
            return faults.add(path, expected, "list with an item that is repeated")
        return made

    return read


def tuple_reader(kind: t.TupleOf, compiler: Compiler) -> Reader:
    places = [compiler.reader(item) for item in kind.items]
    rest = None if kind.rest is None else compiler.reader(kind.rest)
    expected = describe(kind)

    def read(value: Any, path: Path, faults: Faults) -> Any:
        items = _sequence(value)
        if items is None:
            return faults.add_value(path, expected, value)
        if len(items) < len(places) or (rest is None and len(items) > len(places)):
            return faults.add(path, expected, f"list of {len(items)}")
        return tuple(
            (places[place] if place < len(places) else rest)(item, (path, place), faults)  # type: ignore[misc]
            for place, item in enumerate(items)
        )

    return read


def map_reader(kind: t.MapOf, compiler: Compiler) -> Reader:
    read_key, read_value = compiler.reader(kind.key), compiler.reader(kind.value)
    of = kind.key.of if isinstance(kind.key, t.Constrained | t.NumpyScalar) else kind.key
    expected = describe(kind)

    def read(value: Any, path: Path, faults: Faults) -> Any:
        if not isinstance(value, dict):
            return faults.add_value(path, expected, value)
        found = {}
        for key, item in value.items():
            at: Path = (path, str(key))
            probe = Faults()
            made = read_key(key, at, probe)
            if probe.found and isinstance(key, str) and _is_integer(key):
                probe = Faults()
                made = read_key(int(key), at, probe)
            if probe.found:
                faults.add(path, f"keys of {describe(of)}", probe.found[0].got)
                continue
            if made in found:
                faults.add(path, "keys that differ", "two spellings of one key")
            found[made] = read_value(item, at, faults)
        return found

    return read


def _is_integer(key: str) -> bool:
    digits = key.removeprefix("-")
    return digits.isascii() and digits.isdecimal() and len(digits) < 400


def record_reader(kind: t.Record, compiler: Compiler) -> Reader:
    if kind.path is not None:
        compiler.open_record(kind.path, "read")
    build, members_of = _record_builder(kind, compiler), record_members(kind, compiler)
    fields = [(field, compiler.reader(field.type)) for field in kind.fields]
    names = {field.name for field, _ in fields}
    ignores_extra = compiler.extra_columns == "ignore"
    expected = describe(kind)

    def read(value: Any, path: Path, faults: Faults) -> Any:
        members = members_of(value)
        if members is None:
            return faults.add_value(path, expected, value)
        before = len(faults.found)
        found = {}
        for field, inner in fields:
            item = members.get(field.name, BAD)
            if item is not BAD:
                found[field.name] = inner(item, (path, field.name), faults)
            elif field.required:
                faults.add((path, field.name), describe(field.type), "nothing")
        if not ignores_extra:
            for key in members.keys() - names:
                faults.add((path, str(key)), "no such member", "a value")
        return build(found, path, faults) if len(faults.found) == before else BAD

    if kind.path is not None:
        compiler.close_record(kind.path, "read", read)
    return read


def record_members(kind: t.Record, compiler: Compiler) -> Callable[[Any], Mapping[Any, Any] | None]:
    """Return a function to the members of a dict, or of an instance of the record's class."""
    names = [field.name for field in kind.fields]
    if kind.path is None or kind.kind == "typed_dict":
        return lambda value: value if isinstance(value, dict) else None
    record_class = find_class(kind.path, compiler.classes)

    def members(value: Any) -> Mapping[Any, Any] | None:
        if isinstance(value, dict):
            return value
        if not isinstance(value, record_class):
            return None
        return {name: getattr(value, name) for name in names if hasattr(value, name)}

    return members


def _record_builder(
    kind: t.Record, compiler: Compiler
) -> Callable[[dict[str, Any], Path, Faults], Any]:
    if kind.path is None or kind.kind == "typed_dict":
        return lambda found, path, faults: found
    record_class = find_class(kind.path, compiler.classes)
    if kind.kind == "pydantic":
        return _pydantic_builder(record_class)
    expected = describe(kind)

    def build(found: dict[str, Any], path: Path, faults: Faults) -> Any:
        try:
            return record_class(**found)
        except (TypeError, ValueError) as exc:  # its own __post_init__ refused the values
            return faults.add(path, expected, f"members that it refuses ({type(exc).__name__})")

    return build


def _pydantic_builder(model: Any) -> Callable[[dict[str, Any], Path, Faults], Any]:
    from pydantic import ValidationError

    sent_as = {
        name: alias if isinstance(alias := field.validation_alias, str) else field.alias or name
        for name, field in model.model_fields.items()
    }

    def build(found: dict[str, Any], path: Path, faults: Faults) -> Any:
        try:
            return model.model_validate({sent_as[name]: item for name, item in found.items()})
        except ValidationError as exc:
            for error in exc.errors(include_url=False, include_context=False, include_input=False):
                at = path
                for step in error["loc"]:
                    at = (at, step)
                faults.add(at, error["type"].replace("_", " "), "a value outside of that")
            return BAD

    return build


def recursion_reader(kind: t.Recursion, compiler: Compiler) -> Reader:
    holder = compiler.open_record(kind.path, "read")

    def read(value: Any, path: Path, faults: Faults) -> Any:
        return holder[0](value, path, faults)

    return read


def frame_reader(kind: t.Frame, compiler: Compiler) -> Reader:
    return compiler.frame_codec(kind).read


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
        if rank(kind) and _sequence(value) is None:
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
    items = None if depth == 0 else _sequence(value)
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
