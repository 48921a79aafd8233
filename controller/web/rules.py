"""The page about rules: what they match now, and what a query would have wanted in the past."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import islice

from starlette.requests import Request
from starlette.responses import Response

from controller.history import would_have_wanted
from controller.web.render import pages_of
from controller.web.search import read_search

PREVIEW_ROWS = 5
PREVIEW_STEPS = 30
PAST = timedelta(days=30)


def overview(request: Request) -> Response:
    """Show every rule with its newest matches, and try a query without applying it."""
    pages, text = pages_of(request), request.query_params.get("q", "").strip()
    registry = pages.connection.registry
    rows = [
        (rule, list(registry.find(rule.query, limit=PREVIEW_ROWS))) for rule in registry.rules()
    ]
    found = read_search(text)
    matches, steps = [], []
    if text and found.fault is None:
        since = datetime.now(UTC) - PAST
        matches = list(registry.find(found.query, limit=PREVIEW_ROWS))
        steps = list(islice(would_have_wanted(registry, found.query, since), PREVIEW_STEPS))
    return pages.show(
        "rules.html",
        title="Rules",
        rows=rows,
        text=text,
        found=found,
        matches=matches,
        steps=steps,
        past_days=PAST.days,
        pause=registry.pause(),
    )
