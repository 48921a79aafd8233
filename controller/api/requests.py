"""What a request brings: its body, its parameters, and who is asking."""

from __future__ import annotations

import typing
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import unquote

from starlette.requests import Request

from envelope.errors import ConfigError
from envelope.registry.text import fault_of
from envelope.remote.client import ACTOR_HEADER
from envelope.remote.operations import Operation

HOLDER = "envelope.holder"  # in the scope of a request: who holds the token that it brought
ROLE = "envelope.role"  # and the token's role
MAX_BODY_BYTES = 64 << 20  # of JSON; the history of an envelope with 300,000 points


async def read_body(request: Request, max_bytes: int = MAX_BODY_BYTES) -> bytes:
    """The whole body. Raises ConfigError when it is too large."""
    parts, size_bytes = [], 0
    async for part in request.stream():
        size_bytes += len(part)
        if size_bytes > max_bytes:
            raise ConfigError(f"the body is larger than {max_bytes:,} bytes; send less at once")
        parts.append(part)
    return b"".join(parts)


def read_query(request: Request, operation: Operation) -> dict[str, Any]:
    """The parameters of the query: a list where the operation takes several.

    Raises ConfigError for one that is given twice and is no list.
    """
    found: dict[str, Any] = {}
    for name in request.query_params:
        values = request.query_params.getlist(name)
        if _is_list(operation.hints.get(name)):
            found[name] = [value for value in values if value]
        elif len(values) > 1:
            raise ConfigError(f"the parameter {name!r} is given {len(values)} times; give it once")
        else:
            found[name] = values[0]
    return check_texts(found)


def _is_list(hint: Any) -> bool:
    kinds = (hint, *typing.get_args(hint))
    return any(typing.get_origin(kind) in (list, Sequence) for kind in kinds)


def check_texts(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return parameters that a database can compare. Raises ConfigError for one that none can."""
    for name, value in values.items():
        for text in value if isinstance(value, list) else (value,):
            if fault := fault_of(text):
                raise ConfigError(f"the parameter {name!r} {fault}; remove it")
    return dict(values)


def check_numbers(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return parameters whose numbers a database has room for. Raises ConfigError."""
    for name, value in values.items():
        if isinstance(value, int) and not -(2**63) <= value < 2**63:
            raise ConfigError(f"the parameter {name!r} has more than 64 bits; use a smaller number")
    return dict(values)


def actor_of(request: Request) -> str:
    """Who is asking: the token's holder; as the client says where no token is asked for."""
    if holder := request.scope.get(HOLDER):
        return str(holder)
    said = request.headers.get(ACTOR_HEADER)
    if said:
        return unquote(said)
    return f"anonymous@{request.client.host if request.client else 'unknown'}"
