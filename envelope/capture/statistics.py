"""Statistics of the example data, for documentation and for telling skew later."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

QUANTILES = {
    "q01": 0.01,
    "q05": 0.05,
    "q25": 0.25,
    "q50": 0.50,
    "q75": 0.75,
    "q95": 0.95,
    "q99": 0.99,
}
MAX_LEVELS = 50  # enough to tell skew of a category; the rest are counted in `distinct`
MAX_LEVEL_CHARACTERS = 64
# More distinct values than this share of the rows are identifiers, names or free text: no skew can
# be told from a few of them, and they are somebody's data.
MAX_DISTINCT_SHARE = 0.5
MAX_COLUMNS = 1000
# Above this, quantiles, distinct values and levels are of so many rows drawn evenly (an error of
# 0.3 % of rank); counts, nulls, min, max, mean and std always are of all rows.
MAX_SORTED_ROWS = 100_000


def statistics_of(value: Any, *, sensitive: Collection[str] = ()) -> dict[str, Any]:
    """Describe a frame, series, array, list or dict: JSON-able, without NaN or infinity.

    A frame gives {"kind": "frame", "rows", "columns": {name: column}}; a 2-D array the same with
    columns "0", "1", ...; a series, 1-D array or list {"kind": "column", "rows", "column": column};
    a dict {"kind": "record", "members": {name: ...}}; anything else {"kind": "value", "type"}.

    A column has "type", "count" (of values that are not null), "nulls" and "distinct"; numbers and
    times "min", "max", "mean", "std" (of a sample; not for times) and "quantiles"; texts,
    categories and booleans "levels": [[level, count], ...], the most frequent first, at most 50,
    and none where nearly every row has its own (identifiers, names, free text).
    Times are ISO 8601. sensitive: columns of which only type, count and nulls are kept.
    """
    import numpy as np
    import pandas as pd

    if isinstance(value, pd.DataFrame):
        return _frame(value, sensitive)
    if isinstance(value, pd.Series | pd.Index):
        return _single(pd.Series(value), str(value.name) in sensitive)
    if isinstance(value, np.ndarray):
        return _array(value, sensitive)
    if isinstance(value, Mapping):
        return {"kind": "record", "members": _members(value, sensitive)}
    if isinstance(value, list | tuple):
        return _list(list(value), sensitive)
    return {"kind": "value", "type": type(value).__name__}


def _members(value: Mapping[Any, Any], sensitive: Collection[str]) -> dict[str, Any]:
    members: dict[str, Any] = {}
    for name, member in list(value.items())[:MAX_COLUMNS]:
        if str(name) in sensitive:
            members[str(name)] = {"kind": "value", "type": type(member).__name__}
        else:
            members[str(name)] = statistics_of(member, sensitive=sensitive)
    return members


def _array(value: np.ndarray[Any, Any], sensitive: Collection[str]) -> dict[str, Any]:
    import pandas as pd

    if value.ndim == 1:
        return _single(pd.Series(value), False)
    if value.ndim == 2 and value.dtype.kind in "biufOUSmM":
        frame = pd.DataFrame(value[:, :MAX_COLUMNS])
        return {**_frame(frame, sensitive), "shape": list(value.shape)}
    described: dict[str, Any] = {
        "kind": "array",
        "type": str(value.dtype),
        "shape": list(value.shape),
    }
    if value.dtype.kind in "biuf" and value.ndim > 2:
        described["column"] = column_statistics(pd.Series(value.ravel()))
    return described


def _list(values: list[Any], sensitive: Collection[str]) -> dict[str, Any]:
    import pandas as pd

    if values and all(isinstance(value, Mapping) for value in values):
        return _frame(pd.DataFrame.from_records(values), sensitive)
    return _single(pd.Series(values, dtype=None if values else object), False)


def _single(series: pd.Series[Any], is_sensitive: bool) -> dict[str, Any]:
    column = column_statistics(series, is_sensitive=is_sensitive)
    return {"kind": "column", "rows": len(series), "column": column}


def _frame(frame: pd.DataFrame, sensitive: Collection[str]) -> dict[str, Any]:
    columns: dict[str, Any] = {}
    for position, label in enumerate(frame.columns[:MAX_COLUMNS]):
        name = str(label)
        key = name if name not in columns else f"{name}#{position}"  # frames allow equal names
        columns[key] = column_statistics(frame.iloc[:, position], is_sensitive=name in sensitive)
    described = {"kind": "frame", "rows": len(frame), "columns": columns}
    if frame.shape[1] > MAX_COLUMNS:
        described["omitted_columns"] = frame.shape[1] - MAX_COLUMNS
    return described


def column_statistics(series: pd.Series[Any], *, is_sensitive: bool = False) -> dict[str, Any]:
    """Describe one column, see statistics_of."""
    missing = series.isna().to_numpy()
    nulls = int(missing.sum())
    described: dict[str, Any] = {
        "type": str(series.dtype),
        "count": len(series) - nulls,
        "nulls": nulls,
    }
    if is_sensitive:
        return {**described, "is_sensitive": True}
    present = series[~missing] if nulls else series
    if len(present):
        described.update(_values(present))
    return described


def _values(present: pd.Series[Any]) -> dict[str, Any]:
    from pandas.api import types

    if types.is_bool_dtype(present.dtype):
        return _levels(present)
    if isinstance(present.dtype, _categorical()):
        return _levels(present)
    if types.is_datetime64_any_dtype(present.dtype) or types.is_timedelta64_dtype(present.dtype):
        return _times(present)
    if types.is_complex_dtype(present.dtype):
        return {}
    if types.is_numeric_dtype(present.dtype):
        return _numbers(_as_numpy(present))
    if isinstance(present.iloc[0], Decimal):
        return _numbers(present.astype(float).to_numpy())
    return _levels(present)


def _categorical() -> type:
    import pandas as pd

    return pd.CategoricalDtype


def _as_numpy(present: pd.Series[Any]) -> np.ndarray[Any, Any]:
    """Numbers as a plain array: nullable and Arrow-backed columns too (nulls are gone by now)."""
    array = present.to_numpy()
    if array.dtype != object:
        return array
    import numpy as np

    return np.asarray(array.tolist())


def _numbers(array: np.ndarray[Any, Any]) -> dict[str, Any]:
    import numpy as np

    if array.dtype.kind not in "iuf":  # integers beyond 64 bits
        array = array.astype(float)
    described: dict[str, Any] = {}
    low, high = array.min(), array.max()
    if array.dtype.kind == "f" and not (np.isfinite(low) and np.isfinite(high)):
        finite = array[np.isfinite(array)]
        described["infinite"] = len(array) - len(finite)
        if not len(finite):
            return described
        array, low, high = finite, finite.min(), finite.max()
    described["min"], described["max"] = low.item(), high.item()
    wide = array if array.dtype == np.float64 else array.astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):  # a sum beyond float64 is left out below
        mean = float(wide.mean())
        std = float(wide.std(ddof=1, mean=mean)) if len(wide) > 1 else 0.0
    described.update({k: v for k, v in (("mean", mean), ("std", std)) if math.isfinite(v)})
    described.update(_ranks(array))
    return described


def _ranks(array: np.ndarray[Any, Any]) -> dict[str, Any]:
    """Quantiles and distinct values, by one sort."""
    import numpy as np

    described: dict[str, Any] = {}
    if len(array) > MAX_SORTED_ROWS:
        positions = np.linspace(0, len(array) - 1, MAX_SORTED_ROWS).astype(np.int64)
        array = array[positions]
        described["rows_ranked"] = MAX_SORTED_ROWS
    ordered = np.sort(array)
    described["distinct"] = int(np.count_nonzero(ordered[1:] != ordered[:-1])) + 1
    # The nearest observed value: exact for integers and times, and never between two classes.
    last = len(ordered) - 1
    described["quantiles"] = {
        name: ordered[round(share * last)].item() for name, share in QUANTILES.items()
    }
    return described


def _times(present: pd.Series[Any]) -> dict[str, Any]:
    import pandas as pd

    ticks = present.astype("int64").to_numpy()

    def texts(some: Iterable[int]) -> list[str]:
        times = pd.Series(list(some), dtype="int64").astype(present.dtype)
        return [time.isoformat() for time in times]

    described = _ranks(ticks)
    quantiles = described.pop("quantiles")
    low, high, mean = texts([int(ticks.min()), int(ticks.max()), round(float(ticks.mean()))])
    named = dict(zip(quantiles, texts(quantiles.values()), strict=True))
    return {"min": low, "max": high, "mean": mean, **described, "quantiles": named}


def _levels(present: pd.Series[Any]) -> dict[str, Any]:
    described: dict[str, Any] = {}
    first = present.iloc[0]
    if isinstance(first, list | tuple | dict | set) or getattr(first, "ndim", 0) > 0:
        return _nested(present)
    if len(present) > MAX_SORTED_ROWS:
        present = present.iloc[:: -(-len(present) // MAX_SORTED_ROWS)]
        described["rows_ranked"] = len(present)
    levels, counts = _count(present)
    described["distinct"] = len(levels)
    if len(levels) <= MAX_LEVELS or len(levels) <= MAX_DISTINCT_SHARE * len(present):
        described["levels"] = _most_frequent(levels, counts)
    return described


def _most_frequent(levels: Sequence[Any], counts: np.ndarray[Any, Any]) -> list[list[Any]]:
    """The levels with their counts, most frequent first; equal counts in order of appearance."""
    import numpy as np

    order = np.argsort(-counts, kind="stable")[:MAX_LEVELS]
    chosen = [levels[position] for position in order.tolist()]
    plain = [level.as_py() if hasattr(level, "as_py") else level for level in chosen]
    return [[_level(level), int(counts[at])] for level, at in zip(plain, order, strict=True)]


def _count(present: pd.Series[Any]) -> tuple[Sequence[Any], np.ndarray[Any, Any]]:
    """Return the distinct values that occur and how often each does."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    if isinstance(present.dtype, _categorical()):
        counts = np.bincount(present.cat.codes, minlength=len(present.cat.categories))
        seen = np.flatnonzero(counts)
        return list(present.cat.categories[seen]), counts[seen]
    try:
        found = pc.value_counts(pa.array(present))
        return found.field("values"), found.field("counts").to_numpy()
    except (pa.ArrowException, TypeError):  # values of several types, or none that Arrow has
        texts = present.map(lambda value: f"{type(value).__name__} {value}").value_counts()
        return list(texts.index), texts.to_numpy()


def _nested(present: pd.Series[Any]) -> dict[str, Any]:
    lengths = [len(value) for value in present if hasattr(value, "__len__")]
    return {"min_length": min(lengths), "max_length": max(lengths)} if lengths else {}


def _level(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    text = value if isinstance(value, str) else str(value)
    if len(text) <= MAX_LEVEL_CHARACTERS:
        return text
    return text[: MAX_LEVEL_CHARACTERS - 1] + "…"
