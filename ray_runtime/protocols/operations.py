"""OpenAPI descriptions of the routes that are not ours: documents, and the standard protocols."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ray_runtime.protocols.examples import example_of
from ray_runtime.protocols.openapi import (
    ENVELOPE_HEADER,
    JSON_VALUE,
    PROBLEMS,
    Document,
    component,
    table_content,
)

if TYPE_CHECKING:
    from ray_runtime.live import Live

DEPTH = 2  # levels of a document that are described one by one; below it is any JSON
OIP_ERROR: Document = {
    "type": "object",
    "properties": {"error": {"type": "string"}},
    "required": ["error"],
    "additionalProperties": False,
}
MLFLOW_ERROR: Document = {
    "type": "object",
    "properties": {"error_code": {"type": "string"}, "message": {"type": "string"}},
    "required": ["error_code", "message"],
    "additionalProperties": False,
}


def document_operation(name: str, summary: str, value: Any, tag: str = "about") -> Document:
    """Describe a route that always answers this JSON value."""
    return _constant(name, summary, tag, {"application/json": {"schema": schema_of(value, DEPTH)}})


def text_operation(name: str, summary: str, tag: str) -> Document:
    """Describe a route that always answers the same text."""
    return _constant(name, summary, tag, {"text/plain": {"schema": {"type": "string"}}})


def _constant(name: str, summary: str, tag: str, content: Document) -> Document:
    answer = {"description": summary, "headers": ENVELOPE_HEADER, "content": content}
    return {
        "operationId": name,
        "summary": summary,
        "tags": [tag],
        "responses": {"200": answer},
    }


def schema_of(value: Any, depth: int) -> Document:
    """Return the schema of a document that does not change, from the document itself."""
    if isinstance(value, dict) and depth:
        return {
            "type": "object",
            "properties": {name: schema_of(one, depth - 1) for name, one in value.items()},
            "required": list(value),
            "additionalProperties": False,
        }
    if isinstance(value, dict):
        return {"type": "object", "additionalProperties": JSON_VALUE}
    if isinstance(value, list):
        return {"type": "array", "items": JSON_VALUE}
    if isinstance(value, str):
        return {"type": "string"}
    return {"type": "null"} if value is None else {"type": ["boolean", "number", "null"]}


def infer_operation(live: Live, name: str) -> Document:
    """Describe `infer` of the Open Inference Protocol for the default function."""
    tensor: Document = {
        "type": "object",
        "properties": {
            "name": {"type": "string"},
            "shape": {"type": "array", "items": {"type": "integer", "minimum": 0}},
            "datatype": {"enum": list(_datatypes())},
            "parameters": {"type": "object", "additionalProperties": JSON_VALUE},
            "data": {"type": "array", "items": JSON_VALUE},
        },
        "required": ["name", "shape", "datatype"],
    }
    wanted: Document = {
        "type": "object",
        "properties": {
            "name": {"type": "string"},
            "parameters": {"type": "object", "additionalProperties": JSON_VALUE},
        },
        "required": ["name"],
    }
    body: Document = {
        "type": "object",
        "description": "Members that are not listed are ignored.",
        "properties": {
            "id": {"type": ["string", "null"]},
            "inputs": {"type": "array", "items": tensor},
            "outputs": {"type": "array", "items": wanted},
            "parameters": {"type": "object", "additionalProperties": JSON_VALUE},
        },
        "required": ["inputs"],
    }
    answer: Document = {
        "type": "object",
        "properties": {
            "id": {"type": "string"},
            "model_name": {"const": live.options.deployment},
            "model_version": {"const": live.envelope.manifest.id},
            "outputs": {"type": "array", "items": tensor},
        },
        "required": ["model_name", "model_version", "outputs"],
    }
    binary = {"schema": BINARY}
    return {
        "operationId": name,
        "summary": f"Call {live.default.function.name} with tensors",
        "description": "Open Inference Protocol v2. Tensors may follow the JSON as bytes: the "
        "header Inference-Header-Content-Length then says how long the JSON is.",
        "tags": ["Open Inference Protocol"],
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": body}, "application/octet-stream": binary},
        },
        "responses": {
            "200": {
                "description": "The outputs; as bytes after the JSON where that was asked for.",
                "headers": ENVELOPE_HEADER,
                "content": {
                    "application/json": {"schema": answer},
                    "application/octet-stream": binary,
                },
            },
            **_errors({**PROBLEMS, 404: "There is no output of that name."}, "OipError"),
        },
    }


BINARY: Document = {
    "type": "string",
    "format": "binary",
    "contentMediaType": "application/octet-stream",
}


def _datatypes() -> tuple[str, ...]:
    from ray_runtime.protocols.tensors import BYTES, DTYPES

    return (BYTES, *DTYPES)


def invocations_operation(live: Live) -> Document:
    """Describe MLflow's `/invocations` for the default function."""
    function = live.default.function
    body = function.name + ".input"
    split: Document = {
        "type": "object",
        "properties": {
            "columns": {"type": "array", "items": {"type": ["string", "integer"]}},
            "data": {"type": "array", "items": {"type": "array", "items": JSON_VALUE}},
        },
        "required": ["data"],
    }
    ways: Document = {
        "dataframe_split": split,
        "dataframe_records": {"type": "array", "items": JSON_VALUE},
        "instances": JSON_VALUE,
        "inputs": {"anyOf": [{"$ref": component(body)}, JSON_VALUE]},
    }
    schema: Document = {
        "type": "object",
        "description": "Exactly one of the four; members that are not listed are ignored.",
        "properties": {
            **ways,
            "params": {"type": ["object", "null"], "additionalProperties": JSON_VALUE},
        },
        "oneOf": [{"required": [name]} for name in ways],
    }
    content: Document = {"application/json": {"schema": schema}}
    example = example_of(function, live.default.checker)
    if example is not None:
        content["application/json"]["example"] = {"inputs": example.body}
    if live.default.checker.takes_one_frame:
        content["text/csv"] = table_content("text/csv", example.csv if example else None)
    return {
        "operationId": "invocations",
        "summary": f"Call {function.name} as MLflow's clients do",
        "tags": ["MLflow"],
        "requestBody": {"required": True, "content": content},
        "responses": {
            "200": {
                "description": "The function's output.",
                "headers": ENVELOPE_HEADER,
                "content": {
                    "application/json": {
                        "schema": {
                            "type": "object",
                            "properties": {
                                "predictions": {"$ref": component(f"{function.name}.output")}
                            },
                            "required": ["predictions"],
                            "additionalProperties": False,
                        }
                    }
                },
            },
            **_errors(PROBLEMS, "MlflowError"),
        },
    }


def _errors(statuses: dict[int, str], schema: str) -> Document:
    return {
        str(status): {
            "description": description,
            "headers": ENVELOPE_HEADER,
            "content": {"application/json": {"schema": {"$ref": component(schema)}}},
        }
        for status, description in statuses.items()
    }
