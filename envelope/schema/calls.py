"""A checked call: what a caller sent, ready to become the function's arguments."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from envelope.schema.cells import Cells
from envelope.schema.frame_build import shallow_copy
from envelope.schema.frames import FrameCodec

Form = Literal["row", "rows", "columns", "frame", "parameters"]


class Call:
    """One call that passed the checks.

    n_rows: rows of the one frame; None for functions that take anything else.
    form: how the body was written, which is how the answer is written too.
    asked: what else a protocol read in the body that it needs again when it writes the answer.
    """

    __slots__ = (
        "_cells",
        "_codec",
        "_frame",
        "_name",
        "_rows",
        "_values",
        "asked",
        "form",
        "n_rows",
    )

    form: Form
    n_rows: int | None
    asked: Any

    def __init__(
        self, form: Form, n_rows: int | None, codec: FrameCodec | None = None, name: str = ""
    ) -> None:
        self.form = form
        self.n_rows = n_rows
        self.asked = None
        self._codec = codec
        self._name = name
        self._rows: Sequence[Cells] | None = None
        self._cells: Sequence[Cells] | None = None
        self._frame: Any = None
        self._values: dict[str, Any] | None = None

    def arguments(self) -> dict[str, Any]:
        """Return the keyword arguments for the function, new ones on each call.

        A DataFrame is built now: a function may change it, and be called again after it failed.
        """
        if self._values is not None:
            return dict(self._values)
        if self._frame is not None:
            is_pandas = hasattr(self._frame, "iloc")
            return {self._name: shallow_copy(self._frame) if is_pandas else self._frame}
        assert self._codec is not None
        return {self._name: self._codec.build(self.columns(), self.n_rows or 0)}

    def columns(self) -> Sequence[Cells]:
        """Return the cells by column."""
        if self._rows is not None:
            return list(zip(*self._rows, strict=True))
        assert self._cells is not None
        return self._cells


def call_of_rows(codec: FrameCodec, name: str, form: Form, rows: Sequence[Cells]) -> Call:
    """Return a call of a frame given by rows of cells."""
    call = Call(form, len(rows), codec, name)
    call._rows = rows
    return call


def call_of_columns(
    codec: FrameCodec, name: str, form: Form, columns: Sequence[Cells], n_rows: int
) -> Call:
    """Return a call of a frame given by columns of cells."""
    call = Call(form, n_rows, codec, name)
    call._cells = columns
    return call


def call_of_frame(codec: FrameCodec, name: str, form: Form, frame: Any, n_rows: int) -> Call:
    """Return a call of a finished frame."""
    call = Call(form, n_rows, codec, name)
    call._frame = frame
    return call


def call_of_values(values: dict[str, Any]) -> Call:
    """Return a call of plain parameters."""
    call = Call("parameters", None)
    call._values = values
    return call


def joined_frame(codec: FrameCodec, calls: Sequence[Call]) -> Any:
    """Return one frame of the rows of all calls, in order."""
    if all(call._rows is not None for call in calls):
        rows = [row for call in calls for row in call._rows or ()]
        columns = list(zip(*rows, strict=True)) if rows else [()] * len(codec.codecs)
        return codec.build(columns, len(rows))
    if any(call._frame is not None for call in calls):
        return codec.concatenate([call.arguments()[call._name] for call in calls])
    by_call = [call.columns() for call in calls]
    joined = [
        [cell for columns in by_call for cell in columns[place]]
        for place in range(len(codec.codecs))
    ]
    return codec.build(joined, sum(call.n_rows or 0 for call in calls))
