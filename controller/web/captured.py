"""The captured input and output statistics of many models over time, addressed by URL."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice

from starlette.requests import Request
from starlette.responses import Response

from controller.web import charts
from controller.web.exports import Columns, answer_file
from controller.web.metrics import MAX_CHARTS
from controller.web.moments import DEFAULT_MOMENTS, Moments, is_wanted, moments_of
from controller.web.render import pages_of
from controller.web.search import Search, read_search
from envelope.connection import Connection
from envelope.errors import IntegrityError, ModelNotFound
from envelope.registry import EnvelopeRow

MAX_MODELS = 200  # each is a file of the store
READERS = 16  # at once: an object store takes 20 to 50 ms for each


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """What the address asks for. columns: "input.age"; empty for all. by: the tag that splits.

    function: "" takes each model's default function.
    """

    text: str
    search: Search
    function: str
    columns: tuple[str, ...]
    moments: tuple[str, ...]
    by: str


def read_chosen(request: Request) -> Chosen:
    """Read the page's address."""
    asked = request.query_params

    def several(name: str) -> tuple[str, ...]:
        given = (one.strip() for text in asked.getlist(name) for one in text.split(","))
        return tuple(dict.fromkeys(filter(None, given)))

    return Chosen(
        text=asked.get("q", ""),
        search=read_search(asked.get("q", "")),
        function=asked.get("function", "").strip(),
        columns=several("columns"),
        moments=several("moments") or DEFAULT_MOMENTS,
        by=asked.get("by", "").removeprefix("tags.").strip(),
    )


def show(request: Request) -> Response:
    """Draw each chosen column over time: a line per moment, and per value of a tag."""
    pages, chosen = pages_of(request), read_chosen(request)
    series = read_series(pages.connection, chosen)
    return pages.show(
        "captured.html",
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
    series = read_series(pages_of(request).connection, read_chosen(request))
    points = [(name, point) for name, found in series.items() for point in found]
    columns: Columns = {
        "column": [name for name, _ in points],
        "at": [point.at for _, point in points],
        "value": [point.value for _, point in points],
        "series": [point.series for _, point in points],
        "envelope_id": [point.envelope_id for _, point in points],
        "model": [point.model for _, point in points],
    }
    return answer_file(columns, name="statistics", suffix=request.path_params["suffix"])


def read_series(connection: Connection, chosen: Chosen) -> dict[str, list[charts.SeriesPoint]]:
    """Return the moments of the newest matching models, by column, each oldest first."""
    if chosen.search.fault is not None:
        return {}
    rows = list(connection.registry.find(chosen.search.query, limit=MAX_MODELS))
    found: dict[str, list[charts.SeriesPoint]] = defaultdict(list)
    for row, columns in _captured(connection, rows, chosen.function):
        prefix = f"{row.tags.get(chosen.by)}, " if chosen.by and chosen.by in row.tags else ""
        for name, moments in columns.items():
            if not chosen.columns or name in chosen.columns:
                found[name] += [
                    charts.SeriesPoint(row.created_at, value, f"{prefix}{moment}", row.id, row.name)
                    for moment, value in moments.items()
                    if is_wanted(moment, chosen.moments)
                ]
    return {name: sorted(points) for name, points in found.items() if points}


def _captured(
    connection: Connection, rows: Sequence[EnvelopeRow], function: str
) -> Iterator[tuple[EnvelopeRow, dict[str, Moments]]]:
    def read(row: EnvelopeRow) -> dict[str, Moments]:
        name = function or row.default_function
        if name not in row.functions:
            return {}
        try:
            found = connection.store.get_statistics(row.id, name, row.functions[name])
        except (ModelNotFound, IntegrityError):
            return {}  # its files are gone or were changed: the model's own page says so
        return moments_of(found)

    with ThreadPoolExecutor(READERS) as readers:
        yield from zip(rows, readers.map(read, rows), strict=True)
