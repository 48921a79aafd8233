"""A controller with a real registry, a fake Serve and a fake clock, that can be killed anywhere."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from controller.apply import Prepared
from controller.loop import Controller
from controller.releases import Releases, Request
from controller.state import Action
from envelope.config import DesiredState
from envelope.errors import DependencyError
from envelope.manifest import Function, RowWise, Sample
from envelope.registry import Registry, ReleaseRow, open_registry
from envelope.schema import types as t
from tests.fakes import Behaviour, FakeClock, FakeServe
from tests.manifests import a_manifest

SHA = "c" * 64
MOST_TURNS = 400


class Killed(BaseException):
    """The controller's process ended here. Not an Exception: nothing may catch it."""


@dataclass(slots=True)
class Fuse:
    """Ends the process before or after the n-th of its writes."""

    left: int | None = None
    goes_before: bool = True

    def wrap(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def fused(*args: Any, **kwargs: Any) -> Any:
            if self.left is not None:
                self.left -= 1
            if self.left == 0 and self.goes_before:
                raise Killed
            result = call(*args, **kwargs)
            if self.left == 0:
                raise Killed
            return result

        return fused


class Fused:
    """Anything, of which some calls may be the last."""

    def __init__(self, target: Any, calls: Sequence[str], fuse: Fuse) -> None:
        self._target = target
        self._fused = {name: fuse.wrap(getattr(target, name)) for name in calls}

    def __getattr__(self, name: str) -> Any:
        return self._fused.get(name) or getattr(self._target, name)


@dataclass(slots=True)
class World:
    """runtime: the platform's version, which is part of every application's version.

    faults: envelope -> why no application can be made of it. columns: envelope -> of its input.
    """

    registry: Registry
    clock: FakeClock
    serve: FakeServe
    runtime: str = "1"
    faults: dict[str, str] = field(default_factory=dict)
    columns: dict[str, tuple[str, ...]] = field(default_factory=dict)
    fuse: Fuse = field(default_factory=Fuse)
    controller: Controller = None  # type: ignore[assignment] # set by `restart`

    @classmethod
    def open(cls, path: Path) -> World:
        clock = FakeClock()
        registry = open_registry(f"sqlite:///{path}", clock=clock)
        world = cls(registry=registry, clock=clock, serve=FakeServe(clock))
        world.restart()
        return world

    # --- the controller

    def restart(self) -> None:
        """A new process: nothing is remembered."""
        self.fuse = Fuse()
        registry: Any = Fused(
            self.registry,
            (
                "make_deployment",
                "create_release",
                "ask_gate_run",
                "move_release",
                "request_rollback",
            ),
            self.fuse,
        )
        releases = Releases(registry, prepare=self.prepare, read_function=self._function)
        self.controller = Controller(
            registry=registry,
            serve=Fused(self.serve, ("deploy", "delete", "split"), self.fuse),  # type: ignore[arg-type]
            releases=releases,
            clock=self.clock,
            monotonic=self.clock.monotonic,
        )

    def kill_at(self, write: int, *, before: bool) -> None:
        """Let the controller be killed at the n-th of its next writes, and start another one."""
        self.fuse.left, self.fuse.goes_before = write, before

    def turn(self, see: Callable[[Action], None] = lambda action: None) -> Sequence[Action]:
        """One turn, or what a kill leaves of it; then time passes until the next."""
        try:
            turn = self.controller.turn()
        except Killed:
            self.restart()
            return ()
        for action in turn.actions:
            see(action)
        self.clock.advance(turn.wait_s)
        return turn.actions

    def settle(
        self,
        check: Callable[[], None] = lambda: None,
        see: Callable[[Action], None] = lambda action: None,
    ) -> int:
        """Take turns until nothing is left to do; return how many. Fails when it never settles."""
        for count in range(MOST_TURNS):
            before = self.clock.now
            actions = self.turn(see)
            check()
            waited_s = (self.clock.now - before).total_seconds()
            if not actions and waited_s >= 2:
                return count
        raise AssertionError(f"not settled after {MOST_TURNS} turns: {self.history()}")

    def prepare(self, request: Request) -> Prepared:
        envelope_id = request.envelope.id
        if envelope_id in self.faults:
            raise DependencyError(self.faults[envelope_id])
        config = request.config.model_dump(
            exclude={"start_timeout_s", "gates", "rollout", "keep_warm_s"}
        )
        functions = sorted(request.functions.items())
        return Prepared(
            deployment=request.deployment,
            envelope_id=envelope_id,
            version=f"{envelope_id} {functions} {config} {self.runtime}",
            spec=request.config,
        )

    def _function(self, envelope_id: str, name: str, sha256: str) -> Function:
        columns = self.columns[envelope_id]
        frame = t.Frame(tuple(t.Column(each, t.Float(), "float64", "numpy") for each in columns))
        return Function(
            name=name,
            schema=t.FunctionSchema((t.Parameter("X", frame),), t.Float()),
            row_wise=RowWise(is_row_wise=True, reason="proved"),
            sample=Sample(input=[], output=[]),
        )

    # --- its users

    def apply(self, **state: Mapping[str, Any]) -> list[str]:
        return self.registry.apply_state(DesiredState.model_validate(state), actor="ann")

    def save(
        self,
        behaviour: Behaviour | None = None,
        *,
        columns: Sequence[str] = ("age",),
        metrics: Mapping[str, float] | None = None,
        **tags: str,
    ) -> str:
        manifest = a_manifest(tags=tags)
        self.columns[manifest.id] = tuple(columns)
        self.registry.register(manifest, SHA, actor="ann")
        if behaviour is not None:
            self.serve.behaviours[manifest.id] = behaviour
        if metrics:
            self.log(manifest.id, **metrics)
        return manifest.id

    def tag(self, envelope_id: str, **tags: str | None) -> None:
        self.registry.set_tags(envelope_id, tags, actor="ann")

    def log(self, envelope_id: str, **metrics: float) -> None:
        self.registry.log_metrics(envelope_id, metrics, actor="ann")

    # --- what came of it

    def releases(self, deployment: str = "ltv") -> list[ReleaseRow]:
        return self.registry.releases(deployment)

    def live(self, deployment: str = "ltv") -> str | None:
        """The envelope of the one live release."""
        live = [each for each in self.releases(deployment) if each.state == "live"]
        assert len(live) <= 1, live
        return live[0].envelope_id if live else None

    def any_live(self, deployment: str) -> bool:
        """Whether one is live, or two for a moment."""
        return any(row.state == "live" for row in self.releases(deployment))

    def states(self, deployment: str = "ltv") -> list[tuple[str, str]]:
        """(envelope, state) of every release, oldest first."""
        return [(row.envelope_id, row.state) for row in reversed(self.releases(deployment))]

    def history(self) -> list[str]:
        return [
            f"{row.deployment} {row.envelope_id} {row.state}: {row.reason}"
            for row in reversed(self.registry.releases())
        ]


def new_registry(template: Path, path: Path) -> Path:
    """Copy a migrated registry, which takes 2 ms; to migrate a new one takes half a second."""
    shutil.copy(template, path)
    return path
