"""The controller on a real platform: from a tag to a URL, and killed at any moment."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

import envelope as me
from controller import supervisor
from envelope.connection import Connection, connect, disconnect
from envelope.errors import Deposed
from envelope.registry import Registry, ReleaseRow
from ray_runtime import apps, cluster
from ray_runtime.home import Home
from ray_runtime.processes import ROLE, find_processes
from ray_runtime.writer import FencedWriter
from tests.cluster.conftest import Platform, leave
from tests.cluster.deployments import ROW, replica_pids, save, times

sys.path.insert(0, str(Path(__file__).parent.parent.parent / "benchmarks"))
from load import Load

LIVE_S = 120.0  # a swap takes 6 s on two idle cores, and the cores are shared
BODY = b'{"x": 1, "y": 2}'
STATE = """
deployments:
  {name}: {{start_timeout_s: 60}}
rules:
  {name}: {{query: "tags.for = '{name}'", deploy_to: {name}}}
"""


@dataclass(frozen=True)
class Delivery:
    """One deployment of a platform, and what its users do."""

    platform: Platform
    connection: Connection
    name: str

    @property
    def url(self) -> str:
        return f"{self.platform.serve_url}/{self.name}"

    def command(self, *arguments: str) -> str:
        done = self.platform.run("envelope", *arguments)
        assert done.returncode == 0, done.stdout
        return done.stdout

    def tag(self, envelope_id: str) -> None:
        me.get(envelope_id).set_tags(**{"for": self.name})

    def releases(self) -> list[ReleaseRow]:
        """Oldest first."""
        return self.connection.registry.releases(self.name)[::-1]

    def states(self) -> list[tuple[str, str]]:
        return [(row.envelope_id, row.state) for row in self.releases()]

    def wait(self, condition: Callable[[], bool], timeout_s: float = LIVE_S) -> None:
        deadline = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < deadline, self.command("explain", self.name)
            time.sleep(0.1)

    def wait_until_live(self, envelope_id: str) -> None:
        """Until it answers, and the record says so."""
        self.wait(lambda: apps.answering(self.platform.serve_url, self.name) == envelope_id)
        self.wait(lambda: (envelope_id, "live") in self.states())

    def kill_controller(self) -> None:
        for pid in self._controllers():
            os.kill(pid, signal.SIGKILL)

    def wait_for_controller(self, seen_after: float) -> None:
        def is_back() -> bool:
            beat = self.connection.registry.last_beat()
            return beat is not None and beat.timestamp() > seen_after

        self.wait(is_back, timeout_s=60)

    def _controllers(self) -> list[int]:
        home = Home(self.platform.settings.home)
        return [p.pid for p in find_processes(home.id) if p.role == "controller"]


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
    # The newest match is wanted, so that tests must not share a deployment or a tag.
    name = request.node.name.removeprefix("test_").replace("__", "_")[:40].strip("_")
    delivery = Delivery(platform, connect(platform.settings), name)
    (tmp_path / "state.yaml").write_text(STATE.format(name=name))
    delivery.command("apply", "-f", str(tmp_path / "state.yaml"))
    yield delivery
    delivery.command("undeploy", name)
    disconnect()
    leave()


def query(url: str) -> float:
    answer = httpx.post(f"{url}/v0/query", json=ROW, timeout=30)
    assert answer.status_code == 200, answer.text
    return float(answer.json())


def test_from_a_tag_to_a_better_model_and_away(delivery: Delivery, tmp_path: Path) -> None:
    first, second = save(times(1.0)), save(times(2.0))
    delivery.tag(first)
    delivery.wait_until_live(first)
    assert query(delivery.url) == 3.0

    with Load(f"{delivery.url}/v0/query", BODY, rate=50) as load:
        delivery.tag(second)
        delivery.wait_until_live(second)
        needed = tmp_path / "weights"
        needed.write_text("here")
        broken = save(times(3.0, needs_file=str(needed)))
        needed.unlink()
        delivery.tag(broken)
        delivery.wait(lambda: (broken, "failed") in delivery.states())
        time.sleep(2)  # the live one is put back
    assert load.report.failed == 0, load.report
    assert set(load.report.answered) == {first, second}
    assert delivery.states() == [(first, "retired"), (second, "live"), (broken, "failed")]
    failed = delivery.releases()[-1]
    assert "No such file or directory" in failed.reason
    assert "Traceback" not in failed.reason

    explained = delivery.command("explain", delivery.name)
    assert f"{second} is live" in explained
    assert f"`envelope deploy {broken} --to {delivery.name}` tries it again" in explained

    printed = delivery.command("deploy", first, "--to", delivery.name, "--wait")
    assert printed.splitlines()[-1] == f"live at {delivery.url}"
    assert query(delivery.url) == 3.0
    delivery.command("unpin", delivery.name)
    delivery.wait_until_live(second)

    delivery.command("undeploy", delivery.name)
    delivery.wait(lambda: delivery.states()[-1] == (second, "removed"))
    assert httpx.get(delivery.url, timeout=10).status_code == 404


def test_what_failed_starts_when_it_is_asked_for_again(delivery: Delivery, tmp_path: Path) -> None:
    needed = tmp_path / "weights"
    needed.write_text("here")
    envelope_id = save(times(3.0, needs_file=str(needed)))
    needed.unlink()
    delivery.tag(envelope_id)
    delivery.wait(lambda: (envelope_id, "failed") in delivery.states())
    needed.write_text("here again")
    delivery.command("deploy", envelope_id, "--to", delivery.name, "--wait")
    assert query(delivery.url) == 9.0


def test_a_start_without_room_ends_with_both_figures(delivery: Delivery, tmp_path: Path) -> None:
    envelope_id = save(times(1.0))
    delivery.tag(envelope_id)
    delivery.wait_until_live(envelope_id)
    pids = replica_pids_of(delivery)
    path = tmp_path / "large.yaml"
    large = "{start_timeout_s: 8, resources: {num_cpus: 999}}"
    path.write_text(f"deployments: {{{delivery.name}: {large}}}")
    delivery.command("apply", "-f", str(path))
    delivery.wait(lambda: (envelope_id, "failed") in delivery.states())
    reason = delivery.releases()[-1].reason
    assert "start_timeout_s is 8" in reason
    assert f"at its URL answers {envelope_id}" in reason
    assert delivery.states() == [(envelope_id, "live"), (envelope_id, "failed")]
    time.sleep(3)
    assert replica_pids_of(delivery) == pids, "what runs was not touched"


def test_more_replicas_are_a_release_that_restarts_none(delivery: Delivery, tmp_path: Path) -> None:
    envelope_id = save(times(1.0))
    delivery.tag(envelope_id)
    delivery.wait_until_live(envelope_id)
    (pid,) = replica_pids_of(delivery)
    path = tmp_path / "two.yaml"
    path.write_text(f"deployments: {{{delivery.name}: {{num_replicas: 2, start_timeout_s: 60}}}}")
    delivery.command("apply", "-f", str(path))
    delivery.wait(lambda: delivery.states() == [(envelope_id, "retired"), (envelope_id, "live")])
    pids = replica_pids_of(delivery)
    assert len(pids) == 2
    assert pid in pids


def test_a_new_controller_finds_everything_as_it_is(delivery: Delivery) -> None:
    envelope_id = save(times(1.0))
    delivery.tag(envelope_id)
    delivery.wait_until_live(envelope_id)
    before, pids = delivery.releases(), replica_pids_of(delivery)
    delivery.kill_controller()
    delivery.wait_for_controller(time.time())
    time.sleep(4)
    assert delivery.releases() == before
    assert replica_pids_of(delivery) == pids


def test_killed_at_random_moments_of_swaps(delivery: Delivery) -> None:
    chance = random.Random(20)
    first = save(times(1.0))
    delivery.tag(first)
    delivery.wait_until_live(first)
    swaps = [save(times(float(factor))) for factor in (2, 3, 4)]
    with Load(f"{delivery.url}/v0/query", BODY, rate=50) as load:
        for envelope_id in swaps:
            delivery.tag(envelope_id)
            time.sleep(chance.uniform(0, 6))
            delivery.kill_controller()
            delivery.wait_until_live(envelope_id)
    assert load.report.failed == 0, load.report
    expected = [(each, "retired") for each in [first, *swaps[:-1]]] + [(swaps[-1], "live")]
    assert delivery.states() == expected, "each once, none failed"


@contextmanager
def another_controller(delivery: Delivery) -> Iterator[subprocess.Popen[bytes]]:
    """A second controller of the same platform, that no supervisor starts again."""
    home = Home(delivery.platform.settings.home)
    environ = supervisor.supervisor_environment(delivery.platform.settings, home)
    log = delivery.platform.settings.home / "logs" / "second.log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "controller"],
            env={**delivery.platform.environ, **environ, ROLE: "second"},
            cwd=home.empty,
            stdout=file,
            stderr=subprocess.STDOUT,
        )
    try:
        delivery.wait(lambda: "another leads" in log.read_text())
        yield process
    finally:
        process.terminate()
        process.wait(30)


def test_a_standby_takes_over_and_the_former_leader_is_refused(delivery: Delivery) -> None:
    """The supervised controller stands still, so that nothing starts it again."""
    registry = delivery.connection.registry
    first, second = save(times(1.0)), save(times(2.0))
    delivery.tag(first)
    delivery.wait_until_live(first)
    lease = registry.lease()
    assert lease is not None
    with another_controller(delivery) as other:
        assert f"standby     {lease.host} (pid {other.pid})" in delivery.command("status")
        delivery.tag(second)
        delivery.wait(lambda: (second, "starting") in delivery.states())
        os.kill(lease.pid, signal.SIGSTOP)
        began = time.monotonic()
        delivery.wait(lambda: _leader(registry) == other.pid, timeout_s=10)
        print(f"a standby leads {time.monotonic() - began:.1f} s after the leader stood still")
        delivery.wait_until_live(second)
        assert delivery.states() == [(first, "retired"), (second, "live")]

        delivery.platform.connect()
        with pytest.raises(Deposed, match=f"not from {lease.epoch}; nothing was changed"):
            FencedWriter(lease.epoch)
        os.kill(lease.pid, signal.SIGCONT)
        other.kill()
        other.wait()
        began = time.monotonic()
        delivery.wait(lambda: _leader(registry) == lease.pid, timeout_s=10)
        print(f"the other one leads {time.monotonic() - began:.1f} s after a kill -9")
    last = save(times(3.0))
    delivery.tag(last)
    delivery.wait_until_live(last)
    assert [state for _, state in delivery.states()] == ["retired", "retired", "live"]


def _leader(registry: Registry) -> int | None:
    lease = registry.lease()
    return lease.pid if lease is not None and lease.is_held else None


VALIDATE = """
import sys
import envelope as me
from rows import ROW

candidate = me.get(sys.argv[1])
answer = float(candidate.query(ROW)[0])
candidate.log_metrics(answer=answer)
if answer > 6:
    sys.exit(f"it answers {answer}, which is too much")
candidate.set_tags(approved="yes")
"""

CHECK = """
from rows import ROW

def is_positive(candidate, live):
    answer = float(candidate.default.query(ROW)[0])
    return None if answer > 0 else f"{answer} is negative, next to {live}"
"""

GATED = """
deployments:
  {name}:
    start_timeout_s: 60
    gates:
      tags: {{approved: "yes"}}
      check: {{function: "checks:is_positive", working_dir: {folder}}}
      validation_job: {{entrypoint: "python validate.py {{envelope_id}}", working_dir: {folder}}}
"""


def test_a_job_of_the_cluster_judges_a_candidate(delivery: Delivery, tmp_path: Path) -> None:
    folder = tmp_path / "validation"
    folder.mkdir()
    (folder / "validate.py").write_text(VALIDATE)
    (folder / "checks.py").write_text(CHECK)
    (folder / "rows.py").write_text(f"ROW = {ROW}")
    (tmp_path / "gated.yaml").write_text(GATED.format(name=delivery.name, folder=folder))
    delivery.command("apply", "-f", str(tmp_path / "gated.yaml"))
    good, bad = save(times(2.0)), save(times(3.0))
    delivery.tag(good)
    delivery.wait(lambda: bool(delivery.connection.registry.gate_runs(delivery.name, good)))
    delivery.kill_controller()
    delivery.wait_until_live(good)
    assert me.get(good).metrics()["answer"] == 6.0
    history = delivery.connection.registry.tag_history(good)
    assert {change.actor for change in history if change.key == "approved"} == {
        f"validation-job@{delivery.name}"
    }

    delivery.tag(bad)
    delivery.wait(lambda: (bad, "rejected") in delivery.states())
    assert delivery.releases()[-1].reason.endswith("it answers 9.0, which is too much")
    assert delivery.states() == [(good, "live"), (bad, "rejected")], "each once"

    negative = save(times(-1.0))
    delivery.tag(negative)
    delivery.wait(lambda: (negative, "rejected") in delivery.states())
    assert f"refused it: -3.0 is negative, next to {good}" in delivery.releases()[-1].reason


def replica_pids_of(delivery: Delivery) -> set[int]:
    delivery.platform.connect()
    return replica_pids(delivery.name)


def test_a_cluster_that_lost_everything_is_rebuilt(delivery: Delivery) -> None:
    envelope_id = save(times(1.0))
    delivery.tag(envelope_id)
    delivery.wait_until_live(envelope_id)
    leave()
    settings = delivery.platform.settings
    cluster.stop(settings)
    cluster.start(settings)
    supervisor.start(settings)
    delivery.wait_until_live(envelope_id)
    assert delivery.states() == [(envelope_id, "live")]
