"""The routes of `envelope.remote.operations`: read the parameters, call the method, answer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from controller.api.answers import json_answer
from controller.api.requests import actor_of, check_numbers, check_texts, read_body, read_query
from envelope.connection import Connection
from envelope.errors import ConfigError
from envelope.manifest import Manifest
from envelope.registry import Registry
from envelope.remote import wire
from envelope.remote.operations import OPERATIONS, Operation
from envelope.remote.records import ImportRecord, RegisterRecord

MAX_WAIT_S = 30.0
LOOK_S = 0.1  # between two looks for a change; no thread is held meanwhile

Handler = Callable[[Request], Awaitable[Response]]


def operation_routes(connection: Connection) -> list[Route]:
    """A route for each operation, and for the two whose manifest lies in the store."""
    registry = connection.registry

    async def register(request: Request) -> Response:
        record: RegisterRecord = wire.decode(await read_body(request), RegisterRecord)
        row = await run_in_threadpool(_register, connection, record, actor_of(request))
        return json_answer(request, row, status=201)

    async def import_envelope(request: Request) -> Response:
        record: ImportRecord = wire.decode(await read_body(request), ImportRecord)
        envelope_id = check_texts(request.path_params)["envelope_id"]
        manifest = await run_in_threadpool(
            connection.store.get_manifest, envelope_id, record.manifest_sha256
        )
        is_new = await run_in_threadpool(
            registry.import_envelope,
            manifest,
            record.manifest_sha256,
            record.history,
            actor=actor_of(request),
        )
        return json_answer(request, is_new)

    generic = [
        Route(operation.path, _handler(registry, operation), methods=[operation.verb])
        for operation in OPERATIONS.values()
        if operation.name != "wait_for_change"
    ]
    waiting = OPERATIONS["wait_for_change"]
    return [
        Route("/envelopes", register, methods=["POST"]),
        Route("/envelopes/{envelope_id}", import_envelope, methods=["PUT"]),
        Route(waiting.path, _wait_handler(registry, waiting), methods=[waiting.verb]),
        *generic,
    ]


def _register(connection: Connection, record: RegisterRecord, actor: str) -> Any:
    manifest: Manifest = connection.store.get_manifest(record.id, record.manifest_sha256)
    return connection.registry.register(
        manifest, record.manifest_sha256, actor=actor, created_at=record.created_at
    )


def _handler(registry: Registry, operation: Operation) -> Handler:
    method = getattr(registry, operation.name)
    status = 204 if operation.hints["return"] is type(None) else 200

    async def handle(request: Request) -> Response:
        values = await arguments(request, operation)
        return json_answer(request, await run_in_threadpool(method, **values), status=status)

    return handle


def _wait_handler(registry: Registry, operation: Operation) -> Handler:
    async def handle(request: Request) -> Response:
        values = await arguments(request, operation)
        after, timeout_s = values["after"], values["timeout_s"]
        if not 0 <= timeout_s <= MAX_WAIT_S:
            raise ConfigError(f"timeout_s is {timeout_s:g}; use 0 to {MAX_WAIT_S:g} and ask again")
        ends_at = time.monotonic() + timeout_s
        while True:
            is_there = await run_in_threadpool(registry.last_change) > after
            if is_there or time.monotonic() >= ends_at or await request.is_disconnected():
                return json_answer(request, is_there)
            await asyncio.sleep(min(LOOK_S, max(0.0, ends_at - time.monotonic())))

    return handle


async def arguments(request: Request, operation: Operation) -> dict[str, Any]:
    """The keyword arguments of the operation's method. Raises ConfigError for what is wrong."""
    values = _read(operation, "path", check_texts(request.path_params))
    values |= _read(operation, "query", read_query(request, operation))
    if operation.whole_body is not None:
        kind = operation.hints[operation.whole_body]
        values[operation.whole_body] = wire.decode(await read_body(request), kind)
    elif operation.parameters("body"):
        record = wire.decode(await read_body(request), operation.record("body"))
        values |= {name: getattr(record, name) for name in record.__struct_fields__}
    if operation.parameters("header"):
        values["actor"] = actor_of(request)
    return check_numbers(values)


def _read(operation: Operation, place: Any, texts: Mapping[str, Any]) -> dict[str, Any]:
    record = wire.convert(texts, operation.record(place))
    return {name: getattr(record, name) for name in record.__struct_fields__}
