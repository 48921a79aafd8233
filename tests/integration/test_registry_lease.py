"""The lease: who may lead, and what those who do not any more cannot write."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from controller.lease import Tenure
from envelope.config import DesiredState
from envelope.errors import Deposed
from envelope.registry import Lease, Registry, open_registry
from tests.fakes import FakeClock
from tests.manifests import a_manifest

SHA = "c" * 64


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def timed(registry_url: str, clock: FakeClock) -> Iterator[Registry]:
    """A registry whose clock is moved by the test."""
    registry = open_registry(registry_url, clock=clock)
    yield registry
    registry.close()


def claim(registry: Registry, holder: str, ttl_s: float = 6.0) -> Lease:
    return registry.claim_lease(holder, host=f"host-{holder}", pid=1, ttl_s=ttl_s)


def test_one_holds_it_until_it_runs_out(timed: Registry, clock: FakeClock) -> None:
    assert timed.lease() is None
    first = claim(timed, "a")
    assert claim(timed, "b").holder == "a"
    clock.advance(5.9)
    assert timed.renew_lease(first.epoch, ttl_s=6.0)
    clock.advance(5.9)
    assert claim(timed, "b").epoch == first.epoch
    clock.advance(0.2)
    second = claim(timed, "b")
    assert (second.holder, second.epoch > first.epoch) == ("b", True)
    assert not timed.renew_lease(first.epoch, ttl_s=6.0)
    assert not timed.resign_lease(first.epoch)
    found = timed.lease()
    assert found is not None
    assert (found.holder, found.host, found.is_held) == ("b", "host-b", True)


def test_nobody_else_wanted_it_so_it_goes_on(timed: Registry, clock: FakeClock) -> None:
    lease = claim(timed, "a")
    clock.advance(3600)
    assert timed.renew_lease(lease.epoch, ttl_s=6.0)


def test_who_resigns_is_followed_at_once(timed: Registry) -> None:
    assert timed.resign_lease(claim(timed, "a").epoch)
    assert claim(timed, "b").holder == "b"


def test_the_next_controller_of_one_supervisor_need_not_wait(timed: Registry) -> None:
    first = claim(timed, "a")
    second = claim(timed, "a")
    assert second.epoch > first.epoch
    assert not timed.renew_lease(first.epoch, ttl_s=6.0)


def test_epochs_grow_though_the_clock_goes_back_or_the_registry_is_new(
    timed: Registry, clock: FakeClock
) -> None:
    epochs = [claim(timed, "a").epoch]
    clock.now -= timedelta(days=1)
    epochs.append(claim(timed, "a").epoch)
    assert epochs[1] == epochs[0] + 1
    assert epochs[0] == pytest.approx(clock.now.timestamp() * 1000 + 86_400_000, abs=1000)


def test_of_many_at_once_one_leads(registry: Registry) -> None:
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda n: claim(registry, f"holder {n}"), range(8)))
    assert len({lease.epoch for lease in found}) == 1
    assert len({lease.holder for lease in found}) == 1


def test_a_deposed_controller_can_write_nothing(registry: Registry) -> None:
    registry.apply_state(DesiredState.model_validate({"deployments": {"ltv": {}}}), actor="ann")
    envelope_id = registry.register(a_manifest(), SHA, actor="ann").id
    new = {"deployment": "ltv", "envelope_id": envelope_id, "rule": None, "rule_version": None}
    first = registry.led_by(claim(registry, "a").epoch)
    release = first.create_release(**new, config_version=1, actor="a", reason="newest")
    second = registry.led_by(claim(registry, "a").epoch)
    seen = registry.last_change()
    with pytest.raises(Deposed, match=r"was taken over by epoch .*; nothing was written"):
        first.create_release(**new, config_version=1, actor="a", reason="newest")
    with pytest.raises(Deposed):
        first.move_release(release.id, "gated", reason="passed", actor="a")
    with pytest.raises(Deposed):
        first.set_tags(envelope_id, {"any": "write"}, actor="a")
    assert registry.last_change() == seen
    assert second.move_release(release.id, "gated", reason="passed", actor="b").state == "gated"
    assert first.release(release.id).state == "gated", "reading is free"


def test_nobody_takes_over_in_the_middle_of_a_write(registry: Registry) -> None:
    registry.register(a_manifest(), SHA, actor="ann")
    led = registry.led_by(claim(registry, "a").epoch)
    took_over = threading.Event()

    def take_over() -> None:
        claim(registry, "a")
        took_over.set()

    with led.database.writing():
        other = threading.Thread(target=take_over)
        other.start()
        assert not took_over.wait(0.3)
    other.join()
    assert took_over.is_set()


def test_a_tenure_is_renewed_while_it_is_kept_and_ends_with_it(registry: Registry) -> None:
    one = Tenure(registry, holder="a", host="h", pid=1, ttl_s=0.3)
    other = Tenure(registry, holder="b", host="h", pid=2, ttl_s=0.3)
    with one.kept():
        epoch = one.take()
        threading.Event().wait(1.0)
        assert other.take() is None
        assert one.take() == epoch
    assert other.take() is not None


def test_a_tenure_that_was_lost_is_not_believed_in(registry: Registry) -> None:
    one = Tenure(registry, holder="a", host="h", pid=1, ttl_s=0.0)
    other = Tenure(registry, holder="b", host="h", pid=2)
    assert one.take() is not None
    assert other.take() is not None
    one.renew()
    assert one.take() is None
