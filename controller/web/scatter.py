"""One value of many models against another, addressed by URL: metrics, hyperparameters, tags."""

from __future__ import annotations

from dataclasses import dataclass, replace

from starlette.requests import Request
from starlette.responses import Response

from controller.web import charts
from controller.web.exports import Columns, answer_file
from controller.web.figures import MAX_ROWS
from controller.web.metrics import MAX_MODELS, NO_VALUE
from controller.web.render import pages_of
from controller.web.search import Search, read_search
from envelope.errors import EnvelopeError
from envelope.registry import Registry
from envelope.registry.fields import iterate_fields
from envelope.registry.query.keys import FAMILIES, SINGLE
from envelope.registry.query.paths import join_path, split_path

MAX_OFFERED = 200  # keys


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """What the address asks for. x, y: keys of the query language; by: the tag that colours."""

    text: str
    search: Search
    x: str
    y: str
    by: str


def read_chosen(request: Request) -> Chosen:
    """Read the page's address."""
    asked = request.query_params
    return Chosen(
        text=asked.get("q", ""),
        search=read_search(asked.get("q", "")),
        x=key_of(asked.get("x", "")),
        y=key_of(asked.get("y", "")),
        by=asked.get("by", "").removeprefix("tags.").strip(),
    )


def key_of(text: str) -> str:
    """Return what was typed as a key: a bare name is a metric's.

    >>> key_of(" auc "), key_of("hyperparameters.C"), key_of("created_at")
    ('metrics.auc', 'hyperparameters.C', 'created_at')
    """
    text = text.strip()
    root = next(iter(split_path(text)), "")
    if not text or root in (*FAMILIES, *SINGLE):
        return text
    return join_path(["metrics", text])


def show(request: Request) -> Response:
    """Draw a dot per model that has both values."""
    pages, chosen = pages_of(request), read_chosen(request)
    registry = pages.connection.registry
    dots: list[charts.Dot] = []
    try:
        dots = read_dots(registry, chosen)
    except EnvelopeError as exc:  # a key that is none
        chosen = replace(chosen, search=replace(chosen.search, fault=str(exc)))
    return pages.show(
        "scatter.html",
        title="Metrics",
        chosen=chosen,
        spec=charts.scatter(chosen.x, chosen.y, dots) if dots else None,
        dots=dots[:MAX_ROWS],
        left_out=max(0, len(dots) - MAX_ROWS),
        offered=offered(registry, chosen.search),
        address=request.url.query,
        max_models=MAX_MODELS,
    )


def export(request: Request) -> Response:
    """Answer with the same values as a file."""
    chosen = read_chosen(request)
    dots = read_dots(pages_of(request).connection.registry, chosen)
    columns: Columns = {
        "envelope_id": [dot.envelope_id for dot in dots],
        "model": [dot.model for dot in dots],
        "series": [dot.series for dot in dots],
        chosen.x or "x": [dot.x for dot in dots],
        chosen.y or "y": [dot.y for dot in dots],
    }
    return answer_file(columns, name="scatter", suffix=request.path_params["suffix"])


def read_dots(registry: Registry, chosen: Chosen) -> list[charts.Dot]:
    """Return the newest matching models that have both values, newest first. Raises ConfigError."""
    if chosen.search.fault is not None or not (chosen.x and chosen.y):
        return []
    by = join_path(["tags", chosen.by]) if chosen.by else ""
    fields = list(dict.fromkeys(filter(None, (chosen.x, chosen.y, by))))
    dots = []
    for row in iterate_fields(registry, chosen.search.query, fields, limit=MAX_MODELS):
        x, y = row.values[chosen.x], row.values[chosen.y]
        if x is not None and y is not None:
            series = str(row.values[by] or NO_VALUE) if by else row.name
            dots.append(charts.Dot(x, y, series, row.envelope_id, row.name))
    return dots


def offered(registry: Registry, search: Search) -> list[str]:
    """Return keys that the newest matching model has: its metrics and what it was trained with."""
    if search.fault is not None:
        return []
    for row in registry.find(search.query, limit=1):
        facts = registry.facts(row.id)
        metrics = [join_path(["metrics", name]) for name in sorted(facts.metrics)]
        trained = [
            path
            for path, value in sorted(facts.fields.items())
            if path.startswith("hyperparameters.") and value is not None
        ]
        return [*metrics, *trained, "created_at"][:MAX_OFFERED]
    return []
