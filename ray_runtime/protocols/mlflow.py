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
from envelope.schema.json_body import parse_json, require_no_duplicates
from ray_runtime.calls import BodyBytes, Codec
from ray_runtime.live import Live
from ray_runtime.protocols.formats import CSV, JSON
from ray_runtime.protocols.http import Answer, Request, Route, document
from ray_runtime.protocols.media import choose_reader, choose_writer
from ray_runtime.protocols.operations import invocations_operation, text_operation
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


class Body(msgspec.Struct, omit_defaults=True):
    """MLflow's envelope around the input; members that it does not know it ignores."""

    dataframe_split: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    dataframe_records: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    instances: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    inputs: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    params: dict[str, Any] | None = None


class Split(msgspec.Struct, omit_defaults=True):
    """A frame as pandas' `to_dict(orient="split")` gives it. The index is not part of a frame."""

    data: msgspec.Raw
    columns: list[str | int] | None = None
    index: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


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
            operation=invocations_operation(live),
            write_problem=write_problem,
        ),
        _document(f"{base}/ping", b"\n", "Whether the server is there"),
        _document(f"{base}/health", b"\n", "Whether the server is healthy"),
        _document(f"{base}/version", live.envelope.manifest.id.encode(), "The envelope's id"),
    ]


def _document(path: str, body: bytes, summary: str) -> Route:
    operation = text_operation(path.rpartition("/")[2], summary, "MLflow")
    return document(path, body, TEXT, operation=operation)


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


def _codec(checker: Checker, read: Callable[[BodyBytes], Call]) -> Codec[bytes]:
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
        parameters = checker.schema.parameters
        frame = checker.schema.one_frame
        self.columns = None if frame is None else [str(column.name) for column in frame.columns]
        self.names = frozenset(one.name for one in parameters)
        frames = [one.name for one in parameters if isinstance(one.type, t.Frame)]
        self.first = (frames or [one.name for one in parameters] or [""])[0]
        self.takes_rows = all(has_many(one.type) for one in parameters)

    def read(self, body: BodyBytes) -> Call:
        """Return the checked call of a body. Raises Malformed and SchemaError."""
        if type(body) is not bytes:
            body = bytes(body)
        try:
            found = _bodies.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
            raise Malformed(f"the body is not what MLflow's clients send: {exc}") from None
        given = [key for key in KEYS if getattr(found, key) is not msgspec.UNSET]
        _require_all_members(found, body)
        if len(given) != 1:
            raise Malformed(
                f"the body has {' and '.join(given) or 'none'} of {', '.join(KEYS)}; send exactly "
                "one of them"
            )
        key, raw = given[0], getattr(found, given[0])
        if self.columns is None:
            return self._read_members(key, raw, found.params or {})
        if found.params:
            fault = Fault(path="params", expected="no params", got="some")
            raise SchemaError("the function takes a frame and nothing else", [fault])
        call = self.checker.read_json(self._frame(self.columns, key, raw))
        call.form = "rows"  # a frame is answered as records, whatever it came as
        return call

    def _frame(self, columns: list[str], key: str, raw: msgspec.Raw) -> bytes:
        """Return a frame as the JSON that our own protocol reads, as it stands where it can."""
        if key == "dataframe_split":
            return encode(split_columns(raw, columns))
        text = bytes(raw)
        are_objects = not text.startswith(b"[") or text[1:64].lstrip().startswith(b"{")
        if key == "dataframe_records" or are_objects:
            return text
        value = parse_json(text) if b"{" in text else decode(text)
        if len(columns) == 1 and value and not any(isinstance(one, list | dict) for one in value):
            return encode({columns[0]: value})  # of one column, its values
        if _is_matrix(value) and {len(row) for row in value} == {len(columns)}:
            return encode(_by_column(columns, value))
        return text

    def _read_members(self, key: str, raw: msgspec.Raw, params: Mapping[str, Any]) -> Call:
        """Return a call of plain parameters: an object of them, or the value of the only tensor."""
        value = parse_json(bytes(raw))
        if key == "dataframe_split":
            value = split_columns(raw, sorted(self.names))
        elif self._are_rows(value):
            value = {name: [row[name] for row in value] for name in value[0]}
        if key != "inputs" and isinstance(value, dict) and not self.takes_rows:
            value = {name: _only(member) for name, member in value.items()}
        if self.names and not (isinstance(value, dict) and value.keys() & self.names):
            value = {self.first: value}
        return self.checker.read_value({**value, **params} if isinstance(value, dict) else value)

    def _are_rows(self, value: Any) -> bool:
        """Whether these are objects with a member per parameter, as records and instances are."""
        return (
            isinstance(value, list)
            and bool(value)
            and all(isinstance(row, dict) and row.keys() == value[0].keys() for row in value)
            and value[0].keys() <= self.names
        )


def _only(member: Any) -> Any:
    """Return the value of a column of one row."""
    return member[0] if isinstance(member, list | tuple) and len(member) == 1 else member


def has_many(kind: t.Type) -> bool:
    """Whether a parameter takes a list, so that rows of it are one."""
    return isinstance(kind, t.Array | t.ListOf | t.SeriesOf)


def split_columns(raw: msgspec.Raw, names: Sequence[str]) -> dict[str, Any]:
    """Return the columns of `{"columns": [...], "data": [[...], ...]}`.

    names: of the columns where they are left out. Raises Malformed, and SchemaError for two members
    of one name, in the cells too.
    """
    try:
        split = _splits.decode(raw)
        _require_all_members(split, bytes(raw))
        if b"{" in bytes(split.data):
            require_no_duplicates(bytes(split.data))
        rows = _rows.decode(split.data)
    except msgspec.ValidationError as exc:
        raise Malformed(f"dataframe_split is not columns and data: {exc}") from None
    columns = list(names) if split.columns is None else [str(name) for name in split.columns]
    if len(set(columns)) != len(columns):
        raise Malformed("dataframe_split: two columns have one name")
    if any(len(row) != len(columns) for row in rows):
        raise Malformed(f"dataframe_split: a row of data has not {len(columns)} values, as columns")
    return _by_column(columns, rows)


def _require_all_members(found: Body | Split, body: bytes) -> None:
    """Raise SchemaError when a member was dropped because another has its name.

    Quotation marks tell whether any was dropped: only then, or where members are not known, is the
    body looked at member by member.
    """
    if encode(found).count(b'"') != body.count(b'"'):
        require_no_duplicates(body)


def _by_column(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> dict[str, Any]:
    cells = list(zip(*rows, strict=True)) if rows else [()] * len(columns)
    return dict(zip(columns, cells, strict=True))


def _is_matrix(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(row, list) for row in value)


encode = msgspec.json.Encoder().encode
decode = msgspec.json.Decoder().decode
_bodies = msgspec.json.Decoder(Body)
_splits = msgspec.json.Decoder(Split)
_rows = msgspec.json.Decoder(list[list[Any]])
