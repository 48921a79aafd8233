"""Pages about envelopes: the search, one envelope's tabs, and two side by side."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from controller.web import charts
from controller.web.figures import figure_of
from controller.web.render import Pages, pages_of
from controller.web.search import (
    PAGE_ROWS,
    PLAIN_COLUMNS,
    after,
    completions,
    cursor_of,
    read_columns,
    read_search,
)
from envelope.connection import Connection
from envelope.handle import Envelope
from envelope.inputs import inputs_of
from envelope.registry import EnvelopeFacts, EnvelopeRow
from envelope.schema.words import describe


def search(request: Request) -> Response:
    """Show the newest envelopes that match, a page of them at a time."""
    pages, asked = pages_of(request), request.query_params
    text = asked.get("q", "")
    found = read_search(text)
    columns = read_columns(asked.getlist("columns"))
    rows: list[EnvelopeRow] = []
    if found.fault is None:
        query = after(found.query, asked.get("after", ""))
        rows = list(pages.connection.registry.find(query, limit=PAGE_ROWS + 1))
    shown = rows[:PAGE_ROWS]
    return pages.show(
        "search.html",
        title="Models",
        text=text,
        found=found,
        completions=completions(found.query, shown),
        columns=columns,
        plain_columns=PLAIN_COLUMNS,
        rows=list(_with_more(pages, shown, columns)),
        next_cursor=cursor_of(shown[-1]) if len(rows) > PAGE_ROWS else None,
        is_first=not asked.get("after"),
    )


def summary(request: Request) -> Response:
    """Show who saved it, from what, and what its functions take and answer."""
    pages, envelope = _envelope(request)
    functions = [
        {
            "function": function,
            "is_default": name == envelope.manifest.default_function,
            "inputs": inputs_of(function),
            "output": describe(function.schema.output) if function.schema.output else "not stated",
            "plots": charts.statistics(function.statistics),
        }
        for name, function in envelope.functions.items()
    ]
    return show_tab(pages, envelope, "summary", functions=functions, proofs=envelope.proofs())


def metrics(request: Request) -> Response:
    """Show the latest value of every metric, and every structured one as a figure."""
    pages, envelope = _envelope(request)
    points = pages.connection.registry.metrics(envelope.id)
    latest = {point.name: point for point in points}
    counts = Counter(point.name for point in points)
    rows = [(point, counts[name]) for name, point in latest.items()]
    figures = [
        figure for point in latest.values() if (figure := figure_of(point.name, point.value))
    ]
    return show_tab(pages, envelope, "metrics", rows=rows, figures=figures)


def environment(request: Request) -> Response:
    """Show the lock, the modules that travel along, and everything that was installed."""
    pages, envelope = _envelope(request)
    lock = envelope.manifest.environment
    snapshot: Any = None
    if lock.snapshot is not None:
        snapshot = msgspec.json.decode(pages.connection.store.get_blob(lock.snapshot))
    return show_tab(pages, envelope, "environment", lock=lock, snapshot=snapshot)


def diff(request: Request) -> Response:
    """Show what differs between two envelopes, the older one first."""
    pages = pages_of(request)
    ids = request.query_params.getlist("id")
    if len(ids) != 2:
        raise HTTPException(400, "choose two models to compare, as in /diff?id=...&id=...")
    a, b = sorted((get(pages.connection, one) for one in ids), key=lambda one: one.created_at)
    return pages.show("diff.html", title="Compare", a=a, b=b, diff=a.diff(b))


def get(connection: Connection, id_or_prefix: str) -> Envelope:
    """Return the handle of an envelope. Raises ModelNotFound."""
    return Envelope(connection, connection.registry.envelope(id_or_prefix))


def _envelope(request: Request) -> tuple[Pages, Envelope]:
    pages = pages_of(request)
    return pages, get(pages.connection, request.path_params["id"])


def show_tab(pages: Pages, envelope: Envelope, tab: str, **known: Any) -> Response:
    """Show one tab of an envelope's page."""
    return pages.show(f"model_{tab}.html", title=envelope.name, envelope=envelope, tab=tab, **known)


def _with_more(
    pages: Pages, rows: Sequence[EnvelopeRow], columns: Sequence[str]
) -> Iterator[tuple[EnvelopeRow, list[Any]]]:
    """Yield rows with the values of their columns; those that a row lacks are read for the page."""
    registry = pages.connection.registry
    is_plain = all(name in PLAIN_COLUMNS or name.startswith("tags.") for name in columns)
    for row in rows:
        facts = None if is_plain else registry.facts(row.id)
        yield row, [_cell(row, facts, name) for name in columns]


def _cell(row: EnvelopeRow, facts: EnvelopeFacts | None, column: str) -> Any:
    kind, _, key = column.partition(".")
    if column == "functions":
        return ", ".join(row.functions)
    if column in PLAIN_COLUMNS:
        return getattr(row, column)
    if kind == "tags":
        return row.tags.get(key)
    assert facts is not None
    return facts.metrics.get(key) if kind == "metrics" else facts.fields.get(column)
