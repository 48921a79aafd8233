"""The fake Serve keeps the contract that the real one keeps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import pytest

from controller.apply import Prepared, Serve
from tests.fakes import Behaviour, FakeClock, FakeServe, Kind
from tests.serve_contract import NAME, ServeContract

KINDS: dict[str, Kind] = {"one": "starts", "two": "starts", "fails": "fails", "hangs": "hangs"}


class FakeStage:
    def __init__(self) -> None:
        self.clock = FakeClock()
        self.fake = FakeServe(self.clock)
        self.fake.behaviours = {name: Behaviour(kind=kind) for name, kind in KINDS.items()}
        self.serve: Serve = self.fake.led_by(1)

    def prepared(self, what: Literal["one", "two", "fails", "hangs"]) -> Prepared:
        return Prepared(deployment=NAME, envelope_id=what, version=f"{what}-1", spec=None)

    def wait(self, condition: Callable[[], bool], look: Callable[[], None]) -> None:
        for _ in range(1000):
            look()
            if condition():
                return
            self.clock.advance(0.1)
        raise AssertionError(self.fake.observe())

    def pass_time(self, seconds: float) -> None:
        self.clock.advance(seconds)

    def lose_replica(self) -> None:
        self.fake.lose_replica(NAME)

    def starts(self) -> int:
        return len(self.fake.starts)

    def led_by(self, epoch: int) -> Serve:
        return self.fake.led_by(epoch)


@pytest.fixture(scope="module")
def stage() -> FakeStage:
    return FakeStage()


class TestFakeServe(ServeContract):
    pass
