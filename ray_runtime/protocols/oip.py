"""The Open Inference Protocol v2 over HTTP, as Triton, KServe and MLServer clients speak it.

The model is the deployment, its version the envelope's id. A function of one frame takes a tensor
per column, or one matrix; any other function a tensor per parameter. Tensors may come and go as
bytes after the JSON (the binary extension), and always may as JSON, flat or nested.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from importlib.metadata import version as version_of
from typing import TYPE_CHECKING, Any

import msgspec

from envelope.capture.installed import OWN_DISTRIBUTION
from envelope.schema import types as t
from ray_runtime.calls import BodyBytes, Codec
from ray_runtime.lanes import Lane
from ray_runtime.live import Live
from ray_runtime.protocols.http import JSON, Answer, Handler, Request, Route, document
from ray_runtime.protocols.media import KNOWN_HEADERS, choose_reader
from ray_runtime.protocols.oip_inputs import READABLE, Reader, read_accept
from ray_runtime.protocols.oip_outputs import LENGTH_HEADER, OUTPUT, Writer, output_names
from ray_runtime.protocols.operations import document_operation, infer_operation
from ray_runtime.protocols.problem import Problem
from ray_runtime.protocols.tensors import datatype_of

if TYPE_CHECKING:
    from envelope.schema import Call

EXTENSIONS = ["binary_tensor_data"]


def routes(live: Live) -> list[Route]:
    """Return the routes of a server with one model."""
    base, model = f"/{live.options.deployment}/v2", live.options.deployment
    version = live.envelope.manifest.id
    ready = {"live": True, "ready": True}
    model_ready = {"name": model, "ready": True}
    metadata = model_metadata(live)
    server = {
        "name": OWN_DISTRIBUTION,
        "version": version_of(OWN_DISTRIBUTION),
        "extensions": EXTENSIONS,
    }
    found = [
        _document(base, server, "v2_server", "What the server is"),
        _document(f"{base}/health/live", ready, "v2_live", "Whether the server is there"),
        _document(f"{base}/health/ready", ready, "v2_ready", "Whether the server is ready"),
    ]
    by_path = {
        f"{base}/models/{model}": "v2_model",
        f"{base}/models/{model}/versions/{version}": "v2_version",
    }
    for path, name in by_path.items():
        infer = Route(
            method="POST",
            path=f"{path}/infer",
            handler=inference_handler(live.default, model, version),
            operation=infer_operation(live, f"{name}_infer"),
            write_problem=write_problem,
        )
        found += [
            infer,
            _document(path, metadata, name, "The model's inputs and outputs"),
            _document(f"{path}/ready", model_ready, f"{name}_ready", "Whether the model is ready"),
        ]
    return found


def _document(path: str, value: dict[str, Any], name: str, summary: str) -> Route:
    return document(
        path,
        msgspec.json.encode(value),
        operation=document_operation(name, summary, value, "Open Inference Protocol"),
        write_problem=write_problem,
    )


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


def inference_handler(lane: Lane, model: str, version: str) -> Handler:
    """Return the handler of `infer`. Its codec is made once per distinct Accept header."""
    writer = Writer(lane.checker, model, version)
    reader = Reader(lane.checker, output_names(lane.checker.schema.output))
    write_each = writer.write_each if lane.checker.takes_one_frame else None

    def codec_with(read: Callable[[BodyBytes], Call]) -> Codec[Answer]:
        return Codec(
            name="oip", media_type=JSON, read=read, write=writer.write, write_each=write_each
        )

    @lru_cache(KNOWN_HEADERS)
    def codec_for(accept: bytes | None) -> Codec[Answer]:
        return codec_with(partial(reader.read, accepted=read_accept(accept)))

    async def infer(request: Request) -> Answer:
        choose_reader(request.content_type, READABLE)
        length = request.header(LENGTH_HEADER)
        if length is None:
            codec = codec_for(request.accept)
        else:
            accepted = read_accept(request.accept)
            codec = codec_with(partial(reader.read, accepted=accepted, header_length=length))
        return await lane.answer(await request.body(), codec, request)

    return infer
