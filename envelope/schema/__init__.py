"""The types of a function's inputs and output, inferred, checked and described.

    schema = infer_function(function, name="predict", api_input=df)
    if needs_output(schema):
        schema = with_output(schema, function(df), function=function, name="predict")
    checker = compile_checker(schema)
    call = checker.read_json(body)
    answer = checker.write_json(function(**call.arguments()), call)

The names load their modules (and with them pandas) when they are first used: importing the SDK, or
reading a manifest, needs the records of `types` alone.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from envelope.schema.calls import Call
    from envelope.schema.checks import Checker, classes_of, compile_checker
    from envelope.schema.class_search import settle_annotations
    from envelope.schema.infer import (
        example_arguments,
        infer_function,
        needs_output,
        says_any,
        with_output,
    )
    from envelope.schema.json_schema import JsonSchemas, json_schemas
    from envelope.schema.rowwise import prove_row_wise
    from envelope.schema.types import MISSING, FunctionSchema
    from envelope.schema.words import describe

_MODULES = {
    "MISSING": "types",
    "Call": "calls",
    "Checker": "checks",
    "FunctionSchema": "types",
    "JsonSchemas": "json_schema",
    "classes_of": "checks",
    "compile_checker": "checks",
    "describe": "words",
    "example_arguments": "infer",
    "infer_function": "infer",
    "json_schemas": "json_schema",
    "needs_output": "infer",
    "prove_row_wise": "rowwise",
    "says_any": "infer",
    "settle_annotations": "class_search",
    "with_output": "infer",
}

__all__ = [
    "MISSING",
    "Call",
    "Checker",
    "FunctionSchema",
    "JsonSchemas",
    "classes_of",
    "compile_checker",
    "describe",
    "example_arguments",
    "infer_function",
    "json_schemas",
    "needs_output",
    "prove_row_wise",
    "says_any",
    "settle_annotations",
    "with_output",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
