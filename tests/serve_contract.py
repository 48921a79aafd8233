"""What the controller relies on in Serve. The fake passes it in tests/simulation, the real one by
`make simulate`; so histories that are right with the fake mean something.

A deployment of the stage may be used by several tests: each begins by putting a good version live.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, Protocol

import pytest

from controller.apply import Prepared, Serve
from controller.state import App
from envelope.errors import Deposed

NAME = "contract"


class Stage(Protocol):
    """A Serve, and what else a test of it needs."""

    serve: Serve

    def prepared(self, what: Literal["one", "two", "fails", "hangs"]) -> Prepared:
        """An application of NAME: two good versions, one that cannot start, one that never does."""

    def wait(self, condition: Callable[[], bool], look: Callable[[], None]) -> None:
        """Let time pass until a condition holds, looking all the while; fail if it never does."""

    def pass_time(self, seconds: float) -> None: ...

    def lose_replica(self) -> None:
        """Kill the process that answers."""

    def starts(self) -> int:
        """How many replicas there ever were."""

    def led_by(self, epoch: int) -> Serve:
        """The same Serve for the leader of another epoch."""


def app(stage: Stage) -> App | None:
    return stage.serve.observe().get(NAME)


def answers(stage: Stage) -> str | None:
    return stage.serve.answering([NAME])[NAME]


def is_live(stage: Stage, prepared: Prepared) -> bool:
    found = app(stage)
    is_running = found is not None and (found.status, found.version) == (
        "running",
        prepared.version,
    )
    return is_running and answers(stage) == prepared.envelope_id


def put_live(stage: Stage, prepared: Prepared, look: Callable[[], None] = lambda: None) -> None:
    stage.serve.deploy([prepared])
    stage.wait(lambda: is_live(stage, prepared), look)


def keeps_answering(stage: Stage, *prepared: Prepared) -> Callable[[], None]:
    allowed = {each.envelope_id for each in prepared}

    def look() -> None:
        assert answers(stage) in allowed

    return look


class ServeContract:
    def test_a_new_version_takes_over_without_a_silence(self, stage: Stage) -> None:
        one, two = stage.prepared("one"), stage.prepared("two")
        put_live(stage, one)
        stage.serve.deploy([two])
        assert not is_live(stage, two)
        stage.wait(lambda: is_live(stage, two), keeps_answering(stage, one, two))
        stage.pass_time(3)
        assert answers(stage) == two.envelope_id

    def test_the_same_again_touches_nothing(self, stage: Stage) -> None:
        one = stage.prepared("one")
        put_live(stage, one)
        starts = stage.starts()
        stage.serve.deploy([one])
        stage.wait(lambda: is_live(stage, one), keeps_answering(stage, one))
        stage.pass_time(2)
        assert stage.starts() == starts

    def test_a_start_that_fails_leaves_the_old_one_answering(self, stage: Stage) -> None:
        one, bad = stage.prepared("one"), stage.prepared("fails")
        put_live(stage, one)
        stage.serve.deploy([bad])

        def has_failed() -> bool:
            found = app(stage)
            return found is not None and (found.status, found.version) == ("failed", bad.version)

        stage.wait(has_failed, keeps_answering(stage, one))
        found = app(stage)
        assert found is not None
        assert found.message
        starts = stage.starts()
        put_live(stage, one, keeps_answering(stage, one))
        assert stage.starts() == starts, "what runs is not started again"

    def test_a_start_that_is_stuck_is_given_up_without_a_silence(self, stage: Stage) -> None:
        one, stuck = stage.prepared("one"), stage.prepared("hangs")
        put_live(stage, one)
        stage.serve.deploy([stuck])
        stage.pass_time(3)
        found = app(stage)
        assert found is not None
        assert (found.status, found.version) == ("starting", stuck.version)
        put_live(stage, one, keeps_answering(stage, one))

    def test_a_lost_replica_is_replaced_or_said_to_have_failed(self, stage: Stage) -> None:
        """Lost while Serve still updates, it counts as a failed start: then it is asked anew."""
        one = stage.prepared("one")
        put_live(stage, one)
        starts = stage.starts()
        stage.lose_replica()

        def ask_anew() -> None:
            found = app(stage)
            if found is not None and found.status == "failed" and answers(stage) is None:
                stage.serve.deploy([one])

        stage.wait(lambda: stage.starts() > starts and is_live(stage, one), ask_anew)

    def test_orders_of_a_former_leader_are_refused(self, stage: Stage) -> None:
        one, two = stage.prepared("one"), stage.prepared("two")
        put_live(stage, one)
        former = stage.led_by(10)
        stage.serve = stage.led_by(11)
        for order in (lambda: former.deploy([two]), lambda: former.delete([NAME])):
            with pytest.raises(Deposed):
                order()
        with pytest.raises(Deposed):
            stage.led_by(10)
        assert is_live(stage, one)

    def test_what_is_deleted_goes(self, stage: Stage) -> None:
        one = stage.prepared("one")
        put_live(stage, one)
        stage.serve.delete([NAME])
        stage.wait(lambda: app(stage) is None, lambda: None)
        assert answers(stage) is None
        stage.serve.delete([NAME])  # it is none of its concern
