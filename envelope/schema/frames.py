"""Frames: a row object, a list of rows or an object of columns -> one DataFrame, and back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import msgspec
import numpy as np
import pandas as pd

from envelope.schema import types as t
from envelope.schema.cells import Cells, ColumnCodec
from envelope.schema.columns import column_codec
from envelope.schema.faults import BAD, Faults
from envelope.schema.frame_build import block_builder, concatenate, frame_of_arrays, shallow_copy
from envelope.schema.words import Path, describe

if TYPE_CHECKING:
    from envelope.schema.compiler import Compiler


@dataclass(frozen=True, slots=True)
class Found:
    """A frame that was read: as cells by column, or finished."""

    form: Literal["row", "rows", "columns", "frame"]
    n_rows: int
    cells: Sequence[Cells] = ()
    frame: Any = None


class FrameCodec:
    """Builds, reads and writes frames of one type.

    codecs: one per column, in order. labels: their names in JSON.
    """

    def __init__(self, frame: t.Frame, compiler: Compiler) -> None:
        self.frame = frame
        self.ignores_extra = compiler.extra_columns == "ignore"
        self.codecs = tuple(column_codec(column, compiler) for column in frame.columns)
        self.labels = tuple(codec.label for codec in self.codecs)
        self.names = [column.name for column in frame.columns]
        self.places = {label: place for place, label in enumerate(self.labels)}
        self.dtypes = [codec.dtype for codec in self.codecs]
        self.looked_at = [
            place for place, codec in enumerate(self.codecs) if not _fits_by_dtype(codec)
        ]
        self.index = pd.Index(self.names) if self.names else pd.RangeIndex(0)
        self.build_blocks = block_builder(self.codecs, self.index)

    # -- cells -> frame ---------------------------------------------------------------------------

    def build(self, columns: Sequence[Cells], n_rows: int) -> Any:
        """Return the DataFrame (or Arrow table) of these cells, column by column."""
        if self.frame.library == "arrow":
            return self._table([c.build(x) for c, x in zip(self.codecs, columns, strict=True)])
        return self.build_blocks(columns, n_rows)

    def of_arrays(self, arrays: Sequence[Any], n_rows: int) -> Any:
        """Return the DataFrame (or Arrow table) of finished arrays, one per column."""
        if self.frame.library == "arrow":
            return self._table(arrays)
        return frame_of_arrays(self.codecs, arrays, self.index, n_rows)

    def concatenate(self, frames: Sequence[Any]) -> Any:
        """Return one frame of the rows of several, dtypes kept."""
        if self.frame.library == "arrow":
            import pyarrow as pa

            return pa.concat_tables(frames)
        return concatenate(self.codecs, frames, self.index)

    def _table(self, arrays: Sequence[Any]) -> Any:
        import pyarrow as pa

        parts = [array.__arrow_array__() for array in arrays]
        fields = [
            pa.field(one.label, part.type, isinstance(one.column.type, t.Maybe))
            for one, part in zip(self.codecs, parts, strict=True)
        ]
        return pa.table(parts, schema=pa.schema(fields))

    # -- any value -> cells -----------------------------------------------------------------------

    def read(self, value: Any, path: Path, faults: Faults) -> Any:
        """Return the frame of a parsed JSON value or a Python frame; BAD after faults."""
        found = self.read_form(value, path, faults)
        if found is BAD:
            return BAD
        return found.frame if found.frame is not None else self.build(found.cells, found.n_rows)

    def read_form(self, value: Any, path: Path, faults: Faults) -> Any:
        """Return what was `Found`; BAD after faults."""
        if isinstance(value, pd.DataFrame):
            if self.frame.library == "pandas" and self._is_exact(value):
                return Found("frame", len(value), frame=_numbered(value))
            return self._read_frame(value, path, faults)
        if _is_table(value):
            from envelope.schema.arrow import read_table

            return read_table(self, value, path, faults)
        if isinstance(value, dict):
            if self._is_columns(value):
                return self._read_columns(value, path, faults)
            cells = self._read_row(value, path, faults)
            if cells is BAD:
                return BAD
            return Found("row", 1, cells=[(cell,) for cell in cells])
        if isinstance(value, list | tuple):
            return self._read_rows(value, path, faults)
        return faults.add_value(path, "row, list of rows or object of columns", value)

    def _is_columns(self, value: dict[Any, Any]) -> bool:
        """Tell columns from a row: each member is one list level deeper than its column's type."""
        known = [(v, self.codecs[self.places[k]]) for k, v in value.items() if k in self.places]
        if not known:
            return bool(value) and all(isinstance(v, list | tuple) for v in value.values())
        return all(_is_deeper(member, codec.column.type) for member, codec in known)

    def _read_row(self, value: Any, path: Path, faults: Faults) -> Any:
        if not isinstance(value, dict):
            return faults.add_value(path, "row object", value)
        before = len(faults.found)
        cells = []
        for codec, label in zip(self.codecs, self.labels, strict=True):
            cell = value.get(label, BAD)
            if cell is BAD:
                faults.add((path, label), describe(codec.column.type), "nothing")
            else:
                cells.append(codec.read(cell, (path, label), faults))
        self._check_extra(value, path, faults)
        return cells if len(faults.found) == before else BAD

    def _check_extra(self, value: Any, path: Path, faults: Faults) -> None:
        if not self.ignores_extra and (len(value) != len(self.labels) or faults.found):
            for key in value:
                if str(key) not in self.places:
                    faults.add((path, str(key)), "no such column", "a value")

    def _read_rows(self, value: Sequence[Any], path: Path, faults: Faults) -> Any:
        before = len(faults.found)
        start: Path = (None, "rows") if path is None else path
        rows = [self._read_row(row, (start, number), faults) for number, row in enumerate(value)]
        if len(faults.found) > before:
            return BAD
        columns = list(zip(*rows, strict=True)) if rows else [()] * len(self.codecs)
        return Found("rows", len(rows), cells=columns)

    def _read_columns(self, value: dict[Any, Any], path: Path, faults: Faults) -> Any:
        before = len(faults.found)
        columns = []
        lengths = {len(member) for member in value.values() if isinstance(member, list | tuple)}
        for codec, label in zip(self.codecs, self.labels, strict=True):
            member = value.get(label, BAD)
            if member is BAD:
                faults.add((path, label), f"list[{describe(codec.column.type)}]", "nothing")
                continue
            columns.append(read_cells(codec, member, (path, label), faults))
        self._check_extra(value, path, faults)
        if len(lengths) > 1:
            faults.add(path, "columns of one length", "columns of different lengths")
        if len(faults.found) > before:
            return BAD
        return Found("columns", lengths.pop() if lengths else 0, cells=columns)

    def _read_frame(self, value: pd.DataFrame, path: Path, faults: Faults) -> Any:
        """Return the columns of a Python frame as arrays of exactly the schema's dtypes."""
        before = len(faults.found)
        places = {str(name): place for place, name in enumerate(value.columns)}
        start: Path = (None, "rows") if path is None else path
        arrays = []
        for codec, label in zip(self.codecs, self.labels, strict=True):
            place = places.get(label)
            if place is None:
                faults.add((path, label), describe(codec.column.type), "nothing")
                continue
            at = _row_path(start, label)
            arrays.append(read_array(codec, value.iloc[:, place], at, faults))
        if len(places) != len(value.columns):
            faults.add(path, "columns of different names", "two columns of one name")
        self._check_extra(places, path, faults)
        if len(faults.found) > before:
            return BAD
        return Found("frame", len(value), frame=self.of_arrays(arrays, len(value)))

    def _is_exact(self, value: pd.DataFrame) -> bool:
        """Tell whether a frame is already what the function expects, but for its row index."""
        if list(value.columns) != self.names or list(value.dtypes) != self.dtypes:
            return False
        return all(
            _needs_no_look(self.codecs[place], value.iloc[:, place]) for place in self.looked_at
        )

    # -- frame -> JSON ----------------------------------------------------------------------------

    def write_columns(self, frame: Any) -> list[list[Any]]:
        """Return the JSON cells of each column. Raises Uncarried for what JSON cannot hold."""
        if self.frame.library == "arrow":
            return [
                codec.write(column.combine_chunks())
                for codec, column in zip(self.codecs, frame.columns, strict=True)
            ]
        return [
            codec.write(_values(column))
            for codec, (_, column) in zip(self.codecs, frame.items(), strict=True)
        ]

    def rows_of(self, columns: list[list[Any]]) -> list[dict[str, Any]]:
        """Return row objects of JSON cells given by column."""
        return [dict(zip(self.labels, row, strict=True)) for row in zip(*columns, strict=True)]


def read_cells(codec: ColumnCodec, values: Any, path: Path, faults: Faults) -> Any:
    """Return the cells of one column given as a list, with faults at `path[row]`."""
    if not isinstance(values, list | tuple):
        return faults.add_value(path, f"list[{describe(codec.column.type)}]", values)
    return [codec.read(value, (path, row), faults) for row, value in enumerate(values)]


def _row_path(rows: Path, label: str) -> Callable[[int], Path]:
    return lambda row: ((rows, row), label)


def read_array(
    codec: ColumnCodec, series: pd.Series[Any], at: Callable[[int], Path], faults: Faults
) -> Any:
    """Return a Series' values as an array of exactly the column's dtype; BAD after faults.

    at: row number -> its path.
    """
    if series.dtype == codec.dtype and _needs_no_look(codec, series):
        return _values(series)
    exact = _cast_numbers(_values(series), codec)
    if exact is not None:
        return exact
    before = len(faults.found)
    cells = [codec.read(value, at(row), faults) for row, value in enumerate(series.tolist())]
    return codec.build(cells) if len(faults.found) == before else BAD


def _fits_by_dtype(codec: ColumnCodec) -> bool:
    """Tell whether a column of the right dtype can hold nothing that does not fit."""
    kind = codec.column.type
    if codec.column.storage == "object":
        return False
    return codec.block is not None or isinstance(kind, t.Maybe)


def _needs_no_look(codec: ColumnCodec, series: pd.Series[Any]) -> bool:
    """Tell whether every value of a Series of the right dtype fits."""
    if _fits_by_dtype(codec):
        return True
    if codec.column.storage == "object":
        return isinstance(codec.column.type, t.Text) and (
            pd.api.types.infer_dtype(series, skipna=False) == "string"
        )
    return not series.hasnans


def _numbered(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a frame whose rows are numbered 0..n-1, the caller's own left alone."""
    index = frame.index
    if isinstance(index, pd.RangeIndex) and index.start == 0 and index.step == 1:
        return shallow_copy(frame)
    return frame.reset_index(drop=True)


def _cast_numbers(values: Any, codec: ColumnCodec) -> Any:
    """Return numbers as the column's numpy dtype when that loses nothing, else None."""
    if codec.block is None or not isinstance(values, np.ndarray) or values.dtype.kind not in "iuf":
        return None
    dtype = np.dtype(codec.block)
    if dtype.kind == "b":
        return None
    with np.errstate(all="ignore"):
        cast = values.astype(dtype)
        back = cast.astype(values.dtype)
    same = (back == values) | ((values != values) & (cast != cast))
    if dtype.kind == "f" and values.dtype.kind == "f":  # narrower floats round, as JSON's do
        same = np.isfinite(cast) | ~np.isfinite(values)
    elif dtype.kind != values.dtype.kind:
        same &= np.abs(values.astype(np.float64)) < 2.0**53
    return cast if bool(same.all()) else None


def _values(series: Any) -> Any:
    """Return a Series' own array: numpy for numpy dtypes, the extension array for others."""
    return series.to_numpy() if isinstance(series.dtype, np.dtype) else series.array


def _is_table(value: Any) -> bool:
    return type(value).__module__.startswith("pyarrow") and hasattr(value, "column_names")


def is_list_type(kind: t.Type) -> bool:
    """Tell whether JSON writes a value of this type as a list, or may."""
    of = kind.of if isinstance(kind, t.Maybe) else kind
    of = of.of if isinstance(of, t.Constrained) else of
    if isinstance(of, t.AnyOf):
        return any(is_list_type(member) for member in of.members)
    return isinstance(of, t.ListOf | t.TupleOf | t.SetOf | t.Anything)


def _is_deeper(member: Any, kind: t.Type) -> bool:
    """Tell whether a member is a list of what the column's type is."""
    if not isinstance(member, list | tuple):
        return False
    return not is_list_type(kind) or all(
        isinstance(item, list | tuple) or item is None for item in member
    )


def row_struct(codec: FrameCodec, *, as_lists: bool) -> type[msgspec.Struct]:
    """Return the struct that msgspec decodes a row object, or an object of columns, into."""
    fields = [
        (f"c{place}", list[one.wire] if as_lists else one.wire)  # type: ignore[name-defined]
        for place, one in enumerate(codec.codecs)
    ]
    return msgspec.defstruct(
        "Columns" if as_lists else "Row",
        fields,
        rename={f"c{place}": label for place, label in enumerate(codec.labels)},
        forbid_unknown_fields=not codec.ignores_extra,
        gc=False,
    )
