"""What people type into the search bar, and where the next page begins. Pure."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from envelope.errors import QueryError
from envelope.registry import EnvelopeRow, parse
from envelope.registry.query import query_from_tags

PAGE_ROWS = 50
MAX_COMPLETIONS = 50
DEFAULT_COLUMNS = ("created_at", "created_by", "tags")
PLAIN_COLUMNS = (*DEFAULT_COLUMNS, "id", "description", "python_version", "functions")

_WORD = re.compile(r"[\w.@+:/-]+")
_CURSOR = re.compile(r"(\d{4}-\d\d-\d\dT[\d:.]+Z)_([0-9A-Z]{26})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """query: in the query language. is_words: it was made of bare words. fault: None if it is one.

    fault points at its column, as the query language's errors do.
    """

    query: str
    is_words: bool
    fault: str | None


def read_search(text: str) -> Search:
    """Read a query, or bare words that all have to be in the name or the description.

    >>> read_search("ltv us").query
    "(name like '%ltv%' or description like '%ltv%') and (name like '%us%' or description like '%us%')"
    """  # noqa: E501
    text = text.strip()
    if fault := query_fault(text):
        words = text.split()
        if words and all(_WORD.fullmatch(word) for word in words):
            return Search(query=" and ".join(map(_has, words)), is_words=True, fault=None)
        return Search(query=text, is_words=False, fault=fault)
    return Search(query=text, is_words=False, fault=None)


def query_fault(text: str) -> str | None:
    """Say why a query cannot be understood; None for one that can."""
    try:
        parse(text)
    except QueryError as exc:
        return str(exc)
    return None


def _has(word: str) -> str:
    pattern = "'%" + word.replace("'", "''") + "%'"
    return f"(name like {pattern} or description like {pattern})"


def completions(query: str, rows: Iterable[EnvelopeRow]) -> list[str]:
    """Return queries that narrow this one by one tag of the rows it found, the commonest first.

    A tag that every row has narrows nothing, but is still a query worth beginning with.
    """
    counted = Counter(tag for row in rows for tag in row.tags.items())
    terms = [query_from_tags({key: value}) for (key, value), _ in counted.most_common()]
    if query:
        terms = [f"({query}) and {term}" for term in terms if term not in query]
    return terms[:MAX_COMPLETIONS]


def cursor_of(row: EnvelopeRow) -> str:
    """Return where the page after this row begins."""
    at = row.created_at.astimezone(UTC)
    return f"{at:%Y-%m-%dT%H:%M:%S}.{at.microsecond:06}Z_{row.id}"


def after(query: str, cursor: str) -> str:
    """Return the query for what comes after a cursor; a cursor that is none begins anew."""
    found = _CURSOR.fullmatch(cursor)
    if found is None:
        return query
    at, envelope_id = found[1], found[2]
    older = f"(created_at < '{at}' or (created_at = '{at}' and id < '{envelope_id}'))"
    return f"({query}) and {older}" if query else older


def read_columns(given: Sequence[str]) -> tuple[str, ...]:
    """Return the columns that were asked for: plain ones, `tags.KEY`, `metrics.NAME`."""
    asked = [one.strip() for text in given for one in text.split(",")]
    known = [
        one
        for one in asked
        if one in PLAIN_COLUMNS or one.startswith(("tags.", "metrics.", "hyperparameters."))
    ]
    return tuple(dict.fromkeys(known)) or DEFAULT_COLUMNS


def ago(at: datetime, now: datetime) -> str:
    """Return how long ago something was, in one unit."""
    seconds = (now - at).total_seconds()
    if seconds < 60:
        return "just now"
    for unit, length_s in (("minute", 60), ("hour", 3600), ("day", 86400)):
        limit = {"minute": 3600, "hour": 86400, "day": 86400 * 60}[unit]
        if seconds < limit:
            count = int(seconds // length_s)
            return f"{count} {unit}{'s' if count != 1 else ''} ago"
    return f"{at:%Y-%m-%d}"
