"""What a function asks for, as fields of a form, and the body that the fields make. Pure."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from envelope.errors import Fault
from envelope.manifest import Function
from envelope.schema import types as t
from envelope.schema.words import Path, describe, show_path
from ray_runtime.protocols.examples import body_of

MAX_FIELDS = 200  # columns; a wider frame is asked for as one row of JSON
MAX_CHOICES = 100

Empty = Literal["null", "text", "default", "missing"]
Kind = Literal["text", "number", "choice", "json"]
NUMBERS = (t.Integer, t.Float)
TEXTS = (t.Text, t.Decimal, t.Date, t.Time, t.Timestamp, t.Duration, t.Uuid, t.Bytes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One value that a function takes.

    path: as the replica's faults name it; "" for the whole body. value: that of the sample, as it
    is typed. choices: JSON of each, and how it is shown. empty: what an empty
    field stands for; missing: a null that is not taken.
    """

    path: str
    keys: tuple[str, ...]
    kind: Kind
    type: str
    value: str
    choices: tuple[tuple[str, str], ...] = ()
    empty: Empty


def questions_of(function: Function) -> list[Question]:
    """Return a field for each column of a row, or for each parameter, filled in with the sample."""
    schema = function.schema
    sample = body_of(schema) if function.sample is None else function.sample.input
    frame = schema.one_frame
    if frame is None:
        given = sample if isinstance(sample, Mapping) else {}
        return [_of_parameter(one, given) for one in schema.parameters]
    row = sample[0] if isinstance(sample, list) and sample else sample
    if not function.row_wise.is_row_wise or not isinstance(row, Mapping):
        return [_whole(describe(frame), sample)]
    if len(frame.columns) > MAX_FIELDS:
        return [_whole(f"one row of {len(frame.columns)} columns", row)]
    names = [str(column.name) for column in frame.columns]
    return [
        _question((name,), column.type, row.get(name))
        for name, column in zip(names, frame.columns, strict=True)
    ]


def _of_parameter(parameter: t.Parameter, sample: Mapping[str, Any]) -> Question:
    value, keys = sample.get(parameter.name), (parameter.name,)
    return _question(keys, parameter.type, value, has_default=not parameter.required)


def _whole(words: str, sample: Any) -> Question:
    text = json.dumps(sample, ensure_ascii=False, indent=1)
    return Question(path="", keys=(), kind="json", type=words, value=text, empty="missing")


def _question(
    keys: tuple[str, ...], hint: t.Type, value: Any, *, has_default: bool = False
) -> Question:
    is_null, inner = _unwrapped(hint)
    choices = _choices(inner)
    if choices and is_null:
        choices = [None, *choices]
    kind = _kind(inner, choices)
    path: Path = None
    for key in keys:
        path = (path, key)
    return Question(
        path=show_path(path),
        keys=keys,
        kind=kind,
        type=describe(hint),
        value=_typed(value, kind),
        choices=tuple((json.dumps(one), "null" if one is None else str(one)) for one in choices)
        if kind == "choice"
        else (),
        empty="default" if has_default else _empty(inner, is_null),
    )


def _empty(kind: t.Type, is_null: bool) -> Empty:
    if is_null:
        return "null"
    return "text" if isinstance(kind, t.Text) else "missing"


def _unwrapped(kind: t.Type) -> tuple[bool, t.Type]:
    """Whether null is taken, and the type within."""
    if isinstance(kind, t.Maybe):
        return True, _unwrapped(kind.of)[1]
    if isinstance(kind, t.Constrained | t.NumpyScalar):
        return _unwrapped(kind.of)
    return bool(getattr(kind, "nan", False)), kind


def _choices(kind: t.Type) -> Sequence[Any]:
    match kind:
        case t.Boolean():
            return [True, False]
        case t.OneOf(values=values):
            return list(values)
        case t.Enumeration(members=members):
            return [member.value for member in members]
        case t.Categorical(levels=levels):
            return list(levels)
        case _:
            return []


def _kind(kind: t.Type, choices: Sequence[Any]) -> Kind:
    if choices and len(choices) <= MAX_CHOICES:
        return "choice"
    if isinstance(kind, NUMBERS):
        return "number"
    if isinstance(kind, TEXTS) or (choices and all(isinstance(one, str) for one in choices)):
        return "text"
    return "json"


def _typed(value: Any, kind: Kind) -> str:
    if kind == "choice":
        return json.dumps(value)
    if value is None:
        return ""
    return value if kind == "text" and isinstance(value, str) else json.dumps(value)


# --- the body


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """What is sent. faults: why nothing is, by path."""

    value: Any
    faults: Mapping[str, str]


def body_from(questions: Sequence[Question], typed: Sequence[str]) -> Body:
    """Make the body of what is typed, in the order of the questions.

    Text in the place of a number is sent as it is: the deployment says what is wrong with it.
    """
    found: dict[str, Any] = {}
    faults: dict[str, str] = {}
    for question, text in zip(questions, typed, strict=True):
        if not text.strip() and question.empty == "default":
            continue
        try:
            value = _value(question, text)
        except ValueError as exc:
            faults[question.path] = f"this is not JSON: {exc}"
            continue
        if not question.keys:
            return Body(value=value, faults=faults)
        found[question.keys[-1]] = value
    return Body(value=found, faults=faults)


def _value(question: Question, text: str) -> Any:
    if question.kind == "text":
        return text if text or question.empty == "text" else None
    if not text.strip():
        return None
    if question.kind == "number":
        return _number(text.strip())
    return json.loads(text)


def _number(text: str) -> Any:
    try:
        value = json.loads(text)
    except ValueError:
        return text
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return value if is_number and math.isfinite(value) else text


def faults_at(questions: Sequence[Question], faults: Sequence[Fault]) -> dict[str, str]:
    """Return what a deployment found wrong, by the path of the field it belongs to.

    What belongs to none is under "".
    """
    found: dict[str, list[str]] = {}
    for fault in faults:
        place = next(_owners(questions, fault.path), "")
        within = fault.path.removeprefix(place)
        words = f"expected {fault.expected}, got {fault.got}"
        found.setdefault(place, []).append(f"{within}: {words}" if within else words)
    return {place: "\n".join(words) for place, words in found.items()}


def _owners(questions: Sequence[Question], path: str) -> Iterator[str]:
    """Yield the fields that a path leads to or into."""
    for question in questions:
        if not question.path or not path.startswith(question.path):
            continue
        if path[len(question.path) :][:1] in ("", ".", "["):
            yield question.path
