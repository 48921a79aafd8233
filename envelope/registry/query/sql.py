"""A query as an SQL condition on `envelopes`: two-valued, so that `not` means the same everywhere.

Every comparison of a key that may be absent is an EXISTS, which is never NULL.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Select,
    and_,
    bindparam,
    exists,
    func,
    literal,
    not_,
    or_,
    select,
    true,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import Boolean

from envelope.registry import tables
from envelope.registry.query.memory import COMPARE
from envelope.registry.query.tree import (
    And,
    Compare,
    Exists,
    In,
    Key,
    Leaf,
    Like,
    Node,
    Not,
    Or,
    Query,
    Value,
    pattern_parts,
)
from envelope.registry.query.versions import version_key

INDEXED_CHARACTERS = 500  # of a fact's text; at most 2,000 bytes, so it fits an index entry

Condition = ColumnElement[bool]
envelopes = tables.envelopes


def to_sql(query: Query, *, as_of: datetime | None = None) -> Condition:
    """Compile to a condition for a SELECT from `envelopes`.

    as_of: tags, metrics, functions and proofs as they were known then. The envelopes registered
    later are not left out here: `find` does that.
    """
    return true() if query.root is None else condition_of(query.root, as_of)


def condition_of(node: Node, as_of: datetime | None = None) -> Condition:
    """The condition of one part of a query."""
    match node:
        case And(terms=terms):
            return and_(*(condition_of(term, as_of) for term in terms))
        case Or(terms=terms):
            return or_(*(condition_of(term, as_of) for term in terms))
        case Not(term=term):
            return not_(condition_of(term, as_of))
        case _:
            return _leaf(node, as_of)


def _leaf(leaf: Leaf, as_of: datetime | None) -> Condition:
    key = leaf.key
    match key.source:
        case "tag":
            return _tag(key.name, _on_text(leaf), as_of)
        case "metric":
            return _metric(key.name, _on_number(leaf), as_of)
        case "function":
            return _function(key.name, _on_text(leaf), as_of)
        case "fact" | "version":
            return _fact(leaf)
        case "proved":
            return _is_proved(leaf, as_of)
        case "time":
            return _on_column(leaf)(envelopes.c.created_at)
        case "column":
            return _on_column(leaf)(envelopes.c[key.name])


OnColumn = Callable[[ColumnElement[Any]], Condition]


def _on_column(leaf: Leaf) -> OnColumn:
    """What the comparison says about a column of its own type that is never NULL."""
    match leaf:
        case Compare(operator=operator, value=value):
            return lambda column: COMPARE[operator](column, value)
        case In(values=values, is_negated=True):
            return lambda column: column.not_in(values)
        case In(values=values):
            return lambda column: column.in_(values)
        case Like(pattern=pattern, is_negated=is_negated):
            return lambda column: (
                not_(like(column, pattern)) if is_negated else like(column, pattern)
            )
        case Exists():
            return lambda column: true()


_on_text = _on_column


def _on_number(leaf: Leaf) -> OnColumn:
    if isinstance(leaf, Exists):
        return lambda column: true()
    return lambda column: and_(column.is_not(None), _on_column(leaf)(column))


def _related(statement: Select[Any]) -> Condition:
    """EXISTS, asked of one envelope after the other, in the order in which they are read.

    PostgreSQL would make a join of it and may begin at the other end: half a million rows of a
    common tag, 6 s for what takes 1 ms. It leaves a subquery with an OFFSET alone.
    """
    return statement.correlate(envelopes).suffix_with("OFFSET 0", dialect="postgresql").exists()


def _tag(name: str, on: OnColumn, as_of: datetime | None) -> Condition:
    if as_of is None:
        tags = tables.tags.alias()
        return _related(
            select(literal(1)).where(
                tags.c.envelope_id == envelopes.c.id, tags.c.key == name, on(tags.c.value)
            )
        )
    changes, later = tables.tag_changes.alias(), tables.tag_changes.alias()
    overtaken = exists().where(
        later.c.envelope_id == changes.c.envelope_id,
        later.c.key == changes.c.key,
        later.c.at <= as_of,
        later.c.id > changes.c.id,
    )
    return _related(
        select(literal(1)).where(
            changes.c.envelope_id == envelopes.c.id,
            changes.c.key == name,
            changes.c.at <= as_of,
            changes.c.new.is_not(None),
            on(changes.c.new),
            not_(overtaken),
        )
    )


def _metric(name: str, on: OnColumn, as_of: datetime | None) -> Condition:
    if as_of is None:
        latest = tables.metrics_latest.alias()
        return _related(
            select(literal(1)).where(
                latest.c.envelope_id == envelopes.c.id, latest.c.name == name, on(latest.c.number)
            )
        )
    points, later = tables.metric_points.alias(), tables.metric_points.alias()
    overtaken = exists().where(
        later.c.envelope_id == points.c.envelope_id,
        later.c.name == points.c.name,
        later.c.logged_at <= as_of,
        or_(later.c.at > points.c.at, and_(later.c.at == points.c.at, later.c.id > points.c.id)),
    )
    return _related(
        select(literal(1)).where(
            points.c.envelope_id == envelopes.c.id,
            points.c.name == name,
            points.c.logged_at <= as_of,
            on(points.c.number),
            not_(overtaken),
        )
    )


def _function(name: str, on: OnColumn, as_of: datetime | None) -> Condition:
    functions = tables.functions.alias()
    known = true() if as_of is None else functions.c.added_at <= as_of
    return _related(
        select(literal(1)).where(
            functions.c.envelope_id == envelopes.c.id,
            functions.c.name == name,
            on(functions.c.sha256),
            known,
        )
    )


def _is_proved(leaf: Leaf, as_of: datetime | None) -> Condition:
    """proved: on some platform the last proof was good."""
    proofs, later = tables.proofs.alias(), tables.proofs.alias()
    overtaken = exists().where(
        later.c.envelope_id == proofs.c.envelope_id,
        later.c.platform == proofs.c.platform,
        later.c.id > proofs.c.id,
        true() if as_of is None else later.c.at <= as_of,
    )
    proved = _related(
        select(literal(1)).where(
            proofs.c.envelope_id == envelopes.c.id,
            proofs.c.ok.is_(True),
            true() if as_of is None else proofs.c.at <= as_of,
            not_(overtaken),
        )
    )
    match leaf:
        case Compare(operator="=", value=True) | Compare(operator="!=", value=False):
            return proved
        case Compare():
            return not_(proved)
        case In(values=values, is_negated=is_negated):
            kinds = [proved if value else not_(proved) for value in values]
            return not_(or_(*kinds)) if is_negated else or_(*kinds)
    raise AssertionError(leaf)  # the parser lets no other through


# --- facts of the manifest


def subject_of(path: str) -> ColumnElement[str]:
    """The column of `envelopes` that leads to a fact: packages belong to the environment."""
    is_shared = path.startswith(("packages.", "environment."))
    return envelopes.c.environment_sha256 if is_shared else envelopes.c.id


def _fact(leaf: Leaf) -> Condition:
    facts = tables.facts.alias()
    path = leaf.key.name
    return _related(
        select(literal(1)).where(
            facts.c.subject == subject_of(path), facts.c.path == path, fact_holds(leaf, facts.c)
        )
    )


def fact_holds(leaf: Leaf, column: Any) -> Condition:
    """What the comparison says about one row of `facts`; of another type it says false."""
    match leaf:
        case Exists():
            return true()
        case Like():
            return and_(column.kind == "text", _on_column(leaf)(_whole(column)))
        case In(key=key, values=values, is_negated=is_negated):
            kinds = []
            for kind in (str, float, bool):
                kin = tuple(value for value in values if type(value) is kind)
                if kin:
                    each = [_equals(column, value) for value in kin]
                    found = and_(column.kind == _KINDS[kind], not_(or_(*each)))
                    kinds.append(found if is_negated else or_(*each))
            return or_(*kinds)
        case Compare(key=key, operator=operator, value=value):
            return _compare_fact(key, operator, value, column)


_KINDS: dict[type, str] = {str: "text", float: "number", bool: "boolean"}


def _compare_fact(key: Key, operator: str, value: Value, column: Any) -> Condition:
    kind = _KINDS[type(value)]
    if operator == "=":
        return _equals(column, value)
    if operator == "!=":
        return and_(column.kind == kind, not_(_equals(column, value)))
    compare: Any = partial(COMPARE[operator])
    if key.source == "version":
        return and_(
            column.version_key.is_not(None), compare(column.version_key, version_key(str(value)))
        )
    if kind == "number":
        return and_(column.number.is_not(None), compare(column.number, value))
    return and_(column.kind == "text", compare(_whole(column), value))


def _whole(column: Any) -> ColumnElement[str]:
    return func.coalesce(column.long_text, column.text)


def _equals(column: Any, value: Value) -> Condition:
    """Equal and of the same type, by the indexed columns; never NULL."""
    if isinstance(value, bool):
        return and_(column.kind == "boolean", column.text == ("true" if value else "false"))
    if isinstance(value, float):
        return and_(column.kind == "number", column.number == value)
    assert isinstance(value, str)
    if len(value) <= INDEXED_CHARACTERS:
        return and_(column.kind == "text", column.text == value, column.long_text.is_(None))
    short = column.text == value[:INDEXED_CHARACTERS]
    return and_(
        column.kind == "text", short, column.long_text.is_not(None), _whole(column) == value
    )


# --- like: case-sensitive on both, which SQLite's own LIKE is not


class like(FunctionElement[bool]):  # reads as the operator that it is
    """`column like pattern`, by code point; SQLite's GLOB or PostgreSQL's LIKE."""

    inherit_cache = True
    type = Boolean()
    name = "like_exact"

    def __init__(self, column: ColumnElement[str], pattern: str) -> None:
        super().__init__(column, bindparam(None, _glob(pattern)), bindparam(None, pattern))


@compiles(like, "sqlite")
def _like_sqlite(element: like, compiler: Any, **options: Any) -> str:
    column, glob, _ = element.clauses
    return f"{compiler.process(column, **options)} GLOB {compiler.process(glob, **options)}"


@compiles(like, "postgresql")
def _like_postgres(element: like, compiler: Any, **options: Any) -> str:
    column, _, pattern = element.clauses
    return f"{compiler.process(column, **options)} LIKE {compiler.process(pattern, **options)}"


def _glob(pattern: str) -> str:
    words = {"any": "*", "one": "?"}
    return "".join(
        words.get(kind) or (f"[{text}]" if text in "*?[" else text)
        for kind, text in pattern_parts(pattern)
    )
