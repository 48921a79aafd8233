from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ray_runtime.batching import MAX_CALLS, MAX_ROWS, STALL_S, Batcher
from ray_runtime.calls import Codec, call_together
from ray_runtime.lanes import ANYONE
from ray_runtime.protocols.problem import ClientGone, ModelFailed, QueueFull


@dataclass(frozen=True)
class FakeCall:
    """A call with so many rows; `name` is what it is answered with."""

    name: str
    n_rows: int = 1


class Model:
    """Answers each call with its name, and keeps which calls it was given together."""

    def __init__(self, hold_s: float = 0) -> None:
        self.together: list[list[str]] = []
        self.threads: set[int] = set()
        self.hold_s = hold_s

    def __call__(self, calls: Sequence[Any]) -> list[bytes | Exception]:
        self.threads.add(threading.get_ident())
        self.together.append([call.name for call in calls])
        time.sleep(self.hold_s)
        return [
            ModelFailed("asked to") if call.name == "bad" else call.name.encode() for call in calls
        ]


def talk(conversation: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    return asyncio.run(conversation())


def add_all(batcher: Batcher, calls: Sequence[FakeCall]) -> list[asyncio.Future[bytes]]:
    return [batcher.add(call, ANYONE.is_gone) for call in calls]  # type: ignore[arg-type]


def test_what_is_there_together_goes_together() -> None:
    model = Model()

    async def conversation() -> list[bytes]:
        batcher = Batcher(model, max_queue=100)
        return await asyncio.gather(*add_all(batcher, [FakeCall(str(n)) for n in range(5)]))

    assert talk(conversation) == [b"0", b"1", b"2", b"3", b"4"]
    assert model.together == [["0", "1", "2", "3", "4"]]


def test_a_call_alone_goes_at_once() -> None:
    model = Model()

    async def conversation() -> int:
        (future,) = add_all(Batcher(model, max_queue=100), [FakeCall("one")])
        turns = 0
        while not future.done():
            await asyncio.sleep(0)
            turns += 1
        return turns

    assert talk(conversation) == 1


@pytest.mark.parametrize(
    "rows, sizes",
    [
        pytest.param([1] * 150, [64, 64, 22], id="calls"),
        pytest.param([MAX_ROWS, 1, 1], [1, 2], id="rows"),
        pytest.param([1, MAX_ROWS * 2, 1], [1, 1, 1], id="one-too-large-goes-alone"),
    ],
)
def test_a_shared_call_is_bounded(rows: list[int], sizes: list[int]) -> None:
    model = Model()

    async def conversation() -> None:
        batcher = Batcher(model, max_queue=1000)
        await asyncio.gather(*add_all(batcher, [FakeCall("x", n) for n in rows]))

    talk(conversation)
    assert [len(names) for names in model.together] == sizes
    assert max(sizes) <= MAX_CALLS


def test_a_full_queue_refuses_and_a_drained_one_takes_again() -> None:
    model = Model()

    async def conversation() -> None:
        batcher = Batcher(model, max_queue=3)
        await add_all(batcher, [FakeCall("first")])[0]
        futures = add_all(batcher, [FakeCall("x")] * 3)
        with pytest.raises(QueueFull, match="3 requests wait already"):
            batcher.add(FakeCall("late"), ANYONE.is_gone)  # type: ignore[arg-type]
        await asyncio.gather(*futures)
        assert await add_all(batcher, [FakeCall("later")])[0] == b"later"

    talk(conversation)


def test_what_came_while_the_process_stood_still_is_no_overload() -> None:
    model = Model()

    async def conversation() -> list[bytes]:
        batcher = Batcher(model, max_queue=3)
        await add_all(batcher, [FakeCall("first")])[0]
        time.sleep(1.5 * STALL_S)
        return await asyncio.gather(*add_all(batcher, [FakeCall("x")] * 300))

    assert talk(conversation) == [b"x"] * 300


def test_on_threads_calls_gather_while_one_runs() -> None:
    model = Model(hold_s=0.05)

    async def conversation() -> list[bytes]:
        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(1) as executor:
            batcher = Batcher(
                model, max_queue=100, submit=lambda work: loop.run_in_executor(executor, work)
            )
            first = add_all(batcher, [FakeCall("first")])
            await asyncio.sleep(0.01)
            rest = add_all(batcher, [FakeCall(str(n)) for n in range(10)])
            return await asyncio.gather(*first, *rest)

    assert talk(conversation) == [b"first", *(str(n).encode() for n in range(10))]
    assert [len(names) for names in model.together] == [1, 10]
    assert threading.get_ident() not in model.threads


def test_who_gave_up_or_left_is_not_computed() -> None:
    model = Model()

    async def conversation() -> None:
        batcher = Batcher(model, max_queue=100)
        kept, cancelled = add_all(batcher, [FakeCall("kept"), FakeCall("cancelled")])
        gone = batcher.add(FakeCall("gone"), lambda: True)  # type: ignore[arg-type]
        cancelled.cancel()
        assert await kept == b"kept"
        with pytest.raises(ClientGone):
            await gone

    talk(conversation)
    assert model.together == [["kept"]]


def test_one_that_fails_fails_alone() -> None:
    async def conversation() -> list[Any]:
        calls = [FakeCall("a"), FakeCall("bad"), FakeCall("c")]
        return await asyncio.gather(
            *add_all(Batcher(Model(), max_queue=9), calls), return_exceptions=True
        )

    first, second, third = talk(conversation)
    assert (first, third) == (b"a", b"c")
    assert isinstance(second, ModelFailed)


class Joined:
    """A checker and a function of lists: calls are joined by adding their rows up."""

    def __init__(self, bad: set[int]) -> None:
        self.bad = bad
        self.calls = 0

    def join(self, calls: Sequence[Any]) -> dict[str, Any]:
        return {"rows": [row for call in calls for row in call.rows]}

    def function(self, rows: list[int]) -> list[int]:
        self.calls += 1
        if self.bad & set(rows):
            raise ValueError("bad row")
        return rows

    def write_each(self, output: Any, calls: Sequence[Any]) -> list[bytes]:
        return [str(call.rows).encode() for call in calls]

    def codec(self) -> Codec[bytes]:
        return Codec(
            name="json",
            media_type=b"application/json",
            read=lambda body: None,  # type: ignore[arg-type,return-value]
            write=lambda output, call: str(output).encode(),
            write_each=self.write_each,
        )


class RowsCall:
    def __init__(self, rows: list[int]) -> None:
        self.rows = rows
        self.n_rows = len(rows)

    def arguments(self) -> dict[str, Any]:
        return {"rows": self.rows}


@given(count=st.integers(1, 70), bad=st.sets(st.integers(0, 69), max_size=3))
def test_only_who_broke_a_shared_call_gets_the_error(count: int, bad: set[int]) -> None:
    world = Joined(bad)
    calls = [RowsCall([n]) for n in range(count)]
    results = call_together(world.function, world, calls, world.codec())  # type: ignore[arg-type]
    for n, result in enumerate(results):
        assert isinstance(result, ModelFailed) if n in bad else result == f"[{n}]".encode()
    # Halving finds each culprit in a handful of calls, not one per caller.
    assert world.calls <= 1 + 2 * 7 * len(bad)
