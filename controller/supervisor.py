"""Keeps the controller running: `python -m controller.supervisor`, a process of its own.

It starts `python -m controller`, starts it again when it dies, and ends it at SIGTERM. When the
supervisor itself dies, the kernel ends the controller (Linux), so that two never run side by side.
It holds a lock for as long as it lives, so that there is one per ENVELOPE_HOME.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import BinaryIO

from ulid import ULID

from envelope.errors import ClusterError
from envelope.settings import Settings
from ray_runtime import cluster
from ray_runtime.home import Home
from ray_runtime.processes import MARK, ROLE

FIRST_DELAY_S = 0.2
LAST_DELAY_S = 10.0
STEADY_S = 30.0  # a controller that ran this long had started well: the delay begins anew
STOP_TIMEOUT_S = 4.0  # less than `envelope down` gives the supervisor before it kills
START_TIMEOUT_S = 60.0  # it imports little: 0.5 s
MAX_LOG_BYTES = 50 * 1024 * 1024  # then the log becomes controller.log.1, at the next start
LOCK = "supervisor.lock"
HOLDER = "ENVELOPE_LEASE_HOLDER"  # shared by a supervisor's controllers, one after the other
ALREADY = 3  # exit status: another holds the lock
PR_SET_PDEATHSIG = 1


def start(settings: Settings) -> bool:
    """Start the supervisor of this home in the background. False where one runs already.

    Raises ClusterError when it does not come up.
    """
    home = Home(settings.home)
    home.prepare()
    with open(log_path(settings), "ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "controller.supervisor"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=home.empty,
            env=supervisor_environment(settings, home),
            start_new_session=True,
        )
    try:
        status = process.wait(START_TIMEOUT_S)
    except subprocess.TimeoutExpired as exc:
        process.kill()
        process.wait()
        raise ClusterError(
            f"the controller's supervisor did not start within {START_TIMEOUT_S:.0f} s; "
            f"see {log_path(settings)}"
        ) from exc
    if status not in (0, ALREADY):
        raise ClusterError(
            f"the controller's supervisor ended with status {status}; see {log_path(settings)}"
        )
    return status == 0


def supervisor_environment(settings: Settings, home: Home) -> dict[str, str]:
    """Return the environment of the supervisor, which its controller inherits but for ROLE."""
    environment = {**os.environ, **settings.environ(), MARK: home.id, ROLE: "supervisor"}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # see cluster.NOT_INHERITED
    if cluster.is_own(settings, home):
        environment.pop("RAY_ADDRESS", None)  # our own is found by its record, also a later one
    elif settings.ray_address is not None:
        environment["RAY_ADDRESS"] = settings.ray_address
    return environment


def log_path(settings: Settings) -> Path:
    """Return where the controller and its supervisor write."""
    return settings.home / "logs" / "controller.log"


def delays() -> Iterator[float]:
    """Yield how long to wait before each next start: twice as long every time, up to the last."""
    delay = FIRST_DELAY_S
    while True:
        yield delay
        delay = min(delay * 2, LAST_DELAY_S)


def supervise(
    command: list[str], log: Path, stopping: threading.Event, say: Callable[[str], None]
) -> None:
    """Run `command` again and again until `stopping` is set; then end it."""
    waits = delays()
    while not stopping.is_set():
        begun = time.monotonic()
        with _open_log(log) as file:
            process = _start_child(command, file)
        say(f"controller started as pid {process.pid}")
        while process.poll() is None and not stopping.wait(0.1):
            pass
        if stopping.is_set():
            _end(process)
            say("controller ended, as asked")
            return
        if time.monotonic() - begun > STEADY_S:
            waits = delays()
        delay = next(waits)
        say(f"controller ended with status {process.returncode}; starting again in {delay:.1f} s")
        stopping.wait(delay)


def main() -> None:
    """Supervise the controller of ENVELOPE_HOME until SIGTERM or SIGINT.

    Ends with status ALREADY where one runs. Otherwise with 0 as soon as it holds the lock, and goes
    on as a child that nobody has to wait for.
    """
    settings = Settings.read()
    lock = _take_lock(Home(settings.home))
    if lock is None:
        sys.exit(ALREADY)
    if os.fork():
        os._exit(0)  # the lock is the child's too
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    with lock:
        os.environ[ROLE] = "controller"
        os.environ[HOLDER] = str(ULID())
        log = log_path(settings)
        supervise([sys.executable, "-m", "controller"], log, stopping, partial(_say, log))


def _say(log: Path, line: str) -> None:
    with _open_log(log) as file:
        file.write(f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} supervisor: {line}\n".encode())


def _open_log(path: Path) -> BinaryIO:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and path.stat().st_size > MAX_LOG_BYTES:
        path.replace(path.with_name(f"{path.name}.1"))
    return path.open("ab")


def _start_child(command: list[str], log: BinaryIO) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        preexec_fn=_end_with_parent if sys.platform == "linux" else None,
    )


def _end_with_parent() -> None:
    """Ask the kernel for SIGTERM when the supervisor dies. Runs in the child, before it begins."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _take_lock(home: Home) -> BinaryIO | None:
    import fcntl  # here, because Windows has none, and the command line imports this module

    home.run.mkdir(parents=True, exist_ok=True)
    file = open(home.run / LOCK, "ab")  # noqa: SIM115 - held for as long as the process lives
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    return file


if __name__ == "__main__":
    main()
