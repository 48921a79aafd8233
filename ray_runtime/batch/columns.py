"""Types of an input's columns: what a CSV file is read as, and whether a file's types can fit."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from envelope.errors import ConfigError, Fault, SchemaError
from envelope.schema import Checker, describe
from envelope.schema import types as t
from envelope.schema.arrow import OUTPUT, arrow_type, arrow_type_of
from envelope.schema.columns import column_codec
from envelope.schema.compiler import Compiler
from envelope.schema.frames import FrameCodec

_FAMILIES: dict[str, Callable[[pa.DataType], bool]] = {
    "boolean": pa.types.is_boolean,
    "number": lambda kind: pa.types.is_integer(kind) or pa.types.is_floating(kind),
    "text": lambda kind: pa.types.is_string(kind) or pa.types.is_large_string(kind),
    "moment": lambda kind: pa.types.is_timestamp(kind) or pa.types.is_date(kind),
    "list": lambda kind: pa.types.is_list(kind) or pa.types.is_large_list(kind),
}
# (in the file, wanted): no value of the one can be read as the other, or only by guessing. Text
# may hold a date, and a number column without a value in it may be anything.
_NEVER = {
    ("text", "number"),
    ("text", "boolean"),
    ("number", "text"),
    ("number", "boolean"),
    ("boolean", "text"),
    ("boolean", "number"),
    ("moment", "text"),
    ("moment", "number"),
    ("moment", "boolean"),
    ("list", "number"),
    ("list", "text"),
    ("list", "boolean"),
    ("list", "moment"),
    ("number", "list"),
    ("text", "list"),
    ("boolean", "list"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class CsvTypes:
    """What a CSV file's columns are read as. null_texts: those where an empty field is null."""

    types: Mapping[str, pa.DataType]
    null_texts: frozenset[str] = frozenset()


def csv_types(frame: t.Frame, read: Iterable[str]) -> CsvTypes:
    """Return the types of the columns that are read: the function's own, text for all others.

    Nothing is guessed: "007" stays text where text is wanted, or where nobody says.
    Raises ConfigError naming the columns whose type CSV cannot hold.
    """
    columns = {str(column.name): column for column in frame.columns}
    types: dict[str, pa.DataType] = {}
    null_texts = set()
    unheld = []
    for name in read:
        column = columns.get(name)
        kind = (arrow_type(column) if column is not None else None) or pa.string()
        if pa.types.is_dictionary(kind):
            kind = kind.value_type
        if pa.types.is_nested(kind) or pa.types.is_duration(kind) or pa.types.is_null(kind):
            unheld.append(f"  {name}: {kind}")
        if pa.types.is_float16(kind):
            kind = pa.float32()
        types[name] = kind
        if column is not None and pa.types.is_string(kind) and isinstance(column.type, t.Maybe):
            null_texts.add(name)
    if unheld:
        raise ConfigError(
            "CSV cannot hold these columns of the function; use Parquet:\n" + "\n".join(unheld)
        )
    return CsvTypes(types=types, null_texts=frozenset(null_texts))


def check_types(schema: pa.Schema, frame: t.Frame, *, where: str) -> None:
    """Raise SchemaError naming every column of a file whose type can never fit the function.

    Values are looked at by the workers: a float column may hold whole numbers only.
    """
    faults = []
    for column in frame.columns:
        name = str(column.name)
        found, wanted = _plain(schema.field(name).type), arrow_type(column)
        if wanted is None:
            continue
        if (_family(found), _family(_plain(wanted))) in _NEVER:
            faults.append(Fault(path=name, expected=describe(column.type), got=str(found)))
    if faults:
        raise SchemaError(f"{where} does not fit the function", faults)


def answers_schema(checker: Checker) -> pa.Schema | None:
    """Return the columns of the answers; None where only the answers themselves can tell."""
    kind = checker.schema.output
    empty = _empty_output(kind)
    if empty is not None:
        return checker.write_arrow(empty).schema.remove_metadata()
    found = None if kind is None else arrow_type_of(_item(kind))
    return None if found is None else pa.schema([(OUTPUT, found)])


def _empty_output(kind: Any) -> Any:
    match kind:
        case t.Frame():
            codec = FrameCodec(kind, Compiler())
            return codec.build([[] for _ in codec.codecs], 0)
        case t.SeriesOf(column=column):
            one = column_codec(column, Compiler())
            return pd.Series(one.build([]), dtype=one.dtype)
        case t.Array(shape=(_,)):
            return np.empty(0, kind.dtype)
        case t.Array(shape=(_, int(width))):
            return np.empty((0, width), kind.dtype)
        case _:
            return None


def _item(kind: t.Type) -> t.Type:
    """Return what one row of an answer is: lists and tuples of any length are a column."""
    match kind:
        case t.ListOf(item=item) | t.TupleOf(rest=item) if item is not None:
            return item
        case _:
            return kind


def _plain(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _family(kind: pa.DataType) -> str:
    return next((name for name, is_kind in _FAMILIES.items() if is_kind(kind)), str(kind))
