"""The local platform: a Ray head node and Serve, started with the flags that we rely on.

`start` and `stop` are `envelope up` and `envelope down` without the controller; `connect` joins the
local platform, or the cluster that RAY_ADDRESS names. See docs/operations.md.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from envelope.errors import ClusterError
from envelope.settings import LOOPBACK, Settings
from ray_runtime import ports
from ray_runtime.connection import connect
from ray_runtime.flags import NODE_FLAGS, InnerPorts, has_haproxy, local_flags, token_flags
from ray_runtime.head import PROGRESS
from ray_runtime.home import ClusterRecord, Home
from ray_runtime.ports import Listener, WantedPort
from ray_runtime.processes import MARK, Process, end_processes, find_processes

__all__ = ["ClusterStatus", "connect", "start", "status", "stop"]

START_TIMEOUT_S = 180.0  # 12 s on two cores; a loaded laptop takes several times that
PORT_TIMEOUT_S = 10.0
NOT_INHERITED = {
    # Another cluster's address or token would be used in place of ours.
    *("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS", "RAY_AUTH_TOKEN"),
    # Images often set it. Each of some twenty processes would compile Ray anew: 3 s instead of 1 s.
    "PYTHONDONTWRITEBYTECODE",
}
VITAL = ("gcs_server", "raylet", "dashboard")  # without one of these a cluster is broken
TAIL_LINES = 15

Report = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterStatus:
    """What is there of one home's platform.

    state: `broken` when some of its processes live and a vital one does not. missing: those.
    controller: whether its process lives. urls: what -> where.
    """

    state: Literal["running", "stopped", "broken", "remote"]
    home: Path
    address: str | None
    started_at: datetime | None
    missing: tuple[str, ...]
    controller: bool
    processes: tuple[Process, ...]
    listeners: tuple[Listener, ...]
    urls: dict[str, str]


def start(settings: Settings, *, report: Report = lambda line: None) -> ClusterRecord:
    """Start a Ray head and Serve, or find them running. `report` gets a line per step.

    Raises ClusterError when a port is taken, another start is under way, or Ray does not start;
    then nothing is left running.
    """
    home = Home(settings.home)
    _require_local(settings, home)
    with home.locked("envelope up"):
        before = status(settings)
        record = home.read_record()
        if before.state == "running" and record is not None:
            return record
        if before.processes:
            report(f"ending what is left of a cluster without {', '.join(before.missing)}")
        _end_everything(home)
        ports.require_free(wanted_ports(settings))
        home.prepare()
        try:
            return _start(settings, home, report)
        except BaseException:
            _end_everything(home)
            raise


def stop(settings: Settings) -> int:
    """End every process of this home, whoever started it, and return how many there were.

    Returns when they and their ports are gone; a state that a crash left is cleaned up too.
    Raises ClusterError naming what would not go.
    """
    home = Home(settings.home)
    if os.environ.get(MARK) == home.id:
        raise ClusterError(
            "this process is itself run by the platform that it is about to end; "
            "run `envelope down` from a shell outside"
        )
    with home.locked("envelope down"):
        return _end_everything(home)


def status(settings: Settings) -> ClusterStatus:
    """Look at processes and ports. Changes nothing, and asks nobody."""
    home = Home(settings.home)
    record = home.read_record()
    found = find_processes(home.id)
    roles = {process.role for process in found}
    missing = tuple(role for role in VITAL if role not in roles)
    urls = {} if record is None else {"serve": record.serve_url, "jobs": record.job_url}
    has_controller = "controller" in roles
    if has_controller:
        urls["ui"] = pages_url(settings)
    remote = settings.ray_address if not is_own(settings, home) else None
    return ClusterStatus(
        state="remote" if remote else _state(found, missing, record),
        home=settings.home,
        address=remote or (record.address if record else None),
        started_at=record.started_at if record else None,
        missing=missing if found and not remote else (),
        controller=has_controller,
        processes=tuple(found),
        listeners=tuple(ports.listeners(found, _purposes(settings, record))),
        urls=urls,
    )


def pages_url(settings: Settings) -> str:
    """Return where this machine reaches the pages that its controller serves."""
    host = LOOPBACK if settings.api_host in ("0.0.0.0", "::") else settings.api_host
    return f"http://{f'[{host}]' if ':' in host else host}:{settings.api_port}"


def is_own(settings: Settings, home: Home) -> bool:
    """Whether the cluster to use is this home's: RAY_ADDRESS is not set, or names it."""
    record = home.read_record()
    return settings.ray_address is None or (
        record is not None and settings.ray_address == record.address
    )


def wanted_ports(settings: Settings) -> list[WantedPort]:
    """Return the ports that a start needs, each with the variable that changes it."""
    wanted = {
        "SERVE": (settings.serve_port, "the deployments' HTTP"),
        "JOB": (settings.job_port, "Ray's dashboard and job server"),
        "RAY": (settings.ray_port, "Ray's control store"),
        "API": (settings.api_port, "the registry's pages"),
    }
    if has_haproxy():
        wanted["HAPROXY_STATS"] = (settings.haproxy_stats_port, "HAProxy's statistics")
        wanted["HAPROXY_METRICS"] = (settings.haproxy_metrics_port, "HAProxy's metrics")
    return [
        WantedPort(port=port, what=what, setting=f"ENVELOPE_{name}_PORT")
        for name, (port, what) in wanted.items()
    ]


def node_environment(settings: Settings, home: Home, inner: InnerPorts) -> dict[str, str]:
    """Return the environment of every process of the local platform."""
    inherited = {name: value for name, value in os.environ.items() if name not in NOT_INHERITED}
    return {
        **inherited,
        # `python` in a job's command is this interpreter, also where no environment is activated.
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        **NODE_FLAGS,
        **local_flags(
            home_id=home.id,
            temp_dir=home.temp_dir,
            stats_port=settings.haproxy_stats_port,
            metrics_port=settings.haproxy_metrics_port,
            inner=inner,
        ),
        **token_flags(home.token),
        **settings.environ(),
        MARK: home.id,
    }


def _start(settings: Settings, home: Home, report: Report) -> ClusterRecord:
    taken = [want.port for want in wanted_ports(settings)]
    fallback, dashboard = ports.free_ports(2, avoid=taken)
    inner = InnerPorts(fallback_http=fallback, dashboard_metrics=dashboard)
    started_at = datetime.now(UTC)
    wanted = {
        "ray_port": settings.ray_port,
        "job_port": settings.job_port,
        "temp_dir": str(home.temp_dir),
        "serve_port": settings.serve_port,
    }
    log_path = home.logs / "head.log"
    with open(log_path, "wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "ray_runtime.head", json.dumps(wanted)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=home.empty,
            env=node_environment(settings, home, inner),
            start_new_session=True,
        )
    _follow(process, log_path, report)
    record = ClusterRecord(
        address=(home.temp_dir / "ray_current_cluster").read_text().strip(),
        serve_url=f"http://127.0.0.1:{settings.serve_port}",
        job_url=f"http://127.0.0.1:{settings.job_port}",
        started_at=started_at,
        serve_port=settings.serve_port,
        ray_port=settings.ray_port,
        job_port=settings.job_port,
        stats_port=settings.haproxy_stats_port,
        metrics_port=settings.haproxy_metrics_port,
        inner=inner,
    )
    home.write_record(record)
    home.link_logs()
    return record


def _follow(process: subprocess.Popen[bytes], log_path: Path, report: Report) -> None:
    """Wait for the starting process, reporting each step with the time it took."""
    begun = step_begun = time.monotonic()
    step: str | None = None
    while True:
        code = process.poll()
        lines = log_path.read_text(errors="replace").splitlines()
        steps = [line.removeprefix(PROGRESS) for line in lines if line.startswith(PROGRESS)]
        now = time.monotonic()
        if steps and steps[-1] != step:
            if step is not None:
                report(f"{step} started ({now - step_begun:.1f} s)")
            step, step_begun = steps[-1], now
        if code == 0:
            report(f"{step} started ({now - step_begun:.1f} s)")
            return
        if code is not None or now - begun > START_TIMEOUT_S:
            how = f"ended with status {code}" if code is not None else "did not come up in time"
            tail = "\n".join(f"  {line}" for line in lines[-TAIL_LINES:])
            raise ClusterError(
                f"{step or 'Ray'} {how}; everything it had started was ended again. "
                f"The end of {log_path}:\n{tail}"
            )
        time.sleep(0.05)


def _end_everything(home: Home) -> int:
    record = home.read_record()
    before = find_processes(home.id)
    if left := end_processes(home.id):
        raise ClusterError(
            "these processes would not end, not even when killed: "
            + ", ".join(f"{process.pid} ({process.role})" for process in left)
            + "; they wait for a disk or a device: look at it, then run `envelope down` again"
        )
    if record is not None:
        held = ports.wait_until_free(record.ports, PORT_TIMEOUT_S)
        foreign = ", ".join(f"{port} by {ports.holder(port)}" for port in held)
        if held and before:
            raise ClusterError(f"every process was ended, yet these ports are held: {foreign}")
    home.forget()
    return len(before)


def _require_local(settings: Settings, home: Home) -> None:
    if sys.platform == "win32":
        raise ClusterError("serving needs Linux or macOS; set RAY_ADDRESS to a cluster there")
    if not is_own(settings, home):
        raise ClusterError(
            f"RAY_ADDRESS is {settings.ray_address}, so that cluster is used; "
            "unset it to start a local one"
        )


def _state(
    found: list[Process], missing: tuple[str, ...], record: ClusterRecord | None
) -> Literal["running", "stopped", "broken"]:
    if not found:
        return "stopped"
    return "broken" if missing or record is None else "running"


def _purposes(settings: Settings, record: ClusterRecord | None) -> dict[int, str]:
    pages = {settings.api_port: "the registry's pages"}
    if record is None:
        return pages
    return pages | {
        record.serve_port: "deployments (HTTP)",
        record.job_port: "Ray's dashboard and job server",
        record.ray_port: "Ray's control store",
        record.stats_port: "HAProxy's statistics",
        record.metrics_port: "HAProxy's metrics",
        record.inner.fallback_http: "Serve's fallback proxy",
        record.inner.dashboard_metrics: "Ray's dashboard, metrics",
    }
