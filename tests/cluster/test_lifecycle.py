"""`envelope up` and `down` for real: alone, beside another cluster, twice, after a crash."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from envelope.errors import ClusterError
from envelope.settings import Settings
from ray_runtime import cluster
from ray_runtime.home import Home
from ray_runtime.ports import free_ports, is_free
from ray_runtime.processes import find_processes
from tests.cluster.conftest import Platform, new_home, run


def wait_for(condition: Callable[[], bool], timeout_s: float = 30) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.1)


def pid_of(settings: Settings, role: str) -> int | None:
    found = [p.pid for p in cluster.status(settings).processes if p.role == role]
    return found[0] if found else None


def is_alive(pid: int) -> bool:
    """Whether it runs; one that waits for its parent to take note of its end does not."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def assert_nothing_left(settings: Settings, ports: list[int], pids: list[int]) -> None:
    """No process that was there, none with the mark, no port, no folder in /tmp."""
    home = Home(settings.home)
    assert find_processes(home.id) == []
    # By number too: a process may have lost its mark. Numbers are not used again this soon.
    assert [pid for pid in pids if is_alive(pid)] == []
    assert [port for port in ports if not is_free(port)] == []
    assert not home.temp_dir.exists()
    assert home.read_record() is None


def what_there_is(settings: Settings) -> tuple[list[int], list[int]]:
    """The ports and the pids of a running platform."""
    found = cluster.status(settings)
    return [one.port for one in found.listeners], [one.pid for one in found.processes]


def lasting(settings: Settings) -> dict[str, int]:
    """The pids of what a platform has one of, by role."""
    roles = ("supervisor", "controller", "raylet", "haproxy")
    return {one.role: one.pid for one in cluster.status(settings).processes if one.role in roles}


@pytest.fixture
def new(tmp_path: Path) -> Iterator[Platform]:
    """A home in which nothing runs yet, ended whatever the test does."""
    settings, environ = new_home(tmp_path / "home")
    yield Platform(settings=settings, environ=environ)
    cluster.stop(settings)


@pytest.fixture(scope="module")
def stranger() -> Iterator[str]:
    """An unrelated Ray cluster, started as anybody would; gives its address."""
    # Not below pytest's own folder: its name is too long for Ray's sockets.
    folder = Path(f"/tmp/stranger-{os.getpid()}")
    port, jobs, client = free_ports(3)
    environ = {k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "ENVELOPE_"))}
    environ["RAY_AUTH_MODE"] = "disabled"
    command = (
        *("ray", "start", "--head", "--block", f"--port={port}", f"--temp-dir={folder}"),
        *(f"--dashboard-port={jobs}", f"--ray-client-server-port={client}", "--num-cpus=1"),
        *("--dashboard-agent-listen-port=0", "--disable-usage-stats"),
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "ray.scripts.scripts", *command[1:]],
        env=environ,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    wait_for((folder / "ray_current_cluster").exists, 60)
    yield (folder / "ray_current_cluster").read_text().strip()
    for one in [*psutil.Process(process.pid).children(recursive=True), process]:
        one.kill()
    process.wait()
    subprocess.run(["rm", "-rf", str(folder)], check=True)


ASK_STRANGER = """
import ray
ray.init(log_to_driver=False)
print("sum", ray.get(ray.remote(lambda: 40 + 2).remote()))
"""

USE_STRANGER = """
import ray
from envelope.manifest import Package
from envelope.settings import Settings
from envelope.store import Store
from ray_runtime.connection import connect
from ray_runtime.environments import runtime_env_for
from tests.manifests import a_manifest, an_environment

def version():
    import importlib.metadata
    return importlib.metadata.version("lark")

settings = Settings.read()
connect(settings)
environment = an_environment(packages=(Package(name="lark", version="1.1.9"),))
runtime_env = runtime_env_for(Store(settings.store_url), a_manifest(environment=environment))
found = ray.get(ray.remote(version).options(runtime_env=runtime_env, num_cpus=0.1).remote())
print("field", list(runtime_env), "lark", found)
"""


def environ_for(address: str, environ: dict[str, str]) -> dict[str, str]:
    """The environment of a driver of the unrelated cluster, which asks for no token."""
    kept = {name: value for name, value in environ.items() if not name.startswith("RAY_")}
    return kept | {
        "RAY_ADDRESS": address,
        "RAY_AUTH_MODE": "disabled",
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }


def test_up_status_env_down_beside_another_cluster(new: Platform, stranger: str) -> None:
    up = new.run("envelope", "up")
    assert up.returncode == 0, up.stdout
    assert f"serve       {new.serve_url}" in up.stdout
    settings = new.settings
    ports, pids = what_there_is(settings)
    lasts = lasting(settings)
    assert settings.serve_port in ports and settings.haproxy_metrics_port in ports

    status = new.run("envelope", "status", "--json")
    seen = json.loads(status.stdout)
    assert status.returncode == 0, status.stdout
    assert seen["state"] == "running" and seen["controller"]
    http = [one for one in seen["listeners"] if one["port"] == settings.serve_port]
    assert [one["host"] for one in http] == ["127.0.0.1"]
    ui = new.run("envelope", "ui", "--print").stdout.strip()
    assert seen["urls"]["ui"] == ui == f"http://127.0.0.1:{settings.api_port}"
    assert "<h1>Models</h1>" in httpx.get(f"{ui}/models").text

    again = new.run("envelope", "up")
    assert again.returncode == 0
    assert "up already" in again.stdout
    # Ray starts and ends workers as it likes; that the others are as they were says it did nothing.
    assert lasting(settings) == lasts

    down = new.run("envelope", "down")
    assert down.returncode == 0, down.stdout
    assert_nothing_left(settings, ports, pids)
    assert list((settings.home / "logs").glob("ray-2*/raylet.out"))
    assert new.run("envelope", "status").returncode == 1

    asked = run((sys.executable, "-c", ASK_STRANGER), environ_for(stranger, new.environ))
    assert "sum 42" in asked.stdout


def test_a_cluster_without_our_plugin_uses_rays_own_uv(new: Platform, stranger: str) -> None:
    asked = run((sys.executable, "-c", USE_STRANGER), environ_for(stranger, new.environ))
    assert asked.returncode == 0, asked.stdout
    assert "started without our runtime_env plugin: Ray's own uv" in asked.stdout
    assert "field ['uv'] lark 1.1.9" in asked.stdout


def test_a_controller_that_is_killed_is_started_again(platform: Platform) -> None:
    settings = platform.settings
    wait_for(lambda: pid_of(settings, "controller") is not None)
    before = pid_of(settings, "controller")
    assert before is not None
    os.kill(before, signal.SIGKILL)
    wait_for(lambda: pid_of(settings, "controller") not in (None, before))


def test_up_starts_a_supervisor_that_is_gone(platform: Platform) -> None:
    settings = platform.settings
    gone = pid_of(settings, "supervisor")
    raylet = pid_of(settings, "raylet")
    assert gone is not None
    os.kill(gone, signal.SIGKILL)
    wait_for(lambda: pid_of(settings, "controller") is None)

    up = platform.run("envelope", "up")

    assert "controller started" in up.stdout
    wait_for(lambda: pid_of(settings, "controller") is not None)
    assert pid_of(settings, "supervisor") not in (None, gone)
    assert pid_of(settings, "raylet") == raylet


def test_rays_own_commands_reach_it(platform: Platform, tmp_path: Path) -> None:
    (tmp_path / "say.py").write_text(
        "import ray, os\nray.init()\n"
        "print('sum', ray.get(ray.remote(lambda: 40 + 2).remote()), os.environ['RAY_AUTH_MODE'])\n"
    )
    submit = f'eval "$(envelope env)"; ray job submit --working-dir {tmp_path} -- python say.py'
    submitted = platform.run("bash", "-c", submit)
    assert submitted.returncode == 0, submitted.stdout
    assert "sum 42 token" in submitted.stdout


def test_a_caller_without_the_token_is_turned_away(platform: Platform) -> None:
    import httpx

    record = Home(platform.settings.home).read_record()
    assert record is not None
    jobs = f"{record.job_url}/api/jobs/"
    token = Home(platform.settings.home).token.read_text()
    assert httpx.get(jobs).status_code == 401
    assert httpx.get(jobs, headers={"Authorization": f"Bearer {token}"}).status_code == 200


@pytest.mark.parametrize("forgotten", [False, True], ids=["record-there", "record-gone"])
def test_down_after_a_crash(new: Platform, forgotten: bool) -> None:
    settings = new.settings
    cluster.start(settings)
    ports, pids = what_there_is(settings)
    for role in ("gcs_server", "raylet"):
        pid = pid_of(settings, role)
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
    wait_for(lambda: cluster.status(settings).state == "broken")
    status = new.run("envelope", "status")
    assert status.returncode == 1
    assert "without gcs_server, raylet" in status.stdout
    if forgotten:
        (settings.home / "run" / "cluster.json").unlink()

    down = new.run("envelope", "down")

    assert down.returncode == 0, down.stdout
    assert_nothing_left(settings, ports, pids)


def test_a_start_that_fails_leaves_nothing(new: Platform) -> None:
    settings = new.settings
    home = Home(settings.home)

    def kill_head() -> None:
        wait_for(lambda: pid_of(settings, "raylet") is not None, 90)
        head = [p for p in find_processes(home.id) if "ray_runtime.head" in p.command]
        os.kill(head[0].pid, signal.SIGKILL)

    killer = threading.Thread(target=kill_head)
    killer.start()
    with pytest.raises(ClusterError) as caught:
        cluster.start(settings)
    killer.join()

    assert "ended with status -9; everything it had started was ended again" in str(caught.value)
    assert_nothing_left(settings, [settings.ray_port, settings.job_port, settings.serve_port], [])


def test_of_two_ups_at_once_one_says_that_the_other_is_under_way(new: Platform) -> None:
    done: list[subprocess.CompletedProcess[str]] = []
    threads = [
        threading.Thread(target=lambda: done.append(new.run("envelope", "up"))) for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    lost, won = sorted(done, key=lambda one: one.returncode, reverse=True)
    assert (won.returncode, lost.returncode) == (0, 1), [one.stdout for one in done]
    assert "`envelope up` (pid" in lost.stdout and "is under way" in lost.stdout
    assert cluster.status(new.settings).state == "running"


def test_taken_ports_are_named_before_anything_is_started(new: Platform) -> None:
    settings = new.settings
    with socket.create_server(("127.0.0.1", settings.job_port)):
        up = new.run("envelope", "up")
    assert up.returncode == 1
    assert f"{settings.job_port}, for Ray's dashboard and job server" in up.stdout
    assert f"held by pid {os.getpid()}" in up.stdout
    assert "ENVELOPE_JOB_PORT" in up.stdout
    assert find_processes(Home(settings.home).id) == []


def test_joining_a_cluster_that_is_not_there_fails_soon(new: Platform) -> None:
    (port,) = free_ports(1)
    remote = Settings.read(new.environ | {"RAY_ADDRESS": f"127.0.0.1:{port}"})
    begun = time.monotonic()
    with pytest.raises(ClusterError, match="no cluster answers at"):
        cluster.connect(remote)
    assert time.monotonic() - begun < 10
