"""A value's way through each wire format and back, as a client and the replica would send it."""

from __future__ import annotations

from typing import Any

import msgspec
import pyarrow as pa

from envelope.schema import Call, Checker
from ray_runtime.protocols.oip_inputs import Reader, read_accept
from ray_runtime.protocols.oip_outputs import output_names, output_tensors


def through_json(checker: Checker, name: str, value: Any) -> Call:
    return checker.read_json(msgspec.json.encode(checker.write_arguments({name: value})))


def through_csv(checker: Checker, name: str, value: Any) -> Call:
    return checker.read_csv(checker.write_csv(value))


def through_arrow(checker: Checker, name: str, value: Any) -> Call:
    table = checker.write_arrow(value)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return checker.read_arrow(pa.ipc.open_stream(sink.getvalue()).read_all())


def through_tensors(checker: Checker, name: str, value: Any) -> Call:
    """Through the JSON of the Open Inference Protocol: the output sent back as the input."""
    inputs = [tensor.as_json() for tensor in output_tensors(checker, value)]
    return _read_inference(checker, msgspec.json.encode({"inputs": inputs}), None)


def through_binary_tensors(checker: Checker, name: str, value: Any) -> Call:
    """Through its binary tensor extension."""
    parts = [tensor.as_binary() for tensor in output_tensors(checker, value)]
    head = msgspec.json.encode({"inputs": [described for described, _ in parts]})
    body = b"".join([head, *(raw for _, raw in parts)])
    return _read_inference(checker, body, str(len(head)).encode())


def _read_inference(checker: Checker, body: bytes, header_length: bytes | None) -> Call:
    reader = Reader(checker, output_names(checker.schema.output))
    return reader.read(body, accepted=read_accept(None), header_length=header_length)
