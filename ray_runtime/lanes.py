"""Where a function runs: on the event loop, on threads, or awaited; alone or in shared calls.

Serve runs our code on the replica's own loop, which also answers health checks. So a quick
function runs right there, with no switch of threads, and a slow one never does. One that had no
sample begins on threads, until its first requests have shown that it is quick.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias, TypeVar

from envelope.blocking import is_async, start
from ray_runtime.batching import MAX_ROWS, Batcher
from ray_runtime.calls import (
    Answer,
    BodyBytes,
    Codec,
    Function,
    call_alone,
    call_together,
    read_and_call,
    write_checked,
)
from ray_runtime.pace import Pace, Timing, Trial, clock, since
from ray_runtime.protocols.problem import ModelFailed, QueueFull, TimedOut

if TYPE_CHECKING:
    from envelope.load import LoadedFunction
    from envelope.schema import Checker

QUICK_MS = 2.0  # a warm call up to this is made on the loop: a switch of threads costs 0.1 ms
TOO_SLOW_S = 0.05  # what a quick function may take now and then before it is moved to threads
STRIKES = 3
INLINE_BODY_BYTES = 32 * 1024  # larger bodies are read and called on a thread: about 1 ms of JSON
INLINE_ROWS = 256
WAITING_THREADS = 32  # for functions that wait (a database, a service) rather than compute
ASYNC_CALLS = 256  # awaited at once; more wait

T = TypeVar("T")
Place: TypeAlias = Literal["loop", "threads", "awaited"]

log = logging.getLogger(__name__)


class Caller(Protocol):
    """Whoever asked, as far as it matters here."""

    def is_gone(self) -> bool:
        """Whether nobody waits for the answer any more."""

    def is_alone(self) -> bool:
        """Whether no other request is there that a call could be shared with."""


class _Anyone:
    def is_gone(self) -> bool:
        return False

    def is_alone(self) -> bool:
        return False


ANYONE: Caller = _Anyone()  # one of many, who stays


def place_of(function: Function, pace: Pace) -> Place:
    """Decide where a function runs."""
    if is_async(function):
        return "awaited"
    is_quick = pace.call_ms is not None and pace.call_ms <= QUICK_MS and not pace.is_waiting
    return "loop" if is_quick else "threads"


def threads_for(paces: list[Pace], num_cpus: float) -> int:
    """Return how many threads a replica has: as many as it has CPUs, more if functions wait."""
    if any(pace.is_waiting for pace in paces):
        return WAITING_THREADS
    return max(1, math.ceil(num_cpus))


class Pool:
    """Threads with a queue that we bound, and a time limit that the caller sees."""

    def __init__(self, threads: int, *, max_queue: int, timeout_s: float) -> None:
        self.threads = threads
        self._max_queue = max_queue
        self._timeout_s = timeout_s
        self._unfinished = 0
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="envelope-call")

    def submit(self, work: Callable[[], T]) -> asyncio.Future[T]:
        """Run work on a thread, however many wait."""
        loop = asyncio.get_running_loop()
        self._unfinished += 1
        running = self._executor.submit(work)
        running.add_done_callback(lambda done: self._tell(loop))
        return asyncio.wrap_future(running, loop=loop)

    async def run(self, work: Callable[[], T]) -> T:
        """Run work on a thread. Raises QueueFull, TimedOut, and what the work raises.

        A call that timed out goes on in its thread, which Python cannot stop.
        """
        if self._unfinished - self.threads >= self._max_queue:
            raise QueueFull(self._max_queue)
        return await within(self.submit(work), self._timeout_s)

    def close(self) -> None:
        """Take no more work, and drop what waits."""
        self._executor.shutdown(wait=False, cancel_futures=True)

    def _tell(self, loop: asyncio.AbstractEventLoop) -> None:
        with suppress(RuntimeError):  # the loop is closed: the replica has ended
            loop.call_soon_threadsafe(self._finished)

    def _finished(self) -> None:
        self._unfinished -= 1


async def within(future: asyncio.Future[T], timeout_s: float) -> T:
    """Await a future for at most `timeout_s`, then cancel it. Raises TimedOut."""
    try:
        async with asyncio.timeout(timeout_s):
            return await future
    except TimeoutError:
        raise TimedOut(timeout_s) from None


class Lane:
    """One function of the live envelope, and how it is called.

    is_shared: its callers may share calls.
    """

    def __init__(
        self,
        function: LoadedFunction,
        checker: Checker,
        *,
        pace: Pace,
        pool: Pool,
        is_shared: bool,
        max_queue: int,
        timeout_s: float,
    ) -> None:
        self.function = function
        self.checker = checker
        self.pace = pace
        self.place = place_of(function.call, pace)
        self.is_shared = is_shared and self.place != "awaited"
        self._call = function.call
        self._pool = pool
        self._max_queue = max_queue
        self._timeout_s = timeout_s
        self._batchers: dict[str, Batcher[Any]] = {}
        self._strikes = 0
        unknown = pace.call_ms is None and self.place == "threads"
        self._trial = Trial() if unknown else None
        self._awaiting = asyncio.Semaphore(ASYNC_CALLS)
        self._awaiting_queue = 0

    async def answer(
        self, body: BodyBytes, codec: Codec[Answer], caller: Caller = ANYONE
    ) -> Answer:
        """Read a body, call the function, and return the answer's body.

        Raises SchemaError for the body, ModelFailed for the model, QueueFull, TimedOut, ClientGone.
        """
        if self.place == "awaited":
            return await self._await(body, codec)
        if len(body) > INLINE_BODY_BYTES:
            return await self._on_thread(body, codec, caller)
        if self.is_shared and codec.write_each is not None and not self._goes_alone(caller):
            return await self._together(body, codec, caller)
        if self.place == "loop":
            began = clock()
            try:
                return call_alone(self._call, codec.read(body), codec)
            finally:
                self._observe(began)
        if self._trial is not None:
            return await self._on_trial(self._trial, body, codec, caller)
        return await self._on_thread(body, codec, caller)

    def _goes_alone(self, caller: Caller) -> bool:
        """Whether to skip the queue for company, which would cost a lone caller two turns."""
        return self.place == "loop" and caller.is_alone()

    async def _on_thread(self, body: BodyBytes, codec: Codec[Answer], caller: Caller) -> Answer:
        return await self._pool.run(lambda: read_and_call(self._call, body, codec, caller.is_gone))

    async def _on_trial(
        self, trial: Trial, body: BodyBytes, codec: Codec[Answer], caller: Caller
    ) -> Answer:
        answer = await self._pool.run(
            lambda: trial.call(lambda: read_and_call(self._call, body, codec, caller.is_gone))
        )
        pace = trial.verdict()
        if pace is not None and self._trial is not None:
            self._trial = None
            self.pace, self.place = pace, place_of(self._call, pace)
        return answer

    async def _together(self, body: BodyBytes, codec: Codec[Answer], caller: Caller) -> Answer:
        call = codec.read(body)
        rows = call.n_rows or 0
        if rows > MAX_ROWS or (self.place == "loop" and rows > INLINE_ROWS):
            return await self._pool.run(lambda: call_alone(self._call, call, codec))
        future = self._batcher(codec).add(call, caller.is_gone)
        if self.place == "loop":
            return await future
        return await within(future, self._timeout_s)

    def _batcher(self, codec: Codec[Answer]) -> Batcher[Answer]:
        batcher = self._batchers.get(codec.name)
        if batcher is None:
            batcher = self._batchers[codec.name] = Batcher(
                lambda calls: call_together(self._call, self.checker, calls, codec),
                max_queue=self._max_queue,
                submit=None if self.place == "loop" else self._pool.submit,
                lanes=self._pool.threads,
                observe=self._observe,
            )
        return batcher

    async def _await(self, body: BodyBytes, codec: Codec[Answer]) -> Answer:
        if self._awaiting_queue >= self._max_queue:
            raise QueueFull(self._max_queue)
        call = codec.read(body)
        try:
            async with asyncio.timeout(self._timeout_s):
                self._awaiting_queue += 1
                try:
                    await self._awaiting.acquire()
                finally:
                    self._awaiting_queue -= 1
                try:
                    return await self._awaited(call, codec)
                finally:
                    self._awaiting.release()
        except TimeoutError:
            raise TimedOut(self._timeout_s) from None

    async def _awaited(self, call: Any, codec: Codec[Answer]) -> Answer:
        try:
            output = await asyncio.wrap_future(start(self._call(**call.arguments())))
        except Exception as exc:  # a model raises what it likes
            raise ModelFailed("the model raised") from exc
        return write_checked(output, call, codec)

    def _observe(self, began: Timing) -> None:
        """Move a function that keeps holding up the loop to threads, for good."""
        if time.perf_counter() - began.wall_s <= TOO_SLOW_S or self.place != "loop":
            return
        took = since(began)
        self._strikes += took.is_longer_than(TOO_SLOW_S)
        if self._strikes >= STRIKES:
            log.warning(
                "function %s is called on threads from now on: it took %.0f ms, and the loop "
                "answers health checks",
                self.function.name,
                took.wall_s * 1000,
            )
            self.place = "threads"
            for batcher in self._batchers.values():
                batcher.move_to_threads(self._pool.submit, self._pool.threads)
