"""JSON Schema of bodies and answers: as stated, and as the checks really are."""

from __future__ import annotations

import dataclasses
import enum
from typing import Annotated, Any, Literal

import annotated_types
import jsonschema
import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
import scipy.sparse

from envelope.errors import SchemaError
from envelope.schema import compile_checker, infer_function, json_schemas
from envelope.schema import types as t
from envelope.schema.examples import type_of_examples
from envelope.schema.hints import type_of_hint


class Colour(enum.Enum):
    RED = "red"


@dataclasses.dataclass
class Tree:
    value: int
    children: list[Tree]


def hint(annotation: Any) -> t.Type:
    return type_of_hint(annotation, [], "x")


def example(value: Any) -> t.Type:
    return type_of_examples([value], "x")


def output_schema(kind: t.Type, *, row_wise: bool = False) -> Any:
    return json_schemas(t.FunctionSchema((), kind), row_wise=row_wise).output


INT8 = {"type": "integer", "minimum": -128, "maximum": 127}


@pytest.mark.parametrize(
    "kind, expected",
    [
        pytest.param(t.Null(), {"type": "null"}, id="null"),
        pytest.param(t.Boolean(), {"type": "boolean"}, id="bool"),
        pytest.param(t.Integer(), {"type": "integer"}, id="int"),
        pytest.param(t.Integer(8), INT8, id="int8"),
        pytest.param(
            t.Integer(16, False), {"type": "integer", "minimum": 0, "maximum": 65535}, id="uint16"
        ),
        pytest.param(t.Float(), {"type": "number"}, id="float"),
        pytest.param(t.Float(nan=True), {"type": ["number", "null"]}, id="nan"),
        pytest.param(
            t.Float(16), {"type": "number", "minimum": -65504.0, "maximum": 65504.0}, id="float16"
        ),
        pytest.param(t.Text(), {"type": "string"}, id="str"),
        pytest.param(t.Date(), {"type": "string", "format": "date"}, id="date"),
        pytest.param(t.Uuid(), {"type": "string", "format": "uuid"}, id="uuid"),
        pytest.param(hint(Literal["a", 1]), {"enum": ["a", 1]}, id="literal"),
        pytest.param(hint(Literal["a"] | None), {"enum": ["a", None]}, id="optional-literal"),
        pytest.param(hint(Colour), {"enum": ["red"]}, id="enum"),
        pytest.param(hint(np.int8), INT8, id="numpy-scalar"),
        pytest.param(hint(int | None), {"type": ["integer", "null"]}, id="optional"),
        pytest.param(
            hint(int | str | None),
            {
                "anyOf": [
                    {"anyOf": [{"type": "integer"}, {"type": "string"}]},
                    {"type": "null"},
                ]
            },
            id="optional-union",
        ),
        pytest.param(
            hint(
                Annotated[int, annotated_types.Interval(ge=0, lt=5), annotated_types.MultipleOf(2)]
            ),
            {"type": "integer", "minimum": 0, "exclusiveMaximum": 5, "multipleOf": 2},
            id="bounds",
        ),
        pytest.param(
            hint(Annotated[list[int], annotated_types.Len(1, 2)]),
            {"type": "array", "items": {"type": "integer"}, "minItems": 1, "maxItems": 2},
            id="length-of-list",
        ),
        pytest.param(
            hint(Annotated[dict[str, int], annotated_types.Len(1)]),
            {
                "type": "object",
                "additionalProperties": {"type": "integer"},
                "minProperties": 1,
            },
            id="length-of-dict",
        ),
        pytest.param(
            hint(Annotated[str, annotated_types.Len(1, 3)]),
            {"type": "string", "minLength": 1, "maxLength": 3},
            id="length-of-text",
        ),
        pytest.param(
            hint(set[int]),
            {"type": "array", "items": {"type": "integer"}, "uniqueItems": True},
            id="set",
        ),
        pytest.param(
            hint(tuple[int, str]),
            {
                "type": "array",
                "prefixItems": [{"type": "integer"}, {"type": "string"}],
                "minItems": 2,
                "maxItems": 2,
            },
            id="tuple",
        ),
        pytest.param(
            hint(tuple[int, ...]),
            {"type": "array", "minItems": 0, "items": {"type": "integer"}},
            id="tuple-of-any-length",
        ),
        pytest.param(
            hint(dict[Colour, int]),
            {
                "type": "object",
                "additionalProperties": {"type": "integer"},
                "propertyNames": {"enum": ["red"]},
            },
            id="dict-of-enum",
        ),
        pytest.param(
            hint(Tree),
            {
                "$ref": f"#/$defs/{__name__}.Tree",
                "$defs": {
                    f"{__name__}.Tree": {
                        "type": "object",
                        "title": "Tree",
                        "properties": {
                            "value": {"type": "integer"},
                            "children": {
                                "type": "array",
                                "items": {"$ref": f"#/$defs/{__name__}.Tree"},
                            },
                        },
                        "required": ["value", "children"],
                        "additionalProperties": False,
                    }
                },
            },
            id="recursive",
        ),
        pytest.param(
            example(np.ones((1, 2), np.int8)),
            {
                "type": "array",
                "items": {"type": "array", "items": INT8, "minItems": 2, "maxItems": 2},
            },
            id="matrix",
        ),
        pytest.param(
            example(pd.Series(["a"], dtype="category")),
            {"type": "array", "items": {"enum": ["a", None]}},
            id="series-of-category",
        ),
        pytest.param(
            t.Anything(),
            {
                "type": ["null", "boolean", "number", "string", "array", "object"],
                "description": "any JSON value",
            },
            id="anything",
        ),
    ],
)
def test_schema_of_a_type(kind: t.Type, expected: Any) -> None:
    assert output_schema(kind) == expected


def test_any_rank_is_a_recursive_definition() -> None:
    schema = output_schema(hint(npt.NDArray[np.int8]))
    jsonschema.validate([[1], [[2]]], schema, jsonschema.Draft202012Validator)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate([["a"]], schema, jsonschema.Draft202012Validator)


FRAME = pd.DataFrame({"age": [1], "city": ["x"]})
ROW = {
    "type": "object",
    "properties": {
        "age": {"type": "integer", "minimum": -(2**63), "maximum": 2**63 - 1},
        "city": {"type": "string"},
    },
    "required": ["age", "city"],
    "additionalProperties": False,
}


def scored(df: pd.DataFrame, threshold: float = 0.5) -> list[float]:
    return []


def alone(df: pd.DataFrame) -> list[float]:
    return []


def test_body_of_one_frame_has_three_forms() -> None:
    schemas = json_schemas(infer_function(alone, name="f", api_input=FRAME), row_wise=True)
    columns = {
        **ROW,
        "properties": {
            name: {"type": "array", "items": kind}
            for name, kind in {"age": ROW["properties"]["age"], "city": {"type": "string"}}.items()  # type: ignore[index]
        },
    }
    assert schemas.input == {"anyOf": [ROW, {"type": "array", "items": ROW}, columns]}
    numbers = {"type": "array", "items": {"type": "number"}}
    assert schemas.output == {"anyOf": [{"type": "number"}, numbers]}


def test_body_of_parameters_has_a_member_for_each() -> None:
    schema = infer_function(scored, name="f", api_input={"df": FRAME})
    found = json_schemas(schema).input
    assert found["required"] == ["df"]
    assert found["properties"]["threshold"] == {"type": "number", "default": 0.5}
    assert found["properties"]["df"]["anyOf"][0] == ROW
    assert found["additionalProperties"] is False
    assert "additionalProperties" not in json_schemas(schema, extra_columns="ignore").input


def test_frames_out_have_the_forms_of_the_question() -> None:
    kind = example(pd.DataFrame({"p": [0.5]}))
    row = {
        "type": "object",
        "properties": {"p": {"type": ["number", "null"]}},
        "required": ["p"],
        "additionalProperties": False,
    }
    columns = {
        **row,
        "properties": {"p": {"type": "array", "items": {"type": ["number", "null"]}}},
    }
    rows = {"type": "array", "items": row}
    assert output_schema(kind, row_wise=True) == {"anyOf": [row, rows, columns]}
    assert output_schema(kind) == {"anyOf": [rows, columns]}


@pytest.mark.parametrize(
    "kind, body",
    [
        pytest.param(t.Timestamp(), "2024-04-31T00:00:00", id="31-april"),
        pytest.param(t.Timestamp(), "2024-04-30T24:00:00", id="24-o'clock"),
        pytest.param(t.Timestamp(), "2024-04-30T00:00:00Z", id="zone-for-none"),
        pytest.param(t.Timestamp("s"), "2024-04-30T00:00:00.5", id="too-fine"),
        pytest.param(t.Timestamp(zone="UTC"), "2024-04-30T00:00:00", id="no-zone"),
        pytest.param(t.Timestamp("ns"), "1500-01-01", id="beyond-ns"),
        pytest.param(t.Time(), "25:00", id="25-o'clock"),
        pytest.param(t.Duration(), "P1M", id="month"),
        pytest.param(t.Duration(), "P", id="no-duration"),
        pytest.param(t.Bytes(), "a", id="no-base64"),
        pytest.param(t.Decimal(4, 2), "123.4", id="digits"),
        pytest.param(t.Decimal(4, 2), "1.234", id="scale"),
        pytest.param(t.Decimal(4, 0), "1.2", id="no-scale"),
        pytest.param(t.Integer(8), 300, id="int8"),
        pytest.param(t.Float(32), 1e39, id="float32"),
        pytest.param(hint(dict[int, int]), {"a": 1}, id="key"),
        pytest.param(hint(set[int]), [1, 1], id="repeated"),
        pytest.param(example(np.ones((1, 2))), [[1]], id="shape"),
        pytest.param(
            example(scipy.sparse.csr_matrix(np.eye(2))),
            {"shape": [1, 3], "row": [], "column": [], "value": []},
            id="sparse-shape",
        ),
    ],
)
def test_what_the_schema_refuses_is_refused(kind: t.Type, body: Any) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(body, output_schema(kind), jsonschema.Draft202012Validator)
    checker = compile_checker(t.FunctionSchema((t.Parameter("x", kind),), kind))
    with pytest.raises(SchemaError):
        checker.read_value({"x": body})
