"""Async functions, called from code that is not async."""

from __future__ import annotations

import asyncio
import functools
import threading
from typing import Any

import pytest

from envelope.blocking import as_blocking, is_async, wait_for


async def double(x: int) -> int:
    await asyncio.sleep(0)
    return 2 * x


class Doubler:
    async def __call__(self, x: int) -> int:
        return await double(x)

    async def method(self, x: int) -> int:
        return await double(x)


class Plain:
    def __call__(self, x: int) -> int:
        return 2 * x


@pytest.mark.parametrize(
    "function, expected",
    [
        pytest.param(double, True, id="function"),
        pytest.param(functools.partial(double), True, id="partial"),
        pytest.param(Doubler(), True, id="callable-object"),
        pytest.param(Doubler().method, True, id="method"),
        pytest.param(Plain(), False, id="plain-callable-object"),
        pytest.param(lambda x: 2 * x, False, id="plain-function"),
        pytest.param(abs, False, id="builtin"),
    ],
)
def test_is_async(function: Any, expected: bool) -> None:
    assert is_async(function) is expected
    if function is not abs:
        assert as_blocking(function)(x=4) == 8


def test_what_is_not_async_stays_itself() -> None:
    assert as_blocking(abs) is abs


async def where() -> tuple[asyncio.AbstractEventLoop, threading.Thread]:
    return asyncio.get_running_loop(), threading.current_thread()


def test_all_calls_share_a_loop_that_is_nobodys() -> None:
    """A client that an async function keeps belongs to the loop that made it."""

    async def inside() -> Any:
        return wait_for(where())  # as in a notebook, whose loop runs in this thread

    first = wait_for(where())
    assert asyncio.run(inside()) == first == wait_for(where())
    assert first[1] is not threading.current_thread()


def test_an_async_function_may_wait_for_another() -> None:
    async def outer(x: int) -> int:
        return int(as_blocking(double)(x)) + 1

    assert wait_for(outer(3)) == 7


def test_what_it_raises_comes_out() -> None:
    async def broken() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        wait_for(broken())
