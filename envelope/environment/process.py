"""A child process that is watched: its words passed on, and ended with all that it started."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

MAX_LINES = 50  # of what it said, in an error: the reason is at the end

Log = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a process ended. lines: the last that it said, stdout and stderr together."""

    status: int
    lines: tuple[str, ...]
    is_late: bool


def run_process(
    arguments: Sequence[str],
    *,
    environ: Mapping[str, str],
    cwd: Path,
    log: Log,
    timeout_s: float,
    keep_open: Sequence[int] = (),
) -> Ended:
    """Run a program to its end, or for timeout_s, and pass on each line that it says.

    keep_open: file descriptors that it inherits, a lock's: if this process is killed, the lock
    lives as long as the child still writes.
    """
    lines: deque[str] = deque(maxlen=MAX_LINES)
    with subprocess.Popen(
        list(arguments),
        env=dict(environ),
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        pass_fds=tuple(keep_open),
        start_new_session=True,  # so that what it starts can be ended with it
    ) as process:
        late = threading.Event()

        def stop() -> None:
            late.set()
            _end(process)

        timer = threading.Timer(timeout_s, stop)
        timer.start()
        try:
            assert process.stdout is not None
            for line in process.stdout:
                lines.append(line.rstrip())
                log(line.rstrip())
            status = process.wait()
        except BaseException:
            _end(process)
            raise
        finally:
            timer.cancel()
    return Ended(status=status, lines=tuple(lines), is_late=late.is_set())


def _end(process: subprocess.Popen[str]) -> None:
    """End it and what it started: a child that lives on would keep its output open."""
    if sys.platform == "win32":
        process.kill()
    else:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
