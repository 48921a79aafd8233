"""Templates, and what they all know: the connection, times, values in words."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from http import HTTPStatus
from typing import Any
from urllib.parse import urlencode

import msgspec
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import HTMLResponse

from controller.api.requests import HOLDER, ROLE
from controller.web.search import ago
from envelope.connection import Connection
from envelope.errors import EnvelopeError
from envelope.registry import Role
from envelope.registry.tokens import allows
from ray_runtime.connection import serve_url

MAX_CELL = 80  # characters of a value in a table
SHA256_DIGITS = 64
SHORT_HASH = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Pages:
    """Renders pages about one registry, for one reader.

    connection: in the reader's name. holder, role: of the reader's token; None without one.
    """

    connection: Connection
    templates: Environment
    holder: str | None = None
    role: Role | None = None

    def seen_by(self, request: Request) -> Pages:
        """Return these pages for whoever asks."""
        holder = request.scope.get(HOLDER)
        if holder is None:
            return self
        connection = replace(self.connection, actor=holder)
        return replace(self, connection=connection, holder=holder, role=request.scope[ROLE])

    def may(self, needed: Role) -> bool:
        """Whether the reader may do what takes this role."""
        if self.connection.settings.auth == "none":
            return True
        return self.role is not None and allows(self.role, needed)

    def show(
        self, template: str, *, status: int = HTTPStatus.OK, title: str, **known: Any
    ) -> HTMLResponse:
        """Return a page. Templates fail on a name that nobody gave, so that tests see it."""
        about = {"title": title, "may": self.may, "holder": self.holder, "role": self.role}
        text = self.templates.get_template(template).render(about | known)
        return HTMLResponse(text, status)

    def deployment_url(self, name: str) -> str:
        """Return where a deployment answers; "/NAME" while no cluster is known."""
        try:
            return f"{serve_url(self.connection.settings)}/{name}"
        except EnvelopeError:
            return f"/{name}"


def pages_on(connection: Connection) -> Pages:
    """Return the pages about one registry."""
    templates = Environment(
        loader=PackageLoader("controller.web"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters |= {
        "ago": lambda at: ago(at, datetime.now(UTC)),
        "time": lambda at: f"{at:%Y-%m-%d %H:%M:%S} UTC",
        "value": value,
        "short": partial(shorten, limit=MAX_CELL),
        "pretty": lambda found: json.dumps(found, indent=2, ensure_ascii=False, default=str),
        "query": urlencode,
        "script": in_script,
    }
    return Pages(connection=connection, templates=templates)


def pages_of(request: Request) -> Pages:
    """Return what renders the pages of this application, for whoever asks."""
    found: Pages = request.app.state.pages
    return found.seen_by(request)


def in_script(found: Any) -> Markup:
    """Write a value as JSON for a script element, which only a `<` could end.

    Thousands of points are a few milliseconds so; as an attribute each quote would be six bytes.
    """
    return Markup(msgspec.json.encode(found).decode().replace("<", "\\u003c"))


def shorten(text: str, limit: int) -> str:
    """Return a text that is no longer than the limit."""
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def value(found: Any) -> str:
    """Return a value as people read it: six digits of a number, the kind of a structured one."""
    match found:
        case None:
            return ""
        case bool() | int():
            return str(found)
        case float():
            return f"{found:.6g}"
        case datetime():
            return f"{found:%Y-%m-%d %H:%M:%S}"
        case {"type": str(kind)}:
            return kind
        case [str(sha256)] if len(sha256) == SHA256_DIGITS:
            return sha256[:SHORT_HASH]
        case Mapping() | list() | tuple():
            return shorten(json.dumps(found, ensure_ascii=False, default=str), MAX_CELL)
        case _:
            return str(found)
