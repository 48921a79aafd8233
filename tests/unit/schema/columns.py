"""One example column of every dtype that an envelope can hold, for tests of every format."""

from __future__ import annotations

import datetime
import decimal
import uuid
import zoneinfo
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

D = decimal.Decimal
DAY = datetime.date(2024, 2, 29)


def _series(values: Any, dtype: Any) -> pd.Series[Any]:
    return pd.Series(values, dtype=dtype)


def _arrow(values: list[Any], kind: pa.DataType) -> pd.Series[Any]:
    return pd.Series(pd.arrays.ArrowExtensionArray(pa.array(values, kind)))  # type: ignore[attr-defined]


def _integers(bits: int, *, signed: bool) -> list[int]:
    half = 2 ** (bits - 1)
    return [-half, 0, half - 1] if signed else [0, 1, 2 * half - 1]


COLUMNS: dict[str, pd.Series[Any]] = {
    "bool": _series([True, False, True], "bool"),
    **{
        f"int{bits}": _series(_integers(bits, signed=True), f"int{bits}")
        for bits in (8, 16, 32, 64)
    },
    **{
        f"uint{bits}": _series(_integers(bits, signed=False), f"uint{bits}")
        for bits in (8, 16, 32, 64)
    },
    "float16": _series([0.1, -65504.0, 3.0], "float16"),
    "float32": _series([0.1, 3.4e38, np.nan], "float32"),
    "float64": _series([0.1, 1e300, np.nan], "float64"),
    "float64-whole-numbers": _series([1.0, 2.0, 3.0], "float64"),
    "Int64": _series([1, None, 2**63 - 1], "Int64"),
    "Int8": _series([1, None, -128], "Int8"),
    "Int16": _series([1, None, 2**15 - 1], "Int16"),
    "Int32": _series([1, None, -(2**31)], "Int32"),
    "UInt8": _series([1, None, 255], "UInt8"),
    "UInt16": _series([1, None, 2**16 - 1], "UInt16"),
    "UInt32": _series([1, None, 2**32 - 1], "UInt32"),
    "UInt64": _series([1, None, 2**64 - 1], "UInt64"),
    "Float32": _series([0.5, None, 3.0], "Float32"),
    "Float64": _series([0.1, None, 3.0], "Float64"),
    "boolean": _series([True, None, False], "boolean"),
    "str": _series(["a", "ü 😀", ""], "str"),
    "str-with-null": _series(["a", None, ""], "str"),
    "string": _series(["a", None, '"quoted", \\ and\nlines'], "string"),
    "string-python": _series(["a", "b", None], pd.StringDtype("python")),
    **{
        f"datetime-{unit}": _series(["2024-02-29T12:34:56", None, "1969-12-31"], f"M8[{unit}]")
        for unit in ("s", "ms", "us")
    },
    "datetime-ns": _series(["2024-02-29T12:34:56.123456789", None, "1969-12-31"], "M8[ns]"),
    "datetime-utc": _series(
        [pd.Timestamp("2024-02-29T12:34:56.5Z"), None], pd.DatetimeTZDtype("us", "UTC")
    ),
    "datetime-berlin": _series(
        [pd.Timestamp("2024-10-27T02:30:00", tz="UTC"), None],
        pd.DatetimeTZDtype("ns", "Europe/Berlin"),
    ),
    "datetime-offset": _series(
        [pd.Timestamp("2024-02-29T12:34:56Z")],
        pd.DatetimeTZDtype("s", datetime.timezone(datetime.timedelta(hours=5, minutes=30))),
    ),
    "timedelta-ns": _series(
        [pd.Timedelta("1 days 02:00:00.123456789"), None, pd.Timedelta(-5, "s")], "m8[ns]"
    ),
    "timedelta-us": _series(np.array([-1, 90_061_000_001], "m8[us]"), None),
    "timedelta-ms": _series(np.array([-1, 90_061_001], "m8[ms]"), None),
    "timedelta-s": _series([np.timedelta64(90_061, "s")], "m8[s]"),
    "category": _series(["a", "b", None], pd.CategoricalDtype(["b", "a", "c"])),
    "category-ordered": _series(
        ["low", "high"], pd.CategoricalDtype(["low", "mid", "high"], ordered=True)
    ),
    "category-int": _series([3, 1, 3], pd.CategoricalDtype([1, 3])),
    "category-float": _series([0.5, 1.0], pd.CategoricalDtype([0.5, 1.0])),
    "category-bool": _series([True, False], pd.CategoricalDtype([True, False])),
    "category-times": _series(
        [pd.Timestamp("2024-01-01")],
        pd.CategoricalDtype(pd.DatetimeIndex(["2024-01-01", "2024-01-02"])),
    ),
    "category-objects": _series(
        ["x", "y"], pd.CategoricalDtype(pd.Index(["x", "y"], dtype=object))
    ),
    "category-dates": _series([DAY], pd.CategoricalDtype([DAY, datetime.date(2024, 3, 1)])),
    "category-decimals": _series([D("1.10")], pd.CategoricalDtype([D("1.10"), D("2")])),
    "category-mixed": _series([1, "a", None], pd.CategoricalDtype([1, "a"])),
    "object-str": _series(["a", "b"], object),
    "object-str-none": _series(["a", None], object),
    "object-str-nan": _series(["a", np.nan], object),
    "object-str-na": _series(["a", pd.NA], object),
    "object-bool": _series([True, None], object),
    "object-int": _series([1, 2**70], object),
    "object-float": _series([0.5, None], object),
    "object-decimal": _series([D("1.10"), D("-3")], object),
    "object-bytes": _series([b"\x00\xff", b""], object),
    "object-date": _series([DAY, None], object),
    "object-time": _series([datetime.time(12, 34, 56, 789), datetime.time(0)], object),
    "object-time-zone": _series([datetime.time(1, tzinfo=datetime.UTC)], object),
    "object-timedelta": _series([datetime.timedelta(1, 2, 3), None], object),
    "object-moments": _series([pd.Timestamp("2024-02-29T01:02:03.5"), pd.NaT], object),
    "object-moments-or-not": _series(
        [datetime.datetime(2024, 1, 2, tzinfo=datetime.UTC), datetime.datetime(2024, 1, 2)], object
    ),
    "object-dates-and-times": _series([DAY, datetime.datetime(2024, 1, 2)], object),
    "object-datetime": _series(
        [datetime.datetime(2024, 1, 2, 3, 4, 5, 6, tzinfo=zoneinfo.ZoneInfo("Europe/Paris"))],
        object,
    ),
    "object-uuid": _series([uuid.UUID(int=5)], object),
    "object-list": _series([[1.0, 2.0], []], object),
    "object-list-null": _series([["a"], None], object),
    "object-dict": _series([{"a": 1, "b": "x"}, {"a": 2}], object),
    "object-array": _series([np.ones(2), np.zeros(3)], object),
    "object-set": _series([{1, 2}, set()], object),
    "object-tuple": _series([(1, "a"), (2, "b")], object),
    "object-int-keys": _series([{1: "a"}], object),
    "object-dict-nested": _series([{"a": [{"b": 1}, {"c": D("1.5")}]}], object),
    "object-mixed": _series([1, "a", 2.5], object),
    **{
        f"arrow-{'' if signed else 'u'}int{bits}": _arrow(
            [*_integers(bits, signed=signed), None],
            getattr(pa, f"{'' if signed else 'u'}int{bits}")(),
        )
        for bits, signed in ((8, True), (16, True), (64, True), (8, False), (16, False))
    },
    "arrow-float": _arrow([0.1, None], pa.float32()),
    "arrow-int32": _arrow([1, None], pa.int32()),
    "arrow-uint64": _arrow([2**64 - 1, None], pa.uint64()),
    "arrow-double": _arrow([0.1, None], pa.float64()),
    "arrow-halffloat": _arrow([np.float16(0.5), None], pa.float16()),
    "arrow-bool": _arrow([True, None], pa.bool_()),
    "arrow-string": _arrow(["a", None], pa.string()),
    "arrow-large-string": _arrow(["a", None], pa.large_string()),
    "arrow-binary": _arrow([b"\xff", None], pa.binary()),
    "arrow-fixed-binary": _arrow([b"ab", None], pa.binary(2)),
    "arrow-large-binary": _arrow([b"\xff", None], pa.large_binary()),
    "arrow-date64": _arrow([DAY, None], pa.date64()),
    "arrow-time32": _arrow([datetime.time(1, 2, 3), None], pa.time32("s")),
    "arrow-timestamp-ms": _arrow([1_700_000_000_123, None], pa.timestamp("ms")),
    "arrow-timestamp-us": _arrow([1_700_000_000_123_456, None], pa.timestamp("us", tz="+05:30")),
    "arrow-duration-ns": _arrow([-1, None], pa.duration("ns")),
    "arrow-decimal256": _arrow([D("1.10"), None], pa.decimal256(50, 2)),
    "arrow-large-list": _arrow([["a", None], None], pa.large_list(pa.string())),
    "arrow-list-of-moments": _arrow([[1], None], pa.list_(pa.timestamp("ns"))),
    "arrow-struct-nested": _arrow(
        [{"a": {"b": [1, None]}}, {"a": None}],
        pa.struct([("a", pa.struct([("b", pa.list_(pa.int8()))]))]),
    ),
    "arrow-date32": _arrow([DAY, None], pa.date32()),
    "arrow-time64": _arrow([datetime.time(1, 2, 3, 4), None], pa.time64("us")),
    "arrow-timestamp-ns": _arrow([1_700_000_000_123_456_789, None], pa.timestamp("ns")),
    "arrow-timestamp-zone": _arrow([1_700_000_000, None], pa.timestamp("s", tz="Asia/Tokyo")),
    "arrow-duration": _arrow([-1_500, None], pa.duration("ms")),
    "arrow-decimal": _arrow([D("1.10"), None], pa.decimal128(10, 2)),
    "arrow-list": _arrow([[1, None], None, []], pa.list_(pa.int64())),
    "arrow-fixed-list": _arrow([[1.0, 2.0], None], pa.list_(pa.float32(), 2)),
    "arrow-struct": _arrow(
        [{"a": 1, "b": "x"}, None], pa.struct([("a", pa.int64()), ("b", pa.string())])
    ),
    "arrow-map": _arrow([[("k", 1)], None], pa.map_(pa.string(), pa.int64())),
    "arrow-dictionary": _arrow(["a", None, "a"], pa.dictionary(pa.int32(), pa.string())),
}
