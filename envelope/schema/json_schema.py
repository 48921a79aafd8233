"""Type records -> JSON Schema 2020-12, as OpenAPI 3.1 uses it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec

from envelope.schema import types as t

Schema = dict[str, Any]
_FINITE = {32: 3.4028234663852886e38, 16: 65504.0}
# Patterns of what is accepted: no 31st of April, no 25 o'clock. 29 February is left to the checks.
_DAY = (
    r"((0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])|(0[469]|11)-(0[1-9]|[12][0-9]|30)"
    r"|02-(0[1-9]|1[0-9]|2[0-9]))"
)
_CLOCK = r"([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9](\.[0-9]{1,%d})?)?"
_OFFSET = r"([Zz]|[+-]([01][0-9]|2[0-3]):?[0-5][0-9])"
_DIGITS = {"s": 0, "ms": 3, "us": 6, "ns": 9}
_DURATION = (
    r"^[+-]?P(?=.)([0-9]{1,%d}D)?"
    r"(T(?=.)([0-9]{1,4}H)?([0-9]{1,6}M)?([0-9]{1,8}(\.[0-9]{1,%d})?S)?)?$"
)
_BASE64 = r"^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$"


@dataclass(frozen=True, slots=True, kw_only=True)
class JsonSchemas:
    """The schema of a function's body, and that of its answer."""

    input: Schema
    output: Schema


def json_schemas(
    schema: t.FunctionSchema, *, row_wise: bool = False, extra_columns: str = "refuse"
) -> JsonSchemas:
    """Return what a body must be and an answer is, each as one self-contained JSON Schema.

    row_wise: a row object is answered by that row's output, rows and columns by the list.
    """
    writer = _Writer(refuses_extra=extra_columns == "refuse")
    answer = _answer(schema, writer, row_wise=row_wise)
    return JsonSchemas(input=_input(schema, writer), output=answer)


def _input(schema: t.FunctionSchema, writer: _Writer) -> Schema:
    frame = schema.one_frame
    if frame is not None:
        return _with_definitions(writer.frame_input(frame), writer)
    found: Schema = {
        "type": "object",
        "properties": {p.name: _parameter(p, writer) for p in schema.parameters},
        "required": [p.name for p in schema.parameters if p.required],
    }
    if writer.refuses_extra:
        found["additionalProperties"] = False
    return _with_definitions(found, writer)


def _parameter(parameter: t.Parameter, writer: _Writer) -> Schema:
    kind = parameter.type
    found = writer.frame_input(kind) if isinstance(kind, t.Frame) else writer.of(kind)
    if parameter.default is msgspec.UNSET or parameter.default is None:
        return found
    return {**found, "default": parameter.default}


def _answer(schema: t.FunctionSchema, writer: _Writer, *, row_wise: bool) -> Schema:
    if schema.output is None:
        return {}
    whole = writer.of(schema.output)
    if isinstance(schema.output, t.Frame):
        forms = [whole, writer.columns(schema.output)]
        if row_wise:
            forms.insert(0, writer.row(schema.output))
        return _with_definitions({"anyOf": forms}, writer)
    if row_wise and "items" in whole:  # an array of any rank holds its own parts already
        return _with_definitions({"anyOf": [whole["items"], whole]}, writer)
    return _with_definitions(whole, writer)


def _with_definitions(schema: Schema, writer: _Writer) -> Schema:
    return {**schema, "$defs": writer.definitions} if writer.definitions else schema


class _Writer:
    """Writes types. definitions: those of the records that hold themselves."""

    def __init__(self, *, refuses_extra: bool) -> None:
        self.refuses_extra = refuses_extra
        self.definitions: Schema = {}

    def of(self, kind: t.Type) -> Schema:
        """Return the schema of one type."""
        if type(kind) in _SIMPLE:
            return dict(_SIMPLE[type(kind)])
        return _COMPOSED[type(kind)](self, kind)

    def frame_input(self, frame: t.Frame) -> Schema:
        """Return the three ways to write a frame."""
        row = self.row(frame)
        return {"anyOf": [row, {"type": "array", "items": row}, self.columns(frame)]}

    def row(self, frame: t.Frame) -> Schema:
        """Return the schema of a row object."""
        return self._object({str(c.name): self.of(c.type) for c in frame.columns})

    def columns(self, frame: t.Frame) -> Schema:
        """Return the schema of an object of equal-length columns."""
        return self._object(
            {str(c.name): {"type": "array", "items": self.of(c.type)} for c in frame.columns}
        )

    def _object(self, properties: Schema) -> Schema:
        found: Schema = {
            "type": "object",
            "properties": properties,
            "required": list(properties),
        }
        if self.refuses_extra:
            found["additionalProperties"] = False
        return found

    def record(self, kind: t.Record) -> Schema:
        """Return the schema of a record: a reference where it may hold itself."""
        found: Schema = {
            "type": "object",
            "properties": {field.name: self.of(field.type) for field in kind.fields},
            "required": [field.name for field in kind.fields if field.required],
        }
        if self.refuses_extra:
            found["additionalProperties"] = False
        if kind.path is None:
            return found
        found["title"] = kind.path.rpartition(":")[2]
        name = definition_name(kind.path)
        if name in self.definitions:
            self.definitions[name] = found
            return {"$ref": f"#/$defs/{name}"}
        return found

    def recursion(self, kind: t.Recursion) -> Schema:
        """Return a reference to the enclosing record, which becomes a definition."""
        name = definition_name(kind.path)
        self.definitions.setdefault(name, {})
        return {"$ref": f"#/$defs/{name}"}


def definition_name(path: str) -> str:
    """Return a record's name in `$defs`: "package.module:Tree" is "package.module.Tree"."""
    return path.replace(":", ".").replace("<", "").replace(">", "")


def _integer(writer: _Writer, kind: t.Integer) -> Schema:
    if kind.bits is None:
        return {"type": "integer"}
    half = 2 ** (kind.bits - 1)
    low, high = (-half, half - 1) if kind.signed else (0, 2 * half - 1)
    return {"type": "integer", "minimum": low, "maximum": high}


def _float(writer: _Writer, kind: t.Float) -> Schema:
    found: Schema = {"type": ["number", "null"] if kind.nan else "number"}
    if kind.bits in _FINITE:
        found.update(minimum=-_FINITE[kind.bits], maximum=_FINITE[kind.bits])
    return found


def _decimal(writer: _Writer, kind: t.Decimal) -> Schema:
    pattern = r"^[+-]?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]{1,4})?$"
    if kind.precision is not None:
        scale = kind.scale or 0
        fraction = rf"(\.[0-9]{{1,{scale}}})?" if scale > 0 else ""
        pattern = rf"^[+-]?[0-9]{{1,{max(kind.precision - scale, 1)}}}{fraction}$"
    return {"type": "string", "format": "decimal", "pattern": pattern}


def _timestamp(writer: _Writer, kind: t.Timestamp) -> Schema:
    digits = _DIGITS[kind.unit]
    clock = _CLOCK % digits if digits else _CLOCK.replace(r"(\.[0-9]{1,%d})?", "")
    # 64 bits of nanoseconds reach from 1677 to 2262.
    year = r"(1[789][0-9]{2}|20[0-9]{2}|21[0-9]{2})" if kind.unit == "ns" else r"(?!0000)[0-9]{4}"
    day = f"^{year}-{_DAY}"
    if kind.zone is None:
        pattern = f"{day}([Tt ]{clock})?$"
        return {"type": "string", "pattern": pattern, "description": "a time without an offset"}
    if kind.zone == "any":
        return {"type": "string", "pattern": f"{day}([Tt ]{clock}{_OFFSET}?)?$"}
    pattern = f"{day}[Tt ]{clock}{_OFFSET}$"
    return {"type": "string", "format": "date-time", "pattern": pattern}


def _time(writer: _Writer, kind: t.Time) -> Schema:
    digits = min(_DIGITS[kind.unit], 6)
    clock = _CLOCK % digits if digits else _CLOCK.replace(r"(\.[0-9]{1,%d})?", "")
    offset = r"([Zz]|[+-]([01][0-9]|2[0-3]):[0-5][0-9])"
    return {"type": "string", "pattern": f"^{clock}{offset}?$"}


def _duration(writer: _Writer, kind: t.Duration) -> Schema:
    days = 5 if kind.unit == "ns" else 8  # 64 bits of nanoseconds are 106,751 days
    pattern = _DURATION % (days, _DIGITS[kind.unit] or 1)
    return {"type": "string", "format": "duration", "pattern": pattern}


def _one_of(writer: _Writer, kind: t.OneOf) -> Schema:
    return {"enum": list(kind.values)}


def _enumeration(writer: _Writer, kind: t.Enumeration) -> Schema:
    return {"enum": [member.value for member in kind.members]}


def _categorical(writer: _Writer, kind: t.Categorical) -> Schema:
    return {"enum": list(kind.levels)}


def _numpy_scalar(writer: _Writer, kind: t.NumpyScalar) -> Schema:
    return writer.of(kind.of)


def _maybe(writer: _Writer, kind: t.Maybe) -> Schema:
    found = writer.of(kind.of)
    if isinstance(found.get("type"), str) and "enum" not in found:
        return {**found, "type": [found["type"], "null"]}
    if "enum" in found:
        return {**found, "enum": [*found["enum"], None]}
    return {"anyOf": [found, {"type": "null"}]}


def _any_of(writer: _Writer, kind: t.AnyOf) -> Schema:
    return {"anyOf": [writer.of(member) for member in kind.members]}


_NUMBER_BOUNDS = {
    "ge": "minimum",
    "gt": "exclusiveMinimum",
    "le": "maximum",
    "lt": "exclusiveMaximum",
    "multiple_of": "multipleOf",
}


def _constrained(writer: _Writer, kind: t.Constrained) -> Schema:
    found = writer.of(kind.of)
    for name, keyword in _NUMBER_BOUNDS.items():
        if getattr(kind, name) is not None:
            found[keyword] = getattr(kind, name)
    noun = {"array": "Items", "object": "Properties"}.get(str(found.get("type")), "Length")
    if not isinstance(kind.of, t.Bytes):  # the length of bytes is not that of their base64
        if kind.min_length is not None:
            found[f"min{noun}"] = kind.min_length
        if kind.max_length is not None:
            found[f"max{noun}"] = kind.max_length
    if kind.pattern is not None:
        found["pattern"] = kind.pattern
    return found


def _list(writer: _Writer, kind: t.ListOf) -> Schema:
    return {"type": "array", "items": writer.of(kind.item)}


def _set(writer: _Writer, kind: t.SetOf) -> Schema:
    return {"type": "array", "items": writer.of(kind.item), "uniqueItems": True}


def _tuple(writer: _Writer, kind: t.TupleOf) -> Schema:
    places = [writer.of(item) for item in kind.items]
    found: Schema = {"type": "array", "minItems": len(places)}
    if places:
        found["prefixItems"] = places
    if kind.rest is None:
        found["maxItems"] = len(places)
    else:
        found["items"] = writer.of(kind.rest)
    return found


def _map(writer: _Writer, kind: t.MapOf) -> Schema:
    found: Schema = {"type": "object", "additionalProperties": writer.of(kind.value)}
    if isinstance(kind.key, t.Integer):
        found["propertyNames"] = {"pattern": r"^-?\d+$"}
    elif isinstance(kind.key, t.OneOf | t.Enumeration):
        names = writer.of(kind.key)["enum"]
        found["propertyNames"] = {"enum": [str(name) for name in names]}
    return found


def _frame(writer: _Writer, kind: t.Frame) -> Schema:
    return {"type": "array", "items": writer.row(kind)}


def _series(writer: _Writer, kind: t.SeriesOf) -> Schema:
    return {"type": "array", "items": writer.of(kind.column.type)}


def _array(writer: _Writer, kind: t.Array) -> Schema:
    if kind.shape is None:
        writer.definitions.setdefault(
            "nested",
            {"anyOf": [writer.of(kind.of), {"type": "array", "items": {"$ref": "#/$defs/nested"}}]},
        )
        return {"$ref": "#/$defs/nested"}
    found = writer.of(kind.of)
    for length in reversed(kind.shape):
        found = {"type": "array", "items": found}
        if length is not None:
            found.update(minItems=length, maxItems=length)
    return found


def _sparse(writer: _Writer, kind: t.SparseMatrix) -> Schema:
    place = {"type": "array", "items": {"type": "integer", "minimum": 0}}
    return {
        "type": "object",
        "properties": {
            "shape": {
                "type": "array",
                "prefixItems": [{"type": "integer", "minimum": 0}, {"const": kind.columns}],
                "minItems": 2,
                "maxItems": 2,
            },
            "row": place,
            "column": place,
            "value": {"type": "array", "items": writer.of(kind.of)},
        },
        "required": ["shape", "row", "column", "value"],
        "additionalProperties": False,
    }


_SIMPLE: dict[type, Schema] = {
    t.Null: {"type": "null"},
    t.Boolean: {"type": "boolean"},
    t.Text: {"type": "string"},
    t.Bytes: {"type": "string", "contentEncoding": "base64", "pattern": _BASE64},
    t.Date: {"type": "string", "format": "date"},
    t.Uuid: {"type": "string", "format": "uuid"},
    t.Anything: {
        "type": ["null", "boolean", "number", "string", "array", "object"],
        "description": "any JSON value",
    },
}

_COMPOSED: dict[type, Callable[[_Writer, Any], Schema]] = {
    t.Integer: _integer,
    t.Float: _float,
    t.Decimal: _decimal,
    t.Timestamp: _timestamp,
    t.Time: _time,
    t.Duration: _duration,
    t.OneOf: _one_of,
    t.Enumeration: _enumeration,
    t.Categorical: _categorical,
    t.NumpyScalar: _numpy_scalar,
    t.Maybe: _maybe,
    t.AnyOf: _any_of,
    t.Constrained: _constrained,
    t.ListOf: _list,
    t.SetOf: _set,
    t.TupleOf: _tuple,
    t.MapOf: _map,
    t.Record: _Writer.record,
    t.Recursion: _Writer.recursion,
    t.Frame: _frame,
    t.SeriesOf: _series,
    t.Array: _array,
    t.SparseMatrix: _sparse,
}
