"""The metrics dashboard: the scalars of many models over time, addressed by URL."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from itertools import islice

from starlette.requests import Request
from starlette.responses import Response

from controller.web import charts
from controller.web.exports import Columns, answer_file
from controller.web.render import pages_of
from controller.web.search import Search, read_search
from envelope.registry import Registry

MAX_MODELS = 1000
MAX_CHARTS = 12
NO_VALUE = "(none)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """What the address asks for. by: the tag whose values are series; "" draws one line."""

    text: str
    search: Search
    names: tuple[str, ...]
    by: str


def read_chosen(request: Request) -> Chosen:
    """Read the dashboard's address."""
    asked = request.query_params
    names = [name.strip() for text in asked.getlist("names") for name in text.split(",")]
    return Chosen(
        text=asked.get("q", ""),
        search=read_search(asked.get("q", "")),
        names=tuple(dict.fromkeys(filter(None, names))),
        by=asked.get("by", "").removeprefix("tags.").strip(),
    )


def dashboard(request: Request) -> Response:
    """Draw each chosen metric over time, split into series by a tag."""
    pages, chosen = pages_of(request), read_chosen(request)
    series = read_series(pages.connection.registry, chosen)
    return pages.show(
        "metrics.html",
        title="Metrics",
        chosen=chosen,
        specs={
            name: charts.time_series(name, points)
            for name, points in islice(series.items(), MAX_CHARTS)
        },
        left_out=list(series)[MAX_CHARTS:],
        address=request.url.query,
        max_models=MAX_MODELS,
    )


def export(request: Request) -> Response:
    """Answer with the same numbers as a file."""
    chosen = read_chosen(request)
    series = read_series(pages_of(request).connection.registry, chosen)
    points = [(name, point) for name, found in series.items() for point in found]
    columns: Columns = {
        "metric": [name for name, _ in points],
        "at": [point.at for _, point in points],
        "value": [point.value for _, point in points],
        "series": [point.series for _, point in points],
        "envelope_id": [point.envelope_id for _, point in points],
        "model": [point.model for _, point in points],
    }
    return answer_file(columns, name="metrics", suffix=request.path_params["suffix"])


def read_series(registry: Registry, chosen: Chosen) -> dict[str, list[charts.SeriesPoint]]:
    """Return the scalar points of the newest matching models, by metric, each oldest first."""
    if chosen.search.fault is not None:
        return {}
    query = chosen.search.query
    rows = {row.id: row for row in registry.find(query, limit=MAX_MODELS)}
    found: dict[str, list[charts.SeriesPoint]] = defaultdict(list)
    names = chosen.names or None
    for point in registry.metric_points(query, names, limit=MAX_MODELS, kind="number"):
        row = rows.get(point.envelope_id)  # None: registered since
        if row is not None:
            series = row.tags.get(chosen.by, NO_VALUE) if chosen.by else row.name
            drawn = charts.SeriesPoint(point.at, float(point.value), series, row.id, row.name)
            found[point.name].append(drawn)
    return {name: sorted(points) for name, points in sorted(found.items())}
