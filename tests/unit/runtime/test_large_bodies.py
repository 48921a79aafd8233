"""Large bodies through a real uvicorn on both event loops: whole, in parts, cut short, in a row."""

import asyncio
import gc
import hashlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
import uvicorn
import uvloop

from ray_runtime.protocols.http import Answer, Request, Route, Router

LARGE = bytes(range(256)) * 12_000  # 3 MB
TIMEOUT_S = 0.5

LOOPS = pytest.mark.parametrize(
    "new_loop",
    [
        pytest.param(asyncio.new_event_loop, id="asyncio"),
        pytest.param(uvloop.new_event_loop, id="uvloop"),
    ],
)


class Seen(list[str]):
    """What the handler got: the type of each body, or the error instead."""


async def answer_with_hash(request: Request, seen: Seen) -> Answer:
    try:
        body = await request.body()
    except Exception as exc:
        seen.append(type(exc).__name__)
        raise
    seen.append(type(body).__name__)
    return Answer(hashlib.sha256(body).hexdigest().encode())


@asynccontextmanager
async def serving(seen: Seen) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """Serve, and yield a connection to it."""
    route = Route(
        method="POST", path="/x/hash", handler=lambda asked: answer_with_hash(asked, seen)
    )
    router = Router("/x", [route], max_body_bytes=2 * len(LARGE), timeout_s=TIMEOUT_S)
    config = uvicorn.Config(router, lifespan="off", access_log=False, log_level="warning")
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        running = asyncio.create_task(server.serve(sockets=[listening]))
        while not server.started:
            await asyncio.sleep(0.01)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            yield reader, writer
        finally:
            writer.close()
            server.should_exit = True
            await running


def head(length: int, *more: str) -> bytes:
    lines = ["POST /x/hash HTTP/1.1", "Host: x", f"Content-Length: {length}", *more]
    return "\r\n".join([*lines, "", ""]).encode()


async def read_answer(reader: asyncio.StreamReader) -> tuple[int, bytes, bytes]:
    """Return status, headers in lower case, and body of the next answer."""
    headers = (await reader.readuntil(b"\r\n\r\n")).lower()
    length = int(headers.split(b"content-length: ")[1].split(b"\r\n")[0])
    return int(headers.split()[1]), headers, await reader.readexactly(length)


def hash_of(body: bytes) -> tuple[int, bytes]:
    return 200, hashlib.sha256(body).hexdigest().encode()


def run(new_loop: Callable[[], asyncio.AbstractEventLoop], story: Awaitable[None]) -> None:
    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(story)  # type: ignore[arg-type]


@LOOPS
@pytest.mark.parametrize("step", [1_000, 65_536, 1_000_003, len(LARGE)])
def test_bodies_of_one_connection_arrive_whole_however_they_are_cut(new_loop, step):
    seen = Seen()

    async def story():
        async with serving(seen) as (reader, writer):
            for body in (LARGE, b"small", LARGE[1:], LARGE[::-1]):
                sent = head(len(body)) + body
                for start in range(0, len(sent), step):
                    writer.write(sent[start : start + step])
                    await writer.drain()
                status, _, found = await read_answer(reader)
                assert (status, found) == hash_of(body)

    run(new_loop, story())
    assert seen == ["memoryview", "bytes", "memoryview", "memoryview"]


@LOOPS
def test_requests_sent_without_waiting_are_answered_in_order(new_loop):
    bodies = [LARGE, b"small", LARGE[::-1], LARGE[5:]]

    async def story():
        async with serving(Seen()) as (reader, writer):
            writer.write(b"".join(head(len(body)) + body for body in bodies))
            for body in bodies:
                status, _, found = await read_answer(reader)
                assert (status, found) == hash_of(body)

    run(new_loop, story())


@LOOPS
def test_a_body_without_a_length_comes_in_parts(new_loop):
    seen = Seen()

    async def story():
        async with serving(seen) as (reader, writer):
            writer.write(b"POST /x/hash HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
            writer.write(b"%x\r\n" % len(LARGE) + LARGE + b"\r\n0\r\n\r\n")
            status, _, found = await read_answer(reader)
            assert (status, found) == hash_of(LARGE)

    run(new_loop, story())
    assert seen == ["bytes"]


@LOOPS
def test_a_client_that_leaves_halfway_is_noticed(new_loop):
    seen = Seen()

    async def story():
        async with serving(seen) as (_, writer):
            writer.write(head(len(LARGE)) + LARGE[:-1])
            await writer.drain()
            writer.close()
            async with asyncio.timeout(TIMEOUT_S * 0.9):
                while not seen:
                    await asyncio.sleep(0.01)

    run(new_loop, story())
    assert seen == ["ClientGone"]
    gc.collect()  # a lost transport would warn


@LOOPS
def test_a_client_that_stalls_is_told_so_on_a_connection_that_then_ends(new_loop):
    """What is left of the body must never be taken for a request."""
    seen = Seen()

    async def story():
        async with serving(seen) as (reader, writer):
            writer.write(head(len(LARGE)) + LARGE[:200_000])
            status, headers, _ = await read_answer(reader)
            assert (status, b"connection: close" in headers) == (504, True)
            assert await reader.read() == b""

    run(new_loop, story())
    assert seen == ["TimedOut"]


@LOOPS
def test_a_client_that_asks_first_is_told_to_go_on(new_loop):
    async def story():
        async with serving(Seen()) as (reader, writer):
            writer.write(head(len(LARGE), "Expect: 100-continue"))
            assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
            writer.write(LARGE)
            status, _, found = await read_answer(reader)
            assert (status, found) == hash_of(LARGE)

    run(new_loop, story())
