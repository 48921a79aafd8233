"""Calling a function that may be async from code that is not: at save time, in a batch, by hand.

All coroutines of a process run on one event loop, on a thread of its own. A client or a pool that
an async function keeps belongs to the loop that made it, so that the warm-up of a replica and the
requests after it have to share one; and whoever runs a loop already, as notebooks and replicas do,
is not held up.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import functools
import inspect
import os
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


def is_async(function: Callable[..., Any]) -> bool:
    """Tell whether calling it gives a coroutine: async functions, partials of them, `__call__`s."""
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        getattr(function, "__call__", None)  # noqa: B004 - whether that is async, not whether it is
    )


def as_blocking(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function if it is not async, else one that waits for its coroutine to end."""
    if not is_async(function):
        return function

    def call(*args: Any, **kwargs: Any) -> Any:
        return wait_for(function(*args, **kwargs))

    return call


def wait_for(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end; it is cancelled when the caller is interrupted."""
    running = start(coroutine)
    try:
        return running.result()
    except BaseException:
        running.cancel()
        raise


def start(coroutine: Coroutine[Any, Any, T]) -> concurrent.futures.Future[T]:
    """Run a coroutine on this process's loop; a coroutine that waits for another gets a new one."""
    loop, thread = _loop(os.getpid())
    if threading.current_thread() is thread:
        alone = concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="envelope-async")
        try:
            return alone.submit(asyncio.run, coroutine)
        finally:
            alone.shutdown(wait=False)
    return asyncio.run_coroutine_threadsafe(coroutine, loop)


@functools.lru_cache(maxsize=1)
def _loop(pid: int) -> tuple[asyncio.AbstractEventLoop, threading.Thread]:
    """Return the loop and its thread. pid: of this process; a fork has no threads of its parent."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="envelope-async", daemon=True)
    thread.start()
    return loop, thread
