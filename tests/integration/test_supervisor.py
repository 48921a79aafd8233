"""The supervisor, with a child of a few lines in the controller's place."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from controller import supervisor

# Writes its pid, and then lives until it is ended.
CHILD = """
import os, sys, time
with open(sys.argv[1], "a") as file:
    file.write(f"{os.getpid()}\\n")
time.sleep(60)
"""
BROKEN = 'import sys; open(sys.argv[1], "a").write("0\\n"); sys.exit(3)'


def wait_for(condition: Callable[[], bool], timeout_s: float = 10) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


@pytest.fixture
def seen(tmp_path: Path) -> Path:
    return tmp_path / "pids"


def pids(seen: Path) -> list[int]:
    return [int(line) for line in seen.read_text().split()] if seen.exists() else []


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


class Running:
    """`supervise` in a thread."""

    def __init__(self, code: str, seen: Path, log: Path) -> None:
        self.said: list[str] = []
        self.stopping = threading.Event()
        command = [sys.executable, "-c", code, str(seen)]
        self.thread = threading.Thread(
            target=supervisor.supervise, args=(command, log, self.stopping, self.said.append)
        )
        self.thread.start()

    def stop(self) -> None:
        self.stopping.set()
        self.thread.join(10)
        assert not self.thread.is_alive()


@pytest.fixture
def run(seen: Path, tmp_path: Path) -> Iterator[Callable[[str], Running]]:
    running: list[Running] = []

    def run(code: str) -> Running:
        running.append(Running(code, seen, tmp_path / "logs" / "controller.log"))
        return running[-1]

    yield run
    for one in running:
        one.stop()


def test_a_child_that_is_killed_is_started_again(run: Callable[[str], Running], seen: Path) -> None:
    running = run(CHILD)
    wait_for(lambda: len(pids(seen)) == 1)
    os.kill(pids(seen)[0], signal.SIGKILL)
    wait_for(lambda: len(pids(seen)) == 2)
    assert running.said[1] == "controller ended with status -9; starting again in 0.2 s"


def test_the_child_ends_with_the_request(run: Callable[[str], Running], seen: Path) -> None:
    running = run(CHILD)
    wait_for(lambda: len(pids(seen)) == 1)
    running.stop()
    assert not is_alive(pids(seen)[0])
    assert running.said[-1] == "controller ended, as asked"


def test_a_child_that_cannot_start_is_tried_ever_later(
    run: Callable[[str], Running], seen: Path
) -> None:
    running = run(BROKEN)
    wait_for(lambda: len(pids(seen)) >= 3)
    ended = [line for line in running.said if "status 3" in line]
    assert [line.rpartition(" in ")[2] for line in ended[:2]] == ["0.2 s", "0.4 s"]


def test_delays_grow_to_their_limit() -> None:
    assert list(itertools.islice(supervisor.delays(), 8)) == [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10, 10]


def test_a_long_log_is_put_aside(
    run: Callable[[str], Running], seen: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "MAX_LOG_BYTES", 3)
    log = tmp_path / "logs" / "controller.log"
    log.parent.mkdir()
    log.write_text("long")
    run(CHILD)
    wait_for(lambda: len(pids(seen)) == 1)
    assert log.with_name("controller.log.1").read_text() == "long"
    assert log.read_text() == ""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child of its parent's end")
def test_the_child_dies_with_its_supervisor(seen: Path, tmp_path: Path) -> None:
    code = f"""
import sys, threading
from pathlib import Path
from controller.supervisor import supervise
command = [sys.executable, "-c", {CHILD!r}, {str(seen)!r}]
supervise(command, Path({str(tmp_path / "log")!r}), threading.Event(), print)
"""
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.DEVNULL)
    wait_for(lambda: len(pids(seen)) == 1, 20)
    process.kill()
    process.wait()
    wait_for(lambda: not is_alive(pids(seen)[0]))
