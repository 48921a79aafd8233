"""Finding envelopes: by query, by tags, by id; and their metrics in bulk."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Literal

from envelope.connection import connect
from envelope.errors import ModelNotFound
from envelope.handle import Envelope
from envelope.metrics import frame_of_metrics, with_fields
from envelope.registry import Registry
from envelope.registry.fields import iterate_fields
from envelope.registry.query import parse, query_from_tags

if TYPE_CHECKING:
    import pandas as pd

MAX_COUNTED = 1000  # of the envelopes that match one condition, when none matches all


def find(query: str = "", /, **tags: str) -> Iterator[Envelope]:
    """Find envelopes, newest first; they are read as the iterator is used.

    query: as in `tags.region = 'US' and metrics.auc > 0.9`; empty finds all. tags: a shorter way
    to ask for equal tags, `find(region="US")`; with both, both must hold.
    Raises QueryError, pointing at the column.
    """
    text = _query(query, tags)
    parse(text)  # here, and not when the first envelope is asked for
    connection = connect()
    return (Envelope(connection, row) for row in connection.registry.find(text))


def latest(query: str = "", /, *, as_of: datetime | None = None, **tags: str) -> Envelope:
    """Return the newest envelope that matches, as `find` finds them.

    as_of: the newest as it was then, with the tags and metrics of then; an aware time.
    Raises ModelNotFound, saying how many match each condition; QueryError.
    """
    text = _query(query, tags)
    connection = connect()
    for row in connection.registry.find(text, as_of=as_of, limit=1):
        return Envelope(connection, row)
    raise ModelNotFound(_explain_nothing(connection.registry, text, as_of))


def get(id_or_prefix: str) -> Envelope:
    """Return the envelope with this id, or the only one whose id begins so.

    Raises ModelNotFound, naming the candidates when there are several.
    """
    connection = connect()
    return Envelope(connection, connection.registry.envelope(id_or_prefix))


def metrics_frame(
    query: str = "",
    /,
    *,
    names: Sequence[str] | None = None,
    fields: Sequence[str] = (),
    form: Literal["latest", "history"] = "latest",
    **tags: str,
) -> pd.DataFrame:
    """Read the metrics of all matching envelopes as a pandas DataFrame, newest envelope first.

    names: the metrics wanted; None for all. fields: other keys of the query language, a column
    each: `hyperparameters.C`.
    form: "latest" gives a row per envelope: envelope_id, name, created_at, a column `tags.<key>`
    per tag, and a column per metric with its latest value (NaN where it was never logged).
    "history" gives a row per logged value: envelope_id, name, created_at, metric, value, at, actor.
    Raises QueryError; ConfigError for a field that is no key.
    """
    text = _query(query, tags)
    registry = connect().registry
    names = [names] if isinstance(names, str) else names
    frame = frame_of_metrics(
        registry.find(text), registry.metric_points(text, names), names=names, form=form
    )
    return with_fields(frame, iterate_fields(registry, text, fields), fields) if fields else frame


def _query(query: str, tags: dict[str, str]) -> str:
    if query.strip() and tags:
        return f"({query}) and {query_from_tags(tags)}"
    return query_from_tags(tags) if tags else query


def _explain_nothing(registry: Registry, query: str, as_of: datetime | None) -> str:
    when = f" as of {as_of:%Y-%m-%d %H:%M:%S %Z}" if as_of else ""
    if not query.strip():
        return f"there is no envelope in this registry{when}; save one with me.save_model(...)"
    lines = [f"no envelope matches{when}: {query}"]
    conditions = split_conjunction(query)
    if len(conditions) > 1:
        lines += [f"  {_count(registry, each, as_of)} match {each}" for each in conditions]
    lines.append("loosen what fails, or save or tag a model that meets it")
    return "\n".join(lines)


def _count(registry: Registry, query: str, as_of: datetime | None) -> str:
    count = sum(1 for _ in registry.find(query, as_of=as_of, limit=MAX_COUNTED))
    return f"{count:,}" + (" or more" if count == MAX_COUNTED else "")


_TOKENS = re.compile(
    r"""'(?:[^']|'')*'|"(?:[^"]|"")*"|[()]|(?<![\w.-])(?:and|or)(?![\w.-])""", re.I
)


def split_conjunction(query: str) -> list[str]:
    """Split a well-formed query at the `and`s of its outermost level.

    >>> split_conjunction("tags.a = 'x and y' and (tags.b = '1' or tags.c = '2')")
    ["tags.a = 'x and y'", "(tags.b = '1' or tags.c = '2')"]
    """
    depth, start, parts = 0, 0, []
    for match in _TOKENS.finditer(query):
        token = match.group().lower()
        depth += {"(": 1, ")": -1}.get(token, 0)
        if depth == 0 and token == "or":
            return [query.strip()]
        if depth == 0 and token == "and":
            parts.append(query[start : match.start()].strip())
            start = match.end()
    return [*parts, query[start:].strip()]
