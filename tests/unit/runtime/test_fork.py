"""A fork in front of a router: what goes to the other application, and what comes of it.

Both sides are the real application of one envelope; only the way between them is a call here.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

import envelope as me
from ray_runtime import fork as forks
from ray_runtime.assignment import Sticky, is_in_share
from ray_runtime.fork import Fork, Returned, Sent, answer_sent
from ray_runtime.protocols.http import Router
from ray_runtime.traffic import Split
from tests.unit.runtime.conftest import Client, serving

QUERY = {"a": 1, "b": 2}


@dataclass
class Way:
    """To the other application. It says `x-other` in each answer, so that it can be told."""

    router: Router
    error: Exception | None = None
    hangs: bool = False
    asked: list[Sent] = field(default_factory=list)

    async def __call__(self, sent: Sent) -> Returned | None:
        self.asked.append(sent)
        if self.error is not None:
            raise self.error
        if self.hangs:
            await asyncio.sleep(60)
        found = await answer_sent(self.router, sent)
        return found and found._replace(headers=[*found.headers, (b"x-other", b"yes")])


def fork_of(client: Client, way: Way, percent: float = 100, timeout_s: float = 30) -> Fork:
    return Fork(
        client.app, Split(key="r/0", application="ltv--challenger", percent=percent), way, timeout_s
    )


def experiment_of(client: Client, way: Way, sticky: Sticky) -> Fork:
    split = Split(key="r/0", application="ltv--challenger", percent=50, sticky=sticky)
    return Fork(client.app, split, way, timeout_s=30)


def forked(client: Client, fork: Fork) -> Any:
    return Client(fork, client.live)  # type: ignore[arg-type] # asked as a router is


def test_a_share_goes_to_the_other_side_and_both_are_counted(adding: me.Envelope) -> None:
    async def conversation(client: Client) -> None:
        way = Way(client.app)
        fork = fork_of(client, way, percent=25)
        answers = [await forked(client, fork).post("/v0/query", QUERY) for _ in range(40)]
        assert {answer.status for answer in answers} == {200}
        assert {answer.json for answer in answers} == {3}
        assert [answer.headers.get("x-other") for answer in answers].count("yes") == 10
        tally = fork.counter.tally()
        assert (tally.candidate.count, tally.candidate.failed) == (10, 0)
        assert (tally.live.count, tally.live.failed) == (30, 0)
        assert way.asked[0].path == "/ltv/v0/query"
        assert way.asked[0].body == b'{"a": 1, "b": 2}'

    serving(adding, conversation)


THEIRS = next(key for key in range(100) if is_in_share("r/0", str(key), 50))
OURS = next(key for key in range(100) if not is_in_share("r/0", str(key), 50))


def test_a_caller_is_told_by_a_header(adding: me.Envelope) -> None:
    async def conversation(client: Client) -> None:
        fork = experiment_of(client, Way(client.app), Sticky(header="X-User-Id"))

        async def asked_by(user: int | None) -> str | None:
            headers = {} if user is None else {"x-user-id": str(user)}
            answer = await forked(client, fork).post("/v0/query", QUERY, **headers)
            assert answer.json == 3
            return answer.headers.get("x-other")

        assert {await asked_by(THEIRS) for _ in range(10)} == {"yes"}
        assert {await asked_by(OURS) for _ in range(10)} == {None}
        assert await asked_by(None) is None
        tally = fork.counter.tally()
        counts = tally.candidate.count, tally.live.count, tally.outside.count
        assert counts == (10, 10, 1), "who cannot be told is in no arm"

    serving(adding, conversation)


def test_a_caller_is_told_by_a_field(adding: me.Envelope) -> None:
    async def conversation(client: Client) -> None:
        way = Way(client.app)
        fork = experiment_of(client, way, Sticky(field="a"))
        for value, other in ((THEIRS, "yes"), (OURS, None)):
            answer = await forked(client, fork).post("/v0/query", {"a": value, "b": 2})
            assert (answer.json, answer.headers.get("x-other")) == (value + 2, other)
        answer = await forked(client, fork).post("/v0/query", {"b": 2})
        assert answer.status == 400, "it is refused as ever"
        assert len(way.asked) == 1

    serving(adding, conversation)


def test_what_the_challenger_does_not_answer_is_not_the_champions_merit(
    adding: me.Envelope,
) -> None:
    async def conversation(client: Client) -> None:
        way = Way(client.app, error=ConnectionError("the replica is gone"))
        fork = experiment_of(client, way, Sticky(field="a"))
        answer = await forked(client, fork).post("/v0/query", {"a": THEIRS, "b": 2})
        assert answer.json == THEIRS + 2
        tally = fork.counter.tally()
        assert (tally.candidate.failed, tally.live.count, tally.outside.count) == (1, 0, 1)

    serving(adding, conversation)


def test_only_queries_are_split(adding: me.Envelope) -> None:
    """What a deployment is, is said by what is live: the controller asks that."""

    async def conversation(client: Client) -> None:
        way = Way(client.app)
        assert (await forked(client, fork_of(client, way)).ask("GET", "")).status == 200
        assert way.asked == []

    serving(adding, conversation)


def test_refusals_of_the_other_side_are_its_answers(adding: me.Envelope) -> None:
    async def conversation(client: Client) -> None:
        fork = fork_of(client, Way(client.app))
        answer = await forked(client, fork).post("/v0/query", {"a": "x"})
        assert answer.status == 400
        assert answer.headers["x-other"] == "yes"
        assert fork.counter.tally().candidate.failed == 0

    serving(adding, conversation)


def test_what_does_not_come_back_is_answered_here(adding: me.Envelope) -> None:
    async def conversation(client: Client) -> None:
        way = Way(client.app, error=ConnectionError("the replica is gone"))
        fork = fork_of(client, way)
        answer = await forked(client, fork).post("/v0/query", QUERY)
        assert (answer.status, answer.json) == (200, 3)
        assert fork.counter.tally().candidate.failed == 1
        way.error = None
        answer = await forked(client, fork).post("/v0/query", QUERY)
        assert answer.headers["x-other"] == "yes", "it is tried again"

    serving(adding, conversation)


def test_while_the_other_side_is_tried_again_nobody_else_waits(
    adding: me.Envelope, monkeypatch: Any
) -> None:
    monkeypatch.setattr(forks, "PROBE_S", 0.2)

    async def conversation(client: Client) -> None:
        way = Way(client.app, error=ConnectionError("the replica is gone"))
        fork = fork_of(client, way)
        asking = forked(client, fork)
        await asking.post("/v0/query", QUERY)
        way.error, way.hangs = None, True
        probe = asyncio.create_task(asking.post("/v0/query", QUERY))
        await asyncio.sleep(0.05)
        others = [await asking.post("/v0/query", QUERY) for _ in range(5)]
        assert not probe.done()
        assert {answer.status for answer in [*others, await probe]} == {200}
        assert len(way.asked) == 2

    serving(adding, conversation)


def test_a_side_that_went_silent_is_not_waited_for(adding: me.Envelope, monkeypatch: Any) -> None:
    """A handle waits where the only replica has died; what is known of both sides bounds it."""
    monkeypatch.setattr(forks, "PATIENCE_S", 0.2)

    async def conversation(client: Client) -> None:
        way = Way(client.app)
        fork = fork_of(client, way)
        asking = forked(client, fork)
        for _ in range(forks.KNOWN):
            await asking.post("/v0/query", QUERY)
        way.hangs = True
        async with asyncio.timeout(10):
            assert (await asking.post("/v0/query", QUERY)).json == 3
        assert fork.counter.tally().candidate.failed == 1

    serving(adding, conversation)


def test_long_bodies_and_answers_stay_here(adding: me.Envelope, monkeypatch: Any) -> None:
    monkeypatch.setattr(forks, "MOST_BYTES", 20)

    async def conversation(client: Client) -> None:
        way = Way(client.app)
        asking = forked(client, fork_of(client, way))
        long = b'{"a": 1, "b":                2}'
        assert (await asking.ask("POST", "/v0/query", long)).json == 3
        halves = [long[:15], long[15:]]
        assert (await asking.ask("POST", "/v0/query", halves)).json == 3
        assert way.asked == []
        answer = await asking.post("/v0/query", {"a": "x"})  # its refusal is longer than 20 bytes
        assert (answer.status, answer.headers.get("x-other")) == (400, None)
        assert len(way.asked) == 1

    serving(adding, conversation)
