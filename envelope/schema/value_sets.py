"""Which values a type has, where they can be listed or are bounded."""

from __future__ import annotations

from envelope.schema import types as t
from envelope.schema.constraints import breaks

# -- values that can be listed -------------------------------------------------------------------


def values_of(kind: t.Type) -> tuple[t.Plain, ...] | None:
    """The values that a type consists of, where they can be listed."""
    match kind:
        case t.OneOf(values=values) | t.Categorical(levels=values):
            return values
        case t.Enumeration(members=members):
            return tuple(member.value for member in members)
        case _:
            return None


def values_fit(
    sent: tuple[t.Plain, ...] | None, read: tuple[t.Plain, ...] | None, kind: t.Type
) -> bool:
    """Whether all of `sent` are among `read`, or are of type `kind` when that has no list."""
    if sent is None:
        return False
    if read is None:
        return all(value is not None and _value_fits(value, kind) for value in sent)
    there = {(type(value), value) for value in read}
    return all((type(value), value) in there for value in sent)


def _value_fits(value: str | int | float | bool, kind: t.Type) -> bool:
    match value:
        case bool():
            return isinstance(kind, t.Boolean)
        case str():
            return isinstance(kind, t.Text)
        case int():
            low, high = integer_range(kind) if isinstance(kind, t.Integer) else (value, value)
            return isinstance(kind, t.Integer | t.Float | t.Decimal) and low <= value <= high
        case float():
            return isinstance(kind, t.Float)


# -- bounds --------------------------------------------------------------------------------------


def integer_range(kind: t.Integer) -> tuple[float, float]:
    """The least and greatest integer of this size."""
    if kind.bits is None:
        return -float("inf"), float("inf")
    half = 2 ** (kind.bits - 1)
    return (-half, half - 1) if kind.signed else (0, 2 * half - 1)


def is_within(sent: t.Type, read: t.Constrained) -> bool:
    """Whether what is known of `sent` implies every bound of `read`."""
    values = values_of(sent)
    if values is not None:
        return _allis_within(values, read)
    own = sent if isinstance(sent, t.Constrained) else t.Constrained(sent)
    inner = own.of.of if isinstance(own.of, t.NumpyScalar) else own.of
    low, high = integer_range(inner) if isinstance(inner, t.Integer) else (None, None)
    return (
        _is_above(low, own, read)
        and _is_below(high, own, read)
        and (read.multiple_of is None or _divides(read.multiple_of, own.multiple_of))
        and (read.min_length is None or (own.min_length or 0) >= read.min_length)
        and (read.max_length is None or _at_most(own.max_length, read.max_length))
        and (read.pattern is None or own.pattern == read.pattern)
    )


def _allis_within(values: tuple[t.Plain, ...], read: t.Constrained) -> bool:
    is_broken = breaks(read)
    try:
        return not any(is_broken(value) for value in values)
    except TypeError:  # a text where a number is bounded
        return False


def _is_above(low: float | None, own: t.Constrained, read: t.Constrained) -> bool:
    """Whether the lower bounds of `own`, or `low` of its type, imply those of `read`."""
    closed = [bound for bound in (low, own.ge) if bound is not None]
    opened = [] if own.gt is None else [own.gt]
    ge_holds = read.ge is None or any(bound >= read.ge for bound in [*closed, *opened])
    gt_holds = read.gt is None or any(
        [*(bound > read.gt for bound in closed), *(bound >= read.gt for bound in opened)]
    )
    return ge_holds and gt_holds


def _is_below(high: float | None, own: t.Constrained, read: t.Constrained) -> bool:
    closed = [bound for bound in (high, own.le) if bound is not None]
    opened = [] if own.lt is None else [own.lt]
    le_holds = read.le is None or any(bound <= read.le for bound in [*closed, *opened])
    lt_holds = read.lt is None or any(
        [*(bound < read.lt for bound in closed), *(bound <= read.lt for bound in opened)]
    )
    return le_holds and lt_holds


def _divides(step: float, own: float | None) -> bool:
    return own is not None and own % step == 0


def _at_most(own: int | None, limit: int) -> bool:
    return own is not None and own <= limit
