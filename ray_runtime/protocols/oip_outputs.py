"""Outputs of a function -> answers of the Open Inference Protocol, each caller's own rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from envelope.errors import Fault, SchemaError
from envelope.schema import types as t
from ray_runtime.protocols.http import Answer
from ray_runtime.protocols.oip_inputs import BINARY, Asked, encode
from ray_runtime.protocols.tensors import (
    OutputTensor,
    flatten,
    tensor_of_array,
    tensor_of_cells,
)

if TYPE_CHECKING:
    from envelope.schema import Call, Checker

LENGTH_HEADER = b"inference-header-content-length"
OUTPUT = "output"


class Body(msgspec.Struct, omit_defaults=True):
    """The JSON of an answer."""

    model_name: str
    model_version: str
    outputs: list[dict[str, Any]]
    id: str | None = None


def output_names(kind: t.Type | None) -> list[str]:
    """Return the names of a function's outputs: a frame's columns, or one."""
    return [str(c.name) for c in kind.columns] if isinstance(kind, t.Frame) else [OUTPUT]


class Writer:
    """Writes the outputs of one function."""

    def __init__(self, checker: Checker, model: str, version: str) -> None:
        self._checker = checker
        self._kind = checker.schema.output
        self._model, self._version = model, version

    def write(self, output: Any, call: Call) -> Answer:
        """Return the answer of one call. Raises SchemaError when the model broke its schema."""
        if self._checker.row_wise:
            return self.write_each(output, [call])[0]
        return self._answer(output_tensors(self._checker, output), call.asked)

    def write_each(self, output: Any, calls: Sequence[Call]) -> list[Answer]:
        """Return, for the output of a shared call, each caller's own rows."""
        tensors = output_tensors(self._checker, output)
        n_rows = sum(call.n_rows or 0 for call in calls)
        for tensor in tensors:
            if tensor.shape[0] != n_rows:
                fault = Fault(
                    path=tensor.name,
                    expected=f"{n_rows} outputs, one per row",
                    got=f"{tensor.shape[0]} outputs",
                )
                raise SchemaError("the output does not fit the function's own schema", [fault])
        if len(calls) == 1:
            return [self._answer(tensors, calls[0].asked)]
        answers, start = [], 0
        for call in calls:
            stop = start + (call.n_rows or 0)
            answers.append(self._answer([one.rows(start, stop) for one in tensors], call.asked))
            start = stop
        return answers

    def _answer(self, tensors: Sequence[OutputTensor], asked: Asked) -> Answer:
        known = {tensor.name: tensor for tensor in tensors}
        outputs: list[dict[str, Any]] = []
        raw: list[bytes] = []
        for name, is_binary in asked.outputs.items():
            if is_binary:
                described, data = known[name].as_binary()
                raw.append(data)
            else:
                described = known[name].as_json()
            outputs.append(described)
        text = encode(Body(self._model, self._version, outputs, asked.id))
        if not raw:
            return Answer(text)
        length = (LENGTH_HEADER, str(len(text)).encode())
        return Answer(b"".join([text, *raw]), BINARY, headers=(length,))


def output_tensors(checker: Checker, output: Any) -> list[OutputTensor]:
    """Return an output as tensors. Raises SchemaError when it is not what the schema says."""
    kind = checker.schema.output
    if isinstance(kind, t.Array):
        array = np.asarray(output)
        tensor = tensor_of_array(OUTPUT, array)
        if tensor is not None:
            checker.check_output(output)
            return [tensor]
        cells = checker.output_parts(output)
        shape = array.shape or (1,)
        flat = flatten(cells, len(shape)) if array.shape else [cells]
        return [tensor_of_cells(OUTPUT, kind.of, flat, shape)]
    parts = checker.output_parts(output)
    match kind:
        case t.Frame(columns=columns):
            return [
                tensor_of_cells(str(c.name), c.type, [row[str(c.name)] for row in parts])
                for c in columns
            ]
        case t.SeriesOf(column=column):
            return [tensor_of_cells(OUTPUT, column.type, parts)]
        case t.ListOf(item=item):
            return [tensor_of_cells(OUTPUT, item, parts)]
    return [tensor_of_cells(OUTPUT, kind, [parts])]
