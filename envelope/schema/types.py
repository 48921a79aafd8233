"""The types of functions, as a small closed set of frozen records.

Hints and examples are looked at once, at save time (`hints.py`, `examples.py`); everything after
that sees these records alone. `msgspec` writes them as JSON with a `type` tag and checks them on
the way back. To add a record: add it to `Type`, and a row to each table that dispatches on it
(`checks.py`, `outputs.py`, `json_schema.py`, `arrow.py`, `words.py`); a test walks the union and
fails until all have it.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from typing import Any, Final, Literal, TypeAlias, Union

import msgspec

Unit: TypeAlias = Literal["s", "ms", "us", "ns"]
MISSING: Final[Any] = inspect.Parameter.empty  # no example was given; None is an example
Plain: TypeAlias = str | int | float | bool | None  # what JSON itself can hold


def _tag(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


class _Type(msgspec.Struct, frozen=True, tag_field="type", tag=_tag, omit_defaults=True):
    """Base of all: tagged with the class name ("list_of"), defaults left out of the JSON."""


class Null(_Type, frozen=True):
    """None and nothing else."""


class Boolean(_Type, frozen=True):
    """True or False. A number is never a boolean, nor a boolean a number."""


class Integer(_Type, frozen=True):
    """bits: 8, 16, 32 or 64; None is Python's unbounded int."""

    bits: int | None = None
    signed: bool = True


class Float(_Type, frozen=True):
    """A number. bits: 16, 32 or 64. nan: it may be NaN, which JSON writes as null.

    Infinity has no JSON form: it travels as Arrow only.
    """

    bits: int = 64
    nan: bool = False


class Decimal(_Type, frozen=True):
    """An exact decimal. precision, scale: None does not bound them."""

    precision: int | None = None
    scale: int | None = None


class Text(_Type, frozen=True):
    """str."""


class Bytes(_Type, frozen=True):
    """bytes; base64 in JSON."""


class Date(_Type, frozen=True):
    """datetime.date; "2024-01-31" in JSON."""


class Time(_Type, frozen=True):
    """datetime.time; ISO 8601 in JSON. unit: the finest step that it holds."""

    unit: Unit = "us"


class Timestamp(_Type, frozen=True):
    """A moment (zone given) or a wall-clock reading (zone None); ISO 8601 in JSON.

    unit: the finest step that it holds. zone: an IANA name or "UTC+02:00"; "any" takes both aware
    and naive values, which is what the bare hint `datetime` says. pandas: a pandas.Timestamp, not
    a datetime.
    """

    unit: Unit = "us"
    zone: str | None = None
    pandas: bool = False


class Duration(_Type, frozen=True):
    """datetime.timedelta, or pandas.Timedelta; an ISO 8601 duration ("P1DT2H") in JSON."""

    unit: Unit = "us"
    pandas: bool = False


class Uuid(_Type, frozen=True):
    """uuid.UUID."""


class OneOf(_Type, frozen=True):
    """typing.Literal: one of these values."""

    values: tuple[Plain, ...]


class Member(msgspec.Struct, frozen=True):
    """One member of an enum; its value is what travels."""

    name: str
    value: Plain


class Enumeration(_Type, frozen=True):
    """An enum.Enum class. path: "module:qualified name"."""

    path: str
    members: tuple[Member, ...]


class Categorical(_Type, frozen=True):
    """An element of a pandas category: one of the levels.

    of: the type of a level. levels: in their order, as JSON has them.
    """

    of: Type
    levels: tuple[Plain, ...]
    ordered: bool = False


class NumpyScalar(_Type, frozen=True):
    """A numpy scalar. dtype: as numpy names it, "float32". of: what it is as a plain value."""

    dtype: str
    of: Type


class Maybe(_Type, frozen=True):
    """The type, or null."""

    of: Type


class AnyOf(_Type, frozen=True):
    """A union: the first member that fits without any widening, else the first that fits."""

    members: tuple[Type, ...]


class Constrained(_Type, frozen=True):
    """A type with bounds stated by `Annotated[...]`.

    ge, gt, le, lt, multiple_of: of numbers. min_length, max_length: of texts (characters), bytes
    and collections. pattern: an unanchored regular expression.
    """

    of: Type
    ge: int | float | None = None
    gt: int | float | None = None
    le: int | float | None = None
    lt: int | float | None = None
    multiple_of: int | float | None = None
    min_length: int | None = None
    max_length: int | None = None
    pattern: str | None = None


class ListOf(_Type, frozen=True):
    """list, or Sequence / Iterable, for which a list is given."""

    item: Type


class TupleOf(_Type, frozen=True):
    """A tuple with a type per place. rest: the type of any further ones (tuple[int, ...])."""

    items: tuple[Type, ...] = ()
    rest: Type | None = None


class SetOf(_Type, frozen=True):
    """set or frozenset; a list without repetition in JSON."""

    item: Type
    frozen: bool = False


class MapOf(_Type, frozen=True):
    """dict with free keys. key: its JSON form must be a string or an integer."""

    key: Type
    value: Type


class Field(msgspec.Struct, frozen=True, omit_defaults=True):
    """One field of a record. required: False when the record may lack it."""

    name: str
    type: Type
    required: bool = True


class Record(_Type, frozen=True):
    """An object with named fields.

    path: "module:qualified name" of the class; None for a plain dict, which is what `dict` and
    `typed_dict` give.
    """

    fields: tuple[Field, ...]
    kind: Literal["dict", "typed_dict", "dataclass", "named_tuple", "pydantic", "struct"] = "dict"
    path: str | None = None


class Recursion(_Type, frozen=True):
    """The record that encloses this place and has this path: a tree node's children."""

    path: str


class Column(msgspec.Struct, frozen=True, omit_defaults=True):
    """One column of a frame, or the one of a Series.

    type: of one element; Maybe(...) where null is accepted.
    dtype: what pandas calls it, enough to rebuild the column exactly together with `type`.
    storage: the family of `dtype`, which decides how it is rebuilt.
    arrow: for storage "arrow", the exact Arrow type (a serialised one-field schema, base64).
    levels: for storage "category", the column that the levels themselves are.
    null: for storage "object", what stands for null in it.
    """

    name: str | int | None
    type: Type
    dtype: str
    storage: Literal["numpy", "object", "masked", "string", "zoned", "category", "arrow"]
    arrow: str | None = None
    levels: Column | None = None
    null: Literal["none", "nan", "na", "nat"] = "none"


class Frame(_Type, frozen=True):
    """A table: its columns in order. The row index is no part of it: callers get 0..n-1."""

    columns: tuple[Column, ...]
    library: Literal["pandas", "arrow"] = "pandas"


class SeriesOf(_Type, frozen=True):
    """A pandas Series."""

    column: Column


class Array(_Type, frozen=True):
    """A numpy array. shape: None is a free length; no shape at all is any rank.

    of: the type of an element. dtype: as numpy names it; "str", "bytes" for texts of any length.
    """

    dtype: str
    of: Type
    shape: tuple[int | None, ...] | None = None


class SparseMatrix(_Type, frozen=True):
    """A scipy sparse matrix or array. format: "csr", "csc", "coo", ...

    JSON: {"shape": [rows, columns], "row": [...], "column": [...], "value": [...]}.
    """

    format: str
    dtype: str
    of: Type
    columns: int
    is_array: bool = False


class Anything(_Type, frozen=True):
    """Any JSON value. Only where `Any` or `object` was written by hand; never inferred."""


Type: TypeAlias = Union[  # noqa: UP007 (records above refer to it before it exists)
    Null,
    Boolean,
    Integer,
    Float,
    Decimal,
    Text,
    Bytes,
    Date,
    Time,
    Timestamp,
    Duration,
    Uuid,
    OneOf,
    Enumeration,
    Categorical,
    NumpyScalar,
    Maybe,
    AnyOf,
    Constrained,
    ListOf,
    TupleOf,
    SetOf,
    MapOf,
    Record,
    Recursion,
    Frame,
    SeriesOf,
    Array,
    SparseMatrix,
    Anything,
]


class Parameter(msgspec.Struct, frozen=True, omit_defaults=True):
    """One parameter of a function.

    required: False when the function has a default, which then applies by itself.
    default: that default for people to read, where JSON can hold it.
    """

    name: str
    type: Type
    required: bool = True
    default: Plain | msgspec.UnsetType = msgspec.UNSET


class FunctionSchema(msgspec.Struct, frozen=True, omit_defaults=True):
    """The types of a function's inputs and output.

    output: None only until the function was called on its sample, see `infer.with_output`.
    """

    parameters: tuple[Parameter, ...]
    output: Type | None = None

    @property
    def one_frame(self) -> Frame | None:
        """The frame, when the function takes exactly one parameter and that is a frame."""
        if len(self.parameters) == 1 and isinstance(self.parameters[0].type, Frame):
            return self.parameters[0].type
        return None


def walk(schema: Any) -> Iterator[msgspec.Struct]:
    """Yield a record and all records in it: types, fields, columns, parameters."""
    if isinstance(schema, msgspec.Struct):
        yield schema
        schema = msgspec.structs.astuple(schema)
    if isinstance(schema, tuple):
        for part in schema:
            yield from walk(part)
