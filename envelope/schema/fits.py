"""Whether every value of one type is accepted where another is read: a pure function of two types.

What counts is what travels and what the readers of `scalars.py` and `readers.py` take: an integer
where a float is read, a text where a longer list of levels is. Two losses are passed over, because
retrained models make them daily and real data seldom meets them: integers beyond 2**53 read as
float64, and float64 read as float32.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from envelope.schema import types as t
from envelope.schema.value_sets import integer_range, is_within, values_fit, values_of

Extra: TypeAlias = Literal["refuse", "ignore"]
_UNITS = ("s", "ms", "us", "ns")
_EXACT_BITS = {16: 8, 32: 16, 64: 64}  # integers of so many bits are read as a float of that size


@dataclass(frozen=True, slots=True)
class Misfit:
    """One place where values do not fit.

    sent: None when it is read and never sent. read: None when it is sent and nothing reads it.
    """

    path: str
    sent: t.Type | None
    read: t.Type | None


@dataclass(slots=True)
class Scope:
    """extra: what a reader does with members and columns that it does not know.

    sent, read: the records that enclose this place, by path. compared: pairs that are being
    compared further out, which fit as far as recursion is concerned.
    """

    extra: Extra
    sent: dict[str, t.Record] = field(default_factory=dict)
    read: dict[str, t.Record] = field(default_factory=dict)
    compared: set[tuple[int, int]] = field(default_factory=set)


def misfits(sent: t.Type, read: t.Type, path: str, scope: Scope) -> Iterator[Misfit]:
    """Every place where a value of `sent` may not be accepted as `read`; none when all are."""
    sent, read = _resolved(sent, scope.sent), _resolved(read, scope.read)
    if isinstance(read, t.Anything):
        return
    if isinstance(sent, t.AnyOf):
        for member in sent.members:
            yield from misfits(member, read, path, scope)
        return
    sent_base, may_be_null = _split_null(sent)
    read_base, takes_null = _split_null(read)
    if isinstance(read_base, t.AnyOf):
        takes_null |= any(_split_null(member)[1] for member in read_base.members)
    if may_be_null and not takes_null:
        yield Misfit(path, sent, read)
        return
    if sent_base is None:
        return
    if read_base is None:
        yield Misfit(path, sent, read)
        return
    if isinstance(read_base, t.AnyOf):
        if not any(_fits(sent_base, member, path, scope) for member in read_base.members):
            yield Misfit(path, sent, read)
        return
    yield from _compared(sent_base, read_base, path, scope)


def _fits(sent: t.Type, read: t.Type, path: str, scope: Scope) -> bool:
    return next(misfits(sent, read, path, scope), None) is None


def _resolved(kind: t.Type, records: Mapping[str, t.Record]) -> t.Type:
    while isinstance(kind, t.NumpyScalar):
        kind = kind.of
    return records.get(kind.path, kind) if isinstance(kind, t.Recursion) else kind


def _split_null(kind: t.Type) -> tuple[t.Type | None, bool]:
    """The type without null, and whether null is one of its values."""
    match kind:
        case t.Null():
            return None, True
        case t.Maybe(of=of):
            return _split_null(of)[0], True
        case t.Float(bits=bits, nan=True):
            return t.Float(bits), True
        case t.NumpyScalar(of=of):
            return _split_null(of)
        case _:
            return kind, False


def _compared(sent: t.Type, read: t.Type, path: str, scope: Scope) -> Iterator[Misfit]:
    """Compare two types that are neither null nor unions."""
    if isinstance(read, t.Constrained):
        if not is_within(sent, read):
            yield Misfit(path, sent, read)
        else:
            yield from misfits(sent, read.of, path, scope)
        return
    if isinstance(sent, t.Constrained):
        yield from misfits(sent.of, read, path, scope)
        return
    sent_values, read_values = values_of(sent), values_of(read)
    if read_values is not None or (sent_values is not None and not isinstance(sent, t.Categorical)):
        if not values_fit(sent_values, read_values, read):
            yield Misfit(path, sent, read)
        return
    if isinstance(sent, t.Categorical):
        yield from misfits(sent.of, read, path, scope)
        return
    sent_items, read_items = _sequence(sent), _sequence(read)
    if sent_items is not None and read_items is not None:
        is_set = isinstance(read, t.SetOf) and not isinstance(sent, t.SetOf)
        if is_set or not sent_items.has_lengths_of(read_items):
            yield Misfit(path, sent, read)
        else:
            yield from _items(sent_items, read_items, path, scope)
        return
    compare = _SAME_KIND.get(type(sent)) if type(sent) is type(read) else None
    if compare is not None:
        yield from compare(sent, read, path, scope)
    elif not _leaf_fits(sent, read, path, scope):
        yield Misfit(path, sent, read)


# -- what holds others ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Sequence:
    """What is a list in JSON. first: the types of its first places, rest: of all others."""

    first: tuple[t.Type, ...]
    rest: t.Type | None
    least: int
    most: int | None

    def has_lengths_of(self, read: _Sequence) -> bool:
        is_short_enough = read.most is None or (self.most is not None and self.most <= read.most)
        return self.least >= read.least and is_short_enough

    def at(self, place: int) -> t.Type | None:
        return self.first[place] if place < len(self.first) else self.rest


def _sequence(kind: t.Type) -> _Sequence | None:
    match kind:
        case t.ListOf(item=item) | t.SetOf(item=item):
            return _Sequence((), item, 0, None)
        case t.SeriesOf(column=column):
            return _Sequence((), column.type, 0, None)
        case t.TupleOf(items=items, rest=rest):
            return _Sequence(items, rest, len(items), len(items) if rest is None else None)
        case t.Array(shape=tuple(shape)) if shape:
            inner = t.Array(kind.dtype, kind.of, shape[1:]) if shape[1:] else kind.of
            return _Sequence((), inner, shape[0] or 0, shape[0])
        case _:
            return None


def _items(sent: _Sequence, read: _Sequence, path: str, scope: Scope) -> Iterator[Misfit]:
    for place in range(max(len(sent.first), len(read.first))):
        if place < (sent.most if sent.most is not None else place + 1):
            yield from _item(sent.at(place), read.at(place), f"{path}[{place}]", scope)
    if sent.most is None or sent.most > max(len(sent.first), len(read.first)):
        yield from _item(sent.rest, read.rest, f"{path}[]", scope)


def _item(sent: t.Type | None, read: t.Type | None, path: str, scope: Scope) -> Iterator[Misfit]:
    if sent is not None and read is not None:
        yield from misfits(sent, read, path, scope)


def _records(sent: t.Record, read: t.Record, path: str, scope: Scope) -> Iterator[Misfit]:
    pair = (id(sent), id(read))
    if pair in scope.compared:
        return
    inner = Scope(
        extra=scope.extra,
        sent={**scope.sent, sent.path: sent} if sent.path else scope.sent,
        read={**scope.read, read.path: read} if read.path else scope.read,
        compared=scope.compared | {pair},
    )
    sends = {each.name: each for each in sent.fields}
    reads = {each.name: each for each in read.fields}
    for name, each in sends.items():
        if name not in reads and scope.extra == "refuse":
            yield Misfit(f"{path}.{name}", each.type, None)
    for name, each in reads.items():
        if each.required and not (name in sends and sends[name].required):
            yield Misfit(f"{path}.{name}", None, each.type)
        elif name in sends:
            yield from misfits(sends[name].type, each.type, f"{path}.{name}", inner)


def _frames(sent: t.Frame, read: t.Frame, path: str, scope: Scope) -> Iterator[Misfit]:
    sends = {str(column.name): column.type for column in sent.columns}
    reads = {str(column.name): column.type for column in read.columns}
    for name, kind in sends.items():
        if name not in reads and scope.extra == "refuse":
            yield Misfit(_column(path, name), kind, None)
    for name, kind in reads.items():
        if name not in sends:
            yield Misfit(_column(path, name), None, kind)
        else:
            yield from misfits(sends[name], kind, _column(path, name), scope)


def _column(path: str, name: str) -> str:
    return f"{path} column {name}".strip()


def _maps(sent: t.MapOf, read: t.MapOf, path: str, scope: Scope) -> Iterator[Misfit]:
    yield from misfits(sent.key, read.key, f"{path} keys", scope)
    yield from misfits(sent.value, read.value, f"{path}[]", scope)


def _sparse(
    sent: t.SparseMatrix, read: t.SparseMatrix, path: str, scope: Scope
) -> Iterator[Misfit]:
    if sent.columns != read.columns:
        yield Misfit(path, sent, read)
    else:
        yield from misfits(sent.of, read.of, path, scope)


_SAME_KIND: dict[type, Callable[[Any, Any, str, Scope], Iterator[Misfit]]] = {
    t.Record: _records,
    t.Frame: _frames,
    t.MapOf: _maps,
    t.SparseMatrix: _sparse,
}


# -- what holds nothing --------------------------------------------------------------------------

_LEAVES = (
    t.Null,
    t.Boolean,
    t.Integer,
    t.Float,
    t.Decimal,
    t.Text,
    t.Bytes,
    t.Date,
    t.Time,
    t.Timestamp,
    t.Duration,
    t.Uuid,
)


def _leaf_fits(sent: t.Type, read: t.Type, path: str, scope: Scope) -> bool:
    match sent, read:
        case t.Integer(), t.Integer():
            (low, high), (least, most) = integer_range(sent), integer_range(read)
            return least <= low and high <= most
        case t.Integer(bits=bits), t.Float(bits=size):
            return size == 64 or (bits is not None and bits <= _EXACT_BITS[size])
        case t.Integer(), t.Decimal():
            return read.precision is None or _integer_digits(sent) <= _whole_digits(read)
        case t.Float(bits=bits), t.Float(bits=size):
            return size != 16 or bits == 16
        case t.Decimal(), t.Decimal():
            return read.precision is None or (
                sent.precision is not None
                and _whole_digits(sent) <= _whole_digits(read)
                and (sent.scale or 0) <= (read.scale or 0)
            )
        case t.Time(), t.Time():
            return _is_coarser(sent.unit, read.unit)
        case t.Duration(), t.Duration():
            return _is_coarser(sent.unit, read.unit)
        case t.Timestamp(), t.Timestamp():
            if read.zone == "any":
                return True
            is_aware = (sent.zone is not None, read.zone is not None)
            same = sent.zone != "any" and is_aware[0] == is_aware[1]
            return same and _is_coarser(sent.unit, read.unit)
        case t.Array(shape=None), t.Array(shape=None):
            return _fits(sent.of, read.of, path, scope)
        case t.Array(), t.Array(shape=None) | t.Array(shape=()):
            return (
                sent.shape is not None
                and (read.shape is None or sent.shape == ())
                and _fits(sent.of, read.of, path, scope)
            )
        case _, t.Array(shape=()):
            return _fits(sent, read.of, path, scope)
        case t.Array(shape=()), _:
            return _fits(sent.of, read, path, scope)
        case _:
            return type(sent) is type(read) and isinstance(sent, _LEAVES)


def _is_coarser(sent: t.Unit, read: t.Unit) -> bool:
    return _UNITS.index(sent) <= _UNITS.index(read)


def _integer_digits(kind: t.Integer) -> int:
    return 400 if kind.bits is None else len(str(2**kind.bits))


def _whole_digits(kind: t.Decimal) -> int:
    return (kind.precision or 0) - (kind.scale or 0)
