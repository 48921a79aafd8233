"""The loop around the turns: what passes is waited out, what does not ends it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from controller import loop
from controller.lease import Tenure
from controller.loop import Lead, run
from controller.watchdog import Watchdog
from envelope.errors import ClusterError, ConfigError
from tests.delivery_world import World


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setattr(loop, "FIRST_DELAY_S", 0.01)
    monkeypatch.setattr(loop, "IDLE_S", 0.02)
    monkeypatch.setattr(loop, "LOOK_AGAIN_S", 0.01)
    world = World.open(tmp_path / "registry.db")
    yield world
    world.registry.close()


def tenure(world: World, holder: str = "here") -> Tenure:
    return Tenure(world.registry, holder=holder, host="here", pid=1)


def never(what: str, limit_s: float) -> None:
    raise AssertionError(f"{what} took more than {limit_s} s")


class Joining:
    """Fails to join for a while, and ends the loop when a turn has done what was waited for."""

    def __init__(
        self, world: World, *, failures: int = 0, until: Callable[[], bool] = lambda: True
    ) -> None:
        self.stop = threading.Event()
        self.joined = 0
        self._world, self._failures, self._until = world, failures, until

    def __call__(self) -> Lead:
        self.joined += 1
        self._world.serve.is_down &= self.joined == 1
        if self.joined <= self._failures:
            raise ClusterError("no cluster runs; run `envelope up`")
        controller = self._world.controller
        whole = controller.turn

        def turn() -> loop.Turn:
            taken = whole()
            if self._until():
                self.stop.set()
            return taken

        controller.turn = turn  # type: ignore[method-assign]
        return lambda epoch: controller

    def run(self) -> None:
        run(
            self._world.registry,
            join=self,
            tenure=tenure(self._world),
            controller_id="here-1",
            stop=self.stop,
            watchdog=Watchdog(never),
        )


def test_a_cluster_that_is_not_there_yet_is_waited_for(world: World) -> None:
    joining = Joining(world, failures=3)
    joining.run()
    assert joining.joined == 4
    assert world.registry.last_beat() is not None


def test_a_cluster_that_goes_is_joined_again(world: World) -> None:
    world.apply(
        deployments={"ltv": {}}, rules={"us": {"query": "tags.ok = 'yes'", "deploy_to": "ltv"}}
    )
    world.save(ok="yes")
    world.serve.is_down = True
    joining = Joining(world, until=lambda: [state for _, state in world.states()] == ["starting"])
    joining.run()
    assert joining.joined == 2


def test_a_mistake_of_the_configuration_ends_the_process(world: World) -> None:
    def join() -> Lead:
        raise ConfigError("ENVELOPE_SERVE_PORT is not a port")

    with pytest.raises(ConfigError):
        run(
            world.registry,
            join=join,
            tenure=tenure(world),
            controller_id="here-1",
            stop=threading.Event(),
            watchdog=Watchdog(never),
        )


def test_a_stop_is_heard_while_waiting(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "FIRST_DELAY_S", 60)
    monkeypatch.setattr(loop, "LONGEST_DELAY_S", 60)
    joining = Joining(world, failures=99)
    threading.Timer(0.1, joining.stop.set).start()
    joining.run()
    assert joining.joined == 1
