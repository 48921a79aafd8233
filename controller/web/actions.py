"""What the pages change. Each does what the command of the same name does, and leads back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from http import HTTPStatus
from urllib.parse import parse_qs, quote

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from controller.rollback import rollback_target
from controller.view import live_row
from controller.web.render import pages_of
from envelope.config import DesiredState
from envelope.connection import Connection
from envelope.deployment_names import check_deployment_name
from envelope.errors import ConfigError

MAX_FORM_BYTES = 64 * 1024


async def change_tags(request: Request) -> Response:
    """Set a tag, or remove it when the form says so."""
    form, envelope_id = await read_form(request), request.path_params["id"]
    key = form.get("key", "").strip()
    value = None if form.get("remove") else form.get("value", "")
    connection = pages_of(request).connection
    await run_in_threadpool(
        connection.registry.set_tags, envelope_id, {key: value}, actor=connection.actor
    )
    return back(f"/models/{envelope_id}")


async def deploy(request: Request) -> Response:
    """Serve an envelope at a deployment, and pin it there."""
    form, envelope_id = await read_form(request), request.path_params["id"]
    name = form.get("to", "").strip()
    check_deployment_name(name)
    connection = pages_of(request).connection
    await run_in_threadpool(
        connection.registry.request_deploy, name, envelope_id, actor=connection.actor
    )
    return back(f"/deployments/{name}")


async def on_deployment(request: Request) -> Response:
    """Roll back, unpin, let an envelope come back, or end an experiment."""
    name, action = request.path_params["name"], request.path_params["action"]
    if action not in _ACTIONS:
        raise HTTPException(HTTPStatus.NOT_FOUND, f"there is no {action!r} for a deployment")
    form = await read_form(request)
    connection = pages_of(request).connection
    await run_in_threadpool(_ACTIONS[action], connection, name, form)
    return back(f"/deployments/{quote(name)}")


def _rollback(connection: Connection, name: str, form: Mapping[str, str]) -> None:
    registry = connection.registry
    history = registry.releases(name)
    live = live_row(history)
    if live is None:
        raise ConfigError(f"nothing is live on {name}, so there is nothing to roll back")
    target = rollback_target(live, history, registry.exclusions(name), form.get("to") or None)
    registry.request_rollback(
        name,
        live.envelope_id,
        back_to=target.envelope_id,
        reason=form.get("reason", "").strip() or "by hand",
        actor=connection.actor,
    )


def _unpin(connection: Connection, name: str, form: Mapping[str, str]) -> None:
    connection.registry.unpin(name, actor=connection.actor)


def _allow(connection: Connection, name: str, form: Mapping[str, str]) -> None:
    connection.registry.allow(name, form.get("envelope_id", ""), actor=connection.actor)


def _end_experiment(connection: Connection, name: str, form: Mapping[str, str]) -> None:
    winner = form.get("winner", "")
    if winner not in ("champion", "challenger"):
        raise ConfigError(f"the winner is `champion` or `challenger`, not {winner!r}")
    connection.registry.end_experiment(
        name,
        "champion" if winner == "champion" else "challenger",
        reason=form.get("reason", "").strip() or "by hand",
        actor=connection.actor,
    )


async def pause_rule(request: Request) -> Response:
    """Pause or resume one rule, as long as it is as the page showed it."""
    form, connection = await read_form(request), pages_of(request).connection
    name, version = form.get("name", ""), read_version(form.get("version", ""))

    def put() -> None:
        rules = connection.registry.state().rules
        if name not in rules:
            raise ConfigError(f"there is no rule {name!r}; there are: {', '.join(rules) or 'none'}")
        changed = rules[name].model_copy(update={"paused": bool(form.get("paused"))})
        connection.registry.apply_state(
            DesiredState(rules={name: changed}),
            actor=connection.actor,
            expected={f"rules.{name}": version},
        )

    await run_in_threadpool(put)
    return back("/rules")


_ACTIONS: Mapping[str, Callable[[Connection, str, Mapping[str, str]], None]] = {
    "rollback": _rollback,
    "unpin": _unpin,
    "allow": _allow,
    "end-experiment": _end_experiment,
}


async def read_form(request: Request) -> dict[str, str]:
    """The fields of the form that was sent."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_FORM_BYTES:
            raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "this form is too large")
    try:
        text = body.decode()
    except UnicodeDecodeError as exc:
        raise HTTPException(HTTPStatus.BAD_REQUEST, f"the form is not UTF-8: {exc}") from exc
    return {key: values[-1] for key, values in parse_qs(text, keep_blank_values=True).items()}


def read_version(text: str) -> int:
    """Return the version that a form was made for."""
    if not text.isdecimal():
        raise HTTPException(HTTPStatus.BAD_REQUEST, f"{text!r} is no version; load the page again")
    return int(text)


def back(path: str) -> Response:
    """Lead the browser to a page after a change."""
    return RedirectResponse(path, HTTPStatus.SEE_OTHER)
