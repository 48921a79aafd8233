"""TCP ports: which are taken, by whom, and what listens where."""

from __future__ import annotations

import socket
import time
from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from random import SystemRandom

import psutil

from envelope.errors import ClusterError
from ray_runtime.processes import Process


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedPort:
    """A port that the platform is about to listen on. setting: the variable that changes it."""

    port: int
    what: str
    setting: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Listener:
    """A port that one of our processes listens on. host: `*` is every interface."""

    port: int
    host: str
    what: str
    pid: int


def require_free(wanted: Sequence[WantedPort]) -> None:
    """Raise ClusterError naming every wanted port that is taken, and by whom; also one of two."""
    lines = []
    for place, want in enumerate(wanted):
        twin = next((other for other in wanted[:place] if other.port == want.port), None)
        if twin is not None:
            lines.append(
                f"  {want.port}, for {want.what}: also wanted for {twin.what}; "
                f"set {want.setting} or {twin.setting} to another"
            )
        elif not is_free(want.port):
            lines.append(
                f"  {want.port}, for {want.what}: held by {holder(want.port)}; "
                f"end it, or set {want.setting} to another"
            )
    if lines:
        raise ClusterError("\n".join(["these ports cannot be had, nothing was started:", *lines]))


def is_free(port: int) -> bool:
    """Say whether one may listen on this port, on every interface."""
    with socket.socket() as probe:
        # As servers do: connections that ended lately (TIME_WAIT) are no reason to wait.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
            probe.listen(1)
        except OSError:
            return False
    return True


def wait_until_free(ports: Iterable[int], timeout_s: float) -> list[int]:
    """Wait until all are free. Return those that are not, after `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    waiting = list(ports)
    while waiting := [port for port in waiting if not is_free(port)]:
        if time.monotonic() > deadline:
            return waiting
        time.sleep(0.05)
    return []


def holder(port: int) -> str:
    """Describe who listens on a port, as far as this user may see."""
    with suppress(psutil.Error, OSError):
        for connection in psutil.net_connections(kind="tcp"):
            if connection.status != psutil.CONN_LISTEN or not connection.laddr:
                continue
            if connection.laddr.port == port:
                if connection.pid is None:
                    break
                command = " ".join(psutil.Process(connection.pid).cmdline())
                return f"pid {connection.pid} ({command[:120]})"
    return "a process of another user"


def free_ports(count: int, *, avoid: Collection[int] = ()) -> list[int]:
    """Return ports that are free now, each once.

    They lie where the kernel gives none away by itself: between this look and the moment that
    their owner listens, a connection that anybody opens could otherwise take one of them.
    """
    candidates = [port for port in lasting_ports(_given_away()) if port not in avoid]
    SystemRandom().shuffle(candidates)  # not `random`: seeded alike, two processes draw alike
    return list(islice((port for port in candidates if is_free(port)), count))


def lasting_ports(given_away: range) -> list[int]:
    """Return the ports to choose from; all of them where the kernel gives all of them away."""
    above = range(30_000, 65_536)  # below lie the blocks that homes have for their replicas
    return [port for port in above if port not in given_away] or list(above)


def _given_away() -> range:
    """Return the ports that the kernel gives to whoever asks for none in particular."""
    try:
        low, high = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text("ascii").split()
    except OSError:  # not Linux: the range that IANA sets aside for it
        return range(49_152, 65_536)
    return range(int(low), int(high) + 1)


def listeners(processes: Iterable[Process], purposes: dict[int, str]) -> list[Listener]:
    """Return what these processes listen on, by port. purposes: port -> what is behind it."""
    found: dict[tuple[int, str], Listener] = {}
    for process in processes:
        with suppress(psutil.Error, OSError):
            for connection in psutil.Process(process.pid).net_connections(kind="tcp"):
                if connection.status != psutil.CONN_LISTEN:
                    continue
                port, host = connection.laddr.port, connection.laddr.ip
                found[port, host] = Listener(
                    port=port,
                    host="*" if host in ("0.0.0.0", "::") else host,
                    what=purposes.get(port) or process.role,
                    pid=process.pid,
                )
    return [found[key] for key in sorted(found)]
