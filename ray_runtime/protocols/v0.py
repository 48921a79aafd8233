"""Our own protocol: the function's input as the body, its output as the answer, nothing around.

    POST /<deployment>/v0/query              one call of the default function
    POST /<deployment>/v0/query/<function>   of another
    POST /<deployment>/v0/query_bulk         a list of bodies -> a list of {"output"} or {"error"}

Which formats a body and an answer may have is decided in `formats`.
"""

from __future__ import annotations

import asyncio

import msgspec

from ray_runtime.calls import BodyBytes, Codec
from ray_runtime.lanes import INLINE_BODY_BYTES, Lane
from ray_runtime.live import Live
from ray_runtime.protocols.examples import example_of
from ray_runtime.protocols.formats import Formats, formats_of
from ray_runtime.protocols.http import Answer, Handler, Request, Route, logged_problem
from ray_runtime.protocols.media import choose_reader, choose_writer
from ray_runtime.protocols.openapi import bulk_operation, query_operation
from ray_runtime.protocols.problem import Malformed, RequestError, TimedOut, problem_of

BULK_AT_ONCE = 64  # members in flight: they share calls, and leave room in the queue for others
JSON_ONLY = ("application/json",)


def routes(live: Live) -> list[Route]:
    """Return the routes of every function of the envelope."""
    base = f"/{live.options.deployment}/v0"
    default = live.default
    by_path = {f"{base}/query": default}
    by_path |= {f"{base}/query/{name}": lane for name, lane in live.lanes.items()}
    queries = []
    for path, lane in by_path.items():
        formats = formats_of(lane.checker, live.options.max_body_bytes)
        queries.append(
            Route(
                method="POST",
                path=path,
                handler=query_handler(lane, formats),
                operation=query_operation(
                    lane.function,
                    formats,
                    example_of(lane.function, lane.checker),
                    is_default=path.endswith("query"),
                ),
            )
        )
    bulk = Route(
        method="POST",
        path=f"{base}/query_bulk",
        handler=bulk_handler(default, live),
        operation=bulk_operation(default.function, example_of(default.function, default.checker)),
    )
    return [*queries, bulk]


def query_handler(lane: Lane, formats: Formats) -> Handler:
    """Return the handler of one function: one body, one call, one answer."""
    choose = formats.chooser()

    async def query(request: Request) -> Answer:
        codec = choose(request.content_type, request.accept)
        body = await request.body()
        answer = await lane.answer(body, codec, request)
        return Answer(answer, codec.media_type)

    return query


def bulk_handler(lane: Lane, live: Live) -> Handler:
    """Return the handler of a list of bodies. A member that fails does not touch the others."""
    formats = formats_of(lane.checker, live.options.max_body_bytes)
    codec = formats.chooser()(None, None)
    at_once = min(BULK_AT_ONCE, live.options.max_queue)
    timeout_s = live.options.timeout_s

    async def query_bulk(request: Request) -> Answer:
        choose_reader(request.content_type, JSON_ONLY)
        choose_writer(request.accept, JSON_ONLY)
        body = await request.body()
        if len(body) > INLINE_BODY_BYTES:
            members = await asyncio.to_thread(split_members, body)
        else:
            members = split_members(body)
        parts: list[bytes] = []
        try:
            async with asyncio.timeout(timeout_s):
                for start in range(0, len(members), at_once):
                    window = members[start : start + at_once]
                    parts += await asyncio.gather(*(_member(lane, one, codec) for one in window))
        except TimeoutError:
            raise TimedOut(timeout_s) from None
        return Answer(b"[" + b",".join(parts) + b"]")

    return query_bulk


def split_members(body: BodyBytes) -> list[bytes]:
    """Return the members of a JSON list as they stand in the body. Raises Malformed."""
    try:
        return [bytes(member) for member in _members.decode(body)]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise Malformed(f"the body is not a JSON list of bodies: {exc}") from None


_members = msgspec.json.Decoder(list[msgspec.Raw])


async def _member(lane: Lane, body: bytes, codec: Codec[bytes]) -> bytes:
    try:
        output: bytes = await lane.answer(body, codec)
        return b'{"output":' + output + b"}"
    except RequestError as exc:
        found = problem_of(exc)
    except Exception as exc:
        found = logged_problem(exc)
    return b'{"error":' + msgspec.json.encode(found) + b"}"
