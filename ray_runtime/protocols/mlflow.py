"""MLflow's scoring protocol, so that its clients work against a deployment unchanged.

    POST /<deployment>/invocations    one of dataframe_split, dataframe_records, instances, inputs
    GET  /<deployment>/ping, /health, /version

The default function answers, as {"predictions": ...}. Where MLflow guesses (a column that is not in
the schema, 1.5 for a long) this refuses, as everywhere else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from envelope.errors import Fault, SchemaError
from envelope.schema import types as t
from ray_runtime.calls import Codec
from ray_runtime.live import Live
from ray_runtime.protocols.formats import CSV, JSON
from ray_runtime.protocols.http import Answer, Request, Route, document
from ray_runtime.protocols.media import choose_reader, choose_writer
from ray_runtime.protocols.problem import Malformed, Problem

if TYPE_CHECKING:
    from envelope.schema import Call, Checker

KEYS = ("dataframe_split", "dataframe_records", "instances", "inputs")
TEXT = b"text/plain; charset=utf-8"
ERROR_CODES = {
    400: "INVALID_PARAMETER_VALUE",
    404: "RESOURCE_DOES_NOT_EXIST",
    500: "INTERNAL_ERROR",
}


class Body(msgspec.Struct):
    """MLflow's envelope around the input; members that it does not know it ignores."""

    dataframe_split: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    dataframe_records: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    instances: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    inputs: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    params: dict[str, Any] | None = None


class Split(msgspec.Struct):
    """A frame as pandas' `to_dict(orient="split")` gives it. The index is not part of a frame."""

    columns: list[str | int]
    data: list[list[Any]]


def routes(live: Live) -> list[Route]:
    """Return the routes of MLflow's scoring server."""
    base = f"/{live.options.deployment}"
    lane = live.default
    codecs = {
        JSON: _codec(lane.checker, Reader(lane.checker).read),
        CSV: _codec(lane.checker, lane.checker.read_csv),
    }
    readable = (JSON, CSV) if lane.checker.takes_one_frame else (JSON,)

    async def invocations(request: Request) -> Answer:
        codec = codecs[choose_reader(request.content_type, readable)]
        choose_writer(request.accept, (JSON,))
        return Answer(await lane.answer(await request.body(), codec, request))

    return [
        Route(
            method="POST",
            path=f"{base}/invocations",
            handler=invocations,
            write_problem=write_problem,
        ),
        document(f"{base}/ping", b"\n", TEXT),
        document(f"{base}/health", b"\n", TEXT),
        document(f"{base}/version", live.envelope.manifest.id.encode(), TEXT),
    ]


def write_problem(found: Problem) -> Answer:
    """Return a problem as MLflow writes errors. A message never holds the caller's data."""
    faults = [
        f"{one.path or 'body'}: expected {one.expected}, got {one.got}" for one in found.faults
    ]
    message = {
        "error_code": ERROR_CODES.get(found.status, "BAD_REQUEST"),
        "message": "; ".join([found.detail, *faults]),
    }
    return Answer(msgspec.json.encode(message), status=found.status)


def _codec(checker: Checker, read: Callable[[bytes], Call]) -> Codec[bytes]:
    def write(output: Any, call: Call) -> bytes:
        return b'{"predictions":' + checker.write_json(output, call) + b"}"

    def write_each(output: Any, calls: Sequence[Call]) -> list[bytes]:
        parts = checker.write_json_each(output, calls)
        return [b'{"predictions":' + part + b"}" for part in parts]

    return Codec(
        name="mlflow",
        media_type=JSON.encode(),
        read=read,
        write=write,
        write_each=write_each if checker.takes_one_frame else None,
    )


class Reader:
    """Reads MLflow's bodies as calls of one function."""

    def __init__(self, checker: Checker) -> None:
        self.checker = checker
        self.parameters = checker.schema.parameters
        frame = checker.schema.one_frame
        self.columns = None if frame is None else [str(column.name) for column in frame.columns]

    def read(self, body: bytes) -> Call:
        """Return the checked call of a body. Raises Malformed and SchemaError."""
        try:
            found = _bodies.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
            raise Malformed(f"the body is not what MLflow's clients send: {exc}") from None
        given = [key for key in KEYS if getattr(found, key) is not msgspec.UNSET]
        if len(given) != 1:
            raise Malformed(
                f"the body has {' and '.join(given) or 'none'} of {', '.join(KEYS)}; send exactly "
                "one of them"
            )
        if self.columns is None:
            return self._read_members(given[0], getattr(found, given[0]), found.params or {})
        if found.params:
            fault = Fault(path="params", expected="no params", got="some")
            raise SchemaError("the function takes a frame and nothing else", [fault])
        if given[0] == "dataframe_records":
            return self.checker.read_json(bytes(found.dataframe_records))  # type: ignore[arg-type]
        return self.checker.read_value(self._rows(given[0], getattr(found, given[0])))

    def _rows(self, key: str, raw: msgspec.Raw) -> Any:
        """Return a frame as row objects, which is how predictions of frames are answered."""
        if key == "dataframe_split":
            return split_rows(raw)
        value = _parsed(raw)
        if isinstance(value, dict) and value and all(isinstance(v, list) for v in value.values()):
            lengths = {len(column) for column in value.values()}
            if len(lengths) == 1:
                return [
                    dict(zip(value, row, strict=True)) for row in zip(*value.values(), strict=True)
                ]
        columns = self.columns or []
        if _is_matrix(value) and {len(row) for row in value} == {len(columns)}:
            return [dict(zip(columns, row, strict=True)) for row in value]  # by place
        return value

    def _read_members(self, key: str, raw: msgspec.Raw, params: Mapping[str, Any]) -> Call:
        """Return a call of plain parameters: an object of them, or the value of the only tensor."""
        value = split_rows(raw) if key == "dataframe_split" else _parsed(raw)
        names = [parameter.name for parameter in self.parameters]
        is_members = isinstance(value, dict) and bool(value.keys() & set(names))
        if not is_members and names:
            frames = [p.name for p in self.parameters if isinstance(p.type, t.Frame)]
            value = {(frames or names)[0]: value}
        return self.checker.read_value({**value, **params} if isinstance(value, dict) else value)


def split_rows(raw: msgspec.Raw) -> list[dict[str, Any]]:
    """Return the rows of `{"columns": [...], "data": [[...], ...]}`. Raises Malformed."""
    try:
        split = _splits.decode(raw)
    except msgspec.ValidationError as exc:
        raise Malformed(f"dataframe_split is not columns and data: {exc}") from None
    columns = [str(name) for name in split.columns]
    if any(len(row) != len(columns) for row in split.data):
        raise Malformed(f"dataframe_split: a row of data has not {len(columns)} values, as columns")
    return [dict(zip(columns, row, strict=True)) for row in split.data]


def _is_matrix(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(row, list) for row in value)


def _parsed(raw: msgspec.Raw) -> Any:
    return msgspec.json.decode(raw)


_bodies = msgspec.json.Decoder(Body)
_splits = msgspec.json.Decoder(Split)
