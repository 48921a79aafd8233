"""Creating and editing what is wanted by a form, with the YAML that says the same beside it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Generic, Literal, TypeVar
from urllib.parse import urlencode

import yaml
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from controller.web.actions import back, read_form, read_version
from controller.web.fields import Faults, Typed, compact, read, sections_of, typed_of
from controller.web.render import Pages, pages_of
from envelope.config import DesiredState
from envelope.errors import ConfigError
from envelope.registry import Registry, StaleState

# Beside the fields of the model, whose names begin with a letter.
NAME, VERSION, DO = "_name", "_version", "_do"

M = TypeVar("M", bound=BaseModel)


@dataclass(frozen=True, slots=True, kw_only=True)
class Form(Generic[M]):
    """A form of one section of the YAML.

    known: what there is, each with its version. check: what the model alone cannot know to be
    wrong with a name and what is typed; also of a form that is half filled in.
    offered: what fields offer, by path. preview: what the template shows beside the YAML.
    """

    section: Literal["deployments", "rules", "batch_jobs"]
    noun: str
    address: str
    template: str
    model: type[M]
    known: Callable[[Registry], Mapping[str, tuple[M, int]]]
    check: Callable[[Registry, str, Typed], Faults]
    offered: Callable[[Registry], Mapping[str, Sequence[str]]]
    preview: Callable[[Pages, str, Typed], Mapping[str, Any]]
    leads_to: Callable[[str], str]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Filled:
    """What is in a form. version: of what it changes; 0 for what is new."""

    name: str
    version: int
    typed: Typed
    faults: Faults
    more: str = ""
    theirs: Typed | None = None


def form_routes(form: Form[Any]) -> list[Route]:
    """The form's page, and what becomes of what is typed."""

    def show(request: Request) -> Response:
        pages, asked = pages_of(request), dict(request.query_params)
        name = asked.pop("name", "")
        known = form.known(pages.connection.registry)
        if name and name not in known:
            names = ", ".join(known) or "none yet"
            raise ConfigError(f"there is no {form.noun} {name!r}; there are: {names}")
        typed, version = asked, 0
        if name:
            typed, version = typed_of(known[name][0]), known[name][1]
        return _page(pages, form, _Filled(name=name, version=version, typed=typed, faults={}))

    async def submit(request: Request) -> Response:
        sent = await read_form(request)
        return await run_in_threadpool(_submit, pages_of(request), form, sent)

    return [Route(form.address, show), Route(form.address, submit, methods=["POST"])]


def _submit(pages: Pages, form: Form[Any], sent: Mapping[str, str]) -> Response:
    name, version = sent.get(NAME, "").strip(), read_version(sent.get(VERSION, "0"))
    do, _, more = sent.get(DO, "save").partition(":")
    typed = compact(form.model, {key: text for key, text in sent.items() if key[:1] != "_"})
    registry = pages.connection.registry
    reading = read(form.model, typed)
    faults = {} if do == "more" else form.check(registry, name, typed) | reading.faults
    filled = _Filled(name=name, version=version, typed=typed, faults=faults, more=more)
    if do not in ("save", "download"):
        return _page(pages, form, filled)
    if faults or reading.config is None:
        return _page(pages, form, filled, HTTPStatus.BAD_REQUEST)
    if do == "download":
        headers = {"content-disposition": f'attachment; filename="{file_of(name)}"'}
        text = as_yaml(form, name, reading.config)
        return Response(text, media_type="application/yaml", headers=headers)
    try:
        registry.apply_state(
            DesiredState.model_validate({form.section: {name: reading.config}}),
            actor=pages.connection.actor,
            expected={f"{form.section}.{name}": version},
        )
    except StaleState as exc:
        return _page(pages, form, _conflict(form, registry, filled, exc), HTTPStatus.CONFLICT)
    except ConfigError as exc:
        filled.faults[""] = str(exc)
        return _page(pages, form, filled, HTTPStatus.BAD_REQUEST)
    return back(form.leads_to(name))


def _conflict(form: Form[Any], registry: Registry, mine: _Filled, error: StaleState) -> _Filled:
    """Return the form as it was typed, with what somebody else wrote meanwhile shown at it.

    Saved once more, it is written over that.
    """
    config, version = form.known(registry).get(mine.name, (None, 0))
    theirs = {} if config is None else typed_of(config)
    differing = {
        path: theirs.get(path, "")
        for path in {*theirs, *mine.typed}
        if theirs.get(path, "") != mine.typed.get(path, "").replace("\r\n", "\n").strip()
    }
    return _Filled(
        name=mine.name,
        version=version,
        typed=mine.typed,
        faults={"": str(error)},
        theirs=differing if config is not None else None,
    )


def _page(pages: Pages, form: Form[Any], filled: _Filled, status: int = HTTPStatus.OK) -> Response:
    registry = pages.connection.registry
    reading = read(form.model, filled.typed)
    is_new = filled.version == 0
    return pages.show(
        form.template,
        status=status,
        title=f"New {form.noun}" if is_new else f"{form.noun} {filled.name}".capitalize(),
        form=form,
        filled=filled,
        is_new=is_new,
        sections=sections_of(form.model, filled.typed, filled.more),
        offered=form.offered(registry),
        as_yaml=as_yaml(form, filled.name, reading.config) if reading.config else None,
        waiting={**reading.faults, **filled.faults},
        preview=form.preview(pages, filled.name, filled.typed),
    )


def as_yaml(form: Form[Any], name: str, config: BaseModel) -> str:
    """Return the file that says the same as a form."""
    plain = config.model_dump(mode="json", exclude_defaults=True)
    state = {form.section: {name or "NAME": plain}}
    return yaml.safe_dump(state, sort_keys=False, allow_unicode=True)


def file_of(name: str) -> str:
    """Return what the file of one thing is called."""
    return f"{re.sub(r'[^A-Za-z0-9_.-]', '_', name) or 'NAME'}.yaml"


def address_of(form: Form[Any], **filled: str) -> str:
    """Return the address of a form: with `name` to change what there is, with fields to begin."""
    return f"{form.address}?{urlencode(filled)}" if filled else form.address
