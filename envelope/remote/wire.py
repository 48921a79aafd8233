"""Values of the registry as JSON and back, the same on both sides.

JSON has no NaN and no infinity: a metric of such a value travels as it is stored,
`{"type": "scalar", "value": "nan"}`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import msgspec
from pydantic import BaseModel, ValidationError

from envelope.config import describe_faults
from envelope.errors import ConfigError
from envelope.registry import MetricPage, MetricPoint


def encode(value: Any) -> bytes:
    """Write a value of the registry as JSON."""
    return msgspec.json.encode(_finite(value), enc_hook=_enc_hook)


def decode(data: bytes, kind: Any) -> Any:
    """Read what `encode` wrote. Raises ConfigError for what is no such value."""
    try:
        return _restored(msgspec.json.decode(data, type=kind, dec_hook=_dec_hook))
    except (msgspec.DecodeError, RecursionError) as exc:
        raise ConfigError(f"the body is not what is expected here: {exc}") from exc


def convert(values: Mapping[str, Any], kind: Any) -> Any:
    """Read the texts of a path or a query. Raises ConfigError for what is no such value."""
    try:
        return msgspec.convert(values, kind, strict=False, dec_hook=_dec_hook)
    except msgspec.ValidationError as exc:
        raise ConfigError(f"a parameter is not what is expected here: {exc}") from exc


def as_texts(value: Any) -> list[str]:
    """Write a parameter of the query; several texts for a list, one that is empty for no element.

    None is left out by the caller.
    """
    match value:
        case str():
            return [value]
        case bool():
            return ["true" if value else "false"]
        case datetime():
            return [value.isoformat()]
        case Sequence():
            return [str(item) for item in value] or [""]
        case _:
            return [str(value)]


def finite_points(points: Mapping[str, Any]) -> dict[str, Any]:
    """Return metrics as they can travel."""
    return {name: _finite_number(value) for name, value in points.items()}


def _finite(value: Any) -> Any:
    match value:
        case MetricPage():
            return replace(value, items=_finite(value.items))
        case [MetricPoint(), *_]:
            return [replace(point, value=_finite_number(point.value)) for point in value]
        case _:
            return value


def _restored(value: Any) -> Any:
    match value:
        case MetricPage():
            return replace(value, items=_restored(value.items))
        case [MetricPoint(), *_]:
            return [replace(point, value=_number(point.value)) for point in value]
        case _:
            return value


def _finite_number(value: Any) -> Any:
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 2**53:
        try:
            value = float(value)
        except OverflowError:
            value = math.inf
    if isinstance(value, float) and not math.isfinite(value):
        return {"type": "scalar", "value": repr(value)}
    return value


def _number(value: Any) -> Any:
    match value:
        case {"type": "scalar", "value": str(text)}:
            return float(text)
        case int() if not isinstance(value, bool):
            return float(value)  # as a database gives it back
        case _:
            return value


def _enc_hook(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    raise NotImplementedError(f"a {type(value).__name__} cannot be sent")


def _dec_hook(kind: type, value: Any) -> Any:
    if issubclass(kind, BaseModel):
        try:
            return kind.model_validate(value)
        except ValidationError as exc:
            faults = "\n".join(describe_faults(exc))
            raise ConfigError(f"the {kind.__name__} that was sent:\n{faults}") from exc
    raise NotImplementedError(f"a {kind.__name__} cannot be read")
