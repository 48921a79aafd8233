"""Copies of queries: never waited for, never returned, compared and counted."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import envelope as me
from ray_runtime.fork import Returned, Sent
from ray_runtime.shadow import COPIES, Shadow, is_same
from ray_runtime.traffic import Split
from tests.unit.runtime.conftest import Client, serving
from tests.unit.runtime.test_fork import QUERY, Way, forked

COPY_ALL = Split(key="r/0", application="ltv--challenger", percent=100, mode="copy")


def shadow_of(client: Client, way: Any) -> Shadow:
    return Shadow(client.app, COPY_ALL, way, 30)


async def until_idle(shadow: Shadow) -> None:
    while shadow._copies:
        await asyncio.sleep(0.01)


def test_answers_are_compared_and_the_live_one_is_returned(adding: me.Envelope) -> None:
    async def conversation(client: Client) -> None:
        way = Way(client.app)
        shadow = shadow_of(client, way)
        answer = await forked(client, shadow).post("/v0/query", QUERY)
        assert (answer.json, answer.headers.get("x-other")) == (3, None)
        await until_idle(shadow)
        tally = shadow.counter.tally()
        assert (tally.candidate.count, tally.candidate.failed, tally.different) == (1, 0, 0)
        assert (tally.live.count, tally.dropped) == (1, 0)
        assert way.asked[0].body == b'{"a": 1, "b": 2}'

    serving(adding, conversation)


def test_another_answer_and_none_are_counted(adding: me.Envelope) -> None:
    async def conversation(client: Client) -> None:
        async def another(sent: Sent) -> Returned:
            return Returned(200, [], b"4", 1.0)

        shadow = shadow_of(client, another)
        await forked(client, shadow).post("/v0/query", QUERY)
        await until_idle(shadow)
        assert shadow.counter.tally().different == 1

        shadow = shadow_of(client, Way(client.app, error=ConnectionError("gone")))
        assert (await forked(client, shadow).post("/v0/query", QUERY)).json == 3
        await until_idle(shadow)
        tally = shadow.counter.tally()
        assert (tally.candidate.failed, tally.different) == (1, 0)

    serving(adding, conversation)


def test_copies_are_dropped_while_others_are_under_way(adding: me.Envelope) -> None:
    async def conversation(client: Client) -> None:
        way = Way(client.app, hangs=True)
        shadow = shadow_of(client, way)
        for _ in range(COPIES + 3):
            assert (await forked(client, shadow).post("/v0/query", QUERY)).json == 3
        await asyncio.sleep(0)
        assert len(way.asked) == COPIES
        assert shadow.counter.tally().dropped == 3

    serving(adding, conversation)


@pytest.mark.parametrize(
    "one, other, same",
    [
        pytest.param(b"[1.0, 2.0]", b"[1.0,2.0]", True, id="spaces"),
        pytest.param(b"1.0", b"1.0000000001", True, id="rounding"),
        pytest.param(b"1.0", b"1.01", False, id="another-number"),
        pytest.param(b"[1.0]", b"[1.0, 1.0]", False, id="one-more"),
        pytest.param(b'{"p": [0.5]}', b'{"p": [0.5000000001]}', True, id="nested"),
        pytest.param(b'{"p": 1}', b'{"q": 1}', False, id="another-key"),
        pytest.param(b"true", b"1", False, id="no-number"),
        pytest.param(b'"a"', b'"b"', False, id="texts"),
        pytest.param(b"\x00\x01", b"\x00\x02", False, id="bytes"),
    ],
)
def test_is_same(one: bytes, other: bytes, same: bool) -> None:
    assert is_same(Returned(200, [], one, 1), Returned(200, [], other, 1)) is same
    assert not is_same(Returned(200, [], one, 1), Returned(400, [], one, 1))
