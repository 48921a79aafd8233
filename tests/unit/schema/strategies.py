"""Hypothesis strategies: a type together with values of it."""

from __future__ import annotations

import datetime
import decimal
import math
from typing import Any

from hypothesis import strategies as st

from envelope.schema import types as t

Typed = tuple[t.Type, st.SearchStrategy[Any]]

NAMES = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), min_size=1, max_size=8)
TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=8)
MICROSECONDS = st.datetimes()
CENTURIES = datetime.timedelta(days=10**7)

SCALARS: list[Typed] = [
    (t.Null(), st.none()),
    (t.Boolean(), st.booleans()),
    (t.Integer(), st.integers()),
    (t.Integer(8), st.integers(-128, 127)),
    (t.Integer(64, False), st.integers(0, 2**64 - 1)),
    (t.Float(), st.floats(allow_nan=False, allow_infinity=False)),
    (t.Text(), TEXTS),
    (t.Bytes(), st.binary(max_size=8)),
    (t.Date(), st.dates()),
    (t.Time(), st.times()),
    (t.Timestamp(), MICROSECONDS),
    (t.Timestamp(zone="UTC"), st.datetimes(timezones=st.just(datetime.UTC))),
    (t.Timestamp(zone="any"), MICROSECONDS),
    (t.Duration(), st.timedeltas(-CENTURIES, CENTURIES)),
    (t.Uuid(), st.uuids()),
    (
        t.Decimal(),
        st.decimals(allow_nan=False, allow_infinity=False).filter(
            lambda number: abs(number.adjusted()) < 1000
        ),
    ),
    (t.OneOf(("a", 1, True, None)), st.sampled_from(["a", 1, True, None])),
    (t.Constrained(t.Integer(), ge=0, lt=10), st.integers(0, 9)),
]


def _extend(inner: st.SearchStrategy[Typed]) -> st.SearchStrategy[Typed]:
    return st.one_of(
        inner.map(lambda typed: (t.ListOf(typed[0]), st.lists(typed[1], max_size=3))),
        inner.map(
            lambda typed: (
                t.TupleOf(rest=typed[0]),
                st.lists(typed[1], max_size=3).map(tuple),
            )
        ),
        inner.map(
            lambda typed: (
                t.MapOf(t.Text(), typed[0]),
                st.dictionaries(TEXTS, typed[1], max_size=3),
            )
        ),
        inner.map(
            lambda typed: (
                t.MapOf(t.Integer(), typed[0]),
                st.dictionaries(st.integers(-(10**20), 10**20), typed[1], max_size=3),
            )
        ),
        inner.filter(lambda typed: not isinstance(typed[0], t.Null | t.Maybe)).map(
            lambda typed: (t.Maybe(typed[0]), st.none() | typed[1])
        ),
        st.lists(inner, max_size=3).map(
            lambda typed: (
                t.TupleOf(tuple(kind for kind, _ in typed)),
                st.tuples(*(values for _, values in typed)),
            )
        ),
        st.dictionaries(NAMES, inner, max_size=3).map(
            lambda members: (
                t.Record(tuple(t.Field(name, kind) for name, (kind, _) in members.items())),
                st.fixed_dictionaries({name: values for name, (_, values) in members.items()}),
            )
        ),
    )


TYPED: st.SearchStrategy[Typed] = st.recursive(st.sampled_from(SCALARS), _extend, max_leaves=6)


@st.composite
def typed_values(draw: st.DrawFn) -> tuple[t.Type, Any]:
    """A type and one value of it."""
    kind, values = draw(TYPED)
    return kind, draw(values)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5)
    | st.sampled_from(["2024-01-01", "2024-01-01T00:00:00Z", "P1D", "1.5", "AA==", "a"]),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=8,
)


def equal(one: Any, other: Any) -> bool:
    """Equal and of one type throughout; minus zero is not zero."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(equal, one, other))
    if isinstance(one, float):
        return one == other and math.copysign(1, one) == math.copysign(1, other)
    if isinstance(one, decimal.Decimal):
        return one == other and one.as_tuple() == other.as_tuple()
    return bool(one == other)
