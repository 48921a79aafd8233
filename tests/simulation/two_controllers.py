"""A world with two controllers that agree by a lease who leads, as `controller.loop.run` has them.

One takes turns at a time. It can be killed at any write, with its supervisor starting it again or
its machine lost; or stand still in the middle of a turn, while the other takes over, and go on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from controller.lease import LEASE_S, STANDBY_S, Tenure
from controller.loop import IDLE_S, Controller
from controller.releases import Releases
from controller.state import Action
from envelope.errors import Deposed
from tests.delivery_world import MOST_TURNS, Fuse, Fused, Killed, World


class Ending(Enum):
    """What becomes of a controller that is killed."""

    STARTED_AGAIN = "started again"  # by its supervisor, so that it need not wait
    LOST = "lost"  # with its machine; the other takes over when the lease has run out


@dataclass(slots=True)
class Seat:
    """One of the two, over all of its processes."""

    name: str
    tenure: Tenure
    led: tuple[int, Controller] | None = None


@dataclass(slots=True)
class TwoControllers(World):
    """ending: of the next kill. has_written: whether the last turn may have written."""

    ending: Ending = Ending.STARTED_AGAIN
    has_written: bool = False
    seats: list[Seat] = field(default_factory=list)
    leading: int = 0
    _is_quiet: bool = False
    _stall: tuple[int, Callable[[], None]] | None = None

    # --- what happens to them

    def restart(self) -> None:
        """The leader ends, and its supervisor starts it again: nothing is remembered."""
        self.fuse, self._stall = Fuse(), None
        if not self.seats:
            self.seats = [Seat(name, self._tenure(name)) for name in ("one", "two")]
        seat = self.seats[self.leading]
        seat.tenure, seat.led = self._tenure(seat.name), None

    def lose_machine(self) -> None:
        """The leader ends and does not come back; a third one takes its place as standby."""
        self.restart()
        self.leading = 1 - self.leading

    def stall_at(self, write: int, meanwhile: Callable[[], None]) -> None:
        """Let the leader stand still before its n-th write until the other has done something."""
        self._stall = (write, meanwhile)

    # --- their turns

    def turn(self, see: Callable[[Action], None] = lambda action: None) -> Sequence[Action]:
        """A turn of the one that leads, or a wait for the lease; then time passes."""
        seat = self.seats[self.leading]
        seat.tenure.renew()  # its thread does
        epoch = seat.tenure.take()
        self.has_written = self._is_quiet = False
        if epoch is None:
            self.clock.advance(STANDBY_S)
            return ()
        try:
            if seat.led is None or seat.led[0] != epoch:
                seat.led = (epoch, self._lead(epoch))
            turn = seat.led[1].turn()
        except Killed:
            self.has_written = True
            self.restart() if self.ending is Ending.STARTED_AGAIN else self.lose_machine()
            return ()
        except Deposed:
            seat.tenure.resign()
            seat.led = None
            return ()
        self.has_written = bool(turn.actions)
        self._is_quiet = not turn.actions and turn.wait_s >= IDLE_S
        for action in turn.actions:
            see(action)
        self.clock.advance(turn.wait_s)
        return turn.actions

    def settle(
        self,
        check: Callable[[], None] = lambda: None,
        see: Callable[[Action], None] = lambda action: None,
    ) -> int:
        for count in range(MOST_TURNS):
            self.turn(see)
            check()
            if self._is_quiet:
                return count
        raise AssertionError(f"not settled after {MOST_TURNS} turns: {self.history()}")

    def _tenure(self, name: str) -> Tenure:
        return Tenure(self.registry, holder=name, host="here", pid=1)

    def _lead(self, epoch: int) -> Controller:
        registry: Any = self._guarded(
            self.registry.led_by(epoch),
            "make_deployment",
            "create_release",
            "move_release",
            "request_rollback",
        )
        serve: Any = self._guarded(self.serve.led_by(epoch), "deploy", "delete", "split")
        return Controller(
            registry=registry,
            serve=serve,
            releases=Releases(registry, prepare=self.prepare, read_function=self._function),
            clock=self.clock,
            monotonic=self.clock.monotonic,
        )

    def _guarded(self, target: Any, *writes: str) -> Any:
        """What a controller writes through: each write may be its last, or come too late."""
        stalling = Stalling(
            target, {name: self._stalling(getattr(target, name)) for name in writes}
        )
        return Fused(stalling, writes, self.fuse)

    def _stalling(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def write(*args: Any, **kwargs: Any) -> Any:
            if self._stall is None:
                return call(*args, **kwargs)
            left, meanwhile = self._stall
            self._stall = (left - 1, meanwhile) if left > 1 else None
            if left > 1:
                return call(*args, **kwargs)
            self.clock.advance(LEASE_S + 1)
            self.leading = 1 - self.leading
            meanwhile()
            before = self.registry.last_change(), list(self.serve.starts)
            try:
                call(*args, **kwargs)
            except Deposed:
                assert (self.registry.last_change(), self.serve.starts) == before
                raise
            raise AssertionError("a controller that was deposed wrote")

        return write


class Stalling:
    """Anything, of which some calls are replaced."""

    def __init__(self, target: Any, calls: dict[str, Callable[..., Any]]) -> None:
        self._target, self._calls = target, calls

    def __getattr__(self, name: str) -> Any:
        return self._calls.get(name) or getattr(self._target, name)
