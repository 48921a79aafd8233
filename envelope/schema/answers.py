"""Outputs of a function -> answers: whole, row by row, per caller of a shared call, as Arrow."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from envelope.errors import Fault, SchemaError
from envelope.schema import types as t
from envelope.schema.arrow import OUTPUT, write_table
from envelope.schema.calls import Call
from envelope.schema.csv_tables import may_be_json, write_csv
from envelope.schema.faults import Faults, Reader, collect
from envelope.schema.frames import FrameCodec
from envelope.schema.outputs import frame_columns

if TYPE_CHECKING:
    import pyarrow as pa

    from envelope.schema.compiler import Compiler

_BROKEN = "the output does not fit the function's own schema"
_encode = msgspec.json.Encoder().encode


class AnswerWriter:
    """Writes the outputs of one function."""

    def __init__(self, schema: t.FunctionSchema, compiler: Compiler, *, row_wise: bool) -> None:
        self.kind = schema.output
        self.row_wise = row_wise
        self.compiler = compiler
        self.parameters = schema.parameters
        self.one_frame = schema.one_frame
        self.frame: FrameCodec | None = None
        self.writer: Reader = _no_output
        if isinstance(self.kind, t.Frame):
            self.frame = compiler.frame_codec(self.kind)
        if self.kind is not None:
            self.writer = compiler.writer(self.kind)

    def check(self, output: Any) -> None:
        """Raise SchemaError when the output is not what the schema says."""
        self._written(output)

    def parts(self, output: Any) -> Any:
        """Return the checked output as builtins that JSON can hold, NaN kept."""
        return self._written(output)

    def write(self, output: Any, call: Call | None) -> bytes:
        """Return the whole output of one call as JSON."""
        form = None if call is None else call.form
        if self.row_wise and call is not None:
            return self.write_each(output, [call])[0]
        if self.frame is not None and form == "columns":
            return _encoded(dict(zip(self.frame.labels, self._columns(output), strict=True)))
        return _encoded(self._written(output))

    def write_each(self, output: Any, calls: Sequence[Call]) -> list[bytes]:
        """Return each caller's own rows of the output of a shared call."""
        if self.frame is not None:
            return self._write_each_frame(self.frame, output, calls)
        rows = self._written(output)
        self._require_rows(rows, calls)
        answers = []
        start = 0
        for call in calls:
            if call.form == "row":
                answers.append(_encoded(rows[start]))
                start += 1
            else:
                stop = start + (call.n_rows or 0)
                answers.append(_encoded(rows[start:stop]))
                start = stop
        return answers

    def split(self, output: Any, calls: Sequence[Call]) -> list[Any]:
        """Return each caller's own part of the output of a shared call, unwritten."""
        count = len(output) if hasattr(output, "__len__") else None
        n_rows = sum(call.n_rows or 0 for call in calls)
        if count != n_rows:
            got = "one output" if count is None else f"{count} outputs"
            fault = Fault(path="", expected=f"{n_rows} outputs, one per row", got=got)
            raise SchemaError(_BROKEN, [fault])
        rows = getattr(output, "iloc", output)  # frames and Series by place, not by label
        parts = []
        start = 0
        for call in calls:
            stop = start + (call.n_rows or 0)
            parts.append(rows[start:stop])
            start = stop
        return parts

    def _write_each_frame(
        self, frame: FrameCodec, output: Any, calls: Sequence[Call]
    ) -> list[bytes]:
        columns = self._columns(output)
        self._require_rows(columns[0] if columns else [], calls)
        answers = []
        start = 0
        for call in calls:
            stop = start + (call.n_rows or 0)
            own = [column[start:stop] for column in columns]
            start = stop
            if call.form == "columns":
                answers.append(_encoded(dict(zip(frame.labels, own, strict=True))))
            else:
                rows = frame.rows_of(own)
                answers.append(_encoded(rows[0] if call.form == "row" else rows))
        return answers

    def _require_rows(self, rows: Any, calls: Sequence[Call]) -> None:
        n_rows = sum(call.n_rows or 0 for call in calls)
        if not isinstance(rows, list) or len(rows) != n_rows:
            got = f"{len(rows)} outputs" if isinstance(rows, list) else "one output"
            fault = Fault(path="", expected=f"{n_rows} outputs, one per row", got=got)
            raise SchemaError(_BROKEN, [fault])

    def _written(self, output: Any) -> Any:
        return collect(lambda faults: self.writer(output, None, faults), _BROKEN)

    def _columns(self, output: Any) -> list[list[Any]]:
        frame = self.frame
        assert frame is not None
        columns: list[list[Any]] = collect(
            lambda faults: frame_columns(frame, output, None, faults), _BROKEN
        )
        return columns

    def write_arrow(self, output: Any, n_rows: int | None) -> pa.Table:
        """Return the output as an Arrow table. Raises SchemaError when it has other rows."""
        if self.kind is None:
            raise SchemaError("the function has no output schema yet")
        table = write_table(self.kind, output, self.compiler)
        if n_rows is not None and table.num_rows != n_rows:
            fault = Fault(path="", expected=f"{n_rows} rows", got=f"{table.num_rows} rows")
            raise SchemaError(_BROKEN, [fault])
        return table

    def write_csv(self, output: Any, n_rows: int | None) -> bytes:
        """Return the output as CSV. Raises SchemaError when it has other rows."""
        names, columns = self._named_columns(output)
        count = len(columns[0]) if columns else 0
        if n_rows is not None and count != n_rows:
            fault = Fault(path="", expected=f"{n_rows} rows", got=f"{count} rows")
            raise SchemaError(_BROKEN, [fault])
        kinds = [self.kind] if self.frame is None else [c.column.type for c in self.frame.codecs]
        return write_csv(columns, names, [may_be_json(kind) for kind in kinds])

    def _named_columns(self, output: Any) -> tuple[Sequence[str], list[list[Any]]]:
        """Return the names and JSON cells of an output as a table."""
        if self.frame is not None:
            return self.frame.labels, self._columns(output)
        written = self._written(output)
        rows = written if is_collection(self.kind) else [written]
        match self.kind:
            case t.Array(shape=(_, int(width))):
                names = [f"{OUTPUT}_{place}" for place in range(width)]
                return names, [[row[place] for row in rows] for place in range(width)]
        return [OUTPUT], [rows]

    def write_arguments(self, arguments: Mapping[str, Any]) -> Any:
        """Return arguments as a JSON-able body."""
        writers: list[tuple[str, Callable[..., Any]]] = [
            (parameter.name, self.compiler.writer(parameter.type)) for parameter in self.parameters
        ]
        members = collect(
            lambda faults: {
                name: write(arguments[name], (None, name), faults)
                for name, write in writers
                if name in arguments
            },
            "the example does not fit the schema",
        )
        body = members[self.parameters[0].name] if self.one_frame is not None else members
        return msgspec.json.decode(_encoded(body))


def is_collection(kind: t.Type | None) -> bool:
    """Tell whether an output has parts, which may be one per row."""
    if isinstance(kind, t.Array):
        return kind.shape != ()
    return isinstance(kind, t.SeriesOf | t.ListOf | t.Frame) or (
        isinstance(kind, t.TupleOf) and kind.rest is not None
    )


def _encoded(written: Any) -> bytes:
    try:
        return _encode(written)
    except (UnicodeEncodeError, OverflowError, TypeError, RecursionError) as exc:
        got = f"a value that JSON cannot hold ({type(exc).__name__})"
        raise SchemaError(_BROKEN, [Fault(path="", expected="JSON", got=got)]) from exc


def _no_output(output: Any, path: Any, faults: Faults) -> Any:
    return faults.add(path, "an output schema", "none yet; give api_output or an annotation")
