"""Proof, on the sample, that a function of one frame answers row by row.

Only then may the rows of several callers share one call. The function is called with all rows at
once, with eight rows alone, in halves, reversed and with every row twice; each row must get the
same output.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from envelope.errors import SchemaError
from envelope.manifest import RowWise
from envelope.schema import types as t
from envelope.schema.checks import Checker

LEAST_ROWS = 8  # fewer rows agree by chance too easily
MOST_ROWS = 16
MOST_ALONE = 8  # each is a call: what depends on other rows differs in any, a habit of few in many
MOST_LOOKED_AT = 1000  # of a large sample, for rows that differ
# How far apart outputs of one row may be: linear models and networks sum in another order when they
# see more rows at once; measured 1e-16 to 5e-15 in float64.
TOLERANCE = {16: 1e-3, 32: 1e-5, 64: 1e-9}


class _NotRowWise(Exception):
    """Why it is not, in words."""


@dataclass(frozen=True, slots=True)
class _Trial:
    """name: in words. places: which of the chosen rows the call gets, in order."""

    name: str
    places: list[int]


def prove_row_wise(call: Callable[..., Any], checker: Checker, api_input: Any) -> RowWise:
    """Try a function on its sample and return whether it answers row by row, and how that is known.

    call: the function, by keyword. api_input: the example frame of any length, or a dict of it.
    """
    schema = checker.schema
    if schema.one_frame is None:
        return RowWise(is_row_wise=False, reason="it does not take one DataFrame")
    if not _is_per_row(schema.output):
        return RowWise(is_row_wise=False, reason="it returns one output per call, not one per row")
    if schema.one_frame.library == "arrow":
        return RowWise(is_row_wise=False, reason="it takes an Arrow table, which is one call")
    if isinstance(api_input, dict):
        api_input = next(iter(api_input.values()))
    # Most samples differ everywhere: only where they do not are more rows read and compared.
    rows = _distinct_rows(api_input, checker, MOST_ROWS)
    if len(rows) < min(MOST_ROWS, len(api_input)):
        rows = _distinct_rows(api_input, checker, MOST_LOOKED_AT)
    if len(rows) < LEAST_ROWS:
        more = LEAST_ROWS - len(rows)
        reason = (
            f"the sample has {len(rows)} distinct rows; {more} more are needed to prove that "
            "rows can share a call"
        )
        return RowWise(is_row_wise=False, reason=reason, rows=len(rows))
    try:
        difference = _worst_difference(call, checker, rows)
    except _NotRowWise as exc:
        return RowWise(is_row_wise=False, reason=str(exc), rows=len(rows))
    reason = "each row gets the same output alone, in halves, reversed and among all"
    return RowWise(
        is_row_wise=True, reason=reason, rows=len(rows), max_difference=float(difference)
    )


def _is_per_row(kind: t.Type | None) -> bool:
    """Tell whether an output may have a part per row."""
    if isinstance(kind, t.Array):
        return kind.shape is None or (len(kind.shape) > 0 and kind.shape[0] is None)
    return isinstance(kind, t.SeriesOf | t.ListOf | t.Frame)


def _spread(count: int, most: int) -> list[int]:
    """Return up to `most` of the places 0..count-1, evenly spread, the ends among them."""
    if count <= most:
        return list(range(count))
    return [int(place) for place in np.linspace(0, count - 1, most)]


def _distinct_rows(sample: pd.DataFrame, checker: Checker, looked_at: int) -> pd.DataFrame:
    """Return up to MOST_ROWS rows that differ, of so many that are spread over the sample.

    As the function gets them.
    """
    few = sample.iloc[_spread(len(sample), looked_at)]
    name = checker.schema.parameters[0].name
    frame: pd.DataFrame = checker.read_arguments((few,), {}).arguments()[name]
    seen: dict[str, int] = {}
    for place, row in enumerate(frame.itertuples(index=False, name=None)):
        seen.setdefault(repr(row), place)
    places = list(seen.values())
    chosen = [places[place] for place in _spread(len(places), MOST_ROWS)]
    return frame.iloc[chosen].reset_index(drop=True)


def _worst_difference(call: Callable[..., Any], checker: Checker, rows: pd.DataFrame) -> float:
    """Return the greatest relative difference. Raises _NotRowWise."""
    n_rows = len(rows)
    everything = list(range(n_rows))
    expected = _outputs(call, checker, rows, _Trial("all rows at once", everything))
    worst = 0.0
    for trial in [
        _Trial("the same call again", everything),
        *(_Trial(f"row {place} alone", [place]) for place in _spread(n_rows, MOST_ALONE)),
        _Trial("the first half", everything[: n_rows // 2]),
        _Trial("the second half", everything[n_rows // 2 :]),
        _Trial("the rows reversed", everything[::-1]),
        _Trial("every row twice", everything + everything),
    ]:
        found = _outputs(call, checker, rows, trial)
        for output, place in zip(found, trial.places, strict=True):
            worst = max(worst, _difference(expected[place], output, checker, trial))
    return worst


def _outputs(
    call: Callable[..., Any], checker: Checker, rows: pd.DataFrame, trial: _Trial
) -> list[Any]:
    """Return one JSON-able output per row of a trial."""
    name = checker.schema.parameters[0].name
    part = rows.iloc[trial.places].reset_index(drop=True)
    try:
        output = call(**{name: part})
    except Exception as exc:  # the user's function may raise anything
        raise _NotRowWise(f"{trial.name}: it raised {type(exc).__name__}") from exc
    try:
        written = checker.output_parts(output)
    except SchemaError as exc:
        raise _NotRowWise(f"{trial.name}: {exc}") from exc
    if not isinstance(written, list) or len(written) != len(trial.places):
        count = len(written) if isinstance(written, list) else "one"
        raise _NotRowWise(f"{trial.name}: {count} outputs for {len(trial.places)} rows")
    return written


def _difference(expected: Any, found: Any, checker: Checker, trial: _Trial) -> float:
    """Return the relative difference of two outputs of one row. Raises _NotRowWise."""
    tolerance = TOLERANCE[_float_bits(checker.schema.output)]
    worst = 0.0
    for one, other in zip(_leaves(expected), _leaves(found), strict=False):
        if type(one) is float and type(other) is float:
            difference = _relative(one, other)
            if difference > tolerance:
                raise _NotRowWise(
                    f"{trial.name}: an output differs by {difference:.1e} (relative), more than "
                    f"{tolerance:.0e}, from the one among all rows"
                )
            worst = max(worst, difference)
        elif one != other:
            raise _NotRowWise(f"{trial.name}: an output differs from the one among all rows")
    if len(_leaves(expected)) != len(_leaves(found)):
        raise _NotRowWise(f"{trial.name}: an output has another length than among all rows")
    return worst


def _relative(one: float, other: float) -> float:
    if one == other or (one != one and other != other):
        return 0.0
    scale = max(abs(one), abs(other))
    if not scale:  # 0.0 beside NaN: of the two the larger is, to Python, the first
        return float("inf")
    difference = abs(one - other) / scale
    return difference if difference == difference else float("inf")


def _leaves(value: Any) -> list[Any]:
    """Return the plain values inside lists and dicts, with the names of members between."""
    if isinstance(value, list):
        return [leaf for item in value for leaf in _leaves(item)]
    if isinstance(value, dict):
        return [leaf for key, item in value.items() for leaf in (key, *_leaves(item))]
    return [value]


def _float_bits(kind: t.Type | None) -> int:
    """Return the size of the narrowest float in an output type."""
    match kind:
        case t.Float(bits=bits):
            return bits
        case t.Maybe(of=of) | t.Constrained(of=of) | t.NumpyScalar(of=of) | t.Array(of=of):
            return _float_bits(of)
        case t.ListOf(item=item):
            return _float_bits(item)
        case t.SeriesOf(column=column):
            return _float_bits(column.type)
        case t.Frame(columns=columns):
            return min((_float_bits(column.type) for column in columns), default=64)
    return 64
