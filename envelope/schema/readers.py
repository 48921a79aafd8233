"""Readers of values that hold other values: lists, maps, records, arrays, Series, unions."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from envelope.errors import SchemaError
from envelope.schema import types as t
from envelope.schema.constraints import breaks
from envelope.schema.faults import BAD, Faults, Reader
from envelope.schema.scalars import is_null
from envelope.schema.words import Entry, Path, describe

if TYPE_CHECKING:
    from envelope.schema.compiler import Compiler


def find_class(path: str, known: Mapping[str, type]) -> Any:
    """Return the class of "module:qualified name".

    known: classes that the function's own annotations hold, so that those written in a notebook
    are found. Raises SchemaError when the class is nowhere.
    """
    if path in known:
        return known[path]
    module, _, name = path.partition(":")
    try:
        found: Any = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as exc:
        raise SchemaError(
            f"the class {name} of module {module} is needed and cannot be imported ({exc}); save "
            "the model again with modules=[...] that hold it"
        ) from exc
    return found


def maybe_reader(kind: t.Maybe, compiler: Compiler) -> Reader:
    inner = compiler.reader(kind.of)

    def read(value: Any, path: Path, faults: Faults) -> Any:
        return None if is_null(value) else inner(value, path, faults)

    return read


def any_of_reader(kind: t.AnyOf, compiler: Compiler) -> Reader:
    readers = [compiler.reader(member) for member in kind.members]
    expected = describe(kind)

    def read(value: Any, path: Path, faults: Faults) -> Any:
        widened = BAD
        for inner in readers:
            probe = Faults()
            found = inner(value, path, probe)
            if probe.found:
                continue
            if not probe.widened:
                return found
            if widened is BAD:
                widened = found
        if widened is not BAD:
            faults.widened = True
            return widened
        return faults.add_value(path, expected, value)

    return read


def constrained_reader(kind: t.Constrained, compiler: Compiler) -> Reader:
    inner = compiler.reader(kind.of)
    is_broken = breaks(kind)
    expected = describe(kind)

    def read(value: Any, path: Path, faults: Faults) -> Any:
        found = inner(value, path, faults)
        if found is not BAD and is_broken(found):
            return faults.add(path, expected, "a value outside of that")
        return found

    return read


def enumeration_reader(kind: t.Enumeration, compiler: Compiler) -> Reader:
    members = find_class(kind.path, compiler.classes)
    by_value = {(type(member.value), member.value): members[member.name] for member in kind.members}
    expected = describe(kind)

    def read(value: Any, path: Path, faults: Faults) -> Any:
        if isinstance(value, members):
            return value
        if isinstance(value, np.generic):
            value = value.item()
        if isinstance(value, str | int | float | None):
            found = by_value.get((type(value), value), BAD)
            if found is not BAD:
                return found
        return faults.add_value(path, expected, value)

    return read


def items_of(value: Any) -> list[Any] | None:
    """Return the items of what a list may be given as, or None."""
    if isinstance(value, list):
        return value
    if isinstance(value, tuple):
        return list(value)
    if isinstance(value, np.ndarray | pd.Series) and value.ndim > 0:
        is_moments = value.dtype.kind in "Mm"  # whose tolist() may be integers
        return list(value) if value.ndim > 1 or is_moments else value.tolist()
    return None


def list_reader(kind: t.ListOf, compiler: Compiler) -> Reader:
    inner = compiler.reader(kind.item)
    expected = describe(kind)

    def read(value: Any, path: Path, faults: Faults) -> Any:
        items = items_of(value)
        if items is None:
            return faults.add_value(path, expected, value)
        return [inner(item, (path, place), faults) for place, item in enumerate(items)]

    return read


def set_reader(kind: t.SetOf, compiler: Compiler) -> Reader:
    inner = compiler.reader(kind.item)
    expected = describe(kind)
    build = frozenset if kind.frozen else set

    def read(value: Any, path: Path, faults: Faults) -> Any:
        items = list(value) if isinstance(value, set | frozenset) else items_of(value)
        if items is None:
            return faults.add_value(path, expected, value)
        before = len(faults.found)
        found = [inner(item, (path, place), faults) for place, item in enumerate(items)]
        if len(faults.found) > before:
            return BAD
        made = build(found)
        if len(made) < len(found):
            return faults.add(path, expected, "list with an item that is repeated")
        return made

    return read


def tuple_reader(kind: t.TupleOf, compiler: Compiler) -> Reader:
    places = [compiler.reader(item) for item in kind.items]
    rest = None if kind.rest is None else compiler.reader(kind.rest)
    expected = describe(kind)

    def read(value: Any, path: Path, faults: Faults) -> Any:
        items = items_of(value)
        if items is None:
            return faults.add_value(path, expected, value)
        if len(items) < len(places) or (rest is None and len(items) > len(places)):
            return faults.add(path, expected, f"list of {len(items)}")
        return tuple(
            (places[place] if place < len(places) else rest)(item, (path, place), faults)  # type: ignore[misc]
            for place, item in enumerate(items)
        )

    return read


def map_reader(kind: t.MapOf, compiler: Compiler) -> Reader:
    read_key, read_value = compiler.reader(kind.key), compiler.reader(kind.value)
    of = kind.key.of if isinstance(kind.key, t.Constrained | t.NumpyScalar) else kind.key
    expected = describe(kind)

    def read(value: Any, path: Path, faults: Faults) -> Any:
        if not isinstance(value, dict):
            return faults.add_value(path, expected, value)
        found = {}
        for place, (key, item) in enumerate(value.items()):
            at: Path = (path, Entry(place))
            probe = Faults()
            made = read_key(key, at, probe)
            if probe.found and isinstance(key, str) and _is_integer(key):
                probe = Faults()
                made = read_key(int(key), at, probe)
            if probe.found:
                faults.add(path, f"keys of {describe(of)}", probe.found[0].got)
                continue
            if made in found:
                faults.add(path, "keys that differ", "two spellings of one key")
            found[made] = read_value(item, at, faults)
        return found

    return read


def _is_integer(key: str) -> bool:
    digits = key.removeprefix("-")
    return digits.isascii() and digits.isdecimal() and len(digits) < 400


def record_reader(kind: t.Record, compiler: Compiler) -> Reader:
    if kind.path is not None:
        compiler.open_record(kind.path, "read")
    build, members_of = _record_builder(kind, compiler), record_members(kind, compiler)
    fields = [(field, compiler.reader(field.type)) for field in kind.fields]
    names = {field.name for field, _ in fields}
    ignores_extra = compiler.extra_columns == "ignore"
    expected = describe(kind)

    def read(value: Any, path: Path, faults: Faults) -> Any:
        members = members_of(value)
        if members is None:
            return faults.add_value(path, expected, value)
        before = len(faults.found)
        found = {}
        for field, inner in fields:
            item = members.get(field.name, BAD)
            if item is not BAD:
                found[field.name] = inner(item, (path, field.name), faults)
            elif field.required:
                faults.add((path, field.name), describe(field.type), "nothing")
        if not ignores_extra:
            for key in members.keys() - names:
                faults.add((path, str(key)), "no such member", "a value")
        return build(found, path, faults) if len(faults.found) == before else BAD

    if kind.path is not None:
        compiler.close_record(kind.path, "read", read)
    return read


def record_members(kind: t.Record, compiler: Compiler) -> Callable[[Any], Mapping[Any, Any] | None]:
    """Return a function to the members of a dict, or of an instance of the record's class."""
    names = [field.name for field in kind.fields]
    if kind.path is None or kind.kind == "typed_dict":
        return lambda value: value if isinstance(value, dict) else None
    record_class = find_class(kind.path, compiler.classes)

    def members(value: Any) -> Mapping[Any, Any] | None:
        if isinstance(value, dict):
            return value
        if not isinstance(value, record_class):
            return None
        return {name: getattr(value, name) for name in names if hasattr(value, name)}

    return members


def _record_builder(
    kind: t.Record, compiler: Compiler
) -> Callable[[dict[str, Any], Path, Faults], Any]:
    if kind.path is None or kind.kind == "typed_dict":
        return lambda found, path, faults: found
    record_class = find_class(kind.path, compiler.classes)
    if kind.kind == "pydantic":
        return _pydantic_builder(record_class)
    expected = describe(kind)

    def build(found: dict[str, Any], path: Path, faults: Faults) -> Any:
        try:
            return record_class(**found)
        except (TypeError, ValueError) as exc:  # its own __post_init__ refused the values
            return faults.add(path, expected, f"members that it refuses ({type(exc).__name__})")

    return build


def _pydantic_builder(model: Any) -> Callable[[dict[str, Any], Path, Faults], Any]:
    from pydantic import ValidationError

    sent_as = {
        name: alias if isinstance(alias := field.validation_alias, str) else field.alias or name
        for name, field in model.model_fields.items()
    }

    def build(found: dict[str, Any], path: Path, faults: Faults) -> Any:
        try:
            return model.model_validate({sent_as[name]: item for name, item in found.items()})
        except ValidationError as exc:
            for error in exc.errors(include_url=False, include_context=False, include_input=False):
                at = path
                for step in error["loc"]:
                    at = (at, step)
                faults.add(at, error["type"].replace("_", " "), "a value outside of that")
            return BAD

    return build


def recursion_reader(kind: t.Recursion, compiler: Compiler) -> Reader:
    holder = compiler.open_record(kind.path, "read")

    def read(value: Any, path: Path, faults: Faults) -> Any:
        return holder[0](value, path, faults)

    return read


def frame_reader(kind: t.Frame, compiler: Compiler) -> Reader:
    return compiler.frame_codec(kind).read
