"""A structured metric of several models on one plot, addressed by URL."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from controller.web import charts
from controller.web.figures import Figure, figure_of
from controller.web.metrics import NO_VALUE
from controller.web.render import pages_of
from controller.web.search import Search, read_search
from envelope.registry import EnvelopeRow, Registry
from envelope.registry.query.paths import join_path

MAX_COMPARED = 10  # models: more lines than that are not told apart


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """What the address asks for: the newest models that match, or those of `ids`.

    name: of the metric; "" takes the first that there is. by: the tag that names the models.
    """

    text: str
    search: Search
    ids: tuple[str, ...]
    name: str
    by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """One model with its value of the metric. label: as in the legend."""

    row: EnvelopeRow
    label: str
    figure: Figure


def read_chosen(request: Request) -> Chosen:
    """Read the page's address."""
    asked = request.query_params
    return Chosen(
        text=asked.get("q", ""),
        search=read_search(asked.get("q", "")),
        ids=tuple(dict.fromkeys(asked.getlist("id")))[:MAX_COMPARED],
        name=asked.get("name", "").strip(),
        by=asked.get("by", "").removeprefix("tags.").strip(),
    )


def show(request: Request) -> Response:
    """Draw the latest value of one metric of each model: on one plot where they share axes."""
    pages, chosen = pages_of(request), read_chosen(request)
    registry = pages.connection.registry
    names = structured_names(registry, chosen)
    name = chosen.name or next(iter(names), "")
    compared = read_compared(registry, chosen, name) if name else []
    specs = {one.label: one.figure.spec for one in compared}
    return pages.show(
        "comparison.html",
        title="Metrics",
        chosen=chosen,
        name=name,
        names=names,
        compared=compared,
        spec=charts.overlay(specs) if len(specs) > 1 else None,
        max_models=MAX_COMPARED,
    )


def structured_names(registry: Registry, chosen: Chosen) -> list[str]:
    """Return the metrics of the newest model that are more than a number."""
    if chosen.search.fault is not None:
        return []
    rows = find_rows(registry, chosen, chosen.search.query, limit=1)
    return [
        name
        for row in rows
        for name, number in sorted(registry.facts(row.id).metrics.items())
        if number is None
    ]


def find_rows(registry: Registry, chosen: Chosen, query: str, *, limit: int) -> list[EnvelopeRow]:
    """Return the chosen models, newest first. Raises ModelNotFound for an id that is none."""
    if chosen.ids:
        rows = [registry.envelope(one) for one in chosen.ids]
        return sorted(rows, key=lambda row: (row.created_at, row.id), reverse=True)[:limit]
    return list(registry.find(query, limit=limit))


def read_compared(registry: Registry, chosen: Chosen, name: str) -> list[Compared]:
    """Return the models that have a structured value of the metric, newest first."""
    if chosen.search.fault is not None:
        return []
    has = f"exists {join_path(['metrics', name])}"
    query = f"({chosen.search.query}) and {has}" if chosen.search.query else has
    rows = find_rows(registry, chosen, query, limit=MAX_COMPARED)
    values = read_values(registry, [row.id for row in rows], name)
    found = []
    for row in rows:
        figure = figure_of(name, values.get(row.id))
        if figure is not None:
            found.append(Compared(row=row, label=_label(row, chosen.by), figure=figure))
    return found


def read_values(registry: Registry, ids: list[str], name: str) -> Mapping[str, Any]:
    """Return the latest JSON form of one metric by envelope."""
    if not ids:
        return {}
    mine = f"id in ({', '.join(repr(one) for one in ids)})"
    points = registry.metric_points(mine, [name])  # of an envelope in the order of their times
    return {point.envelope_id: point.value for point in points}


def _label(row: EnvelopeRow, by: str) -> str:
    return f"{row.tags.get(by, NO_VALUE) if by else row.name} {row.id[-6:]}"
