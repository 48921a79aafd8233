"""Micro-batching: queries that are there at the same moment share one call of the model.

Only for functions that were proved row-wise when they were saved. Nobody waits for company: what
arrived while the loop, or the model's thread, was busy with something else goes together; a
request alone goes at once.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar

from ray_runtime.pace import Timing, clock
from ray_runtime.protocols.problem import ClientGone, QueueFull

if TYPE_CHECKING:
    from envelope.schema import Call

MAX_CALLS = 64  # per shared call: 0.48 ms alone, barely more for 64 rows of an sklearn model
MAX_ROWS = 4096  # per shared call; a caller with more goes alone
STALL_S = 0.1  # a loop that did nothing for this long was held up itself

Answer = TypeVar("Answer")
# Calls the function for all; an answer or an exception for each, in order.
CallTogether: TypeAlias = Callable[[Sequence["Call"]], list[Answer | Exception]]
# Runs a piece of work on another thread.
Submit: TypeAlias = Callable[[Callable[[], Any]], "asyncio.Future[Any]"]


class _Entry:
    __slots__ = ("call", "future", "is_gone", "rows")

    def __init__(
        self, call: Call, future: asyncio.Future[Any], is_gone: Callable[[], bool]
    ) -> None:
        self.call = call
        self.rows = call.n_rows or 0
        self.future = future
        self.is_gone = is_gone


class Batcher(Generic[Answer]):
    """Gathers the calls of one function in one format.

    call_together: makes a shared call. submit: None makes them on the event loop itself; else on
    threads, `lanes` shared calls at a time. max_queue: calls waiting before QueueFull.
    observe: told when each shared call on the loop began, after it.
    """

    def __init__(
        self,
        call_together: CallTogether[Answer],
        *,
        max_queue: int,
        submit: Submit | None = None,
        lanes: int = 1,
        observe: Callable[[Timing], None] = lambda began: None,
    ) -> None:
        self._call_together = call_together
        self._max_queue = max_queue
        self._submit = submit
        self._lanes = lanes
        self._observe = observe
        self._waiting: deque[_Entry] = deque()
        self._running = 0
        self._is_scheduled = False
        self._flushed_at = 0.0

    def move_to_threads(self, submit: Submit, lanes: int) -> None:
        """From now on make shared calls on threads: the function turned out slow."""
        self._submit = submit
        self._lanes = lanes

    def add(self, call: Call, is_gone: Callable[[], bool]) -> asyncio.Future[Answer]:
        """Add a call; the future gets its answer. Cancelling it takes the call out again.

        Raises QueueFull. The future raises ModelFailed, or ClientGone when is_gone() by its turn.
        """
        loop = asyncio.get_running_loop()
        if len(self._waiting) >= self._max_queue and not self._was_held_up(loop):
            raise QueueFull(self._max_queue)
        future: asyncio.Future[Answer] = loop.create_future()
        self._waiting.append(_Entry(call, future, is_gone))
        self._schedule(loop)
        return future

    def _was_held_up(self, loop: asyncio.AbstractEventLoop) -> bool:
        """Whether the queue is full because the process stood still, which is no overload.

        On the loop calls never wait longer than one turn of it; what came while the node was busy
        with something else is all there in the next.
        """
        return self._submit is None and loop.time() - self._flushed_at > STALL_S

    def _schedule(self, loop: asyncio.AbstractEventLoop) -> None:
        """Take the next ones after the requests that the loop holds ready now have been read."""
        if not self._is_scheduled and self._waiting and self._running < self._lanes:
            self._is_scheduled = True
            loop.call_soon(self._flush, loop)

    def _flush(self, loop: asyncio.AbstractEventLoop) -> None:
        self._is_scheduled = False
        entries = self._take()
        if not entries:
            return
        calls = [entry.call for entry in entries]
        if self._submit is None:
            began = clock()
            _deliver(entries, self._call_together(calls))
            self._observe(began)
            self._flushed_at = loop.time()
        else:
            self._running += 1
            running = self._submit(lambda: self._call_together(calls))
            running.add_done_callback(lambda done: self._done(loop, entries, done))
        self._schedule(loop)

    def _done(
        self,
        loop: asyncio.AbstractEventLoop,
        entries: Sequence[_Entry],
        done: asyncio.Future[Any],
    ) -> None:
        self._running -= 1
        error = None if done.cancelled() else done.exception()
        if done.cancelled() or error is not None:  # the replica is shutting down
            failed = error if isinstance(error, Exception) else RuntimeError("shutting down")
            _deliver(entries, [failed] * len(entries))
        else:
            _deliver(entries, done.result())
        self._schedule(loop)

    def _take(self) -> list[_Entry]:
        """Take the calls of the next shared call: at least one, however many rows it has."""
        taken: list[_Entry] = []
        rows = 0
        while self._waiting and len(taken) < MAX_CALLS:
            entry = self._waiting[0]
            if taken and rows + entry.rows > MAX_ROWS:
                break
            self._waiting.popleft()
            if entry.future.done():  # timed out while it waited
                continue
            if entry.is_gone():
                entry.future.set_exception(
                    ClientGone("the connection was closed while the request waited")
                )
                continue
            taken.append(entry)
            rows += entry.rows
        return taken


def _deliver(entries: Sequence[_Entry], results: Sequence[Any]) -> None:
    for entry, result in zip(entries, results, strict=True):
        if entry.future.done():
            continue
        if isinstance(result, Exception):
            entry.future.set_exception(result)
        else:
            entry.future.set_result(result)
