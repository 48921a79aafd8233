"""Ask a query of one envelope's facts, without a database."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import Any

from envelope.registry.query.tree import (
    And,
    Compare,
    Exists,
    In,
    Key,
    Like,
    Node,
    Not,
    Or,
    Query,
    Value,
    pattern_parts,
)
from envelope.registry.query.versions import version_key

COMPARE: Mapping[str, Callable[[Any, Any], Any]] = {  # of SQL columns too, which answer with SQL
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvelopeFacts:
    """All that a query may ask about one envelope.

    metrics: the latest of each name; None for one that exists and never compares (a curve, NaN).
    functions: name -> sha256.
    fields: canonical path -> scalar of the manifest; None for an object or list, which only exists.
    """

    id: str
    name: str
    description: str
    created_at: datetime
    created_by: str
    is_proved: bool = False
    tags: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, float | None] = field(default_factory=dict)
    functions: Mapping[str, str] = field(default_factory=dict)
    fields: Mapping[str, str | float | bool | None] = field(default_factory=dict)


def matches(query: Query, facts: EnvelopeFacts) -> bool:
    """Whether the envelope matches; the same answer that the databases give."""
    return query.root is None or _holds(query.root, facts)


def _holds(node: Node, facts: EnvelopeFacts) -> bool:
    match node:
        case And(terms=terms):
            return all(_holds(term, facts) for term in terms)
        case Or(terms=terms):
            return any(_holds(term, facts) for term in terms)
        case Not(term=term):
            return not _holds(term, facts)
        case Exists(key=key):
            return _exists(key, facts)
    found = _value(node.key, facts)
    match node:
        case Compare(operator=name, value=wanted):
            return _compares(node.key, name, found, wanted)
        case In(values=values, is_negated=is_negated):
            kin = [value for value in values if _same_type(found, value)]
            return bool(kin) and (found in kin) != is_negated
        case Like(pattern=pattern, is_negated=is_negated):
            return isinstance(found, str) and bool(_regex(pattern)(found)) != is_negated


def _compares(key: Key, name: str, found: Value | None, wanted: Value) -> bool:
    if found is None or not _same_type(found, wanted):
        return False
    if key.source == "version" and name not in ("=", "!="):
        found, wanted = version_key(str(found)) or "", version_key(str(wanted)) or ""
        return bool(found) and bool(COMPARE[name](found, wanted))
    return bool(COMPARE[name](found, wanted))


def _same_type(found: Value | None, wanted: Value) -> bool:
    return type(found) is type(wanted)


def _value(key: Key, facts: EnvelopeFacts) -> Value | None:
    match key.source:
        case "tag":
            return facts.tags.get(key.name)
        case "metric":
            return facts.metrics.get(key.name)
        case "function":
            return facts.functions.get(key.name)
        case "fact" | "version":
            return facts.fields.get(key.name)
        case "time":
            return facts.created_at
        case "proved":
            return facts.is_proved
        case "column":
            column: str = getattr(facts, key.name)
            return column


def _exists(key: Key, facts: EnvelopeFacts) -> bool:
    match key.source:
        case "tag":
            return key.name in facts.tags
        case "metric":
            return key.name in facts.metrics
        case "function":
            return key.name in facts.functions
        case "fact" | "version":
            return key.name in facts.fields
        case _:
            return True


@lru_cache(maxsize=1024)
def _regex(pattern: str) -> Callable[[str], re.Match[str] | None]:
    segments = [""]
    for kind, text in pattern_parts(pattern):
        if kind == "any":
            segments.append("")
        else:
            segments[-1] += "." if kind == "one" else re.escape(text)
    first, *rest = segments
    if rest:
        # The leftmost place of each segment is as good as any, so nothing is ever tried twice:
        # without the atomic groups `%a%a%a%a%b` takes minutes on a long text.
        *middle, last = rest
        first += "".join(f"(?>.*?{segment})" for segment in middle if segment) + f".*{last}"
    return re.compile(first, re.DOTALL).fullmatch
