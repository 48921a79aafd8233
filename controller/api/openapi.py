"""The OpenAPI 3.1 document of the API, put together from the operations' own types."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from typing import Any

import msgspec
from pydantic import BaseModel

from envelope.manifest import Function, Manifest
from envelope.registry import EnvelopeRow
from envelope.remote.client import ACTOR_HEADER
from envelope.remote.operations import OPERATIONS, PREFIX, Operation, segments
from envelope.remote.problems import MEDIA_TYPE, Problem
from envelope.remote.records import ImportRecord, RegisterRecord

Document = dict[str, Any]
_REF = "#/components/schemas/{name}"
_PROBLEMS = {
    400: "The query cannot be understood; `attributes.column` says where.",
    401: "A token is needed, and none that is known was sent.",
    403: "The token's role does not allow this.",
    404: "There is no such thing.",
    409: "It is not in the state for this, or another one has this name.",
    422: "A parameter or the body is wrong; `detail` says what to change.",
    500: "Stored bytes were changed, or the server failed; its log says why, under `error_id`.",
    503: "The database or the store did not do its part; try again.",
}
_FILES = (  # of files.py: path, what it is, its media type, its type, the role that may write it
    ("/blobs/{sha256}", "a blob, one zstd frame", "application/zstd", None),
    ("/envelopes/{envelope_id}/manifest", "a manifest", "application/json", Manifest),
    ("/envelopes/{envelope_id}/functions/{name}", "a function", "application/json", Function),
    ("/documents/{path}", "a document, a small named file", "application/octet-stream", None),
)


def document() -> Document:
    """Return the OpenAPI document of the API."""
    kinds = list(_kinds())
    schemas, components = msgspec.json.schema_components(
        kinds, schema_hook=_schema_of, ref_template=_REF
    )
    schema_of = dict(zip(map(repr, kinds), schemas, strict=True))
    components |= _hoisted([*schemas, *components.values()])
    paths: Document = {}
    for operation in OPERATIONS.values():
        paths.setdefault(operation.path, {})[operation.verb.lower()] = _operation(
            operation, schema_of
        )
    paths["/envelopes"]["post"] = _by_record(
        "register", "Register an envelope whose manifest lies in the store.", RegisterRecord
    )
    paths["/envelopes/{envelope_id}"] = {
        "put": _by_record(
            "import_envelope", "Add an envelope with all that happened to it.", ImportRecord
        )
        | {"parameters": [_path_parameter("envelope_id"), _ACTOR]}
    }
    for path, what, media_type, kind in _FILES:
        paths.setdefault(path, {}).update(_file(path, what, media_type, kind))
    paths["/stored-envelopes"] = {"get": _listing()}
    whole: Document = {
        "openapi": "3.1.0",
        "info": {
            "title": "Model Envelope registry",
            "version": version("model-envelope"),
            "description": "All that the SDK and the command line can do. Errors are problem "
            "details whose `type` names the SDK's error class.",
        },
        "servers": [{"url": PREFIX}],
        "paths": dict(sorted(paths.items())),
        "components": {
            "schemas": dict(sorted(components.items())),
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }
    # A default may be a tuple, which is no array to a validator.
    plain: Document = msgspec.json.decode(msgspec.json.encode(whole))
    return plain


def _kinds() -> Iterable[Any]:
    yield from (Problem, RegisterRecord, ImportRecord, EnvelopeRow, Manifest, Function)
    seen: set[str] = set()
    for operation in OPERATIONS.values():
        places = [operation.hints[name] for name in operation.signature.parameters]
        has_record = operation.parameters("body") and operation.whole_body is None
        body = [operation.record("body")] if has_record else []
        for kind in (*places, *body, operation.hints["return"]):
            if repr(kind) not in seen and kind is not type(None):
                seen.add(repr(kind))
                yield kind


def _schema_of(kind: type) -> Document:
    if issubclass(kind, BaseModel):
        return kind.model_json_schema(ref_template="#/components/schemas/{model}")
    raise NotImplementedError(kind)


def _hoisted(schema: Any) -> Document:
    """Take the definitions that pydantic nests out of a schema; return them."""
    found: Document = {}
    if isinstance(schema, dict):
        found |= schema.pop("$defs", {})
        for member in list(schema.values()):
            found |= _hoisted(member)
    elif isinstance(schema, list):
        for member in schema:
            found |= _hoisted(member)
    for member in list(found.values()):
        found |= _hoisted(member)
    return found


_ACTOR: Document = {
    "name": ACTOR_HEADER,
    "in": "header",
    "required": False,
    "description": "Who is asking, percent-encoded UTF-8, for the history; a token says it better.",
    "schema": {"type": "string"},
}


def _operation(operation: Operation, schema_of: Mapping[str, Document]) -> Document:
    found: Document = {
        "operationId": operation.name,
        "summary": operation.summary,
        "description": f"Needs the role `{operation.role}` where tokens are asked for.",
        "tags": [operation.path.split("/")[1]],
        "parameters": list(_parameters(operation, schema_of)),
        "responses": _responses(operation, schema_of),
    }
    if operation.whole_body is not None or operation.parameters("body"):
        kind = (
            operation.hints[operation.whole_body]
            if operation.whole_body
            else operation.record("body")
        )
        found["requestBody"] = _json_body(schema_of[repr(kind)])
    return found


def _parameters(operation: Operation, schema_of: Mapping[str, Document]) -> Iterable[Document]:
    for name, parameter in operation.signature.parameters.items():
        place = operation.place(name)
        if place == "header":
            yield _ACTOR
        elif place in ("path", "query"):
            yield {
                "name": name,
                "in": place,
                "required": parameter.default is inspect.Parameter.empty,
                "schema": _without_null(schema_of[repr(operation.hints[name])]),
            }


def _without_null(schema: Document) -> Document:
    """A parameter that is not wanted is left out; no text stands for null. Numbers have 64 bits."""
    members = [each for each in schema.get("anyOf", []) if each != {"type": "null"}]
    found = dict(members[0]) if len(members) == 1 else dict(schema)
    if found.get("type") == "integer":
        found |= {"minimum": -(2**63), "maximum": 2**63 - 1}
    return found


def _responses(operation: Operation, schema_of: Mapping[str, Document]) -> Document:
    kind = operation.hints["return"]
    if kind is type(None):
        return {"204": {"description": "Done."}} | _problems(operation.verb)
    content = {"application/json": {"schema": schema_of[repr(kind)]}}
    return {"200": {"description": "The answer.", "content": content}} | _problems(operation.verb)


def _problems(verb: str) -> Document:
    content = {MEDIA_TYPE: {"schema": {"$ref": _REF.format(name="Problem")}}}
    statuses = dict(_PROBLEMS)
    found: Document = {
        str(status): {"description": text, "content": content} for status, text in statuses.items()
    }
    if verb == "GET":
        found["304"] = {"description": "The caller has it: If-None-Match names its ETag."}
        del found["409"]
    return found


def _json_body(schema: Document) -> Document:
    return {"required": True, "content": {"application/json": {"schema": schema}}}


def _path_parameter(name: str) -> Document:
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}


def _by_record(name: str, summary: str, record: type) -> Document:
    answer = (
        {"$ref": _REF.format(name="EnvelopeRow")} if name == "register" else {"type": "boolean"}
    )
    content = {"application/json": {"schema": answer}}
    done = {"201" if name == "register" else "200": {"description": "Done.", "content": content}}
    return {
        "operationId": name,
        "summary": summary,
        "tags": ["envelopes"],
        "parameters": [_ACTOR],
        "requestBody": _json_body({"$ref": _REF.format(name=record.__name__)}),
        "responses": done | _problems("POST"),
    }


def _file(path: str, what: str, media_type: str, kind: type | None) -> Document:
    schema: Document = {"$ref": _REF.format(name=kind.__name__)} if kind else {}
    content = {media_type: {"schema": schema}}
    names = [_path_parameter(name) for name in segments(path)]
    tag, stem = path.split("/")[1], "_".join(what.split(",")[0].split()[1:])
    new_only = {
        "name": "If-None-Match",
        "in": "header",
        "required": False,
        "description": "`*`: write only where there is none; else 412.",
        "schema": {"const": "*"},
    }
    read = {
        "operationId": f"get_{stem}",
        "summary": f"Read {what}.",
        "tags": [tag],
        "parameters": names,
        "responses": {"200": {"description": "Its bytes.", "content": content}} | _problems("GET"),
    }
    written = {"204": {"description": "It is there, whole."}}
    if stem != "blob":
        written["412"] = {"description": "There is one already, and If-None-Match is `*`."}
    write = {
        "operationId": f"put_{stem}",
        "summary": f"Write {what}; it appears whole or not at all, and never in another's place.",
        "tags": [tag],
        "parameters": [*names, *([] if stem == "blob" else [new_only])],
        "requestBody": {"required": True, "content": content},
        "responses": written | _problems("PUT"),
    }
    return {"get": read, "put": write}


def _listing() -> Document:
    schema = {"type": "array", "items": {"type": "string"}}
    answer = {"description": "Oldest first.", "content": {"application/json": {"schema": schema}}}
    return {
        "operationId": "list_stored_envelopes",
        "summary": "The ids of all envelopes that lie whole in the store, registered or not.",
        "tags": ["envelopes"],
        "parameters": [],
        "responses": {"200": answer} | _problems("GET"),
    }
