"""Waiting longer each time."""

from __future__ import annotations

from controller.backoff import Backoff, Postponed
from tests.fakes import START


def test_backoff_doubles_up_to_the_longest() -> None:
    backoff = Backoff(first_s=1, longest_s=5)
    assert [backoff.next_s() for _ in range(5)] == [1, 2, 4, 5, 5]


def test_postponed_is_early_until_its_time_and_later_each_time() -> None:
    postponed = Postponed(Backoff(first_s=10, longest_s=300))
    assert not postponed.is_early("ltv", START)
    assert [postponed.postpone("ltv", START), postponed.postpone("ltv", START)] == [10, 20]
    assert postponed.is_early("ltv", START)
    assert not postponed.is_early("ltv", postponed.until["ltv"])
    postponed.forget("ltv")
    assert postponed.postpone("ltv", START) == 10
