"""Annotations -> type records, with examples where an annotation does not say it all.

`pd.DataFrame`, `np.ndarray`, a bare `list` say what holds the values and not what they are: these
places take the examples that are given for them, at any depth (`dict[str, np.ndarray]`, a field of
a dataclass). Without one, and for what has no form outside Python, SchemaError says what to add.
"""

from __future__ import annotations

import collections.abc
import datetime
import decimal
import enum
import types
import typing
import uuid
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import typing_inspect

from envelope.errors import SchemaError
from envelope.schema import types as t
from envelope.schema.annotations import Unresolved
from envelope.schema.constraints import flat_metadata, stated_bounds
from envelope.schema.examples import (
    attribute_examples,
    class_path,
    enumeration,
    maybe,
    require_key,
    type_of_examples,
    union,
)
from envelope.schema.open_hints import (
    OPEN,
    Examples,
    any_hint,
    array_hint,
    from_examples,
    is_array_like,
    numpy_hint,
)
from envelope.schema.record_classes import fields_of, record_kind


def type_of_hint(hint: Any, examples: Examples, where: str) -> t.Type:
    """Return the type that a hint says, its open places filled in from the examples.

    examples: values seen at this place, none or more. where: the place in words, for messages.
    Raises SchemaError, with the remedy, for what neither describes.
    """
    return _Reader([]).read(hint, examples, where)


class _Reader:
    """One walk through a hint. enclosing: paths of the records around this place."""

    def __init__(self, enclosing: list[str]) -> None:
        self.enclosing = enclosing

    def read(self, hint: Any, examples: Examples, where: str) -> t.Type:
        hint = _unwrapped(hint)
        if isinstance(hint, Unresolved):
            if not examples:
                raise hint.error(where)
            return type_of_examples(examples, where)
        if isinstance(hint, typing.TypeVar):
            return self._type_variable(hint, examples, where)
        if typing_inspect.get_origin(hint) is None or isinstance(hint, type):
            simple = self._class(hint, examples, where)
            if simple is not None:
                return simple
        if hasattr(hint, "__metadata__"):
            return self._annotated(hint, examples, where)
        if typing_inspect.is_literal_type(hint):
            return _literal(typing_inspect.get_args(hint), where)
        if is_array_like(hint):
            return from_examples(np.ndarray, [np.asarray(value) for value in examples], where)
        if typing_inspect.is_union_type(hint):
            return self._union(typing_inspect.get_args(hint), examples, where)
        origin = typing_inspect.get_origin(hint)
        if origin is np.ndarray:
            return array_hint(hint, examples, where)
        if typing_inspect.is_tuple_type(hint):
            return self._tuple(typing_inspect.get_args(hint), examples, where)
        if origin in _COLLECTIONS:
            return self._collection(_COLLECTIONS[origin], hint, examples, where)
        if isinstance(origin, type) and record_kind(origin) is not None:
            return self._record(origin, examples, where, hint=hint)
        raise _refused(hint, where)

    def _class(self, hint: Any, examples: Examples, where: str) -> t.Type | None:
        """Describe what is not parametrised; None for what the caller knows better."""
        if hint is Any or hint is object:
            return any_hint(examples, where)
        if hint is float:
            plain = [value for value in examples if type(value) is float]
            return t.Float(nan=any(value != value for value in plain))
        if hint in _PLAIN:
            return _PLAIN[hint]
        if hint in OPEN or hint is np.array:
            return from_examples(hint, examples, where)
        if not isinstance(hint, type):
            return None
        if issubclass(hint, enum.Enum):
            return enumeration(hint, where)
        if issubclass(hint, np.generic):
            return numpy_hint(hint, where)
        if record_kind(hint) is not None:
            return self._record(hint, examples, where)
        return None

    def _type_variable(self, hint: typing.TypeVar, examples: Examples, where: str) -> t.Type:
        if hint.__constraints__:
            return self._union(hint.__constraints__, examples, where)
        if hint.__bound__ is not None:
            return self.read(hint.__bound__, examples, where)
        raise SchemaError(f"{where} is annotated with the unbound {hint!r}; write a type")

    def _annotated(self, hint: Any, examples: Examples, where: str) -> t.Type:
        of = self.read(hint.__origin__, examples, where)
        stated: dict[str, Any] = {}
        for item in flat_metadata(hint.__metadata__):
            stated.update(stated_bounds(item, where))
        if not stated:
            return of
        if isinstance(of, t.Maybe):
            return maybe(t.Constrained(of.of, **stated))
        return t.Constrained(of, **stated)

    def _union(self, members: Sequence[Any], examples: Examples, where: str) -> t.Type:
        """Describe each member; where one stays open, the members that have examples decide."""
        seen = [
            (member, [value for value in examples if _could_be(value, member)])
            for member in members
        ]
        try:
            return union(self.read(member, values, where) for member, values in seen)
        except SchemaError:
            if not examples:
                raise
        chosen = [(member, values) for member, values in seen if values]
        if not chosen:
            return type_of_examples(examples, where)
        return union(self.read(member, values, where) for member, values in chosen)

    def _tuple(self, members: Sequence[Any], examples: Examples, where: str) -> t.Type:
        if not members or members == ((),):
            return t.TupleOf()
        if members[-1] is Ellipsis:
            items = [item for value in examples for item in value]
            return t.TupleOf(rest=self.read(members[0], items, f"{where}[0]"))
        return t.TupleOf(
            tuple(
                self.read(member, [v[i] for v in examples if len(v) > i], f"{where}[{i}]")
                for i, member in enumerate(members)
            )
        )

    def _collection(self, kind: str, hint: Any, examples: Examples, where: str) -> t.Type:
        members = typing_inspect.get_args(hint)
        if kind == "mapping":
            keys = [key for value in examples for key in value]
            items = [item for value in examples for item in value.values()]
            key = self.read(members[0], keys, f"{where} keys")
            require_key(key, where)
            return t.MapOf(key, self.read(members[1], items, f"{where} values"))
        items = [item for value in examples for item in _items(value)]
        item = self.read(members[0], items, f"{where}[0]")
        if kind == "list":
            return t.ListOf(item)
        return t.SetOf(item, frozen=kind == "frozenset")

    def _record(self, kind: type, examples: Examples, where: str, hint: Any = None) -> t.Type:
        path = class_path(kind)
        if path in self.enclosing:
            return t.Recursion(path)
        form = record_kind(kind)
        assert form is not None
        arguments = (
            dict(
                zip(
                    getattr(kind, "__parameters__", ()), typing_inspect.get_args(hint), strict=False
                )
            )
            if hint is not None
            else {}
        )
        inner = _Reader([*self.enclosing, path])
        fields = tuple(
            t.Field(
                name,
                inner.read(
                    arguments.get(field_hint, field_hint),
                    attribute_examples(examples, name),
                    f"{where}.{name}",
                ),
                required=required,
            )
            for name, field_hint, required in fields_of(kind, form, where)
        )
        return t.Record(fields, form, path)


_PLAIN: dict[Any, t.Type] = {
    None: t.Null(),
    type(None): t.Null(),
    bool: t.Boolean(),
    int: t.Integer(),
    float: t.Float(),
    str: t.Text(),
    typing.LiteralString: t.Text(),
    bytes: t.Bytes(),
    decimal.Decimal: t.Decimal(),
    datetime.date: t.Date(),
    datetime.time: t.Time(),
    datetime.datetime: t.Timestamp(zone="any"),
    datetime.timedelta: t.Duration(),
    uuid.UUID: t.Uuid(),
    pd.Timestamp: t.Timestamp("ns", zone="any", pandas=True),
    pd.Timedelta: t.Duration("ns", pandas=True),
}

_COLLECTIONS: dict[Any, str] = {
    list: "list",
    collections.abc.Sequence: "list",
    collections.abc.MutableSequence: "list",
    collections.abc.Iterable: "list",
    collections.abc.Collection: "list",
    set: "set",
    collections.abc.MutableSet: "set",
    collections.abc.Set: "set",
    frozenset: "frozenset",
    dict: "mapping",
    collections.abc.Mapping: "mapping",
    collections.abc.MutableMapping: "mapping",
}


def _unwrapped(hint: Any) -> Any:
    """Follow NewType, `type X = ...` and TypedDict's Required and NotRequired to what they mean."""
    while True:
        if typing_inspect.is_new_type(hint):
            hint = hint.__supertype__
        elif hasattr(hint, "__value__") and type(hint).__name__ == "TypeAliasType":
            hint = hint.__value__
        elif typing.get_origin(hint) in (typing.Required, typing.NotRequired, typing.Final):
            hint = typing.get_args(hint)[0]
        else:
            return hint


def _literal(values: Sequence[Any], where: str) -> t.Type:
    plain: list[t.Plain] = []
    for value in values:
        if isinstance(value, enum.Enum) or not isinstance(value, str | int | bool | None):
            raise SchemaError(
                f"{where} has a Literal of type {type(value).__name__}, which JSON cannot hold; "
                "use strings, integers, booleans or None"
            )
        plain.append(value)
    return t.OneOf(tuple(plain))


def _could_be(value: Any, hint: Any) -> bool:
    """Tell whether an example may be meant for this member of a union."""
    hint = _unwrapped(hint)
    kind = getattr(hint, "__origin__", None) or typing_inspect.get_origin(hint) or hint
    try:
        return not isinstance(kind, type) or isinstance(value, kind)
    except TypeError:  # a Protocol that is not for isinstance
        return False


def _items(value: Any) -> list[Any]:
    return list(value) if isinstance(value, collections.abc.Iterable) else []


def _refused(hint: Any, where: str) -> SchemaError:
    name = getattr(hint, "__qualname__", None) or str(hint)
    origin = typing_inspect.get_origin(hint) or hint
    if origin in (
        collections.abc.Iterator,
        collections.abc.Generator,
        collections.abc.AsyncIterator,
        collections.abc.AsyncGenerator,
    ):
        return SchemaError(
            f"{where} is annotated with {name}, whose values come one by one; take and return lists"
        )
    if isinstance(hint, types.GenericAlias | type):
        return SchemaError(
            f"{where} is annotated with {name}, which has no form outside Python; annotate it with "
            "plain types, a dataclass or a frame, and convert inside the function"
        )
    return SchemaError(
        f"{where} is annotated with {name}, which is not a type that a caller can send"
    )
