"""Readers of single values: any Python or JSON value -> exactly what the function expects.

What loses nothing is accepted (3 for a float, 1.0 for an int, numpy scalars, "2024-01-01" for a
timestamp); what loses anything is a fault (2**53 + 1 for a float, 300 for int8, 1.5 for an int).
"""

from __future__ import annotations

import base64
import binascii
import datetime
import decimal
import math
import re
import uuid
import zoneinfo
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from envelope.schema import types as t
from envelope.schema.faults import Faults, Reader
from envelope.schema.moments import (
    Unfit,
    duration_reader,
    moment_reader,
    parse_moment,
    scaled,
    to_datetime,
)
from envelope.schema.words import Path, describe, describe_value

EXACT = {16: 2**11, 32: 2**24, 64: 2**53}  # up to here every integer is a float of that size
LARGEST = {16: 65504.0, 32: float(np.finfo(np.float32).max), 64: math.inf}


def is_null(value: Any) -> bool:
    """Tell whether a value stands for null: None, NaN, NA, NaT."""
    if value is None or value is pd.NA or value is pd.NaT:
        return True
    if isinstance(value, float):
        return value != value
    return isinstance(value, np.generic) and bool(value != value)  # NaN and NaT of numpy


def is_same(one: Any, other: Any) -> bool:
    """Tell whether two Python values are equal and of one type throughout; NaN is NaN."""
    return type(one) is type(other) and (repr(one) == repr(other) or bool(one == other))


def null_reader(kind: t.Null) -> Reader:
    def read(value: Any, path: Path, faults: Faults) -> Any:
        return None if is_null(value) else faults.add_value(path, "null", value)

    return read


def boolean_reader(kind: t.Boolean) -> Reader:
    def read(value: Any, path: Path, faults: Faults) -> Any:
        if value is True or value is False:
            return value
        if isinstance(value, np.bool_):
            return bool(value)
        return faults.add_value(path, "bool", value)

    return read


def integer_range(kind: t.Integer) -> tuple[int, int] | None:
    """Return the least and greatest integer of this size; None when it has no bounds."""
    if kind.bits is None:
        return None
    half = 2 ** (kind.bits - 1)
    return (-half, half - 1) if kind.signed else (0, 2 * half - 1)


def integer_reader(kind: t.Integer) -> Reader:
    bounds = integer_range(kind)
    expected = describe(kind)

    def read(value: Any, path: Path, faults: Faults) -> Any:
        if isinstance(value, np.generic):
            value = value.item()
        if isinstance(value, float):
            if not value.is_integer() or abs(value) >= EXACT[64]:
                return faults.add_value(path, expected, value)
            value = int(value)
            faults.widened = True
        elif not isinstance(value, int) or isinstance(value, bool):
            return faults.add_value(path, expected, value)
        if bounds is not None and not bounds[0] <= value <= bounds[1]:
            return faults.add(path, expected, "int beyond its range")
        return int(value)

    return read


def float_reader(kind: t.Float) -> Reader:
    largest = LARGEST[kind.bits]
    exact = EXACT[kind.bits]
    expected = describe(kind)

    def read(value: Any, path: Path, faults: Faults) -> Any:
        if isinstance(value, np.generic):
            value = value.item()
        if value is None or value is pd.NA or value is pd.NaT:
            value = math.nan if kind.nan else value
        if isinstance(value, float):
            if value != value and not kind.nan:
                return faults.add_value(path, expected, value)
            if abs(value) > largest and not math.isinf(value):
                return faults.add(path, expected, "float beyond its range")
            return float(value)
        if not isinstance(value, int) or isinstance(value, bool):
            return faults.add_value(path, expected, value)
        faults.widened = True
        if abs(value) > exact and not _is_float(value, kind.bits):
            return faults.add(path, expected, "int that a float would round")
        return float(value)

    return read


def _is_float(value: int, bits: int) -> bool:
    """Tell whether an integer is exactly a float of this size."""
    try:
        as_float = float(value)
    except OverflowError:
        return False
    if abs(as_float) > LARGEST[bits]:
        return False
    return int(np.dtype(f"float{bits}").type(as_float)) == value


def text_reader(kind: t.Text) -> Reader:
    def read(value: Any, path: Path, faults: Faults) -> Any:
        if not isinstance(value, str):
            return faults.add_value(path, "str", value)
        if not value.isascii():
            try:
                value.encode()
            except UnicodeEncodeError:
                return faults.add(path, "str", "str with half a surrogate pair")
        return str(value)

    return read


def bytes_reader(kind: t.Bytes) -> Reader:
    expected = describe(kind)

    def read(value: Any, path: Path, faults: Faults) -> Any:
        if isinstance(value, bytes | bytearray | memoryview):
            return bytes(value)
        if not isinstance(value, str):
            return faults.add_value(path, expected, value)
        try:
            return base64.b64decode(value, validate=True)
        except (binascii.Error, ValueError):
            return faults.add(path, expected, "str that is not base64")

    return read


def date_reader(kind: t.Date) -> Reader:
    midnight = moment_reader("s", None)

    def read(value: Any, path: Path, faults: Faults) -> Any:
        if type(value) is datetime.date:
            return value
        try:
            seconds = midnight(value)
        except Unfit as exc:
            return faults.add(path, "date", str(exc) or describe_value(value))
        if seconds % 86_400:
            return faults.add(path, "date", "timestamp with a time of day")
        if not isinstance(value, str) or len(value) != 10:
            faults.widened = True
        return to_datetime(seconds, "s", None).date()

    return read


_TIME = re.compile(r"\d\d:\d\d(:\d\d(\.\d{1,6})?)?(Z|z|[+-]\d\d:\d\d)?", re.ASCII)


def time_reader(kind: t.Time) -> Reader:
    step = {"s": 10**6, "ms": 10**3, "us": 1, "ns": 1}[kind.unit]

    def read(value: Any, path: Path, faults: Faults) -> Any:
        if isinstance(value, str):
            if not _TIME.fullmatch(value):
                return faults.add(path, "time", "str")
            try:
                value = datetime.time.fromisoformat(value)
            except ValueError:
                return faults.add(path, "time", "str that is no time")
        if not isinstance(value, datetime.time):
            return faults.add_value(path, "time", value)
        if value.microsecond % step:
            return faults.add(path, f"time[{kind.unit}]", f"time finer than {kind.unit}")
        return value

    return read


def find_zone(name: str) -> datetime.tzinfo:
    """Return the time zone of a schema's name: IANA, or "UTC+02:00"."""
    if name == "UTC":
        return datetime.UTC
    if name.startswith(("UTC+", "UTC-", "+", "-")):
        sign, hours, minutes = name.removeprefix("UTC")[0], name[-5:-3], name[-2:]
        offset = datetime.timedelta(hours=int(hours), minutes=int(minutes))
        return datetime.timezone(-offset if sign == "-" else offset)
    return zoneinfo.ZoneInfo(name)


def timestamp_reader(kind: t.Timestamp) -> Reader:
    count = moment_counter(kind)
    if kind.zone == "any":
        return _any_timestamp_reader(kind)
    zone = None if kind.zone is None else find_zone(kind.zone)

    def read(value: Any, path: Path, faults: Faults) -> Any:
        counted = count(value, path, faults)
        if type(counted) is not int:
            return counted
        if kind.pandas:
            moment = pd.Timestamp(np.datetime64(counted, kind.unit))
            return moment if zone is None else moment.tz_localize("UTC").tz_convert(kind.zone)
        try:  # an offset may lead out of the last year
            return to_datetime(counted, kind.unit, zone)
        except Unfit as exc:
            return faults.add(path, describe(kind), str(exc))

    return read


def _any_timestamp_reader(kind: t.Timestamp) -> Reader:
    def read(value: Any, path: Path, faults: Faults) -> Any:
        if isinstance(value, datetime.datetime) and value is not pd.NaT:
            if kind.pandas:
                return pd.Timestamp(value)
            return value.to_pydatetime() if isinstance(value, pd.Timestamp) else value
        if not isinstance(value, str):
            return faults.add_value(path, "timestamp", value)
        try:
            nanoseconds, aware = parse_moment(value)
            if kind.pandas:
                scaled(nanoseconds, "ns")
                return pd.Timestamp(value)
            micros = scaled(nanoseconds, "us")
            if not aware:
                return to_datetime(micros, "us", None)
            text_zone = datetime.datetime.fromisoformat(f"2000-01-01T00:00:00{_offset(value)}")
            return to_datetime(micros, "us", text_zone.tzinfo)
        except Unfit as exc:
            return faults.add(path, "timestamp", str(exc))

    return read


def _offset(text: str) -> str:
    return "Z" if text[-1] in "Zz" else text[text.rindex("+" if "+" in text else "-") :]


def moment_counter(kind: t.Timestamp) -> Reader:
    """Return a reader of moments as integers of the type's unit, which is what columns hold."""
    expected = describe(kind)
    return _counter(moment_reader(kind.unit, kind.zone), expected)


def duration_counter(kind: t.Duration) -> Reader:
    """Return a reader of durations as integers of the type's unit."""
    return _counter(duration_reader(kind.unit), "duration")


def _counter(count: Callable[[Any], int], expected: str) -> Reader:
    def read(value: Any, path: Path, faults: Faults) -> Any:
        if value is pd.NaT:
            return faults.add(path, expected, "null")
        try:
            return count(value)
        except Unfit as exc:
            return faults.add(path, expected, str(exc) or describe_value(value))

    return read


def duration_value_reader(kind: t.Duration) -> Reader:
    count = duration_counter(kind)

    def read(value: Any, path: Path, faults: Faults) -> Any:
        counted = count(value, path, faults)
        if type(counted) is not int:
            return counted
        if kind.pandas:
            return pd.Timedelta(np.timedelta64(counted, kind.unit))
        factor = {"s": 10**6, "ms": 10**3, "us": 1}[kind.unit]
        try:
            return datetime.timedelta(microseconds=counted * factor)
        except OverflowError:
            return faults.add(path, "duration", "duration beyond its range")

    return read


_DECIMAL = re.compile(r"[+-]?\d+(\.\d+)?([eE][+-]?\d{1,4})?", re.ASCII)


def decimal_reader(kind: t.Decimal) -> Reader:
    expected = describe(kind)

    def read(value: Any, path: Path, faults: Faults) -> Any:
        if isinstance(value, float):  # up to 15 digits the text of a float is the number sent
            text = repr(value)
            digits = len(decimal.Decimal(text).as_tuple().digits) if math.isfinite(value) else 99
            if digits > 15:
                return faults.add(path, expected, "float; send decimals of many digits as text")
            number = decimal.Decimal(text)
        elif isinstance(value, int) and not isinstance(value, bool):
            number = decimal.Decimal(value)
        elif isinstance(value, str):
            if not _DECIMAL.fullmatch(value):
                return faults.add(path, expected, "str that is no decimal number")
            number = decimal.Decimal(value)
        elif isinstance(value, decimal.Decimal):
            if not value.is_finite():
                return faults.add(path, expected, "decimal that is not finite")
            number = value
        else:
            return faults.add_value(path, expected, value)
        if kind.precision is not None and not _fits(number, kind.precision, kind.scale or 0):
            return faults.add(path, expected, "decimal of more digits")
        return number

    return read


def _fits(number: decimal.Decimal, precision: int, scale: int) -> bool:
    _, digits, exponent = number.normalize().as_tuple()
    assert isinstance(exponent, int)
    return -exponent <= scale and len(digits) + exponent <= precision - scale


def uuid_reader(kind: t.Uuid) -> Reader:
    def read(value: Any, path: Path, faults: Faults) -> Any:
        if isinstance(value, uuid.UUID):
            return value
        if not isinstance(value, str):
            return faults.add_value(path, "uuid", value)
        try:
            return uuid.UUID(value)
        except ValueError:
            return faults.add(path, "uuid", "str that is no uuid")

    return read


def one_of_reader(kind: t.OneOf) -> Reader:
    expected = describe(kind)
    values = {(type(value), value) for value in kind.values}

    def read(value: Any, path: Path, faults: Faults) -> Any:
        if isinstance(value, np.generic):
            value = value.item()
        if isinstance(value, str | int | float | None) and (type(value), value) in values:
            return value
        return faults.add_value(path, expected, value)

    return read


def numpy_scalar_reader(kind: t.NumpyScalar, plain: Reader) -> Reader:
    dtype: Any = np.dtype(kind.dtype)

    def read(value: Any, path: Path, faults: Faults) -> Any:
        if isinstance(value, np.generic) and value.dtype == dtype and dtype.kind not in "f":
            return value
        read_value = plain(value, path, faults)
        if not isinstance(read_value, int | float | str | bytes):
            return read_value
        if dtype.kind in "Mm":
            return dtype.type(read_value, np.datetime_data(dtype)[0])
        return dtype.type(read_value)

    return read


def anything_reader(kind: t.Anything) -> Reader:
    return lambda value, path, faults: value
