"""Example frames, Series, arrays, sparse matrices and Arrow tables -> type records.

What accepts null: columns whose dtype has a null of its own (float, times, category, masked,
Arrow) always do; `int64` and `bool` never; `str` and `object` when the example had one.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any, Literal, cast

import msgspec
import numpy as np
import pandas as pd
import pyarrow as pa

from envelope.errors import SchemaError
from envelope.schema import types as t

_STEPS = {"s": "s", "ms": "ms", "us": "us", "ns": "ns"}


def frame_type(values: Sequence[pd.DataFrame], where: str) -> t.Frame:
    """Describe frames, which must have the same columns.

    Raises SchemaError for a MultiIndex, a meaningful index, labels that are repeated or no names.
    """
    first = values[0]
    _require_plain_index(first.index, where)
    labels = _column_names(first, where)
    if not labels:
        raise SchemaError(f"{where} is a frame that has no columns; give it the columns it is for")
    for other in values[1:]:
        if list(other.columns) != labels or list(other.dtypes) != list(first.dtypes):
            raise SchemaError(
                f"{where}: the example frames differ in their columns; make them equal"
            )
    whole = first if len(values) == 1 else pd.concat(list(values), ignore_index=True)
    columns = (
        column_type(column, name, f"{where}[{name!r}]")
        for name, (_, column) in zip(labels, whole.items(), strict=True)
    )
    return t.Frame(tuple(columns))


def series_type(values: Sequence[pd.Series[Any]], where: str) -> t.SeriesOf:
    """Describe Series, which must have the same dtype."""
    first = values[0]
    _require_plain_index(first.index, where)
    if any(other.dtype != first.dtype for other in values):
        raise SchemaError(f"{where}: the example Series differ in their dtype; make them equal")
    whole = first if len(values) == 1 else pd.concat(list(values), ignore_index=True)
    if not isinstance(first.name, str | int | None):
        raise SchemaError(
            f"{where} has a name of type {type(first.name).__name__}; name it with a string or an "
            "integer, or not at all"
        )
    return t.SeriesOf(column_type(whole, first.name, where))


def _require_plain_index(index: pd.Index[Any], where: str) -> None:
    """Refuse an index that says something, because no format carries it: callers get 0..n-1."""
    if isinstance(index, pd.MultiIndex):
        kind = "a MultiIndex as its index"
    elif index.name is not None:
        kind = f"an index named {index.name!r}"
    elif isinstance(index, pd.RangeIndex) or index.dtype.kind in "iu" or len(index) == 0:
        return
    else:
        kind = f"an index of {index.dtype}"
    raise SchemaError(
        f"{where} has {kind}, which callers cannot send; use .reset_index() to make it columns, "
        "or .reset_index(drop=True) to leave it out"
    )


def _column_names(frame: pd.DataFrame, where: str) -> list[str | int]:
    if isinstance(frame.columns, pd.MultiIndex):
        raise SchemaError(
            f"{where} has a MultiIndex as its columns; flatten it, for example "
            "df.columns = ['_'.join(map(str, names)) for names in df.columns]"
        )
    names: list[str | int] = []
    seen: dict[str, str | int] = {}
    for label in frame.columns.tolist():
        if type(label) not in (str, int):
            raise SchemaError(
                f"{where} has a column label of type {type(label).__name__}; name columns with "
                "strings or integers, for example df.columns = df.columns.map(str)"
            )
        if not _is_unicode(str(label)):
            raise SchemaError(
                f"{where} has a column label with half a surrogate pair, which no format carries; "
                f"rename {label!r}"
            )
        if str(label) in seen:
            raise SchemaError(
                f"{where} has two columns {label!r}"
                + (f" and {seen[str(label)]!r}" if seen[str(label)] != label else "")
                + "; give each column a name of its own"
            )
        seen[str(label)] = label
        names.append(label)
    return names


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def column_type(series: pd.Series[Any], name: str | int | None, where: str) -> t.Column:
    """Describe one column: its element type, and enough to rebuild its dtype exactly."""
    dtype: Any = series.dtype
    if isinstance(dtype, np.dtype):
        if dtype.kind == "O":
            return _object_column(series, name, where)
        return t.Column(name, numpy_element(dtype, where), dtype.name, "numpy")
    if isinstance(dtype, pd.DatetimeTZDtype):
        from envelope.schema.examples import zone_name

        zone = zone_name(dtype.tz, where)
        kind = t.Maybe(t.Timestamp(dtype.unit, zone))
        return t.Column(name, kind, f"datetime64[{dtype.unit}, {zone}]", "zoned")
    if isinstance(dtype, pd.CategoricalDtype):
        return _category_column(dtype, name, where)
    if isinstance(dtype, pd.StringDtype):
        nullable: t.Type = t.Maybe(t.Text()) if series.hasnans else t.Text()
        family = "string" if dtype.na_value is pd.NA else "str"
        return t.Column(name, nullable, f"{family}[{dtype.storage}]", "string")
    if isinstance(dtype, pd.ArrowDtype):
        kind = t.Maybe(arrow_element(dtype.pyarrow_dtype, where))
        return t.Column(name, kind, str(dtype), "arrow", arrow=arrow_text(dtype.pyarrow_dtype))
    if type(dtype).__name__ in _MASKED:
        element = numpy_element(dtype.numpy_dtype, where)
        plain = t.Float(element.bits) if isinstance(element, t.Float) else element
        return t.Column(name, t.Maybe(plain), dtype.name, "masked")
    remedy = _REMEDIES.get(type(dtype).__name__, "convert it with .astype(...)")
    raise SchemaError(f"{where} has dtype {dtype}, which no format carries; {remedy}")


_MASKED = {
    *(f"{sign}Int{bits}Dtype" for sign in ("", "U") for bits in (8, 16, 32, 64)),
    "Float32Dtype",
    "Float64Dtype",
    "BooleanDtype",
}
_REMEDIES = {
    "PeriodDtype": "use .dt.to_timestamp() or .astype(str)",
    "IntervalDtype": "use .astype(str), or two columns for its ends",
    "SparseDtype": "use .sparse.to_dense()",
}


def numpy_element(dtype: np.dtype[Any], where: str) -> t.Type:
    """Return the type of one element of a numpy dtype."""
    if not dtype.isnative:
        native = dtype.newbyteorder("=").name
        raise SchemaError(
            f"{where} has dtype {dtype}, whose bytes are in another order than this machine's; "
            f"convert it with .astype('{native}')"
        )
    bits = dtype.itemsize * 8
    match dtype.kind:
        case "b":
            return t.Boolean()
        case "i" | "u":
            return t.Integer(bits, signed=dtype.kind == "i")
        case "f" if bits <= 64:
            return t.Float(bits, nan=True)
        case "M" | "m":
            unit = np.datetime_data(dtype)[0]
            if unit not in _STEPS or np.datetime_data(dtype)[1] != 1:
                raise SchemaError(
                    f"{where} has dtype {dtype}; convert it to seconds or finer, for example "
                    f".astype('{dtype.name.partition('[')[0]}[s]')"
                )
            step = cast(t.Unit, unit)
            return t.Maybe(t.Timestamp(step) if dtype.kind == "M" else t.Duration(step))
        case "U":
            return t.Text()
        case "S":
            return t.Bytes()
    raise SchemaError(
        f"{where} has dtype {dtype}, which no format carries; convert it to integers, floats, "
        "texts or times"
    )


def _object_column(series: pd.Series[Any], name: str | int | None, where: str) -> t.Column:
    from envelope.schema.examples import maybe, type_of_examples

    missing = series.isna()
    values = series[~missing]
    if len(values) == 0:
        raise SchemaError(
            f"{where} has dtype object and no value, so nothing says what it holds; give an "
            "example with a value, or convert it, for example .astype('float64') or .astype('str')"
        )
    null = _null_of(series[missing].tolist(), where)
    simple = _INFERRED.get(pd.api.types.infer_dtype(values, skipna=False))
    kind = simple if simple is not None else type_of_examples(values.tolist(), where)
    return t.Column(name, maybe(kind) if missing.any() else kind, "object", "object", null=null)


_INFERRED: dict[str, t.Type] = {"string": t.Text(), "bytes": t.Bytes(), "boolean": t.Boolean()}


def _null_of(nulls: list[Any], where: str) -> Literal["none", "nan", "na", "nat"]:
    names: set[Literal["none", "nan", "na", "nat"]] = set()
    for null in nulls:
        if null is None:
            names.add("none")
        elif null is pd.NA:
            names.add("na")
        elif null is pd.NaT:
            names.add("nat")
        else:
            names.add("nan")
    if len(names) > 1:
        raise SchemaError(
            f"{where} has more than one kind of null ({', '.join(sorted(names))}), which no format "
            "tells apart; use one, for example df[c] = df[c].where(df[c].notna(), None)"
        )
    return names.pop() if names else "none"


def _category_column(dtype: pd.CategoricalDtype, name: str | int | None, where: str) -> t.Column:
    categories: Any = dtype.categories
    if categories is None or len(categories) == 0:
        raise SchemaError(f"{where} is a category with no levels; give it its levels")
    if isinstance(categories.dtype, pd.IntervalDtype):
        raise SchemaError(
            f"{where} is a category of intervals, which no format carries; name the levels, for "
            "example pd.cut(x, bins, labels=[...]), or use .astype(str).astype('category')"
        )
    series = pd.Series(categories)
    levels = column_type(series, None, f"{where} levels")
    of = levels.type.of if isinstance(levels.type, t.Maybe) else levels.type
    if isinstance(of, t.Float):
        of = t.Float(of.bits)
    from envelope.schema.columns import column_codec

    values = tuple(msgspec.to_builtins(column_codec(levels).write(series.array)))
    kind = t.Maybe(t.Categorical(of, values, bool(dtype.ordered)))
    return t.Column(name, kind, "category", "category", levels=levels)


def arrow_text(kind: pa.DataType) -> str:
    """Return an Arrow type as text that `arrow_from_text` makes the same type of."""
    return base64.b64encode(pa.schema([("", kind)]).serialize().to_pybytes()).decode()


def arrow_from_text(text: str) -> pa.DataType:
    """Return the Arrow type of `arrow_text`."""
    return pa.ipc.read_schema(pa.py_buffer(base64.b64decode(text))).field(0).type


def arrow_element(kind: pa.DataType, where: str) -> t.Type:
    """Return the type of one element of an Arrow type."""
    is_type = pa.types
    if is_type.is_integer(kind):
        return t.Integer(kind.bit_width, signed=is_type.is_signed_integer(kind))
    if is_type.is_floating(kind):
        return t.Float(kind.bit_width)
    if is_type.is_decimal(kind):
        return t.Decimal(kind.precision, kind.scale)
    if is_type.is_timestamp(kind):
        return t.Timestamp(kind.unit, kind.tz, pandas=True)
    if is_type.is_duration(kind):
        return t.Duration(kind.unit, pandas=True)
    if is_type.is_time(kind) and kind.unit != "ns":
        return t.Time(kind.unit)
    if is_type.is_dictionary(kind):
        return arrow_element(kind.value_type, where)
    if is_type.is_map(kind):
        key = arrow_element(kind.key_type, f"{where} keys")
        item = t.Maybe(arrow_element(kind.item_type, f"{where} values"))
        return t.ListOf(t.TupleOf((key, item)))
    if is_type.is_fixed_size_list(kind):
        item = t.Maybe(arrow_element(kind.value_type, f"{where}[0]"))
        return t.Constrained(t.ListOf(item), min_length=kind.list_size, max_length=kind.list_size)
    if is_type.is_list(kind) or is_type.is_large_list(kind):
        return t.ListOf(t.Maybe(arrow_element(kind.value_type, f"{where}[0]")))
    if is_type.is_struct(kind):
        return t.Record(
            tuple(
                t.Field(field.name, t.Maybe(arrow_element(field.type, f"{where}.{field.name}")))
                for field in kind
            )
        )
    if is_type.is_fixed_size_binary(kind):
        return t.Constrained(t.Bytes(), min_length=kind.byte_width, max_length=kind.byte_width)
    for is_kind, simple in _ARROW_SIMPLE:
        if is_kind(kind):
            return simple
    remedy = next((words for is_kind, words in _ARROW_REMEDIES if is_kind(kind)), "cast it")
    raise SchemaError(f"{where} has the Arrow type {kind}, which no format carries; {remedy}")


_ARROW_REMEDIES: tuple[tuple[Any, str], ...] = (
    (pa.types.is_null, "cast it to the type that its values will have"),
    (pa.types.is_time, "cast it to time64[us], the finest that Python has"),
    # pandas has no columns of views.
    (pa.types.is_string_view, "cast it to string"),
    (pa.types.is_binary_view, "cast it to binary"),
    (pa.types.is_list_view, "cast it to list"),
    (pa.types.is_large_list_view, "cast it to large_list"),
    (pa.types.is_interval, "make it a duration, or columns of months, days and nanoseconds"),
)
_ARROW_SIMPLE: tuple[tuple[Any, t.Type], ...] = (
    (pa.types.is_boolean, t.Boolean()),
    (pa.types.is_string, t.Text()),
    (pa.types.is_large_string, t.Text()),
    (pa.types.is_binary, t.Bytes()),
    (pa.types.is_large_binary, t.Bytes()),
    (pa.types.is_date, t.Date()),
)


def array_type(values: Sequence[np.ndarray[Any, Any]], where: str) -> t.Array:
    """Describe arrays of one dtype. The first axis is free; others where the examples differ."""
    first = values[0]
    if type(first) is not np.ndarray:
        raise SchemaError(f"{where} is a {type(first).__qualname__}; pass a plain numpy.ndarray")
    if any(
        dtype_name(other.dtype) != dtype_name(first.dtype) or other.ndim != first.ndim
        for other in values
    ):
        raise SchemaError(f"{where}: the example arrays differ in dtype or rank; make them equal")
    shape = tuple(
        None if axis == 0 or len(set(lengths)) > 1 else int(lengths[0])
        for axis, lengths in enumerate(zip(*(value.shape for value in values), strict=True))
    )
    if first.dtype != object:
        return t.Array(dtype_name(first.dtype), numpy_element(first.dtype, where), shape)
    items = pd.Series(np.concatenate([value.ravel() for value in values]), dtype=object)
    column = _object_column(items, None, where)
    return t.Array("object", column.type, shape)


def dtype_name(dtype: np.dtype[Any]) -> str:
    """Return numpy's name of a dtype, without the length of texts ("str", "bytes")."""
    return {"U": "str", "S": "bytes"}.get(dtype.kind, dtype.name)


def sparse_type(values: Sequence[Any], where: str) -> t.SparseMatrix:
    """Describe scipy sparse matrices of one format, dtype and number of columns."""
    first = values[0]
    if first.ndim != 2:
        raise SchemaError(f"{where} is a sparse array of {first.ndim} axes; only 2 are supported")
    if first.dtype.kind not in "biuf":
        raise SchemaError(f"{where} is a sparse matrix of {first.dtype}; convert it to numbers")
    of = numpy_element(first.dtype, where)
    is_array = type(first).__name__.endswith("_array")
    return t.SparseMatrix(first.format, first.dtype.name, of, int(first.shape[1]), is_array)


def table_type(values: Sequence[pa.Table], where: str) -> t.Frame:
    """Describe Arrow tables of one schema."""
    first = values[0]
    names = first.column_names
    if len(set(names)) < len(names):
        raise SchemaError(f"{where} has two columns of one name; give each a name of its own")
    if not names:
        raise SchemaError(f"{where} is a table that has no columns; give it the columns it is for")
    if any(other.schema != first.schema for other in values):
        raise SchemaError(f"{where}: the example tables differ in their schema; make them equal")
    columns = (_arrow_column(field, f"{where}[{field.name!r}]") for field in first.schema)
    return t.Frame(tuple(columns), library="arrow")


def _arrow_column(field: pa.Field, where: str) -> t.Column:
    of = arrow_element(field.type, where)
    kind = t.Maybe(of) if field.nullable else of
    return t.Column(field.name, kind, str(field.type), "arrow", arrow=arrow_text(field.type))
