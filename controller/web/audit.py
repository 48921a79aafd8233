"""The page about who changed what, when, from which value to which."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from controller.web.render import pages_of
from envelope.registry import Change
from envelope.registry.changes import KINDS
from envelope.registry.text import check_text

PAGE_ROWS = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One thing that a change changed. has_old: whether what was before is part of it."""

    what: str
    old: Any
    new: Any
    has_old: bool = True


def overview(request: Request) -> Response:
    """Show the newest changes, a page of them at a time, of one actor or kind where asked."""
    pages, asked = pages_of(request), request.query_params
    actor, kind = asked.get("actor", "").strip(), asked.get("kind", "")
    check_text(actor + kind, "the actor or the kind")
    before = asked.get("before", "")
    if before and not (before.isdecimal() and len(before) < 19):
        raise HTTPException(400, f"{before!r} is no number of a change; begin at /audit")
    rows = pages.connection.registry.recent_changes(
        by=actor or None,
        kind=kind or None,
        before=int(before) if before else None,
        limit=PAGE_ROWS + 1,
    )
    shown = rows[:PAGE_ROWS]
    return pages.show(
        "audit.html",
        title="Audit",
        rows=[(change, address_of(change), list(entries_of(change))) for change in shown],
        actor=actor,
        kind=kind,
        kinds=KINDS,
        actors=sorted({change.actor for change in shown}),
        next_before=shown[-1].seq if len(rows) > PAGE_ROWS else None,
        is_first=not before,
    )


def address_of(change: Change) -> str | None:
    """Return the page about what was changed, where there is one."""
    match change.kind:
        case "envelope" | "tag" | "function" | "proof" | "gate_run":
            return f"/models/{change.key}"
        case "metric":
            return f"/models/{change.key}/metrics"
        case "deployment":
            return f"/deployments/{quote(change.key)}"
        case "rule" | "template":
            return "/rules"
        case _:
            return None


def entries_of(change: Change) -> Iterator[Entry]:
    """Yield what a change changed.

    Registries keep what was written before old values were: lines of words, and new values alone.
    """
    for key, value in (change.detail or {}).items():
        if key in ("tags", "changed") and isinstance(value, Mapping):
            yield from (Entry(what=name, old=a, new=b) for name, (a, b) in value.items())
        elif key == "changes":
            yield from (Entry(what=line, old=None, new=None, has_old=False) for line in value)
        elif key in _PAIRS and _is_pair(key, value):
            yield Entry(what=key, old=value[0], new=value[1])
        else:
            yield Entry(what=key, old=None, new=value, has_old=False)


_PAIRS = ("actors", "is_made", "is_removed", "paused", "pin", "reason", "role", "state")


def _is_pair(key: str, value: Any) -> bool:
    is_two = isinstance(value, list) and len(value) == 2
    return is_two and not (key == "actors" and isinstance(value[0], str))
