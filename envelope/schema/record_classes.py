"""Classes whose instances are records: which they are, and their fields."""

from __future__ import annotations

import dataclasses
import inspect
import typing
from typing import Any, Literal

import msgspec

from envelope.schema.annotations import resolved_hints

Form = Literal["typed_dict", "dataclass", "named_tuple", "pydantic", "struct"]


def record_kind(kind: type) -> Form | None:
    if typing.is_typeddict(kind):
        return "typed_dict"
    if dataclasses.is_dataclass(kind):
        return "dataclass"
    if issubclass(kind, tuple) and hasattr(kind, "_fields"):
        return "named_tuple"
    if hasattr(kind, "model_fields") and hasattr(kind, "model_validate"):
        return "pydantic"
    if issubclass(kind, msgspec.Struct):
        return "struct"
    return None


def fields_of(kind: Any, form: Form, where: str) -> list[tuple[str, Any, bool]]:
    """Return (name, hint, required) of each field, in order."""
    hints = resolved_hints(kind, where)
    missing = inspect.Parameter.empty
    if form == "typed_dict":
        return [(name, hint, _is_required(kind, name, hint)) for name, hint in hints.items()]
    if form == "dataclass":
        return [
            (
                field.name,
                hints[field.name],
                field.default is dataclasses.MISSING
                and field.default_factory is dataclasses.MISSING,
            )
            for field in dataclasses.fields(kind)
            if field.init
        ]
    if form == "named_tuple":
        return [
            (name, hints.get(name, missing), name not in kind._field_defaults)
            for name in kind._fields
        ]
    if form == "pydantic":
        return [
            (name, field.rebuild_annotation(), field.is_required())
            for name, field in kind.model_fields.items()
        ]
    return [(field.name, field.type, field.required) for field in msgspec.structs.fields(kind)]


def _is_required(kind: Any, name: str, hint: Any) -> bool:
    """Tell whether a TypedDict must have a key; its own record is wrong for quoted annotations."""
    origin = typing.get_origin(hint)
    if origin in (typing.Required, typing.NotRequired):
        return origin is typing.Required
    return name in kind.__required_keys__
