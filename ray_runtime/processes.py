"""Finding and ending exactly the processes that one ENVELOPE_HOME started.

Every process that the platform starts carries MARK in its environment, and its children inherit
it: Ray's daemons, workers, HAProxy, job drivers, our supervisor and controller. Some of Ray's write
their title over their environment (its agents, the modules of its dashboard): they are found as
children of one that has the mark or, orphaned by a crash, by their open logs in our own folder.
"""

from __future__ import annotations

import hashlib
import os
import signal
import time
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

MARK = "ENVELOPE_HOME_ID"
ROLE = "ENVELOPE_ROLE"  # "supervisor" or "controller" for our own two
GRACE_S = 5.0  # for the supervisor, which ends the controller first
RAY_GRACE_S = 0.5  # what is not gone by then waits for the others: 8 s and more, measured
END_TIMEOUT_S = 20.0
# Ray's and HAProxy's sockets lie some 75 characters below this folder, and a Unix socket's path
# ends at 107; ENVELOPE_HOME can be longer than what is left.
TEMP_ROOT = Path("/tmp")


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """A process of ours. role: `supervisor`, `controller`, or what it is in Ray's words."""

    pid: int
    role: str
    command: str


def home_id(home: Path) -> str:
    """Return the 12 hex digits that name this home, and this user, on this machine."""
    user = os.getuid() if hasattr(os, "getuid") else 0
    return hashlib.sha256(f"{user}:{home.resolve()}".encode()).hexdigest()[:12]


def temp_dir(home_id: str) -> Path:
    """Return the folder of Ray's sockets and logs for this home."""
    return TEMP_ROOT / f"env-{home_id}"


def find_processes(home_id: str) -> list[Process]:
    """Return every living process of this home, but not the one that asks."""
    folder = str(temp_dir(home_id))
    parents: dict[int, int] = {}
    marked: set[int] = set()
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if process.status() == psutil.STATUS_ZOMBIE:
                continue
            parents[process.pid] = process.ppid()
            if _has_mark(process, home_id) or _logs_to(process, folder):
                marked.add(process.pid)
    ours = marked | _descendants(marked, parents)
    ours.discard(os.getpid())
    return list(_describe(sorted(ours)))


def end_processes(home_id: str) -> list[Process]:
    """End every process of this home: ask, wait a little, kill. Return those that would not go.

    The supervisor goes first, so that it does not start its controller again.
    """
    deadline = time.monotonic() + END_TIMEOUT_S
    found = find_processes(home_id)
    _ask_and_wait([p.pid for p in found if p.role == "supervisor"], GRACE_S)
    _ask_and_wait([p.pid for p in found if p.role != "supervisor"], RAY_GRACE_S)
    seen = {process.pid: process for process in found}
    while True:
        # Again and again: a daemon may have started another while it was being ended.
        found = find_processes(home_id)
        _signal([process.pid for process in found], signal.SIGKILL)
        seen |= {process.pid: process for process in found}
        # One that is on its way out has lost its environment, and its ports not yet.
        left = [process for process in seen.values() if _is_running(process.pid)]
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(0.05)


def _has_mark(process: psutil.Process, home_id: str) -> bool:
    return _variable(process, MARK) == home_id


def _variable(process: psutil.Process, name: str) -> str | None:
    """Return a variable that a process was started with.

    On Linux from the raw bytes: Ray's agents write their title over the beginning of theirs, and
    psutil reads no further than the hole that leaves.
    """
    if not psutil.LINUX:
        return process.environ().get(name)
    raw = Path(f"/proc/{process.pid}/environ").read_bytes()
    values = [part for part in raw.split(b"\0") if part.startswith(f"{name}=".encode())]
    return values[0].partition(b"=")[2].decode(errors="replace") if values else None


def _logs_to(process: psutil.Process, folder: str) -> bool:
    """Whether this is one of Ray's, writing below `folder`. A driver of ours does too, a `tail`."""
    return process.name().startswith("ray") and any(
        file.path.startswith(f"{folder}/") for file in process.open_files()
    )


def _descendants(roots: Collection[int], parents: dict[int, int]) -> set[int]:
    children: dict[int, list[int]] = {}
    for pid, parent in parents.items():
        children.setdefault(parent, []).append(pid)
    found: set[int] = set()
    waiting = list(roots)
    while waiting:
        for child in children.get(waiting.pop(), ()):
            if child not in found:
                found.add(child)
                waiting.append(child)
    return found


def _describe(pids: Iterable[int]) -> Iterator[Process]:
    for pid in pids:
        with suppress(psutil.Error, OSError):
            process = psutil.Process(pid)
            command = " ".join(process.cmdline()).strip() or process.name()
            yield Process(pid=pid, role=_role(process, command), command=command)


RAY_ROLES = ("gcs_server", "raylet", "haproxy", "dashboard.py", "log_monitor.py")


def _role(process: psutil.Process, command: str) -> str:
    with suppress(psutil.Error, OSError):
        if role := _variable(process, ROLE):
            return role
    if command.startswith(("ray::", "ray-dashboard")):
        return command.split()[0]
    words = {Path(word).name for word in command.split()[:4]}
    for role in RAY_ROLES:
        if role in words:
            return role.removesuffix(".py")
    return process.name()


def _ask_and_wait(pids: Collection[int], seconds: float) -> None:
    _signal(pids, signal.SIGTERM)
    deadline = time.monotonic() + seconds
    while any(_is_running(pid) for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.05)


def _signal(pids: Iterable[int], number: signal.Signals) -> None:
    for pid in pids:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def _is_running(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False
