"""Two nodes: two raylets in two network namespaces of this machine, joined by a pair of links.

Started as cluster.yaml starts nodes. The head offers no CPU, so that every replica and every task
runs on the worker, and the environment has to be built there. Needs root and iproute2.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest

from envelope.capture.installed import installed
from envelope.environment import is_ready
from envelope.settings import Settings
from envelope.tables import read_table
from ray_runtime.processes import MARK, end_processes, home_id
from tests.cluster.installed import (
    OTHER_LARK,
    ROWS,
    SAVE,
    Installation,
    assert_hermetic,
    clean_environ,
    install,
    wait_for_answer,
    write_story,
)

HEAD, WORKER = "10.254.77.1", "10.254.77.2"
ASK = "curl -s -m 10 -H 'Content-Type: application/json' -d '{\"x\": 1.0}' http://%s:8000/where/v0/query"


def why_not() -> str | None:
    """Why this machine cannot have network namespaces; None where it can."""
    if shutil.which("ip") is None:
        return "`ip` is not installed (iproute2)"
    name = f"probe-{os.getpid()}"
    done = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True, check=False)
    if done.returncode:
        return f"network namespaces are not allowed here: {done.stderr.strip()}"
    subprocess.run(["ip", "netns", "delete", name], check=True)
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """One network namespace, with an address and a home of its own. temp: Ray's, short."""

    name: str
    address: str
    home: Path
    temp: Path
    environ: dict[str, str]

    @property
    def settings(self) -> Settings:
        return Settings.read(self.environ)

    def run(self, command: str, *, timeout_s: float = 120) -> str:
        """Run a shell command in it; return what it printed."""
        done = subprocess.run(
            ["ip", "netns", "exec", self.name, "bash", "-c", command],
            env=self.environ,
            cwd="/",
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}"
        return done.stdout


@pytest.fixture
def machines(tmp_path: Path) -> Iterator[tuple[Machine, Machine]]:
    if reason := why_not():
        pytest.skip(reason)
    names = [f"envelope-{os.getpid()}-{side}" for side in "ab"]
    links = [f"env{os.getpid() % 100_000}{side}" for side in "ab"]
    token = secrets.token_hex(16)
    made = []
    ip(f"link add {links[0]} type veth peer name {links[1]}")
    for name, link, address in zip(names, links, (HEAD, WORKER), strict=True):
        ip(f"netns add {name}")
        ip(f"link set {link} netns {name}")
        ip(f"-n {name} addr add {address}/24 dev {link}")
        ip(f"-n {name} link set {link} up")
        ip(f"-n {name} link set lo up")
        home = tmp_path / name
        environ = clean_environ(
            ENVELOPE_HOME=str(home),
            ENVELOPE_REGISTRY=f"sqlite:///{tmp_path}/registry.db",
            ENVELOPE_STORE=f"file://{tmp_path}/store",
            RAY_AUTH_MODE="token",
            RAY_AUTH_TOKEN=token,
            UV_OFFLINE="1",  # no way out of these namespaces: what is needed is in uv's cache
        )
        temp = Path(f"/tmp/{name[-16:]}")
        made.append(Machine(name=name, address=address, home=home, temp=temp, environ=environ))
    yield made[0], made[1]
    for machine in made:
        assert end_processes(home_id(machine.home)) == []
        assert end_processes(home_id(machine.temp)) == []
        ip(f"netns delete {machine.name}")
        shutil.rmtree(machine.temp, ignore_errors=True)


def ip(arguments: str) -> None:
    subprocess.run(["ip", *arguments.split()], check=True)


def built(machine: Machine) -> int:
    root = machine.settings.environments_dir
    return sum(map(is_ready, root.iterdir())) if root.exists() else 0


def start_ray(machine: Machine, of_cluster: Installation, arguments: str) -> None:
    machine.run(
        # The mark is for this test to end them; `envelope down` is to leave them alone.
        f"export PATH={of_cluster.python.parent}:$PATH {MARK}={home_id(machine.temp)}; "
        'eval "$(envelope env --node)"; '
        f"ray start --node-ip-address={machine.address} --disable-usage-stats {arguments}"
    )


def test_an_environment_is_built_on_the_node_that_needs_it(
    machines: tuple[Machine, Machine], tmp_path: Path
) -> None:
    head, worker = machines
    of_cluster = install(tmp_path / "installed", lark=installed().versions["lark"])
    of_scientist = install(tmp_path / "installed", lark=OTHER_LARK)
    state = write_story(tmp_path)
    start_ray(head, of_cluster, f"--head --port=6379 --num-cpus=0 --temp-dir={head.temp}")
    start_ray(worker, of_cluster, f"--address={HEAD}:6379 --num-cpus=2 --temp-dir={worker.temp}")

    envelope = f"RAY_ADDRESS={HEAD}:6379 {of_cluster.command('envelope')}"
    (tmp_path / "save.py").write_text(SAVE)
    head.run(f"{of_scientist.python} {tmp_path}/save.py")
    head.run(f"{envelope} up")
    head.run(f"{envelope} apply -f {state}")

    def ask(address: str) -> dict[str, object] | None:
        try:
            answer = json.loads(head.run(ASK % address))
            return dict(json.loads(answer)) if isinstance(answer, str) else None
        except (AssertionError, json.JSONDecodeError):
            return None

    seen = wait_for_answer(lambda: ask(HEAD))
    assert_hermetic(seen, worker.settings.environments_dir)
    assert_hermetic(wait_for_answer(lambda: ask(WORKER)), worker.settings.environments_dir)

    head.run(f"{envelope} batch run {state} where", timeout_s=240)
    table = pd.DataFrame(read_table(str(tmp_path / "out")))
    assert len(table) == ROWS
    assert_hermetic(json.loads(table.iloc[0, -1]), worker.settings.environments_dir)
    assert (built(head), built(worker)) == (0, 1)

    status = head.run(f"{envelope} status")
    assert f"ray         {HEAD}:6379" in status
    assert "ended 2 processes" in head.run(f"{envelope} down")  # the controller, not the cluster
    assert wait_for_answer(lambda: ask(HEAD)) == seen
