"""OpenAPI 3.1 of one deployment: its functions' real schemas, and the saved samples as examples.

Every route carries its own description; this puts them together and adds what they share.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from envelope.load import LoadedFunction
from envelope.schema import json_schemas
from ray_runtime.live import Live
from ray_runtime.protocols.examples import Example
from ray_runtime.protocols.formats import CSV, JSON, Formats
from ray_runtime.protocols.http import Route

Document = dict[str, Any]
JSON_VALUE: Document = {"$ref": "#/components/schemas/JsonValue"}

ENVELOPE_HEADER = {
    "X-Envelope-Id": {
        "description": "The envelope that answered.",
        "required": True,
        "schema": {"type": "string"},
    }
}
PROBLEMS = {
    400: "The body does not fit the function: every fault at once, or it cannot be read.",
    406: "No format that Accept names can be written.",
    413: "The body is larger than this deployment takes.",
    415: "The body's Content-Type or Content-Encoding is not read here.",
    429: "Too many requests are waiting; see Retry-After.",
    500: "The model failed; the replica's log says why, under `error_id`.",
    504: "The model took too long.",
}


def document_route(live: Live, routes: Iterable[Route]) -> bytes:
    """Return the body of `GET /<deployment>/openapi.json` for these routes."""
    return msgspec.json.encode(build(live, routes))


def build(live: Live, routes: Iterable[Route]) -> Document:
    """Return the OpenAPI document of a deployment."""
    from ray_runtime.protocols import operations  # which is built on this module

    manifest = live.envelope.manifest
    paths: Document = {}
    for route in routes:
        if route.operation:
            paths.setdefault(route.path, {})[route.method.lower()] = dict(route.operation)
    schemas: Document = {
        "Problem": PROBLEM_SCHEMA,
        "OipError": operations.OIP_ERROR,
        "MlflowError": operations.MLFLOW_ERROR,
        "JsonValue": JSON_VALUE_SCHEMA,
    }
    for name, lane in live.lanes.items():
        found = json_schemas(
            lane.function.schema,
            row_wise=lane.function.row_wise.is_row_wise,
            extra_columns=live.options.extra_columns,
        )
        schemas[f"{name}.input"] = ascomponent(found.input, f"{name}.input")
        schemas[f"{name}.output"] = ascomponent(found.output, f"{name}.output")
    return {
        "openapi": "3.1.0",
        "info": {
            "title": live.options.deployment,
            "version": manifest.id,
            "summary": manifest.name,
            "description": manifest.description or manifest.name,
        },
        "paths": paths,
        "components": {"schemas": schemas, "responses": problem_responses()},
    }


def query_operation(
    function: LoadedFunction, formats: Formats, example: Example | None, *, is_default: bool
) -> Document:
    """Describe one call of one function."""
    name = function.name
    return {
        "operationId": "query" if is_default else f"query_{name}",
        "summary": f"Call {name}",
        "description": function.function.description or _what(function),
        "tags": ["query"],
        "requestBody": {
            "required": True,
            "content": {
                media: _json_content(f"{name}.input", example and example.body)
                if media == JSON
                else table_content(media, example.csv if example and media == CSV else None)
                for media in formats.readers
            },
        },
        "responses": {
            "200": {
                "description": "The function's output.",
                "headers": ENVELOPE_HEADER,
                "content": {
                    media: _json_content(f"{name}.output", example and example.output)
                    if media == JSON
                    else table_content(media, None)
                    for media in formats.writers
                },
            },
            **problem_references(PROBLEMS),
        },
    }


def bulk_operation(function: LoadedFunction, example: Example | None) -> Document:
    """Describe a list of calls of the default function."""
    member = {
        "anyOf": [
            {
                "type": "object",
                "properties": {"output": {"$ref": component(f"{function.name}.output")}},
                "required": ["output"],
            },
            {
                "type": "object",
                "properties": {"error": {"$ref": component("Problem")}},
                "required": ["error"],
            },
        ]
    }
    body: Document = {
        "schema": {
            "type": "array",
            "description": "A member that does not fit is answered by its own error.",
            "items": {"anyOf": [{"$ref": component(f"{function.name}.input")}, JSON_VALUE]},
        }
    }
    if example is not None:
        body["example"] = [example.body]
    statuses = {status: PROBLEMS[status] for status in (400, 406, 413, 415, 504)}
    return {
        "operationId": "query_bulk",
        "summary": f"Call {function.name} for each body of a list",
        "description": "A member that fails does not touch the others; order is kept.",
        "tags": ["query"],
        "requestBody": {"required": True, "content": {JSON: body}},
        "responses": {
            "200": {
                "description": "An output or an error for each member.",
                "headers": ENVELOPE_HEADER,
                "content": {JSON: {"schema": {"type": "array", "items": member}}},
            },
            **problem_references(statuses),
        },
    }


def table_content(media_type: str, example: str | None) -> Document:
    """Describe a body or an answer that is a table."""
    text = media_type.startswith("text/")
    content: Document = {
        "schema": {
            "type": "string",
            **({} if text else {"format": "binary"}),
            "contentMediaType": media_type,
            "description": "A table with a header line; RFC 4180, UTF-8."
            if text
            else "A table as an Arrow IPC stream.",
        }
    }
    return content if example is None else {**content, "example": example}


def ascomponent(schema: Document, name: str) -> Document:
    """Return a self-contained schema as a component: its references point to where it now is."""
    return _moved(schema, f"{component(name)}/$defs/")  # type: ignore[no-any-return]


def _moved(value: Any, below: str) -> Any:
    if isinstance(value, dict):
        return {
            key: below + member.removeprefix("#/$defs/")
            if key == "$ref" and isinstance(member, str) and member.startswith("#/$defs/")
            else _moved(member, below)
            for key, member in value.items()
        }
    if isinstance(value, list):
        return [_moved(member, below) for member in value]
    return value


def problem_references(statuses: Mapping[int, str]) -> Document:
    """Return the responses of an operation that may fail in these ways."""
    return {str(status): {"$ref": f"#/components/responses/{status}"} for status in statuses}


def problem_responses() -> Document:
    """Return every way to fail, once."""
    return {
        str(status): {
            "description": description,
            "headers": ENVELOPE_HEADER,
            "content": {"application/problem+json": {"schema": {"$ref": component("Problem")}}},
        }
        for status, description in PROBLEMS.items()
    }


def _json_content(name: str, example: Any) -> Document:
    content: Document = {"schema": {"$ref": component(name)}}
    return content if example is None else {**content, "example": example}


def component(name: str) -> str:
    """Return the reference to a component's schema."""
    return f"#/components/schemas/{name}"


def _what(function: LoadedFunction) -> str:
    if function.row_wise.is_row_wise:
        return "One output per row: a row object gives that row's output, rows a list."
    return "One call, one output."


PROBLEM_SCHEMA: Document = {
    "type": "object",
    "description": "RFC 9457 problem details.",
    "properties": {
        "type": {"type": "string", "format": "uri"},
        "title": {"type": "string"},
        "status": {"type": "integer", "minimum": 400, "maximum": 599},
        "detail": {"type": "string"},
        "faults": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "path": {"type": "string", "description": "rows[3].age; empty: the body"},
                    "expected": {"type": "string"},
                    "got": {"type": "string"},
                },
                "required": ["path", "expected", "got"],
            },
        },
        "error_id": {"type": "string", "description": "find it in the replica's log"},
    },
    "required": ["type", "title", "status", "detail"],
}

JSON_VALUE_SCHEMA: Document = {
    "description": "Any JSON value.",
    "anyOf": [
        {"type": "null"},
        {"type": "boolean"},
        {"type": "number"},
        {"type": "string"},
        {"type": "array", "items": JSON_VALUE},
        {"type": "object", "additionalProperties": JSON_VALUE},
    ],
}
