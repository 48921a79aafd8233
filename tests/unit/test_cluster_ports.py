"""Ports: taken, free, listened on."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from envelope.errors import ClusterError
from ray_runtime.ports import (
    WantedPort,
    free_ports,
    holder,
    is_free,
    lasting_ports,
    listeners,
    require_free,
    wait_until_free,
)
from ray_runtime.processes import Process


@pytest.fixture
def listening() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def want(port: int, what: str = "HTTP", setting: str = "ENVELOPE_SERVE_PORT") -> WantedPort:
    return WantedPort(port=port, what=what, setting=setting)


def test_a_port_on_one_interface_is_taken(listening: int) -> None:
    assert not is_free(listening)
    assert wait_until_free([listening], 0.1) == [listening]


def test_free_ports_are_distinct_and_free() -> None:
    ports = free_ports(20)
    assert len(set(ports)) == 20
    assert all(is_free(port) for port in ports)


def test_free_ports_are_none_that_a_connection_could_be_given() -> None:
    low, high = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text("ascii").split()
    assert not [port for port in free_ports(20) if int(low) <= port <= int(high)]


@pytest.mark.parametrize(
    ("given_away", "first", "last", "count"),
    [
        (range(32_768, 61_000), 30_000, 65_535, 7_304),
        (range(49_152, 65_536), 30_000, 49_151, 19_152),
        (range(1_024, 65_536), 30_000, 65_535, 35_536),  # nothing is left: any
    ],
)
def test_ports_are_chosen_from_what_is_not_given_away(
    given_away: range, first: int, last: int, count: int
) -> None:
    ports = lasting_ports(given_away)
    assert (ports[0], ports[-1], len(ports)) == (first, last, count)


def test_avoided_ports_are_not_given() -> None:
    (port,) = free_ports(1)
    assert port not in free_ports(50, avoid=[port])


def test_every_taken_port_is_named_with_its_remedy(listening: int) -> None:
    (free,) = free_ports(1)
    with pytest.raises(ClusterError) as caught:
        require_free([want(listening), want(free), want(listening, "jobs", "ENVELOPE_JOB_PORT")])
    lines = str(caught.value).splitlines()
    assert lines[0] == "these ports cannot be had, nothing was started:"
    assert lines[1].startswith(f"  {listening}, for HTTP: held by pid {os.getpid()} (")
    assert lines[1].endswith("end it, or set ENVELOPE_SERVE_PORT to another")
    assert lines[2] == (
        f"  {listening}, for jobs: also wanted for HTTP; "
        "set ENVELOPE_JOB_PORT or ENVELOPE_SERVE_PORT to another"
    )
    assert len(lines) == 3


def test_free_ports_raise_nothing() -> None:
    require_free([want(port) for port in free_ports(3)])


def test_a_port_that_nobody_holds_has_an_unknown_holder() -> None:
    assert holder(free_ports(1)[0]) == "a process of another user"


def test_listeners_are_named_by_their_purpose(listening: int) -> None:
    here = Process(pid=os.getpid(), role="tests", command="pytest")
    gone = Process(pid=2**22 - 1, role="gone", command="")
    found = {one.port: one for one in listeners([here, gone], {listening: "HTTP"})}
    assert found[listening].what == "HTTP"
    assert found[listening].host == "127.0.0.1"
    assert found[listening].pid == os.getpid()
