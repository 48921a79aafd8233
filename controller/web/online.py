"""A model's tab about online inference: where it is released, and a form that asks it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from controller.web.actions import read_form
from controller.web.asking import Answer, ask
from controller.web.models import get, show_tab
from controller.web.questions import Question, body_from, faults_at, questions_of
from controller.web.render import Pages, pages_of
from envelope.handle import Envelope

MAX_RELEASES = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What was typed and what became of it. faults: by the path of a field."""

    deployment: str
    typed: Sequence[str]
    faults: Mapping[str, str]
    answer: Answer | None = None


def show(request: Request) -> Response:
    """Show where it was and is released, where it could be, and a form that asks it."""
    pages = pages_of(request)
    envelope = get(pages.connection, request.path_params["id"])
    name = request.query_params.get("function", envelope.manifest.default_function)
    return _page(pages, envelope, name, _questions(envelope, name), None)


async def try_it(request: Request) -> Response:
    """Ask the model where it is live, and show what it answers."""
    form, pages = await read_form(request), pages_of(request)
    name, deployment = form.get("function", ""), form.get("to", "")
    envelope, questions = await run_in_threadpool(
        _find, pages, request.path_params["id"], name, deployment
    )
    typed = [form.get(f"v{place}", "") for place in range(len(questions))]
    body = body_from(questions, typed)
    faults, answer = body.faults, None
    if not faults:
        answer = await ask(f"{pages.deployment_url(deployment)}/v0/query/{name}", body.value)
        faults = faults_at(questions, answer.faults)
    trial = Trial(deployment=deployment, typed=typed, faults=faults, answer=answer)
    return await run_in_threadpool(_page, pages, envelope, name, questions, trial)


def _find(
    pages: Pages, envelope_id: str, function: str, deployment: str
) -> tuple[Envelope, list[Question]]:
    envelope = get(pages.connection, envelope_id)
    if deployment not in _live_on(pages, envelope):
        there = deployment or "a deployment"
        raise HTTPException(HTTPStatus.CONFLICT, f"{envelope.id} is not live on {there}")
    return envelope, _questions(envelope, function)


def _questions(envelope: Envelope, name: str) -> list[Question]:
    if name not in envelope.functions:
        names = ", ".join(envelope.functions)
        words = f"there is no function {name!r}; there are: {names}"
        raise HTTPException(HTTPStatus.NOT_FOUND, words)
    return questions_of(envelope.functions[name])


def _live_on(pages: Pages, envelope: Envelope) -> list[str]:
    rows = pages.connection.registry.releases(envelope_id=envelope.id, open_only=True)
    return sorted({row.deployment for row in rows if row.state == "live"})


def _page(
    pages: Pages, envelope: Envelope, name: str, questions: Sequence[Question], trial: Trial | None
) -> Response:
    registry = pages.connection.registry
    releases = registry.releases(envelope_id=envelope.id, limit=MAX_RELEASES)
    return show_tab(
        pages,
        envelope,
        "online",
        releases=[(row, pages.deployment_url(row.deployment)) for row in releases],
        deployments=[row.name for row in registry.deployments()],
        live_on=_live_on(pages, envelope),
        functions=list(envelope.functions),
        function=name,
        questions=questions,
        trial=trial,
    )
