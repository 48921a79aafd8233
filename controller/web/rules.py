"""Pages about rules: what they match now, a query tried, and the form of a rule."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from controller.web.fields import Faults, Typed
from controller.web.forms import NAME, Form, address_of
from controller.web.render import Pages, pages_of
from controller.web.search import PAGE_ROWS, completions, query_fault, read_search
from controller.web.trial import PREVIEW_ROWS, try_query
from envelope.config import RuleConfig
from envelope.errors import ConfigError
from envelope.registry import Registry
from envelope.registry.text import check_key


def overview(request: Request) -> Response:
    """Show every rule with its newest matches, and try a query without applying it."""
    pages, text = pages_of(request), request.query_params.get("q", "").strip()
    registry = pages.connection.registry
    rows = [
        (rule, list(registry.find(rule.query, limit=PREVIEW_ROWS)), _address(rule.name))
        for rule in registry.rules()
    ]
    found = read_search(text)
    return pages.show(
        "rules.html",
        title="Rules",
        rows=rows,
        text=text,
        found=found,
        trial=try_query(registry, found.query) if text and found.fault is None else None,
        new_rule=address_of(FORM, query=found.query) if found.query else FORM.address,
        pause=registry.pause(),
    )


def _address(name: str) -> str:
    return address_of(FORM, name=name)


# --- the form


def _known(registry: Registry) -> dict[str, tuple[RuleConfig, int]]:
    keys = RuleConfig.model_fields
    return {
        row.name: (RuleConfig(**{key: getattr(row, key) for key in keys}), row.version)
        for row in registry.rules()
    }


def _check(registry: Registry, name: str, typed: Typed) -> Faults:
    faults: Faults = {}
    try:
        check_key(name, "the name")
    except ConfigError as exc:
        faults[NAME] = str(exc)
    if fault := query_fault(typed.get("query", "")):
        faults["query"] = fault
    deployments = [row.name for row in registry.deployments()]
    deploy_to = typed.get("deploy_to", "").strip()
    if deploy_to and deploy_to not in deployments:
        names = ", ".join(deployments) or "none yet"
        faults["deploy_to"] = f"there is no deployment {deploy_to!r}; there are: {names}"
    return faults


def _offered(registry: Registry) -> Mapping[str, Sequence[str]]:
    newest = list(registry.find(limit=PAGE_ROWS))
    return {
        "query": completions("", newest),
        "deploy_to": [row.name for row in registry.deployments() if not row.is_removed],
    }


def _preview(pages: Pages, name: str, typed: Typed) -> Mapping[str, Any]:
    query, deployment = typed.get("query", "").strip(), typed.get("deploy_to", "").strip()
    if not query or query_fault(query) is not None:
        return {"trial": None}
    return {"trial": try_query(pages.connection.registry, query, deployment)}


FORM = Form(
    section="rules",
    noun="rule",
    address="/forms/rule",
    template="rule_form.html",
    model=RuleConfig,
    known=_known,
    check=_check,
    offered=_offered,
    preview=_preview,
    leads_to=lambda name: "/rules",
)
