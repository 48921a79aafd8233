"""Pages about deployments: what is live, why, and what was."""

from __future__ import annotations

from datetime import UTC, datetime

import yaml
from starlette.requests import Request
from starlette.responses import Response

from controller.experiments import last_experiment
from controller.explain import alarm_of, explain
from controller.gates import describe_gates
from controller.view import HISTORY
from controller.web import rules
from controller.web.fields import Faults, Typed
from controller.web.forms import NAME, Form, address_of
from controller.web.render import pages_of
from envelope.config import DeploymentConfig, check_deployment_key
from envelope.delivery import controller_silence
from envelope.deployment_names import describe, is_template
from envelope.errors import ConfigError
from envelope.registry import Registry


def overview(request: Request) -> Response:
    """Show every deployment with what is live on it."""
    pages = pages_of(request)
    registry, now = pages.connection.registry, datetime.now(UTC)
    opened = registry.releases(open_only=True)
    live = {row.deployment: row for row in opened if row.state == "live"}
    rows = [
        {
            "deployment": row,
            "live": live.get(row.name),
            "envelope": registry.envelope(live[row.name].envelope_id) if row.name in live else None,
            "on_the_way": [
                one for one in opened if one.deployment == row.name and one.state != "live"
            ],
            "alarm": alarm_of(registry, row, live.get(row.name), now),
            "url": pages.deployment_url(row.name),
        }
        for row in registry.deployments()
    ]
    return pages.show(
        "deployments.html",
        title="Deployments",
        rows=rows,
        silence=controller_silence(pages.connection).removeprefix(": "),
        pause=registry.pause(),
        new_deployment=FORM.address,
        templates=[(row.text, address_of(FORM, name=row.text)) for row in registry.templates()],
    )


def show(request: Request) -> Response:
    """Show one deployment: what is live and why, what is on the way, and the history."""
    pages, name = pages_of(request), request.path_params["name"]
    registry = pages.connection.registry
    found = explain(registry, name, datetime.now(UTC))
    releases = registry.releases(name, limit=HISTORY)
    config = found.deployment.config.model_dump(mode="json", exclude_defaults=True)
    made_of = found.deployment.made_of if found.deployment.is_made else None
    state = {"deployments": {made_of.template if made_of else name: config}}
    mine = {rule.name for rule in found.rules}
    if mine:
        state["rules"] = {
            rule.name: {"query": rule.query, "deploy_to": rule.deploy_to, "priority": rule.priority}
            for rule in registry.rules()
            if rule.name in mine
        }
    return pages.show(
        "deployment.html",
        title=name,
        found=found,
        made_of=found.deployment.made_of and describe(found.deployment.made_of.tags),
        gates=describe_gates(found.deployment.config.gates),
        releases=[(row, registry.release_events(row.id)) for row in releases],
        exclusions=registry.exclusions(name),
        experiment=last_experiment(registry, name, releases),
        url=pages.deployment_url(name),
        as_yaml=yaml.safe_dump(state, sort_keys=False, allow_unicode=True),
        silence=controller_silence(pages.connection).removeprefix(": "),
        edit=None if found.deployment.is_removed else address_of(FORM, name=name),
        new_rule=address_of(rules.FORM, deploy_to=name),
    )


# --- the form


def _known(registry: Registry) -> dict[str, tuple[DeploymentConfig, int]]:
    rows = [row for row in registry.deployments() if not row.is_removed]
    return {
        **{row.name: (row.config, row.config_version) for row in rows},
        **{row.text: (row.config, row.version) for row in registry.templates()},
    }


def _check(registry: Registry, name: str, typed: Typed) -> Faults:
    try:
        check_deployment_key(name)
    except ConfigError as exc:
        return {NAME: str(exc)}
    return {}


FORM = Form(
    section="deployments",
    noun="deployment",
    address="/forms/deployment",
    template="deployment_form.html",
    model=DeploymentConfig,
    known=_known,
    check=_check,
    offered=lambda registry: {},
    preview=lambda pages, name, typed: {},
    leads_to=lambda name: "/deployments" if is_template(name) else f"/deployments/{name}",
)
