"""Times and durations as exact integers, so that no unit is rounded and no zone is lost.

ISO 8601 in, ISO 8601 out. A moment is an integer count of its unit since 1970 (UTC when it has a
zone, wall clock when it has none), which is also how numpy and Arrow hold it.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from envelope.schema import types as t

PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
_MOMENT = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)"
    r"(?:[Tt ](\d\d):(\d\d)(?::(\d\d)(?:\.(\d{1,9}))?)?(Z|z|[+-]\d\d:?\d\d)?)?",
    re.ASCII,
)
_DURATION = re.compile(
    r"([+-])?P(?:(\d{1,15})W)?(?:(\d{1,15})D)?"
    r"(?:T(?:(\d{1,18})H)?(?:(\d{1,18})M)?(?:(\d{1,18})(?:\.(\d{1,9}))?S)?)?",
    re.ASCII,
)
_INT64 = range(-(2**63) + 1, 2**63)  # -2**63 itself is NaT
_EPOCH_DAY = datetime.date(1970, 1, 1).toordinal()


class Unfit(Exception):
    """A moment that the type cannot hold exactly. The words say what it is instead."""


def moment_reader(unit: t.Unit, zone: str | None) -> Callable[[Any], int]:
    """Return a function from text, datetime or numpy and pandas moments to an integer of `unit`.

    zone: None takes moments without an offset only, a zone those with one only.
    The function raises Unfit, and returns None for nothing: nulls are the caller's.
    """

    def read(value: Any) -> int:
        if isinstance(value, str):
            count, aware = parse_moment(value)
        elif isinstance(value, datetime.datetime):
            count, aware = _of_datetime(value)
        elif isinstance(value, np.datetime64):
            count, aware = _of_numpy(value), False
        elif type(value) is datetime.date:
            count, aware = (value.toordinal() - _EPOCH_DAY) * 86_400 * 10**9, False
        else:
            raise Unfit
        if aware and zone is None:
            raise Unfit("timestamp with a zone")
        if zone is not None and not aware:
            raise Unfit("timestamp without a zone")
        return scaled(count, unit)

    return read


def scaled(nanoseconds: int, unit: t.Unit, what: str = "timestamp") -> int:
    """Return nanoseconds in `unit`. Raises Unfit when that loses digits or does not fit 64 bits."""
    count, rest = divmod(nanoseconds, 10**9 // PER_SECOND[unit])
    if rest:
        raise Unfit(f"{what} finer than {unit}")
    if count not in _INT64:
        raise Unfit(f"{what} beyond 64 bits of {unit}")
    return count


def parse_moment(text: str) -> tuple[int, bool]:
    """Return (nanoseconds since 1970, whether it has an offset). Raises Unfit for other texts."""
    match = _MOMENT.fullmatch(text)
    if match is None:
        raise Unfit("str")
    year, month, day, hour, minute, second, fraction, offset = match.groups()
    try:
        days = datetime.date(int(year), int(month), int(day)).toordinal() - _EPOCH_DAY
        datetime.time(int(hour or 0), int(minute or 0), int(second or 0))
    except ValueError:
        raise Unfit("str that is no date") from None
    seconds = days * 86_400 + int(hour or 0) * 3600 + int(minute or 0) * 60 + int(second or 0)
    if offset is not None and offset not in "Zz":
        minutes = int(offset[1:3]) * 60 + int(offset[-2:])
        seconds += -minutes * 60 if offset[0] == "+" else minutes * 60
    return seconds * 10**9 + int((fraction or "").ljust(9, "0")), offset is not None


def _of_datetime(value: datetime.datetime) -> tuple[int, bool]:
    aware = value.tzinfo is not None
    if isinstance(value, pd.Timestamp):
        naive = value.tz_convert("UTC").tz_localize(None) if aware else value
        return int(naive.as_unit("ns").value), aware
    naive_value = value.astimezone(datetime.UTC).replace(tzinfo=None) if aware else value
    since = naive_value - datetime.datetime(1970, 1, 1)
    return (since.days * 86_400 + since.seconds) * 10**9 + since.microseconds * 1000, aware


def _of_numpy(value: np.datetime64 | np.timedelta64) -> int:
    if np.isnat(value):
        raise Unfit("null")
    unit, step = np.datetime_data(value.dtype)
    if unit not in PER_SECOND:
        value, unit, step = value.astype(f"{value.dtype.kind}8[s]"), "s", 1
    return int(value.astype(np.int64)) * step * (10**9 // PER_SECOND[unit])


def to_datetime(count: int, unit: t.Unit, zone: datetime.tzinfo | None) -> datetime.datetime:
    """Return the datetime of an integer of s, ms or us. Raises Unfit outside years 1 to 9999."""
    micros = count * (10**6 // PER_SECOND[unit])
    try:
        naive = datetime.datetime(1970, 1, 1) + datetime.timedelta(microseconds=micros)
        return naive if zone is None else naive.replace(tzinfo=datetime.UTC).astimezone(zone)
    except OverflowError:
        raise Unfit("timestamp outside the years 1 to 9999") from None


def duration_reader(unit: t.Unit) -> Callable[[Any], int]:
    """Return a function from ISO 8601 text or Python durations to an integer of `unit`."""

    def read(value: Any) -> int:
        if isinstance(value, str):
            count = parse_duration(value)
        elif isinstance(value, pd.Timedelta):
            count = int(value.as_unit("ns").value)
        elif isinstance(value, datetime.timedelta):
            count = (value.days * 86_400 + value.seconds) * 10**9 + value.microseconds * 1000
        elif isinstance(value, np.timedelta64):
            count = _of_numpy(value)
        else:
            raise Unfit
        return scaled(count, unit, "duration")

    return read


def parse_duration(text: str) -> int:
    """Return nanoseconds of "P1DT2H3.5S". Raises Unfit; years and months have no length."""
    match = _DURATION.fullmatch(text)
    if match is None or not any(match.groups()[1:]):
        raise Unfit("str")
    sign, weeks, days, hours, minutes, seconds, fraction = match.groups()
    whole = int(weeks or 0) * 604_800 + int(days or 0) * 86_400
    whole += int(hours or 0) * 3600 + int(minutes or 0) * 60 + int(seconds or 0)
    count = whole * 10**9 + int((fraction or "").ljust(9, "0"))
    return -count if sign == "-" else count


def show_moment(count: int, unit: t.Unit, *, aware: bool) -> str:
    """Return ISO 8601 with as many digits as the value needs; UTC ("Z") when it has a zone."""
    seconds, part = divmod(count, PER_SECOND[unit])
    days, second = divmod(seconds, 86_400)
    try:
        day = datetime.date.fromordinal(days + _EPOCH_DAY).isoformat()
    except (ValueError, OverflowError):
        raise Unfit("timestamp outside the years 1 to 9999") from None
    clock = f"{second // 3600:02}:{second // 60 % 60:02}:{second % 60:02}"
    return f"{day}T{clock}{_fraction(part, unit)}{'Z' if aware else ''}"


def show_duration(count: int, unit: t.Unit) -> str:
    """Return ISO 8601: "P1DT3.5S", "-PT2S", "PT0S"."""
    sign = "-" if count < 0 else ""
    seconds, part = divmod(abs(count), PER_SECOND[unit])
    days, second = divmod(seconds, 86_400)
    clock = f"T{second}{_fraction(part, unit)}S" if second or part or not days else ""
    return f"{sign}P{f'{days}D' if days else ''}{clock}"


def _fraction(part: int, unit: t.Unit) -> str:
    if not part:
        return ""
    return "." + str(part).zfill(len(str(PER_SECOND[unit])) - 1).rstrip("0")
