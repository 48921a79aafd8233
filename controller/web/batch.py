"""Pages about batch jobs: those there are, and the form of one."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from controller.web.fields import Faults, Typed
from controller.web.forms import NAME, Form, address_of, file_of
from controller.web.render import Pages, pages_of
from controller.web.search import PAGE_ROWS, completions, query_fault
from envelope.config import BatchJobConfig
from envelope.errors import ConfigError
from envelope.handle import Envelope
from envelope.registry import EnvelopeRow, Registry
from envelope.registry.text import check_key


def overview(request: Request) -> Response:
    """Show every batch job, with the envelope that would score its table now."""
    pages = pages_of(request)
    registry = pages.connection.registry
    rows = [
        (row, _newest(registry, row.config.query), address_of(FORM, name=row.name))
        for row in registry.batch_jobs()
    ]
    return pages.show("batch_jobs.html", title="Batch", rows=rows, new_job=FORM.address)


def _newest(registry: Registry, query: str) -> EnvelopeRow | None:
    return next(registry.find(query, limit=1), None)


# --- the form


def _check(registry: Registry, name: str, typed: Typed) -> Faults:
    faults: Faults = {}
    try:
        check_key(name, "the name")
    except ConfigError as exc:
        faults[NAME] = str(exc)
    if fault := query_fault(typed.get("query", "")):
        faults["query"] = fault
    return faults


def _offered(registry: Registry) -> Mapping[str, Sequence[str]]:
    newest = list(registry.find(limit=PAGE_ROWS))
    functions = dict.fromkeys(name for row in newest for name in row.functions)
    return {"query": completions("", newest), "function": list(functions)}


def _preview(pages: Pages, name: str, typed: Typed) -> Mapping[str, Any]:
    """Return which envelope would score the table now, and what stands against it."""
    query = typed.get("query", "").strip()
    command = f"envelope batch submit {file_of(name)} {shlex.quote(name or 'NAME')}"
    if not query or query_fault(query) is not None:
        return {"is_asked": False, "command": command}
    found = _newest(pages.connection.registry, query)
    return {
        "is_asked": True,
        "command": command,
        "envelope": found,
        "against": "" if found is None else _against(Envelope(pages.connection, found), typed),
    }


def _against(envelope: Envelope, typed: Typed) -> str:
    """Say why a run would be refused; "" when nothing is known against it."""
    name = typed.get("function", "").strip() or envelope.manifest.default_function
    if name not in envelope.functions:
        return f"it has no function {name!r}; it has {', '.join(envelope.functions)}"
    is_whole = bool(typed.get("whole_table") or typed.get("group_by", "").strip())
    if not envelope.functions[name].row_wise.is_row_wise and not is_whole:
        return f"{name} answers a whole table at once: set whole_table, or name columns to group_by"
    return ""


FORM = Form(
    section="batch_jobs",
    noun="batch job",
    address="/forms/batch-job",
    template="batch_job_form.html",
    model=BatchJobConfig,
    known=lambda registry: {row.name: (row.config, row.version) for row in registry.batch_jobs()},
    check=_check,
    offered=_offered,
    preview=_preview,
    leads_to=lambda name: "/batch-jobs",
)
