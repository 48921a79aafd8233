"""Rollouts on a real platform: a candidate gets a share of the queries, and is judged by them."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import ray

from envelope.connection import connect, disconnect
from envelope.errors import ClusterError
from ray_runtime import apps
from ray_runtime.assignment import is_in_share
from ray_runtime.shares import NAME, NAMESPACE, read_traffic
from tests.cluster.conftest import Platform, leave
from tests.cluster.deployments import replica_pids, save, times
from tests.cluster.test_controller import BODY, Delivery, query

sys.path.insert(0, str(Path(__file__).parent.parent.parent / "benchmarks"))
from load import Load

ROLLBACK_S = 3.0  # under 1 s where the cores are free; here they are shared

CANARY = """
deployments:
  {name}:
    start_timeout_s: 60
    rollout:
      strategy: canary
      steps: [{{share: 20, requests: 20}}, {{share: 50, requests: 20}}]
      min_requests: 10
      max_slowdown: 100
rules:
  {name}: {{query: "tags.for = '{name}'", deploy_to: {name}}}
"""

SHADOW = """
deployments:
  {name}:
    start_timeout_s: 60
    keep_warm_s: 600
    rollout:
      strategy: shadow
      steps: [{{share: 50, requests: 20}}]
      min_requests: 10
      max_slowdown: 100
rules:
  {name}: {{query: "tags.for = '{name}'", deploy_to: {name}}}
"""

EXPERIMENT = """
deployments:
  {name}:
    start_timeout_s: 60
    rollout: {{strategy: experiment, share: 50, sticky: {{header: X-User-Id}}, min_requests: 10}}
rules:
  {name}: {{query: "tags.for = '{name}'", deploy_to: {name}}}
"""


@pytest.fixture
def delivery(
    platform: Platform,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
    tmp_path: Path,
) -> Iterator[Delivery]:
    for name, value in platform.environ.items():
        if name.startswith("ENVELOPE_"):
            monkeypatch.setenv(name, value)
    name = request.node.name.removeprefix("test_")[:40].strip("_")
    delivery = Delivery(platform, connect(platform.settings), name)
    state = SHADOW if "shadow" in name else EXPERIMENT if "experiment" in name else CANARY
    if "nobody" in name:
        state = state.replace("requests: 20", "minutes: 5")
    (tmp_path / "state.yaml").write_text(state.format(name=name))
    delivery.command("apply", "-f", str(tmp_path / "state.yaml"))
    yield delivery
    delivery.command("undeploy", name)
    disconnect()
    leave()


def fails_for_these_queries() -> Any:
    """A model that answers its sample and raises for BODY's row with x = 1, y = 2."""

    class Fails:
        def predict(self, frame):  # type: ignore[no-untyped-def] # its example says it
            if (frame["y"] == 2.0).any():
                raise ValueError("y is 2")
            return np.asarray(frame["x"])

    Fails.__module__ = "__main__"
    return Fails()


def reasons(delivery: Delivery, envelope_id: str) -> list[str]:
    """Of each event of the newest release of an envelope."""
    release = [row for row in delivery.releases() if row.envelope_id == envelope_id][-1]
    events = delivery.connection.registry.release_events(release.id)
    return [f"{event.to_state}: {event.reason}" for event in events]


def test_a_canary_is_promoted_step_by_step_and_a_bad_one_rolled_back(delivery: Delivery) -> None:
    first, second, bad = save(times(1.0)), save(times(2.0)), save(fails_for_these_queries())
    delivery.tag(first)
    delivery.wait_until_live(first)
    with Load(f"{delivery.url}/v0/query", BODY, rate=40) as load:
        delivery.tag(second)
        delivery.wait_until_live(second)
    assert load.report.failed == 0, load.report
    assert set(load.report.answered) == {first, second}
    told = reasons(delivery, second)
    assert [each.split(":")[0] for each in told] == [
        "candidate",
        "gated",
        "canary",
        "canary",
        "canary",
        "starting",
        "live",
    ]
    assert "canary: step 1 of 2, 20 % for 20 queries, begins" in told[3]
    assert "step 2 of 2, 50 % for 20 queries" in told[5]
    assert " 0 failed" in told[5]
    delivery.wait(lambda: f"{delivery.name}--challenger" not in _running(delivery))

    with Load(f"{delivery.url}/v0/query", BODY, rate=40) as load:
        delivery.tag(bad)
        delivery.wait(lambda: delivery.states()[-1] == (bad, "rolled_back"))
        time.sleep(1)
    assert "queries failed, max_error_percent is 1" in reasons(delivery, bad)[-1]
    assert load.report.failed <= 40, load.report
    assert query(delivery.url) == 6.0
    assert delivery.states()[-2] == (second, "live")
    said = re.search(r"error id (\w+)", delivery.command("logs", delivery.name))
    assert said, "callers were told an error id"
    found = delivery.command("logs", delivery.name, "--error", said[1])
    assert said[0] in found
    assert "ValueError: y is 2" in found


def test_a_shadow_is_compared_and_a_rollback_takes_no_start(delivery: Delivery) -> None:
    first, second = save(times(1.0)), save(times(2.0))
    delivery.tag(first)
    delivery.wait_until_live(first)
    with Load(f"{delivery.url}/v0/query", BODY, rate=40) as load:
        delivery.tag(second)
        delivery.wait(lambda: delivery.states()[-1] == (second, "starting"))
    assert load.report.failed == 0, load.report
    assert set(load.report.answered) == {first}, "copies are never returned"
    told = reasons(delivery, second)[-1]
    assert "shadow: step 1 of 1, 50 % for 20 queries: " in told
    assert " answered otherwise" in told
    assert ", 0 answered otherwise" not in told, "it answers twice as much"
    delivery.wait_until_live(second)
    delivery.platform.connect()
    delivery.wait(lambda: _status(delivery, "previous") == "running")

    began = time.monotonic()
    delivery.connection.registry.request_rollback(
        delivery.name, second, back_to=first, reason="wrong", actor="bob"
    )
    while query(delivery.url) != 3.0:
        assert time.monotonic() - began < 30, delivery.command("explain", delivery.name)
    took_s = time.monotonic() - began
    print(f"rollback to what is kept warm: {took_s:.2f} s")
    assert delivery.states()[-1][1] != "live", "the start takes longer"
    with Load(f"{delivery.url}/v0/query", BODY, rate=40) as load:
        delivery.wait(lambda: delivery.states()[-1] == (first, "live"))
        time.sleep(3)  # what was rolled back is still reachable
    assert load.report.failed == 0, load.report
    assert set(load.report.answered) == {first}
    assert took_s < ROLLBACK_S


def test_nobody_notices_that_the_shares_or_the_challenger_die(delivery: Delivery) -> None:
    first, second = save(times(1.0)), save(times(2.0))
    delivery.tag(first)
    delivery.wait_until_live(first)
    delivery.tag(second)
    delivery.platform.connect()
    delivery.wait(lambda: _percent(delivery) == 20)

    with Load(f"{delivery.url}/v0/query", BODY, rate=40) as load:
        ray.kill(ray.get_actor(NAME, namespace=NAMESPACE), no_restart=False)
        time.sleep(1)
        delivery.wait(lambda: _percent(delivery) == 20)
        (killed,) = replica_pids(f"{delivery.name}--challenger")
        os.kill(killed, signal.SIGKILL)

        def is_replaced_or_rolled_back() -> bool:
            # How many of its queries met the dead process, and so how it is judged, is chance.
            pids = replica_pids(f"{delivery.name}--challenger")
            rolled_back = delivery.states()[-1] == (second, "rolled_back")
            return rolled_back or (bool(pids) and killed not in pids)

        delivery.wait(is_replaced_or_rolled_back)
        time.sleep(2)  # what came after is asked for answers as well
    assert load.report.failed == 0, load.report
    assert set(load.report.answered) == {first, second}


def test_an_experiment_keeps_its_callers_until_it_is_ended(delivery: Delivery) -> None:
    first, second = save(times(1.0)), save(times(2.0))
    delivery.tag(first)
    delivery.wait_until_live(first)
    with Load(f"{delivery.url}/v0/query", BODY, rate=40) as load:
        delivery.tag(second)
        delivery.platform.connect()
        delivery.wait(lambda: _percent(delivery) == 50)
        delivery.wait(lambda: any(_answered(delivery, user) == second for user in range(10)))
        key = f"{delivery.releases()[-1].id}/0"
        expected = {
            user: second if is_in_share(key, str(user), 50) else first for user in range(20)
        }
        assert set(expected.values()) == {first, second}
        for _ in range(3):
            assert {user: _answered(delivery, user) for user in expected} == expected
        delivery.command("experiment", "end", delivery.name, "--winner", "challenger")
        delivery.wait_until_live(second)
        assert {_answered(delivery, user) for user in expected} == {second}
    assert load.report.failed == 0, load.report
    shown = json.loads(delivery.command("experiment", "show", delivery.name, "--json"))
    asked = {arm["arm"]: (arm["requests"], arm["failed"]) for arm in shown["arms"]}
    of_second = sum(each == second for each in expected.values())
    assert asked["challenger"][0] >= 3 * of_second
    assert asked["champion"][0] >= 3 * (20 - of_second)
    assert asked["outside"][0] > 0, "the load has no key"
    assert [failed for _, failed in asked.values()] == [0, 0, 0]


def _answered(delivery: Delivery, user: int) -> str:
    headers = {"X-User-Id": str(user)}
    answer = httpx.post(f"{delivery.url}/v0/query", content=BODY, headers=headers, timeout=30)
    assert answer.status_code == 200, answer.text
    return answer.headers["x-envelope-id"]


def _percent(delivery: Delivery) -> float | None:
    """The share of the challenger, as the actor knows it; None while it starts again."""
    try:
        traffic = read_traffic().get(delivery.name)
    except ClusterError:
        return None
    return traffic.split.percent if traffic and traffic.split else None


def _status(delivery: Delivery, slot: str) -> str | None:
    app = apps.observe().get(f"{delivery.name}--{slot}")
    return app.status if app else None


def _running(delivery: Delivery) -> set[str]:
    delivery.platform.connect()
    return {name for name, app in apps.observe().items() if app.status != "deleting"}
