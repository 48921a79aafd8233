"""A form for any model of the config: its fields, what is typed into them, and what is wrong.

A key that is added to the config appears in its form by itself. Pure: values in, values out.
"""

from __future__ import annotations

import re
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Generic, Literal, TypeVar

import yaml
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from envelope.config import Location

Kind = Literal["text", "number", "choice", "flag", "lines", "pairs", "yaml"]
Typed = Mapping[str, str]  # what each field of a form holds, by its path
Faults = dict[str, str]  # what is wrong with a field or a section, by its path

M = TypeVar("M", bound=BaseModel)


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One field. path: as in the YAML, `resources.num_cpus`. default: as it would be typed."""

    path: str
    key: str
    kind: Kind
    help: str
    default: str
    is_required: bool
    choices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """The fields of one object. path: "" for the whole. list: of which it is an element."""

    path: str
    title: str
    help: str
    fields: tuple[Field, ...]
    list: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading(Generic[M]):
    """What a form says. config: None when there are faults."""

    config: M | None
    faults: Faults


# --- the fields of a model


def sections_of(model: type[BaseModel], typed: Typed, more: str = "") -> list[Section]:
    """Return the sections of a form, the whole first.

    typed: decides how many elements of a list are shown: those that are there and an empty one.
    more: the list that shall have another one.
    """
    return list(_sections(model, "", "", typed, more))


def _sections(
    model: type[BaseModel], path: str, words: str, typed: Typed, more: str, of: str | None = None
) -> Iterator[Section]:
    fields: list[Field] = []
    below: list[Section] = []
    helps = describe_keys(model)
    for key, info in _keys(model):
        where, kind = _join(path, key), _plain(info.annotation)
        inner = _model_in(kind)
        if inner is None:
            fields.append(_field(where, key, info, helps.get(key, "")))
        elif inner is kind:
            below += _sections(inner, where, helps.get(key, ""), typed, more)
        else:
            count = count_of(typed, where) + 1 + (where == more)
            for place in range(count):
                element = _join(where, str(place))
                below += _sections(inner, element, helps.get(key, ""), typed, more, where)
    title = path if of is None else f"{of} {int(path.rpartition('.')[2]) + 1}"
    yield Section(path=path, title=title, help=words, fields=tuple(fields), list=of)
    yield from below


def _field(path: str, key: str, info: FieldInfo, words: str) -> Field:
    default = None if info.is_required() else info.get_default()
    kind = _kind(info.annotation)
    choices = [str(one) for one in typing.get_args(_plain(info.annotation))]
    return Field(
        path=path,
        key=key,
        kind=kind,
        help=words,
        default=write_value(default, kind),
        is_required=info.is_required(),
        choices=tuple(choices) if kind == "choice" else (),
    )


def describe_keys(model: type[BaseModel]) -> dict[str, str]:
    """Return what a model's docstring says of its keys: `key: words.`, or `one, other: words.`"""
    keys = [key for key, _ in _keys(model)]
    names = "|".join(map(re.escape, keys))
    text = " ".join((model.__doc__ or "").split())
    begin = re.compile(rf"(?:^|(?<=\. )|(?<=\) )|(?<=\.\) ))((?:{names})(?:, (?:{names}))*): ")
    parts = begin.split(text)
    found: dict[str, str] = {}
    for which, words in zip(parts[1::2], parts[2::2], strict=True):
        found |= dict.fromkeys(which.split(", "), words.strip())
    return found


def _keys(model: type[BaseModel]) -> Iterator[tuple[str, FieldInfo]]:
    for name, info in model.model_fields.items():
        yield info.alias or name, info


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def _plain(hint: Any) -> Any:
    """Return a hint without what it is annotated with, and without None beside it."""
    if typing.get_origin(hint) is Annotated:
        return _plain(typing.get_args(hint)[0])
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        rest = [one for one in typing.get_args(hint) if one is not type(None)]
        if len(rest) == 1:
            return _plain(rest[0])
    return hint


def _model_in(kind: Any) -> type[BaseModel] | None:
    """Return the model that a plain hint is, or is a tuple of."""
    if typing.get_origin(kind) is tuple:
        kind = typing.get_args(kind)[0]
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


def _kind(hint: Any) -> Kind:
    kind = _plain(hint)
    origin, inner = typing.get_origin(kind), [_plain(one) for one in typing.get_args(kind)]
    if kind is bool:
        return "flag"
    if kind in (int, float):
        return "number"
    if kind is str:
        return "text"
    if origin is Literal:
        return "choice"
    if origin is tuple and inner == [str, Ellipsis]:
        return "lines"
    if origin is dict and inner == [str, str]:
        return "pairs"
    return "yaml"


# --- what is typed


def typed_of(config: BaseModel) -> dict[str, str]:
    """Return what a form holds that says this config."""
    return dict(_typed(type(config), config.model_dump(mode="json"), ""))


def _typed(
    model: type[BaseModel], known: Mapping[str, Any], path: str
) -> Iterator[tuple[str, str]]:
    for key, info in _keys(model):
        where, value = _join(path, key), known[key]
        inner = _model_in(_plain(info.annotation))
        if inner is None:
            yield where, write_value(value, _kind(info.annotation))
        elif isinstance(value, Mapping):
            yield from _typed(inner, value, where)
        else:
            for place, one in enumerate(value or ()):
                yield from _typed(inner, one, _join(where, str(place)))


def write_value(value: Any, kind: Kind) -> str:
    """Return a value as it is typed."""
    if value is None or value == "":
        return ""
    match kind:
        case "flag":
            return "on" if value else ""
        case "number":
            return f"{int(value)}" if float(value).is_integer() else f"{value}"
        case "lines":
            return "\n".join(value)
        case "pairs":
            return "\n".join(f"{key}: {one}" for key, one in value.items())
        case "yaml":
            text = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True)
            return text.removesuffix("...\n").strip() if value else ""
        case _:
            return str(value)


def count_of(typed: Typed, path: str) -> int:
    """Return how many elements of a list are filled in."""
    return len(_places(typed, path))


def _places(typed: Typed, path: str) -> list[int]:
    element = re.compile(rf"{re.escape(path)}\.(\d+)\.")
    found = {int(at[1]) for key, text in typed.items() if text and (at := element.match(key))}
    return sorted(found)


def compact(model: type[BaseModel], typed: Typed) -> dict[str, str]:
    """Return what is typed with the empty elements of lists left out."""
    found = dict(typed)
    for section in sections_of(model, typed):
        if section.list is None:
            continue
        prefix = f"{section.list}."
        of_list = {key: text for key, text in found.items() if key.startswith(prefix)}
        for key in of_list:
            del found[key]
        for new, old in enumerate(_places(of_list, section.list)):
            begin = f"{prefix}{old}."
            found |= {
                f"{prefix}{new}.{key.removeprefix(begin)}": text
                for key, text in of_list.items()
                if key.startswith(begin)
            }
    return found


def read(model: type[M], typed: Typed) -> Reading[M]:
    """Read a form. typed: as `compact` returns it. An empty field stands for its default."""
    faults: Faults = {}
    raw = _raw(model, typed, "", faults)
    try:
        config = model.model_validate(raw)
    except ValidationError as exc:
        known = _places_of_faults(model, typed)
        for error in exc.errors(include_url=False, include_input=False):
            where, words = _place(error["loc"], known), describe_fault(error)
            if where not in faults:
                faults[where] = words
        return Reading(config=None, faults=faults)
    return Reading(config=None if faults else config, faults=faults)


def _raw(model: type[BaseModel], typed: Typed, path: str, faults: Faults) -> dict[str, Any]:
    raw: dict[str, Any] = {}
    for key, info in _keys(model):
        where, kind = _join(path, key), _plain(info.annotation)
        inner = _model_in(kind)
        if inner is None:
            text = typed.get(where, "")
            try:
                value = _value(text, info)
            except ValueError as exc:
                faults[where] = str(exc)
                continue
            if value is not None:
                raw[key] = value
        elif inner is not kind:
            raw[key] = [
                _raw(inner, typed, _join(where, str(place)), faults)
                for place in range(count_of(typed, where))
            ]
        elif info.get_default() is not None or info.is_required() or _is_begun(typed, where):
            raw[key] = _raw(inner, typed, where, faults)
    return raw


def _is_begun(typed: Typed, path: str) -> bool:
    return any(text for key, text in typed.items() if key.startswith(f"{path}."))


def _value(text: str, info: FieldInfo) -> Any:
    """Return what a field says; None for an empty one. Raises ValueError in plain words."""
    kind, text = _kind(info.annotation), text.strip()
    if kind == "flag":
        return bool(text)
    if not text:
        return None
    match kind:
        case "lines":
            return [line.strip() for line in text.splitlines() if line.strip()]
        case "pairs":
            return dict(_pair(line) for line in text.splitlines() if line.strip())
        case "yaml":
            try:
                return yaml.safe_load(text)
            except yaml.YAMLError as exc:
                raise ValueError(f"this is not YAML: {exc}") from exc
        case _:
            if _is_location(info) and ("$" in text or text.startswith("~")):
                raise ValueError(
                    "write the place in full: $VARIABLE and ~ are filled in where a file is read, "
                    "and this server is another machine"
                )
            return text


def _is_location(info: FieldInfo) -> bool:
    return any(one in info.metadata for one in typing.get_args(Location)[1:])


def _pair(line: str) -> tuple[str, str]:
    key, colon, value = line.partition(":")
    if not colon or not key.strip():
        raise ValueError(f"write `key: value` on each line; {line.strip()!r} has no key and colon")
    return key.strip(), value.strip()


# --- what is wrong


def _places_of_faults(model: type[BaseModel], typed: Typed) -> set[str]:
    sections = sections_of(model, typed)
    return {one.path for one in sections} | {
        field.path for section in sections for field in section.fields
    }


def _place(loc: Sequence[int | str], known: set[str]) -> str:
    """Return the field or section that a fault belongs to: the innermost that there is."""
    for end in range(len(loc), 0, -1):
        path = ".".join(map(str, loc[:end]))
        if path in known:
            return path
    return ""


def describe_fault(error: ErrorDetails) -> str:
    """Say what is wrong with a value, in plain words."""
    kind, about = error["type"], error.get("ctx") or {}
    line = next((part for part in reversed(error["loc"]) if isinstance(part, int)), None)
    words = _WORDS.get(kind)
    if words is not None:
        said = words.format(**about)
    else:
        said = error["msg"].removeprefix("Value error, ")
    is_line = line is not None and error["loc"][-1] == line and kind == "value_error"
    return f"line {line + 1}: {said}" if is_line and line is not None else said


_WORDS = {
    "missing": "is needed",
    "string_too_short": "is needed",
    "int_parsing": "write a whole number",
    "int_from_float": "write a whole number",
    "int_parsing_size": "this number is too large",
    "float_parsing": "write a number, with a point for decimals",
    "finite_number": "write a finite number",
    "greater_than": "must be more than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
    "literal_error": "must be one of {expected}",
}
