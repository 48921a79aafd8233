"""The Open Inference Protocol v2 over HTTP, as Triton, KServe and MLServer clients speak it.

The model is the deployment, its version the envelope's id. A function of one frame takes a tensor
per column, or one matrix; any other function a tensor per parameter. Tensors may come and go as
bytes after the JSON (the binary extension), and always may as JSON, flat or nested.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from envelope.capture.installed import OWN_DISTRIBUTION
from envelope.environment import runtime_version
from envelope.errors import SchemaError
from envelope.schema import types as t
from ray_runtime.calls import Codec
from ray_runtime.lanes import Lane
from ray_runtime.live import Live
from ray_runtime.protocols.http import JSON, Answer, Request, Route, document
from ray_runtime.protocols.media import choose_reader
from ray_runtime.protocols.problem import Malformed, ModelFailed, NotFound, Problem
from ray_runtime.protocols.tensors import (
    InputTensor,
    OutputTensor,
    Tensor,
    datatype_of,
    nest,
    read_tensor,
    tensor_of_array,
    tensor_of_cells,
)

if TYPE_CHECKING:
    from envelope.schema import Call, Checker

BINARY = b"application/octet-stream"
READABLE = (JSON.decode(), BINARY.decode())
LENGTH_HEADER = b"inference-header-content-length"
EXTENSIONS = ["binary_tensor_data"]
MANY_ROWS = 1000  # what takes longer to write than the loop should be held up
OUTPUT = "output"


class WantedOutput(msgspec.Struct):
    name: str
    parameters: dict[str, Any] = {}


class Infer(msgspec.Struct):
    """The JSON of an inference request; members that it does not know it ignores."""

    inputs: list[InputTensor]
    outputs: list[WantedOutput] = []
    id: str | None = None
    parameters: dict[str, Any] = {}


def routes(live: Live) -> list[Route]:
    """Return the routes of a server with one model."""
    base, model = f"/{live.options.deployment}/v2", live.options.deployment
    version = live.envelope.manifest.id
    ready = msgspec.json.encode({"live": True, "ready": True})
    model_ready = msgspec.json.encode({"name": model, "ready": True})
    metadata = msgspec.json.encode(model_metadata(live))
    server = {"name": OWN_DISTRIBUTION, "version": runtime_version(), "extensions": EXTENSIONS}
    found = [
        document(base, msgspec.json.encode(server), write_problem=write_problem),
        document(f"{base}/health/live", ready, write_problem=write_problem),
        document(f"{base}/health/ready", ready, write_problem=write_problem),
    ]
    for path in (f"{base}/models/{model}", f"{base}/models/{model}/versions/{version}"):
        infer = Route(
            method="POST",
            path=f"{path}/infer",
            handler=Inference(live.default, model, version),
            write_problem=write_problem,
        )
        found += [
            infer,
            document(path, metadata, write_problem=write_problem),
            document(f"{path}/ready", model_ready, write_problem=write_problem),
        ]
    return found


def write_problem(found: Problem) -> Answer:
    """Return a problem as this protocol writes errors. It never holds the caller's data."""
    faults = [
        f"{one.path or 'body'}: expected {one.expected}, got {one.got}" for one in found.faults
    ]
    error = "; ".join([found.detail, *faults])
    return Answer(msgspec.json.encode({"error": error}), status=found.status)


def model_metadata(live: Live) -> dict[str, Any]:
    """Return the model's inputs and outputs as tensors. -1: an axis of any length."""
    schema = live.default.function.schema
    if schema.one_frame is not None:
        inputs = [_described(str(c.name), c.type, [-1]) for c in schema.one_frame.columns]
    else:
        inputs = [_described_parameter(one.name, one.type) for one in schema.parameters]
    if isinstance(schema.output, t.Frame):
        outputs = [_described(str(c.name), c.type, [-1]) for c in schema.output.columns]
    else:
        outputs = [_described_parameter(OUTPUT, schema.output)]
    return {
        "name": live.options.deployment,
        "versions": [live.envelope.manifest.id],
        "platform": OWN_DISTRIBUTION,
        "inputs": inputs,
        "outputs": outputs,
    }


def _described(name: str, kind: t.Type | None, shape: list[int]) -> dict[str, Any]:
    return {"name": name, "datatype": datatype_of(kind), "shape": shape}


def _described_parameter(name: str, kind: t.Type | None) -> dict[str, Any]:
    match kind:
        case t.Array(of=of, shape=shape):
            return _described(name, of, [-1 if n is None else n for n in shape or (None,)] or [1])
        case t.SeriesOf(column=column):
            return _described(name, column.type, [-1])
        case t.ListOf(item=item):
            return _described(name, item, [-1])
    return _described(name, kind, [1])


class Inference:
    """The handler of `infer`."""

    def __init__(self, lane: Lane, model: str, version: str) -> None:
        self._lane = lane
        self._checker = lane.checker
        self._model, self._version = model, version

    async def __call__(self, request: Request) -> Answer:
        choose_reader(request.content_type, READABLE)
        length = request.header(LENGTH_HEADER)
        conversation = Conversation(self._checker, length)
        body = await request.body()
        codec = Codec(
            name="oip",
            media_type=JSON,
            read=conversation.read,
            write=lambda output, call: output,
            write_each=self._checker.split if self._checker.takes_one_frame else None,
        )
        output: Any = await self._lane.answer(body, codec, request)
        n_rows = conversation.call.n_rows or 0
        if n_rows > MANY_ROWS:
            return await asyncio.to_thread(self._write, conversation, output)
        return self._write(conversation, output)

    def _write(self, conversation: Conversation, output: Any) -> Answer:
        try:
            tensors = output_tensors(self._checker, output, conversation.call)
        except SchemaError as exc:
            raise ModelFailed("the model answered what its schema does not allow") from exc
        head = {"model_name": self._model, "model_version": self._version}
        if conversation.infer.id is not None:
            head["id"] = conversation.infer.id
        return write_answer(head, tensors, conversation.infer)


class Conversation:
    """One request, kept from reading it to answering it."""

    def __init__(self, checker: Checker, header_length: bytes | None) -> None:
        self._checker = checker
        self._header_length = header_length
        self.infer: Infer
        self.call: Call

    def read(self, body: bytes) -> Call:
        """Return the checked call of a body. Raises Malformed and SchemaError."""
        length = len(body)
        if self._header_length is not None:
            text = self._header_length.decode("latin-1")
            if not text.isdecimal() or not 0 < int(text) <= len(body):
                raise Malformed("Inference-Header-Content-Length is not the length of the JSON")
            length = int(text)
        try:
            self.infer = _infers.decode(body[:length])
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
            raise Malformed(f"the body is no inference request: {exc}") from None
        self.call = call_of(self._checker, read_inputs(self.infer, memoryview(body)[length:]))
        return self.call


_infers = msgspec.json.Decoder(Infer)


def read_inputs(infer: Infer, binary: memoryview) -> list[Tensor]:
    """Return the inputs; binary ones take their bytes in order. Raises Malformed."""
    tensors, at = [], 0
    for given in infer.inputs:
        size = given.parameters.get("binary_data_size")
        if size is None:
            tensors.append(read_tensor(given, None))
            continue
        if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= len(binary) - at:
            raise Malformed(f"input {given.name}: binary_data_size is not what follows the JSON")
        tensors.append(read_tensor(given, binary[at : at + size]))
        at += size
    if at != len(binary):
        raise Malformed(f"{len(binary) - at} bytes after the JSON belong to no input")
    names = [tensor.name for tensor in tensors]
    if len(set(names)) != len(names):
        raise Malformed("two inputs have one name")
    return tensors


def call_of(checker: Checker, tensors: Sequence[Tensor]) -> Call:
    """Return the checked call of some tensors. Raises Malformed and SchemaError."""
    frame = checker.schema.one_frame
    if frame is not None:
        return _frame_call(checker, [str(column.name) for column in frame.columns], tensors)
    parameters = {parameter.name: parameter.type for parameter in checker.schema.parameters}
    if len(tensors) == 1 and len(parameters) == 1:
        (name,) = parameters
        return checker.read_value({name: _argument(parameters[name], tensors[0])})
    return checker.read_value(
        {tensor.name: _argument(parameters.get(tensor.name), tensor) for tensor in tensors}
    )


def _argument(kind: t.Type | None, tensor: Tensor) -> Any:
    """Return a tensor as a parameter's JSON value: one element, unless the parameter has many."""
    many = (t.Array, t.ListOf, t.TupleOf, t.SetOf, t.SeriesOf)
    of = kind.of if isinstance(kind, t.Maybe | t.Constrained) else kind
    if not isinstance(of, many) and len(tensor.values) == 1:
        return tensor.items()[0]
    return tensor.nested()


def _frame_call(checker: Checker, columns: list[str], tensors: Sequence[Tensor]) -> Call:
    """Return a frame's call: a tensor per column, or one matrix by place."""
    if len(tensors) == 1 and tensors[0].name not in columns and len(tensors[0].shape) == 2:
        matrix = tensors[0]
        rows, width = matrix.shape
        if width != len(columns):
            raise Malformed(f"input {matrix.name} has {width} columns, the frame {len(columns)}")
        if matrix.is_binary:
            wide = matrix.values.reshape(rows, width)
            return _arrow_call(checker, {name: wide[:, at] for at, name in enumerate(columns)})
        return checker.read_value([dict(zip(columns, row, strict=True)) for row in matrix.nested()])
    if all(tensor.is_binary and tensor.shape[:1] == (len(tensor.values),) for tensor in tensors):
        return _arrow_call(checker, {tensor.name: tensor.values for tensor in tensors})
    cells = {
        tensor.name: nest(tensor.items(), _without_unit_axes(tensor.shape)) for tensor in tensors
    }
    return checker.read_value(cells)


def _without_unit_axes(shape: tuple[int, ...]) -> tuple[int, ...]:
    """MLServer sends a column of n values as [n, 1]."""
    return shape[:1] if len(shape) == 2 and shape[1] == 1 else shape


def _arrow_call(checker: Checker, columns: dict[str, Any]) -> Call:
    import pyarrow as pa

    if len({len(values) for values in columns.values()}) > 1:
        raise Malformed("the inputs have different numbers of rows")
    return checker.read_arrow(
        pa.table({k: pa.array(np.ascontiguousarray(v)) for k, v in columns.items()})
    )


def output_tensors(checker: Checker, output: Any, call: Call) -> list[OutputTensor]:
    """Return an output as tensors. Raises SchemaError when it is not what the schema says."""
    if checker.row_wise:
        checker.split(output, [call])  # as many outputs as rows
    kind = checker.schema.output
    if isinstance(kind, t.Array):
        checker.check_output(output)
        tensor = tensor_of_array(OUTPUT, np.asarray(output))
        if tensor is not None:
            return [tensor]
    parts = checker.output_parts(output)
    if isinstance(kind, t.Frame):
        return [
            tensor_of_cells(str(c.name), c.type, [row[str(c.name)] for row in parts])
            for c in kind.columns
        ]
    match kind:
        case t.SeriesOf(column=column):
            return [tensor_of_cells(OUTPUT, column.type, parts)]
        case t.ListOf(item=item):
            return [tensor_of_cells(OUTPUT, item, parts)]
    return [tensor_of_cells(OUTPUT, kind, [parts])]


def write_answer(head: dict[str, Any], tensors: Sequence[OutputTensor], infer: Infer) -> Answer:
    """Return the answer, with those outputs as bytes that were asked for so.

    Raises NotFound for an output that there is not.
    """
    known = {tensor.name: tensor for tensor in tensors}
    wanted = infer.outputs or [WantedOutput(name=tensor.name) for tensor in tensors]
    binary_by_default = bool(infer.parameters.get("binary_data_output", False))
    outputs: list[dict[str, Any]] = []
    raw: list[bytes] = []
    for one in wanted:
        if one.name not in known:
            raise NotFound(f"there is no output {one.name!r}; there is {', '.join(known)}")
        if one.parameters.get("binary_data", binary_by_default):
            described, data = known[one.name].as_binary()
            raw.append(data)
        else:
            described = known[one.name].as_json()
        outputs.append(described)
    text = msgspec.json.encode({**head, "outputs": outputs})
    if not raw:
        return Answer(text)
    length = (LENGTH_HEADER, str(len(text)).encode())
    return Answer(b"".join([text, *raw]), BINARY, headers=(length,))
