"""Which envelopes match, newest first (`created_at`, then `id`), a page at a time.

Walking all envelopes from the newest until one matches is slow when few match. So a search first
looks which condition leaves the fewest, and begins there:

- `tags.k = 'v'`: the index of tags lists them newest first. Of several, the one whose PROBE newest
  entries reach furthest back in time is the rarest where the search begins.
- other conditions with an index (metrics, facts, `in`, `or` of such): when they leave at most FEW.

Otherwise it walks. Both databases are asked the same way: SQLite has no statistics to choose by,
and PostgreSQL's do not know that tags go together.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeGuard

from sqlalchemy import (
    ColumnElement,
    Connection,
    ScalarSelect,
    Select,
    and_,
    select,
    true,
    tuple_,
    union_all,
)

from envelope.errors import ConfigError
from envelope.registry.query.memory import COMPARE
from envelope.registry.query.sql import condition_of, fact_holds
from envelope.registry.query.tree import And, Compare, Exists, In, Leaf, Node, Or, Query
from envelope.registry.tables import (
    WORDS,
    UtcTime,
    envelopes,
    facts,
    metrics_latest,
    tags,
)
from envelope.registry.text import fault_of

PROBE = 200  # index entries; reading them takes 0.1 ms
FEW = 300  # envelopes; reading, checking and sorting them takes 3 ms


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """Where a page ended."""

    created_at: datetime
    id: str

    def cursor(self) -> str:
        """Write it as callers hand it back: a text that says nothing to them."""
        return base64.urlsafe_b64encode(
            f"{self.created_at.isoformat()} {self.id}".encode()
        ).decode()


def read_cursor(cursor: str | None) -> Position | None:
    """Read what `Position.cursor` wrote. Raises ConfigError for any other text."""
    if cursor is None:
        return None
    try:
        at, _, envelope_id = base64.urlsafe_b64decode(cursor.encode()).decode().partition(" ")
        position = Position(created_at=datetime.fromisoformat(at), id=envelope_id)
        if position.created_at.tzinfo is None or fault_of(envelope_id):
            raise ValueError
    except (ValueError, binascii.Error) as exc:
        raise ConfigError(
            f"{cursor!r} is no cursor of this registry; give `next_cursor` of the page before, or "
            "none to begin again"
        ) from exc
    return position


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """A search that knows where it begins.

    tag: the `(key, value)` whose envelopes it reads; condition: what else has to hold.
    """

    condition: ColumnElement[bool]
    tag: tuple[str, str] | None = None

    def page(self, after: Position | None, size: int) -> Select[Any]:
        """Select the next `size` rows of `envelopes` after a position."""
        order = (envelopes.c.created_at, envelopes.c.id)
        if self.tag is not None:
            order = (_FIRST.c.registered_at, _FIRST.c.envelope_id)
        return _newest_first(self.select(envelopes), order, after).limit(size)

    def select(self, *columns: Any) -> Select[Any]:
        """Select columns of every match."""
        rows = select(*columns).select_from(envelopes).where(self.condition)
        if self.tag is None:
            return rows
        key, value = self.tag
        rows = rows.join(_FIRST, _FIRST.c.envelope_id == envelopes.c.id)
        return rows.where(_FIRST.c.key == key, _FIRST.c.value == value)


_FIRST = tags.alias("first")  # the tag where a search begins


def begin(connection: Connection, query: Query, as_of: datetime | None) -> Search:
    """Decide where a search begins. as_of: see `to_sql`; the indexes know only what is now."""
    if as_of is not None:
        known = envelopes.c.created_at <= as_of
        return Search(condition=and_(known, _all_of(_terms(query.root), as_of)))
    terms = _terms(query.root)
    rarest = _rarest_tag(connection, terms)
    if rarest is not None and rarest.is_rare:
        return _from_tag(terms, rarest.term)
    for term in terms:
        few = None if _is_tag(term) else _few(connection, term)
        if few is not None:
            return Search(condition=and_(envelopes.c.id.in_(few), _all_of(terms, None)))
    if rarest is not None:
        return _from_tag(terms, rarest.term)
    return Search(condition=_all_of(terms, None))


def _terms(node: Node | None) -> tuple[Node, ...]:
    """What all has to hold, nested `and`s taken apart."""
    if node is None:
        return ()
    if isinstance(node, And):
        return tuple(inner for term in node.terms for inner in _terms(term))
    return (node,)


def _all_of(terms: Iterable[Node], as_of: datetime | None) -> ColumnElement[bool]:
    return and_(true(), *(condition_of(term, as_of) for term in terms))


def _from_tag(terms: Sequence[Node], tag: Compare) -> Search:
    rest = _all_of((term for term in terms if term is not tag), None)
    return Search(condition=rest, tag=(tag.key.name, str(tag.value)))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tag:
    term: Compare
    is_rare: bool  # it has fewer than PROBE envelopes


def _is_tag(term: Node) -> TypeGuard[Compare]:
    return isinstance(term, Compare) and term.key.source == "tag" and term.operator == "="


def _rarest_tag(connection: Connection, terms: Sequence[Node]) -> _Tag | None:
    candidates = [term for term in terms if _is_tag(term)]
    if not candidates:
        return None
    if len(terms) == 1:
        return _Tag(term=candidates[0], is_rare=True)  # there is nothing else to begin with
    reaches = [_reach(term).label(f"reach_{n}") for n, term in enumerate(candidates)]
    found: Any = connection.execute(select(*reaches)).one()
    for term, oldest in zip(candidates, found, strict=True):
        if oldest is None:
            return _Tag(term=term, is_rare=True)
    oldest, n = min((oldest, n) for n, oldest in enumerate(found))
    return _Tag(term=candidates[n], is_rare=False)


def _reach(term: Compare) -> ScalarSelect[datetime]:
    """When the tag's PROBE-th newest envelope was registered; NULL when it has fewer."""
    entries = select(tags.c.registered_at).where(
        tags.c.key == term.key.name, tags.c.value == term.value
    )
    order = (tags.c.registered_at, tags.c.envelope_id)
    return _newest_first(entries, order, None).offset(PROBE).limit(1).scalar_subquery()


def _few(connection: Connection, term: Node) -> list[str] | None:
    """The envelopes that a term leaves, where an index lists them and they are at most FEW."""
    listed = list(_listed(term))
    if not listed:
        return None
    every = listed[0] if len(listed) == 1 else union_all(*listed)
    found = connection.scalars(every.limit(FEW + 1)).all()
    return sorted(set(found)) if len(found) <= FEW else None


def _listed(node: Node) -> Iterable[Select[Any]]:
    """Selects of ids that together hold every match of a node; none where no index lists them."""
    match node:
        case Or(terms=terms):
            parts = [list(_listed(term)) for term in terms]
            return [each for part in parts for each in part] if all(parts) else []
        case And(terms=terms):
            return next((part for part in map(list, map(_listed, terms)) if part), [])
        case Compare() | In() | Exists():
            ids = _listed_leaf(node)
            return [] if ids is None else [ids]
    return []


def _listed_leaf(leaf: Leaf) -> Select[Any] | None:
    is_equality = (isinstance(leaf, Compare) and leaf.operator == "=") or (
        isinstance(leaf, In) and not leaf.is_negated
    )
    key = leaf.key
    if key.source == "metric" and isinstance(leaf, Exists):
        return select(metrics_latest.c.envelope_id).where(metrics_latest.c.name == key.name)
    if key.source == "metric" and isinstance(leaf, Compare) and leaf.operator != "!=":
        ids = select(metrics_latest.c.envelope_id).where(metrics_latest.c.name == key.name)
        return ids.where(COMPARE[leaf.operator](metrics_latest.c.number, leaf.value))
    if key.source == "tag" and is_equality:
        values = leaf.values if isinstance(leaf, In) else (leaf.value,)  # type: ignore[union-attr]  # is_equality says so
        return select(tags.c.envelope_id).where(tags.c.key == key.name, tags.c.value.in_(values))
    if key.source == "fact" and is_equality and not key.name.startswith("environment."):
        return select(facts.c.subject).where(facts.c.path == key.name, fact_holds(leaf, facts.c))
    return None


def _newest_first(
    statement: Select[Any],
    columns: tuple[ColumnElement[Any], ColumnElement[Any]],
    after: Position | None,
) -> Select[Any]:
    if after is not None:
        here = tuple_(after.created_at, after.id, types=[UtcTime(), WORDS])
        statement = statement.where(tuple_(*columns) < here)
    return statement.order_by(*(column.desc() for column in columns))
