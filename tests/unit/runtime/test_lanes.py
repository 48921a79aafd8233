from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import envelope as me
from ray_runtime.lanes import STRIKES, TOO_SLOW_S, Pool, place_of, threads_for
from ray_runtime.pace import TRIAL_CALLS, Pace
from ray_runtime.protocols.formats import formats_of
from ray_runtime.protocols.problem import QueueFull, TimedOut
from tests.unit.runtime.conftest import (
    Answered,
    Client,
    adding_function,
    as_if_in_a_notebook,
    frame,
    serving,
)


async def awaited() -> None:
    """An async function."""


@pytest.mark.parametrize(
    "function, pace, place",
    [
        pytest.param(len, Pace(call_ms=0.5), "loop", id="quick"),
        pytest.param(len, Pace(call_ms=2.5), "threads", id="slow"),
        pytest.param(len, Pace(call_ms=None), "threads", id="unknown"),
        pytest.param(len, Pace(call_ms=1.5, is_waiting=True), "threads", id="waits"),
        pytest.param(awaited, Pace(call_ms=0.1), "awaited", id="async"),
    ],
)
def test_place_of(function: Any, pace: Pace, place: str) -> None:
    assert place_of(function, pace) == place


@pytest.mark.parametrize(
    "paces, num_cpus, threads",
    [
        pytest.param([Pace(call_ms=9)], 0.25, 1, id="a-share-of-a-cpu"),
        pytest.param([Pace(call_ms=9)], 2.5, 3, id="several"),
        pytest.param([Pace(call_ms=9), Pace(call_ms=9, is_waiting=True)], 1, 32, id="one-waits"),
    ],
)
def test_threads_for(paces: list[Pace], num_cpus: float, threads: int) -> None:
    assert threads_for(paces, num_cpus) == threads


class TestPool:
    def run(self, work: Callable[[Pool], Any], **options: Any) -> Any:
        async def inside() -> Any:
            pool = Pool(1, **{"max_queue": 2, "timeout_s": 5.0, **options})
            try:
                return await work(pool)
            finally:
                pool.close()

        return asyncio.run(inside())

    def test_bounds_what_waits(self) -> None:
        release = threading.Event()

        async def work(pool: Pool) -> list[int]:
            running = [
                asyncio.ensure_future(pool.run(lambda n=n: release.wait(5) and n)) for n in range(3)
            ]  # type: ignore[misc]
            await asyncio.sleep(0)
            with pytest.raises(QueueFull):
                await pool.run(lambda: 4)
            release.set()
            return await asyncio.gather(*running)

        assert self.run(work) == [0, 1, 2]

    def test_a_late_answer_is_a_timeout_and_what_waits_is_dropped(self) -> None:
        release, ran = threading.Event(), []

        async def work(pool: Pool) -> None:
            first = asyncio.ensure_future(pool.run(lambda: release.wait(5)))
            await asyncio.sleep(0)
            with pytest.raises(TimedOut, match=r"0\.05 s"):
                await pool.run(lambda: ran.append("second"))
            with pytest.raises(TimedOut):
                await first
            release.set()
            await asyncio.sleep(0.05)
            assert ran == []
            assert await pool.run(lambda: "third") == "third"

        self.run(work, timeout_s=0.05)


def slow_model(seconds: float) -> Any:
    """Twice x, after computing for a while."""

    @as_if_in_a_notebook
    class Slow:
        def predict(self, frame):  # type: ignore[no-untyped-def] # its example says it
            import time

            end = time.perf_counter() + seconds
            while time.perf_counter() < end:
                pass
            return np.asarray(frame["x"] * 2.0)

    return Slow()


@pytest.fixture
def slow(home: Any) -> me.Envelope:
    return me.save_model(
        name="slow", model=slow_model(0.02), query_function="predict", api_input=frame()
    )


def test_a_slow_function_leaves_the_loop_free(slow: me.Envelope) -> None:
    async def conversation(client: Client) -> int:
        lane = client.live.default
        assert lane.place == "threads"
        original, ticks = lane._call, 0

        def slower(**arguments: Any) -> Any:
            time.sleep(0.5)
            return original(**arguments)

        lane._call = slower
        asking = asyncio.ensure_future(client.post("/v0/query", {"x": 1.0, "y": 0.0}))
        while not asking.done():
            await asyncio.sleep(0.001)
            ticks += 1
        assert (await asking).json == 2.0
        return ticks

    assert serving(slow, conversation) > 20  # on the loop it would be one


def test_a_timeout_is_a_504(slow: me.Envelope) -> None:
    async def conversation(client: Client) -> Answered:
        return await client.post("/v0/query", {"x": 1.0, "y": 0.0})

    answer = serving(slow, conversation, timeout_s=0.005)
    assert answer.status == 504
    assert "0.005 s" in answer.json["detail"]


@pytest.mark.parametrize(
    "batching, taken",
    [
        pytest.param("auto", 3, id="three-wait-to-go-together"),
        pytest.param("none", 4, id="one-runs-and-three-wait"),
    ],
)
def test_a_full_queue_is_a_429(slow: me.Envelope, batching: str, taken: int) -> None:
    async def conversation(client: Client) -> list[Answered]:
        one = {"x": 1.0, "y": 0.0}
        return await asyncio.gather(*(client.post("/v0/query", one) for _ in range(7)))

    answers = serving(slow, conversation, max_queue=3, batching=batching)
    assert [answer.status for answer in answers] == [200] * taken + [429] * (7 - taken)
    assert answers[-1].headers["retry-after"] == "1"


def test_large_bodies_are_read_off_the_loop(sums: me.Envelope) -> None:
    async def conversation(client: Client) -> tuple[set[int], Any]:
        lane = client.live.default
        threads: set[int] = set()
        original = lane._call

        def watched(**arguments: Any) -> Any:
            threads.add(threading.get_ident())
            return original(**arguments)

        lane._call = watched
        body = {"x": [0.5] * 5000, "y": [1.0] * 5000}
        return threads, (await client.post("/v0/query", body)).json

    threads, output = serving(sums, conversation)
    assert output == [3.0] * 5000
    assert threads and threading.get_ident() not in threads


def test_a_function_that_turns_slow_is_moved_off_the_loop(sums: me.Envelope) -> None:
    async def conversation(client: Client) -> list[str]:
        lane = client.live.default
        original, places = lane._call, []

        def turned_slow(**arguments: Any) -> Any:
            time.sleep(1.2 * TOO_SLOW_S)
            return original(**arguments)

        lane._call = turned_slow
        for _ in range(STRIKES + 1):
            places.append(lane.place)
            answer = await client.post("/v0/query", {"x": 1.0, "y": 0.0})
            assert answer.json == 2.0
        return places

    assert serving(sums, conversation) == ["loop"] * STRIKES + ["threads"]


@pytest.fixture
def unsampled(home: Any) -> me.Envelope:
    return me.save_model(name="unsampled", query_function=adding_function())


def test_a_function_without_a_sample_moves_to_the_loop_once_it_was_quick(
    unsampled: me.Envelope,
) -> None:
    async def conversation(client: Client) -> list[str]:
        lane, places = client.live.default, []
        for n in range(TRIAL_CALLS + 1):
            for refused in range(2):  # quick, but not the function's doing
                assert (await client.post("/v0/query", {"b": refused})).status == 400
            places.append(lane.place)
            assert (await client.post("/v0/query", {"a": n})).json == n + 2
        return places

    assert serving(unsampled, conversation) == ["threads"] * TRIAL_CALLS + ["loop"]


def test_a_function_without_a_sample_that_waits_stays_on_threads(unsampled: me.Envelope) -> None:
    async def conversation(client: Client) -> str:
        lane = client.live.default
        original = lane._call

        def waiting(**arguments: Any) -> Any:
            time.sleep(0.002)
            return original(**arguments)

        lane._call = waiting
        for n in range(TRIAL_CALLS + 1):
            assert (await client.post("/v0/query", {"a": n})).json == n + 2
        return lane.place

    assert serving(unsampled, conversation) == "threads"


def test_an_async_function_is_awaited(home: Any) -> None:
    """Twenty calls at once, on the loop that the warm-up ran on, which is not the server's."""

    @as_if_in_a_notebook
    class Adds:
        async def __call__(self, a: int, b: int) -> int:
            if not hasattr(self, "lock"):
                self.lock = asyncio.Lock()
            async with self.lock:  # another loop's, if a second one called
                await asyncio.sleep(0)
            await asyncio.sleep(0.05)
            return a + b

    saved = me.save_model(name="adds", query_function=Adds(), api_input={"a": 1, "b": 2})
    assert saved.query(3, 4) == 7

    async def conversation(client: Client) -> tuple[list[Any], float]:
        assert client.live.default.place == "awaited"
        began = time.perf_counter()
        asked = [client.post("/v0/query", {"a": n, "b": 1}) for n in range(20)]
        answers = await asyncio.gather(*asked)
        return [answer.json for answer in answers], time.perf_counter() - began

    answers, took_s = serving(saved, conversation)
    assert answers == [n + 1 for n in range(20)]
    assert took_s < 20 * 0.05  # one after the other


def test_an_async_function_that_takes_too_long_is_cancelled(adding: me.Envelope) -> None:
    ended: list[str] = []

    async def add(a: int, b: int) -> int:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise
        return a + b

    async def conversation(client: Client) -> Answered:
        lane = client.live.default
        lane._call, lane.place = add, "awaited"
        answer = await client.post("/v0/query", {"a": 1, "b": 1})
        for _ in range(200):
            if ended:
                break
            await asyncio.sleep(0.01)
        return answer

    assert serving(adding, conversation, timeout_s=0.1).status == 504
    assert ended == ["cancelled"]


class Lone:
    """A caller whom the server knows to be the only one."""

    def is_gone(self) -> bool:
        return False

    def is_alone(self) -> bool:
        return True


def test_a_lone_caller_does_not_queue_for_company(sums: me.Envelope) -> None:
    async def conversation(client: Client) -> tuple[bytes, bool]:
        lane = client.live.default
        codec = formats_of(lane.checker, 1000).chooser()(None, None)
        answering = lane.answer(b'{"x": 1.0, "y": 2.0}', codec, Lone())
        try:
            answering.send(None)  # type: ignore[attr-defined] # runs to its first wait, if any
        except StopIteration as done:
            return done.value, lane.is_shared
        raise AssertionError("it waited")

    assert serving(sums, conversation) == (b"6.0", True)


def test_uvicorn_still_lets_us_see_who_is_alone() -> None:
    """What `Request.is_alone` and `is_gone` look at is uvicorn's own, and may move."""
    import uvicorn

    from ray_runtime.protocols.http import Message, Receive, Request, Scope, Send

    seen: list[tuple[bool, bool]] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append((Request(scope, receive, 1, 1.0).is_alone(), hasattr(receive, "__self__")))
        opening: Message = {"type": "http.response.start", "status": 204, "headers": []}
        await send(opening)
        await send({"type": "http.response.body", "body": b""})

    async def talk() -> None:
        import socket

        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            config = uvicorn.Config(app, lifespan="off", log_config=None, http="httptools")
            server = uvicorn.Server(config)
            serving_task = asyncio.create_task(server.serve(sockets=[listener]))
            while not server.started:
                await asyncio.sleep(0.01)
            request = b"GET / HTTP/1.1\r\nHost: here\r\n\r\n"
            host, port = listener.getsockname()
            pairs = [await asyncio.open_connection(host, port) for _ in range(3)]
            pairs[0][1].write(request)
            await pairs[0][0].readuntil(b"\r\n\r\n")
            for _, writer in pairs:
                writer.write(request)
            for reader, writer in pairs:
                await reader.readuntil(b"\r\n\r\n")
                writer.close()
            server.should_exit = True
            await serving_task

    asyncio.run(talk())
    assert seen[0] == (True, True)
    assert (False, True) in seen[1:]
