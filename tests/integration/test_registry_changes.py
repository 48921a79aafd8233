"""The change feed on both databases: complete, in the order of commits, and heard at once."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from envelope.config import DeploymentConfig, DesiredState
from envelope.errors import ConfigError
from envelope.registry import Registry, open_registry
from tests.integration.registry_workers import FORKSERVER, register_many
from tests.manifests import a_manifest

SHA = "c" * 64


def test_every_kind_of_change_is_in_the_feed(registry: Registry) -> None:
    one = registry.register(a_manifest(tags={"a": "b"}), SHA, actor="ann").id
    registry.set_tags(one, {"a": "c"}, actor="bob")
    registry.log_metrics(one, {"auc": 1}, actor="bob")
    registry.add_function(one, "f", SHA, actor="bob")
    registry.add_proof(one, platform="linux", ok=True, actor="bob")
    registry.apply_state(DesiredState(deployments={"ltv": DeploymentConfig()}), actor="cat")
    release = registry.request_deploy("ltv", one, actor="cat")
    feed = registry.changes(0)
    assert [(c.seq, c.kind, c.key, c.actor) for c in feed] == [
        (1, "envelope", one, "ann"),
        (2, "tag", one, "ann"),
        (3, "tag", one, "bob"),
        (4, "metric", one, "bob"),
        (5, "function", one, "bob"),
        (6, "proof", one, "bob"),
        (7, "deployment", "ltv", "cat"),
        (8, "deployment", "ltv", "cat"),
        (9, "release", release.id, "cat"),
    ]
    assert feed[2].detail == {"tags": {"a": ["b", "c"]}}
    assert feed[7].detail == {"pin": [None, one]}
    assert registry.changes(7, limit=1) == feed[7:8]
    assert registry.last_change() == 9


def test_old_and_new_values_are_kept_of_all_that_people_decide(registry: Registry) -> None:
    one = registry.register(a_manifest(), SHA, actor="ann").id
    two = registry.register(a_manifest(), SHA, actor="ann").id
    state = DesiredState.model_validate(
        {
            "deployments": {"ltv": {"timeout_s": 5}},
            "rules": {"us": {"query": "tags.region = 'US'", "deploy_to": "ltv"}},
            "protected_tags": {"approved": ["ann"]},
        }
    )
    registry.apply_state(state, actor="ann")
    begin = registry.last_change()
    protected = DesiredState(protected_tags={"approved": ("ann", "bob")})
    registry.apply_state(protected, actor="bob")
    registry.request_deploy("ltv", one, actor="bob")
    registry.unpin("ltv", actor="bob")
    registry.request_rollback("ltv", one, back_to=two, reason="wrong", actor="bob")
    registry.allow("ltv", one, actor="bob")
    registry.pause_all("a freeze", actor="bob")
    registry.resume_all(actor="bob")
    registry.apply_state(DesiredState(), actor="bob", rest="remove")
    registry.apply_state(state, actor="bob")
    details = [
        (change.kind, change.detail)
        for change in registry.changes(begin)
        if change.kind != "release"
    ]
    rule = {"query": [None, "tags.region = 'US'"], "deploy_to": [None, "ltv"]}
    # Until an entry names it again, a template could have made it.
    back = {"is_removed": [True, False], "is_made": [True, False]}
    assert details == [
        ("protected_tag", {"actors": [["ann"], ["ann", "bob"]]}),
        ("deployment", {"pin": [None, one]}),
        ("deployment", {"pin": [one, None]}),
        ("deployment", {"rolled_back": one, "back_to": two, "reason": [None, "wrong"]}),
        ("deployment", {"allowed": one, "reason": ["wrong", None]}),
        ("rule", {"paused": [False, True], "reason": [None, "a freeze"]}),
        ("rule", {"paused": [True, False], "reason": ["a freeze", None]}),
        ("protected_tag", {"actors": [["ann", "bob"], None]}),
        ("rule", {"is_removed": [False, True]}),
        ("deployment", {"is_removed": [False, True]}),
        ("deployment", {"version": 1, "changed": {}, **back}),
        ("rule", {"version": 2, "changed": {}, "is_removed": [True, False]}),
        ("protected_tag", {"actors": [None, ["ann"]]}),
    ]
    first = [change.detail for change in registry.changes(0, limit=begin)]
    assert {"version": 1, "changed": {"timeout_s": [None, 5.0]}} in first
    assert {"version": 1, "changed": rule} in first


def test_the_newest_changes_come_page_by_page_of_one_actor_or_kind(registry: Registry) -> None:
    one = registry.register(a_manifest(tags={}), SHA, actor="ann").id
    for number in range(5):
        registry.set_tags(one, {"n": f"{number}"}, actor="ann" if number % 2 else "bob")
    everything = registry.changes(0)
    assert registry.recent_changes() == everything[::-1]
    (a, b), (c, *_) = (
        registry.recent_changes(kind="tag", limit=2),
        registry.recent_changes(kind="tag", before=5, limit=2),
    )
    assert [x.seq for x in (a, b, c)] == [6, 5, 4]
    of_bob = registry.recent_changes(by="bob", kind="tag")
    assert [change.seq for change in of_bob] == [6, 4, 2]
    assert registry.recent_changes(by="nobody") == []
    with pytest.raises(ConfigError, match="limit is 0"):
        registry.recent_changes(limit=0)


def test_a_write_that_fails_leaves_no_change(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = registry.register(a_manifest(), SHA, actor="ann").id
    before = registry.last_change()

    def fail(*_: Any) -> None:
        raise RuntimeError("power cut")

    monkeypatch.setattr("envelope.registry.changes._publish", fail)
    with pytest.raises(RuntimeError):
        registry.set_tags(one, {"region": "EU"}, actor="ann")
    monkeypatch.undo()
    assert registry.last_change() == before
    assert registry.envelope(one).tags["region"] == "US"


def test_waiting_ends_with_a_change_from_elsewhere(registry_url: str, registry: Registry) -> None:
    one = registry.register(a_manifest(), SHA, actor="ann").id
    last = registry.last_change()
    start = time.monotonic()
    assert registry.wait_for_change(last, timeout_s=0.2) is False
    assert 0.2 <= time.monotonic() - start < 2
    assert registry.wait_for_change(last - 1, timeout_s=60) is True  # it is there already

    other = open_registry(registry_url)
    timer = threading.Timer(0.3, other.set_tags, (one, {"a": "b"}), {"actor": "bob"})
    timer.start()
    start = time.monotonic()
    assert registry.wait_for_change(last, timeout_s=60) is True
    assert time.monotonic() - start < 2
    timer.join()
    other.close()


def test_waiting_misses_nothing_between_two_waits(registry: Registry) -> None:
    one = registry.register(a_manifest(), SHA, actor="ann").id
    seen = registry.last_change()
    for n in range(5):
        registry.set_tags(one, {"n": str(n)}, actor="ann")
        assert registry.wait_for_change(seen, timeout_s=10)
        seen = registry.last_change()
    assert not registry.wait_for_change(seen, timeout_s=0)


WORKERS, EACH = 16, 12


def test_sixteen_writers_lose_nothing_and_the_feed_has_no_hole(
    registry_url: str, registry: Registry
) -> None:
    """A reader that follows the feed while 16 processes write sees every number, in order."""
    start = FORKSERVER.Event()
    workers = [
        FORKSERVER.Process(target=register_many, args=(registry_url, n, EACH, start))
        for n in range(WORKERS)
    ]
    for worker in workers:
        worker.start()
    start.set()
    seen: list[int] = []
    wanted = WORKERS * EACH * 2  # an envelope and its tags
    while len(seen) < wanted:
        after = seen[-1] if seen else 0
        assert registry.wait_for_change(after, timeout_s=60), f"{len(seen)} of {wanted}"
        seen += [change.seq for change in registry.changes(after)]
    for worker in workers:
        worker.join(timeout=60)
    assert [worker.exitcode for worker in workers] == [0] * WORKERS
    assert seen == list(range(1, wanted + 1))
    rows = list(registry.find())
    assert {(row.tags["worker"], row.tags["n"]) for row in rows} == {
        (str(worker), str(n)) for worker in range(WORKERS) for n in range(EACH)
    }


def test_concurrent_tags_of_one_envelope_leave_a_true_history(registry: Registry) -> None:
    """Each change's old value is the one that the change before it left."""
    one = registry.register(a_manifest(tags={}), SHA, actor="ann").id

    def write(worker: int) -> None:
        for n in range(10):
            registry.set_tags(one, {"x": f"{worker}.{n}", f"y{n % 3}": str(worker)}, actor="w")

    threads = [threading.Thread(target=write, args=(worker,)) for worker in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    history = registry.tag_history(one)
    now: dict[str, str | None] = {}
    for change in history:
        assert change.old == now.get(change.key)
        now[change.key] = change.new
    assert registry.envelope(one).tags == now
    assert [change.at for change in history] == sorted(change.at for change in history)
