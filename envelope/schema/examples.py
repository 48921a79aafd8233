"""Example values -> type records.

Several examples of one place (the items of a list, the rows of records) become one type: an int
and a float make a float, a None makes it nullable, keys that some dicts lack become optional,
types that have nothing in common a union. What nothing is known of (an empty list) is refused.
"""

from __future__ import annotations

import datetime
import decimal
import enum
import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import fields as dataclass_fields
from dataclasses import is_dataclass
from typing import Any

import msgspec
import numpy as np
import pandas as pd

from envelope.errors import SchemaError
from envelope.schema import types as t
from envelope.schema.example_tables import (
    array_type,
    frame_type,
    series_type,
    sparse_type,
    table_type,
)
from envelope.schema.faults import Faults
from envelope.schema.record_classes import record_kind
from envelope.schema.words import describe_value

MOST_TOLD_APART = 10_000  # examples of a union; each is written and read once, some microseconds


def type_of_examples(values: Sequence[Any], where: str) -> t.Type:
    """Return the type that all these values have.

    where: the place in words, for messages ("api_input.x[0]").
    Raises SchemaError, with the remedy, for what cannot be described.
    """
    if not values:
        raise SchemaError(
            f"{where} is empty, so nothing says what its items are; give an example with at least "
            "one item, or annotate the parameter, for example list[float]"
        )
    kinds = {type(value) for value in values}
    if len(kinds) == 1 and (simple := _SIMPLE.get(next(iter(kinds)))) is not None:
        return simple
    groups = _grouped(values)
    nullable = groups.pop("null", None) is not None
    members = [_GROUPS[name](members, where) for name, members in groups.items()]
    if not members:
        return t.Null()
    kind = union(members)
    if isinstance(kind, t.AnyOf):
        kind = _told_apart(kind, values, where)
    return maybe(kind) if nullable else kind


def _told_apart(kind: t.AnyOf, values: Sequence[Any], where: str) -> t.AnyOf:
    """Return the union in an order in which JSON brings each example back as what it was.

    A text fits last: beside dates, a date is a date. Raises SchemaError where no order helps, as
    for a date beside a text that reads like one.
    """
    from envelope.schema.compiler import Compiler

    members = sorted(kind.members, key=lambda member: isinstance(member, t.Text))
    kind = t.AnyOf(tuple(members))
    compiler = Compiler(classes={class_path(type(value)): type(value) for value in values})
    read, write = compiler.reader(kind), compiler.writer(kind)
    for value in values[:MOST_TOLD_APART]:
        faults = Faults()
        sent = None if value is None else msgspec.to_builtins(write(value, None, faults))
        back = None if value is None else read(sent, None, faults)
        is_like = type(back) is type(value) or (type(back) is float and type(value) is int)
        if not faults.found and not is_like:
            raise SchemaError(
                f"{where} holds a {type(value).__name__} that JSON turns into a "
                f"{type(back).__name__}, because the examples hold both; make them one type"
            )
    return kind


def maybe(kind: t.Type) -> t.Type:
    """Return the nullable form of a type, once."""
    return kind if isinstance(kind, t.Maybe | t.Null | t.Anything) else t.Maybe(kind)


def union(members: Iterable[t.Type]) -> t.Type:
    """Return the union of types: flat, without repetition, int and float made one float."""
    flat: dict[t.Type, None] = {}
    nullable = False
    for member in members:
        if isinstance(member, t.Maybe):
            nullable, member = True, member.of
        parts = member.members if isinstance(member, t.AnyOf) else (member,)
        flat.update(dict.fromkeys(parts))
    nullable = nullable or flat.pop(t.Null(), t.Anything()) is None
    kinds = list(flat)
    if t.Integer() in flat and any(isinstance(kind, t.Float) for kind in kinds):
        kinds.remove(t.Integer())
    if t.Float(nan=True) in flat and t.Float() in flat:
        kinds.remove(t.Float())
    if not kinds:
        return t.Null()
    kind = kinds[0] if len(kinds) == 1 else t.AnyOf(tuple(kinds))
    return maybe(kind) if nullable else kind


def _grouped(values: Sequence[Any]) -> dict[str, list[Any]]:
    groups: dict[str, list[Any]] = {}
    for value in values:
        groups.setdefault(_group(value), []).append(value)
    return groups


def _group(value: Any) -> str:
    """Return the name of the family whose function describes such values together."""
    if value is None:
        return "null"
    if value is pd.NaT or value is pd.NA:
        return "other"
    if isinstance(value, np.generic):
        return "numpy scalar"
    if type(value).__module__.startswith("scipy.sparse"):  # one of its formats is a dict
        return "sparse"
    for kind, group in _FAMILIES:
        if isinstance(value, kind):
            return group
    if record_kind(type(value)) is not None:
        return "record"
    if type(value).__module__.startswith("pyarrow") and type(value).__name__ == "Table":
        return "table"
    return "other"


_FAMILIES: tuple[tuple[Any, str], ...] = (
    (enum.Enum, "enum"),
    ((pd.Timestamp, pd.Timedelta), "pandas moment"),
    (datetime.datetime, "moment"),
    ((bool, int, float, str, bytes, datetime.date, datetime.time), "plain"),
    ((datetime.timedelta, decimal.Decimal, uuid.UUID), "plain"),
    (pd.DataFrame, "frame"),
    (pd.Series, "series"),
    (np.ndarray, "array"),
    (dict, "dict"),
    (tuple, "tuple"),
    (list, "list"),
    ((set, frozenset), "set"),
)

_SIMPLE: dict[type, t.Type] = {
    bool: t.Boolean(),
    int: t.Integer(),
    str: t.Text(),
    bytes: t.Bytes(),
    datetime.date: t.Date(),
    datetime.time: t.Time(),
    datetime.timedelta: t.Duration(),
    decimal.Decimal: t.Decimal(),
    uuid.UUID: t.Uuid(),
}


def _plain(values: list[Any], where: str) -> t.Type:
    kinds: dict[type, None] = dict.fromkeys(type(value) for value in values)
    members: list[t.Type] = []
    for kind in kinds:
        if kind is float:
            members.append(t.Float(nan=any(v != v for v in values if type(v) is float)))
        elif kind in _SIMPLE:
            members.append(_SIMPLE[kind])
        else:
            raise _unknown(kind, where)
    return union(members)


def _enum(values: list[Any], where: str) -> t.Type:
    return union(enumeration(type(value), where) for value in values)


def enumeration(kind: type[enum.Enum], where: str) -> t.Enumeration:
    """Return the record of an enum class. Raises SchemaError for members JSON cannot name."""
    if issubclass(kind, enum.Flag):
        raise SchemaError(
            f"{where}: {kind.__qualname__} is a Flag, whose combinations have no names; take an int"
        )
    for member in kind:
        if not isinstance(member.value, str | int | float | bool | None):
            raise SchemaError(
                f"{where}: {kind.__qualname__}.{member.name} has a value of type "
                f"{type(member.value).__name__}, which JSON cannot hold; give the enum's members "
                "values that are strings or numbers"
            )
    return t.Enumeration(class_path(kind), tuple(t.Member(m.name, m.value) for m in kind))


def class_path(kind: type) -> str:
    """Return "module:qualified name", by which the class is found again at load time."""
    return f"{kind.__module__}:{kind.__qualname__}"


def _moment(values: list[Any], where: str) -> t.Type:
    return union(t.Timestamp(zone=zone_name(value.tzinfo, where)) for value in values)


def _pandas_moment(values: list[Any], where: str) -> t.Type:
    members: list[t.Type] = []
    for value in values:
        if isinstance(value, pd.Timedelta):
            members.append(t.Duration(unit=value.unit, pandas=True))
        else:
            zone = zone_name(value.tzinfo, where)
            members.append(t.Timestamp(unit=value.unit, zone=zone, pandas=True))
    return union(members)


def zone_name(zone: datetime.tzinfo | None, where: str) -> str | None:
    """Return the name by which a time zone is found again: "Europe/Berlin", "UTC+02:00"."""
    if zone is None:
        return None
    name = getattr(zone, "key", None) or getattr(zone, "zone", None) or str(zone)
    try:
        pd.DatetimeTZDtype("ns", name)
    except (TypeError, ValueError, KeyError) as exc:
        raise SchemaError(
            f"{where} has the time zone {name!r}, which cannot be found by that name; convert it "
            "to an IANA zone, for example .dt.tz_convert('UTC') or .astimezone(ZoneInfo('UTC'))"
        ) from exc
    return str(name)


def _numpy_scalar(values: list[Any], where: str) -> t.Type:
    kinds = []
    for value in values:
        kind = numpy_scalar(value.dtype, where)
        if isinstance(kind.of, t.Float) and value != value:
            kind = t.NumpyScalar(kind.dtype, t.Float(kind.of.bits, nan=True))
        kinds.append(kind)
    return union(kinds)


def numpy_scalar(dtype: np.dtype[Any], where: str) -> t.NumpyScalar:
    """Return the record of a numpy scalar of this dtype."""
    array = array_type([np.empty((1,), dtype)], where)
    of = t.Float(array.of.bits) if isinstance(array.of, t.Float) else array.of
    return t.NumpyScalar(array.dtype, of.of if isinstance(of, t.Maybe) else of)


def _list(values: list[Any], where: str) -> t.Type:
    return t.ListOf(type_of_examples([item for value in values for item in value], f"{where}[0]"))


def _set(values: list[Any], where: str) -> t.Type:
    item = type_of_examples([item for value in values for item in value], f"{where}[0]")
    return t.SetOf(item, frozen=all(isinstance(value, frozenset) for value in values))


def _tuple(values: list[Any], where: str) -> t.Type:
    named = [value for value in values if hasattr(value, "_fields")]
    if named:
        if len(named) < len(values):
            return union(
                [_tuple(named, where), _tuple([v for v in values if v not in named], where)]
            )
        return _records(values, where)
    lengths = {len(value) for value in values}
    if len(lengths) > 1:
        items = [item for value in values for item in value]
        return t.TupleOf(rest=type_of_examples(items, f"{where}[0]"))
    places = enumerate(zip(*values, strict=True))
    return t.TupleOf(tuple(type_of_examples(items, f"{where}[{place}]") for place, items in places))


def _dict(values: list[Any], where: str) -> t.Type:
    keys = dict.fromkeys(key for value in values for key in value)
    if all(type(key) is str for key in keys):
        return t.Record(
            tuple(
                t.Field(
                    key,
                    type_of_examples([v[key] for v in values if key in v], f"{where}.{key}"),
                    required=all(key in value for value in values),
                )
                for key in keys
            )
        )
    key = type_of_examples(list(keys), f"{where} keys")
    require_key(key, where)
    items = [item for value in values for item in value.values()]
    return t.MapOf(key, type_of_examples(items, f"{where} values"))


def require_key(key: t.Type, where: str) -> None:
    """Raise SchemaError unless JSON can have such keys."""
    of = key.of if isinstance(key, t.Constrained | t.NumpyScalar) else key
    if not isinstance(of, t.Text | t.Integer | t.Enumeration | t.OneOf | t.Date | t.Uuid):
        raise SchemaError(
            f"{where} has keys that JSON cannot hold; use strings or integers as keys, or a list "
            "of pairs"
        )


def _record(values: list[Any], where: str) -> t.Type:
    kinds = dict.fromkeys(type(value) for value in values)
    return union(_records([v for v in values if type(v) is kind], where) for kind in kinds)


def _records(values: list[Any], where: str) -> t.Type:
    """Describe instances of one class by its own annotations, its examples where those are open."""
    from envelope.schema.hints import type_of_hint

    return type_of_hint(type(values[0]), values, where)


def attribute_examples(values: Sequence[Any], name: str) -> list[Any]:
    """Return what the values that have this attribute (or key) hold there."""
    if values and isinstance(values[0], dict):
        return [value[name] for value in values if name in value]
    return [getattr(value, name) for value in values if hasattr(value, name)]


def _unknown(kind: type, where: str) -> SchemaError:
    hint = ""
    if is_dataclass(kind) and dataclass_fields(kind):
        hint = " as an instance, not the class"
    return SchemaError(
        f"{where} is a {kind.__module__}.{kind.__qualname__}, which has no form outside Python; "
        f"give numbers, texts, lists, dicts, arrays, frames or dataclasses{hint}, or write a "
        "function that converts them"
    )


def _other(values: list[Any], where: str) -> t.Type:
    value = values[0]
    if isinstance(value, pd.Index):
        raise SchemaError(f"{where} is a pandas Index; pass .to_series() or .to_numpy()")
    if value is pd.NA or value is pd.NaT:
        raise SchemaError(
            f"{where} is {value}, whose type is not known; use None for a missing one"
        )
    if isinstance(value, Iterable) and not hasattr(value, "__len__"):
        raise SchemaError(
            f"{where} is a {describe_value(value)}, which can be read once only; make it a list"
        )
    raise _unknown(type(value), where)


_GROUPS: dict[str, Callable[[list[Any], str], t.Type]] = {
    "enum": _enum,
    "pandas moment": _pandas_moment,
    "moment": _moment,
    "plain": _plain,
    "numpy scalar": _numpy_scalar,
    "frame": frame_type,
    "series": series_type,
    "array": array_type,
    "sparse": sparse_type,
    "table": table_type,
    "dict": _dict,
    "tuple": _tuple,
    "list": _list,
    "set": _set,
    "record": _record,
    "other": _other,
}
