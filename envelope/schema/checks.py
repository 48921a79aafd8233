"""The checker of one function: bodies in, answers out, everything decided when it is compiled.

The fast way (msgspec into compiled structs) serves what fits without a second look; everything it
refuses goes the slow way, which accepts what loses nothing and else reports all faults at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from envelope.errors import Fault, SchemaError
from envelope.schema import types as t
from envelope.schema.answers import AnswerWriter
from envelope.schema.calls import (
    Call,
    call_of_columns,
    call_of_frame,
    call_of_values,
    joined_frame,
)
from envelope.schema.cells import NotPlain
from envelope.schema.compiler import Compiler, ExtraColumns
from envelope.schema.csv_tables import read_csv
from envelope.schema.faults import BAD, Faults, collect
from envelope.schema.frame_json import frame_decoder
from envelope.schema.frames import Found, FrameCodec
from envelope.schema.json_body import parse_json
from envelope.schema.parameters import ParametersCodec

if TYPE_CHECKING:
    import pyarrow as pa

_UNFIT = "the input does not fit the function"


def compile_checker(
    schema: t.FunctionSchema,
    *,
    extra_columns: ExtraColumns = "refuse",
    row_wise: bool = False,
    function: Callable[..., Any] | None = None,
) -> Checker:
    """Compile the checks of one function.

    row_wise: the function answers row by row, so that a row object is answered by that row's
    output. function: its annotations are where record classes that cannot be imported are found.
    Raises SchemaError for a class that is nowhere.
    """
    return Checker(schema, extra_columns=extra_columns, row_wise=row_wise, function=function)


class Checker:
    """Checks and converts what goes in and out of one function. Safe to share between threads."""

    def __init__(
        self,
        schema: t.FunctionSchema,
        *,
        extra_columns: ExtraColumns,
        row_wise: bool,
        function: Callable[..., Any] | None,
    ) -> None:
        self.schema = schema
        self.row_wise = row_wise
        compiler = Compiler(extra_columns=extra_columns, classes=classes_of(function))
        self.takes_one_frame = schema.one_frame is not None
        self._names = [parameter.name for parameter in schema.parameters]
        self._frame: FrameCodec | None = None
        self._decode: Callable[[bytes], Call]
        if schema.one_frame is not None:
            self._name = self._names[0]
            self._frame = compiler.frame_codec(schema.one_frame)
            self._decode = frame_decoder(self._frame, self._name)
        else:
            self._parameters = ParametersCodec(schema.parameters, compiler)
            self._decode = self._decode_parameters
        self._answers = AnswerWriter(schema, compiler, row_wise=row_wise)

    # -- in ---------------------------------------------------------------------------------------

    def read_json(self, body: bytes | memoryview) -> Call:
        """Return the checked call of a JSON body.

        Raises SchemaError with all faults at once, also for what is not JSON.
        """
        if type(body) is not bytes:
            body = bytes(body)
        try:
            return self._decode(body)
        except NotPlain:
            return self.read_value(self._parsed(body))

    def _parsed(self, body: bytes) -> Any:
        if not body and not any(parameter.required for parameter in self.schema.parameters):
            return {}
        return parse_json(body)

    def _decode_parameters(self, body: bytes) -> Call:
        return call_of_values(self._parameters.decode(body))

    def read_value(self, value: Any) -> Call:
        """Return the checked call of a parsed JSON value."""
        if self._frame is not None:
            return self._frame_call(value)
        return call_of_values(collect(lambda faults: self._parameters.read(value, faults), _UNFIT))

    def _frame_call(self, value: Any) -> Call:
        codec = self._frame
        assert codec is not None
        found: Found = collect(lambda faults: codec.read_form(value, None, faults), _UNFIT)
        if found.frame is not None:
            return call_of_frame(codec, self._name, found.form, found.frame, found.n_rows)
        return call_of_columns(codec, self._name, found.form, found.cells, found.n_rows)

    def read_arrow(self, table: pa.Table) -> Call:
        """Return the checked call of an Arrow table; only functions of one frame take any."""
        if self._frame is None:
            fault = Fault(path="", expected="JSON with a member per parameter", got="Arrow table")
            raise SchemaError("only a function of one frame takes Arrow", [fault])
        return self._frame_call(table)

    def read_csv(self, body: bytes | memoryview) -> Call:
        """Return the checked call of CSV (UTF-8, with a header); only functions of one frame."""
        if self._frame is None:
            fault = Fault(path="", expected="JSON with a member per parameter", got="CSV")
            raise SchemaError("only a function of one frame takes CSV", [fault])
        codec = self._frame
        found: Found = collect(lambda faults: read_csv(codec, bytes(body), faults), _UNFIT)
        return call_of_frame(codec, self._name, found.form, found.frame, found.n_rows)

    def read_arguments(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Call:
        """Return the checked call of Python arguments, through the same checks as HTTP."""
        members = collect(lambda faults: self._bound(args, kwargs, faults), _UNFIT)
        if self._frame is not None:
            return self._frame_call(members[self._name])
        return self.read_value(members)

    def _bound(self, args: tuple[Any, ...], kwargs: Mapping[str, Any], faults: Faults) -> Any:
        names = self._names
        if len(args) > len(names):
            return faults.add(None, f"{len(names)} arguments", f"{len(args)}")
        members = dict(zip(names, args, strict=False))
        for name, value in kwargs.items():
            if name in members:
                faults.add((None, name), "one value", "two, by place and by name")
            elif self._frame is not None and name not in names:
                faults.add((None, name), "no such parameter", "a value")
            members[name] = value
        if self._frame is not None and self._name not in members:
            faults.add((None, self._name), "frame", "nothing")
        return BAD if faults.found else members

    def join(self, calls: Sequence[Call]) -> dict[str, Any]:
        """Return the arguments of one shared call: the rows of all calls, in order."""
        if self._frame is None:
            raise TypeError("only calls of a function of one frame can be joined")
        if len(calls) == 1:
            return calls[0].arguments()
        return {self._name: joined_frame(self._frame, calls)}

    # -- out --------------------------------------------------------------------------------------

    def check_output(self, output: Any) -> None:
        """Raise SchemaError when the output is not what the schema says."""
        self._answers.check(output)

    def output_parts(self, output: Any) -> Any:
        """Return the checked output as builtins: a list of parts where it has one per row."""
        return self._answers.parts(output)

    def write_value(self, output: Any, call: Call | None = None) -> Any:
        """Return the output as a JSON-able Python value, in the form that the call asks for."""
        return msgspec.json.decode(self.write_json(output, call))

    def write_json(self, output: Any, call: Call | None = None) -> bytes:
        """Return the output as JSON. Raises SchemaError when the model broke its own schema."""
        return self._answers.write(output, call)

    def write_json_each(self, output: Any, calls: Sequence[Call]) -> list[bytes]:
        """Return, for the output of a shared call, each caller's own rows as JSON."""
        return self._answers.write_each(output, calls)

    def split(self, output: Any, calls: Sequence[Call]) -> list[Any]:
        """Return each caller's own part of the output of a shared call, for `write_arrow`, ..."""
        return self._answers.split(output, calls)

    def write_arrow(self, output: Any, n_rows: int | None = None) -> pa.Table:
        """Return the output as an Arrow table of `n_rows`: a frame's columns, or `output`."""
        return self._answers.write_arrow(output, n_rows)

    def write_csv(self, output: Any, n_rows: int | None = None) -> bytes:
        """Return the output as CSV with a header: a frame's columns, or `output`."""
        return self._answers.write_csv(output, n_rows)

    def write_arguments(self, arguments: Mapping[str, Any]) -> Any:
        """Return arguments as the JSON-able body that `read_value` makes the same call of."""
        return self._answers.write_arguments(arguments)


def classes_of(function: Callable[..., Any] | None) -> dict[str, type]:
    """Return "module:name" -> class of every class in a function's annotations, at any depth."""
    from envelope.schema.class_search import find_classes

    return {} if function is None else find_classes(function)
