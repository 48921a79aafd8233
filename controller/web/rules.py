"""Pages about rules: what they match now, a query tried, and the form of a rule."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from controller.making import Place, describe_place, placed, places_of
from controller.web.fields import Faults, Typed
from controller.web.forms import NAME, Form, address_of
from controller.web.render import Pages, pages_of
from controller.web.search import PAGE_ROWS, completions, query_fault, read_search
from controller.web.trial import PREVIEW_ROWS, try_query
from envelope.config import RuleConfig
from envelope.deployment_names import is_template, read_template
from envelope.errors import ConfigError
from envelope.registry import Registry, RuleRow
from envelope.registry.text import check_key


def overview(request: Request) -> Response:
    """Show every rule with its newest matches, and try a query without applying it."""
    pages, text = pages_of(request), request.query_params.get("q", "").strip()
    registry = pages.connection.registry
    places = placed(registry)
    rows = [
        {
            "rule": rule,
            "matches": list(registry.find(rule.query, limit=PREVIEW_ROWS)),
            "address": _address(rule.name),
            "makes": _lines(place for place in places if place.rule.name == rule.name),
        }
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


def _lines(places: Iterable[Place]) -> list[tuple[str | None, str]]:
    """The deployment of each value, None where there is none, and that in words."""
    return [(None if each.against else each.name, describe_place(each)) for each in places]


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
    deployments = [row.name for row in registry.deployments() if not row.is_made]
    deploy_to = typed.get("deploy_to", "").strip()
    if is_template(deploy_to):
        try:
            read_template(deploy_to)
        except ConfigError as exc:
            faults["deploy_to"] = str(exc)
    elif deploy_to and deploy_to not in deployments:
        names = ", ".join(deployments) or "none yet"
        faults["deploy_to"] = f"there is no deployment {deploy_to!r}; there are: {names}"
    return faults


def _offered(registry: Registry) -> Mapping[str, Sequence[str]]:
    newest = list(registry.find(limit=PAGE_ROWS))
    named = [row for row in registry.deployments() if not (row.is_removed or row.is_made)]
    templates = {rule.deploy_to for rule in registry.rules() if is_template(rule.deploy_to)}
    return {
        "query": completions("", newest),
        "deploy_to": [*(row.name for row in named), *sorted(templates)],
    }


def _preview(pages: Pages, name: str, typed: Typed) -> Mapping[str, Any]:
    query, deployment = typed.get("query", "").strip(), typed.get("deploy_to", "").strip()
    if not query or query_fault(query) is not None:
        return {"trial": None, "makes": None}
    registry = pages.connection.registry
    if not is_template(deployment):
        return {"trial": try_query(registry, query, deployment), "makes": None}
    return {"trial": try_query(registry, query), "makes": _would_make(registry, name, typed)}


def _would_make(registry: Registry, name: str, typed: Typed) -> list[tuple[str | None, str]] | None:
    """What a rule that is half filled in would make; None while its template cannot be read."""
    if "deploy_to" in _check(registry, name or "new", typed):
        return None
    query, template = typed["query"].strip(), typed["deploy_to"].strip()
    rule = RuleRow(
        name=name or "new", query=query, deploy_to=template, priority=0, paused=False, version=0
    )
    return _lines(places_of(registry, rule))


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
