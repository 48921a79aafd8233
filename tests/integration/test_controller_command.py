"""`envelope controller`: in the foreground, with its pages where they were asked for."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
import pytest

from ray_runtime.ports import free_ports

ENVELOPE = str(Path(sys.executable).parent / "envelope")


def environment(home: Path, **more: str) -> dict[str, str]:
    """Of a home whose cluster is away: the controller waits for it, and serves its pages."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("ENVELOPE_")}
    (nowhere,) = free_ports(1)
    return own | {"ENVELOPE_HOME": str(home), "RAY_ADDRESS": f"127.0.0.1:{nowhere}"} | more


@contextmanager
def controller(api: str, home: Path, **more: str) -> Iterator[psutil.Popen]:
    home.mkdir(exist_ok=True)
    with (home / "out").open("wb") as out:
        process = psutil.Popen(
            [ENVELOPE, "controller", "--api", api],
            env=environment(home, **more),
            stdout=out,
            stderr=subprocess.STDOUT,
        )
    try:
        yield process
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0, (home / "out").read_text()
    finally:
        if process.is_running():
            process.kill()


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def hosts_of(process: psutil.Popen) -> set[str]:
    found = process.net_connections(kind="tcp")
    return {each.laddr.ip for each in found if each.status == psutil.CONN_LISTEN}


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]"])
def test_pages_are_served_where_they_were_asked_for(host: str, tmp_path: Path) -> None:
    (port,) = free_ports(1)
    with controller(f"{host}:{port}", tmp_path / "home") as process:
        wait_for(lambda: hosts_of(process))
        assert hosts_of(process) == {host.strip("[]")}
        assert httpx.get(f"http://{host}:{port}/api/v1/envelopes").json()["items"] == []


def test_no_pages_are_served_where_none_were_asked_for(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with controller("none", home) as process:
        wait_for(lambda: "controller started" in (home / "out").read_text())
        time.sleep(0.5)
        assert hosts_of(process) == set()


def test_with_tokens_every_interface_may_be_asked_for(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    with controller(f"0.0.0.0:{port}", tmp_path / "home", ENVELOPE_AUTH="tokens") as process:
        wait_for(lambda: hosts_of(process))
        assert httpx.get(f"http://127.0.0.1:{port}/api/v1/envelopes").status_code == 401


@pytest.mark.parametrize(
    ("api", "status", "says"),
    [
        ("0.0.0.0:8080", 1, "set ENVELOPE_AUTH=tokens"),
        ("registry.example:8080", 1, "would let everybody who reaches this machine"),
        ("127.0.0.1:http", 1, "ENVELOPE_API_PORT='http' is not a TCP port"),
        ("8080", 2, "use HOST:PORT, such as 127.0.0.1:8080, or none"),
        ("127.0.0.1:", 2, "use HOST:PORT"),
    ],
)
def test_an_address_that_will_not_do_is_refused(
    api: str, status: int, says: str, tmp_path: Path
) -> None:
    done = subprocess.run(
        [ENVELOPE, "controller", "--api", api],
        env=environment(tmp_path / "home"),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == status
    assert says in done.stderr
