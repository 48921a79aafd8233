"""Type record -> reader and writer: the one place that dispatches on the whole set of records."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

from envelope.schema import array_readers, outputs, readers, scalars
from envelope.schema import types as t
from envelope.schema.faults import Reader
from envelope.schema.frames import FrameCodec

ExtraColumns = Literal["refuse", "ignore"]


class Compiler:
    """Compiles the types of one function, once, when it is loaded.

    extra_columns: what a column or member that the schema does not name is.
    classes: "module:name" -> class, for those that cannot be imported.
    """

    def __init__(
        self,
        *,
        extra_columns: ExtraColumns = "refuse",
        classes: Mapping[str, type] | None = None,
    ) -> None:
        self.extra_columns = extra_columns
        self.classes = dict(classes or {})
        self._frames: dict[int, tuple[t.Frame, FrameCodec]] = {}
        self._records: dict[tuple[str, str], list[Reader]] = {}

    def reader(self, kind: t.Type) -> Reader:
        """Return the closure that reads any Python or JSON value as this type."""
        if type(kind) in _SCALARS:
            return _SCALARS[type(kind)](kind)
        return _READERS[type(kind)](kind, self)

    def writer(self, kind: t.Type) -> Reader:
        """Return the closure that turns a value of this type into what JSON can hold."""
        return outputs.compile_writer(kind, self)

    def frame_codec(self, frame: t.Frame) -> FrameCodec:
        """Return the codec of a frame, compiled once: it may have thousands of columns."""
        if id(frame) not in self._frames:
            self._frames[id(frame)] = (frame, FrameCodec(frame, self))
        return self._frames[id(frame)][1]

    def open_record(self, path: str, way: Literal["read", "write"]) -> list[Reader]:
        """Return the place where the closure of an enclosing record will be."""
        return self._records.setdefault((path, way), [])

    def close_record(self, path: str, way: Literal["read", "write"], done: Reader) -> None:
        """Put the closure of a record where those inside it look for it."""
        self.open_record(path, way).insert(0, done)


def _numpy_scalar(kind: t.NumpyScalar, compiler: Compiler) -> Reader:
    if isinstance(kind.of, t.Timestamp):
        return scalars.numpy_scalar_reader(kind, scalars.moment_counter(kind.of))
    if isinstance(kind.of, t.Duration):
        return scalars.numpy_scalar_reader(kind, scalars.duration_counter(kind.of))
    return scalars.numpy_scalar_reader(kind, compiler.reader(kind.of))


_SCALARS: dict[type, Callable[[Any], Reader]] = {
    t.Null: scalars.null_reader,
    t.Boolean: scalars.boolean_reader,
    t.Integer: scalars.integer_reader,
    t.Float: scalars.float_reader,
    t.Decimal: scalars.decimal_reader,
    t.Text: scalars.text_reader,
    t.Bytes: scalars.bytes_reader,
    t.Date: scalars.date_reader,
    t.Time: scalars.time_reader,
    t.Timestamp: scalars.timestamp_reader,
    t.Duration: scalars.duration_value_reader,
    t.Uuid: scalars.uuid_reader,
    t.OneOf: scalars.one_of_reader,
    t.Anything: scalars.anything_reader,
}

_READERS: dict[type, Callable[[Any, Compiler], Reader]] = {
    t.Enumeration: readers.enumeration_reader,
    t.NumpyScalar: _numpy_scalar,
    t.Maybe: readers.maybe_reader,
    t.AnyOf: readers.any_of_reader,
    t.Constrained: readers.constrained_reader,
    t.ListOf: readers.list_reader,
    t.TupleOf: readers.tuple_reader,
    t.SetOf: readers.set_reader,
    t.MapOf: readers.map_reader,
    t.Record: readers.record_reader,
    t.Recursion: readers.recursion_reader,
    t.Frame: readers.frame_reader,
    t.SeriesOf: array_readers.series_reader,
    t.Array: array_readers.array_reader,
    t.SparseMatrix: array_readers.sparse_reader,
}
