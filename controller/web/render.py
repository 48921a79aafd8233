"""Templates, and what they all know: the connection, times, values in words."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import partial
from http import HTTPStatus
from typing import Any
from urllib.parse import urlencode

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse

from controller.web.search import ago
from envelope.connection import Connection
from envelope.errors import EnvelopeError
from ray_runtime.connection import serve_url

MAX_CELL = 80  # characters of a value in a table
SHA256_DIGITS = 64
SHORT_HASH = 12


class Pages:
    """Renders pages about one registry."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self._templates = Environment(
            loader=PackageLoader("controller.web"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.globals["auth"] = connection.settings.auth
        self._templates.filters |= {
            "ago": lambda at: ago(at, datetime.now(UTC)),
            "time": lambda at: f"{at:%Y-%m-%d %H:%M:%S} UTC",
            "value": value,
            "short": partial(shorten, limit=MAX_CELL),
            "pretty": lambda found: json.dumps(found, indent=2, ensure_ascii=False, default=str),
            "query": urlencode,
        }

    def show(
        self, template: str, *, status: int = HTTPStatus.OK, title: str, **known: Any
    ) -> HTMLResponse:
        """Return a page. Templates fail on a name that nobody gave, so that tests see it."""
        text = self._templates.get_template(template).render(title=title, **known)
        return HTMLResponse(text, status)

    def deployment_url(self, name: str) -> str:
        """Return where a deployment answers; "/NAME" while no cluster is known."""
        try:
            return f"{serve_url(self.connection.settings)}/{name}"
        except EnvelopeError:
            return f"/{name}"


def pages_of(request: Request) -> Pages:
    """Return what renders the pages of this application."""
    found: Pages = request.app.state.pages
    return found


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
