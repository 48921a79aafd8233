"""Finding and ending what one home started: real processes, no Ray."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ray_runtime.processes import MARK, ROLE, end_processes, find_processes, home_id, temp_dir

SLEEP = "import time; time.sleep(60)"
STUBBORN = (
    "import signal, time; signal.signal(15, signal.SIG_IGN); print(flush=True); time.sleep(60)"
)
PARENT = f"""
import os, subprocess, sys
environ = {{k: v for k, v in os.environ.items() if k != {MARK!r}}}
child = subprocess.Popen([sys.executable, "-c", {SLEEP!r}], env=environ)
print(child.pid, flush=True)
child.wait()
"""

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start() -> Iterator[Start]:
    started: list[subprocess.Popen[str]] = []

    def start(code: str, **environ: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", code],
            env={**os.environ, **environ},
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


@pytest.fixture
def own(tmp_path: Path) -> str:
    return home_id(tmp_path)


def pids(home: str) -> set[int]:
    return {process.pid for process in find_processes(home)}


def first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_only_marked_processes_are_found(start: Start, own: str, tmp_path: Path) -> None:
    ours = start(SLEEP, **{MARK: own})
    start(SLEEP, **{MARK: home_id(tmp_path / "other")})
    start(SLEEP)
    assert pids(own) == {ours.pid}


def test_a_child_without_the_mark_is_found_by_its_parent(start: Start, own: str) -> None:
    parent = start(PARENT, **{MARK: own})
    child = int(first_line(parent))
    assert pids(own) == {parent.pid, child}


def test_the_one_that_asks_is_left_out(
    start: Start, own: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = f"from ray_runtime.processes import find_processes; print(find_processes({own!r}))"
    assert first_line(start(code, **{MARK: own})) == "[]"


def test_role_is_what_we_named_it(start: Start, own: str) -> None:
    start(SLEEP, **{MARK: own, ROLE: "controller"})
    assert [process.role for process in find_processes(own)] == ["controller"]


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_mark_behind_a_hole_is_found(start: Start, own: str) -> None:
    """As Ray's agents leave it, which write their title over the beginning of their variables."""
    code = """
import ctypes, time
fields = open("/proc/self/stat").read().rpartition(") ")[2].split()
ctypes.memset(int(fields[47]), 0, 6)  # env_start
print(flush=True)
time.sleep(60)
"""
    process = start(code, **{MARK: own})
    first_line(process)
    assert pids(own) == {process.pid}


@pytest.mark.skipif(sys.platform != "linux", reason="renames itself as Linux allows")
@pytest.mark.parametrize("name, is_ours", [("ray::Agent", True), ("tail", False)])
def test_an_orphan_that_lost_its_mark_is_found_by_its_log(
    start: Start, own: str, name: str, is_ours: bool
) -> None:
    folder = temp_dir(own)
    folder.mkdir()
    code = f"""
import ctypes, time
ctypes.CDLL(None).prctl(15, {name.encode()!r})  # PR_SET_NAME
with open("{folder}/agent.log", "w"):
    print(flush=True)
    time.sleep(60)
"""
    try:
        process = start(code)
        first_line(process)
        assert (process.pid in pids(own)) is is_ours
    finally:
        shutil.rmtree(folder)


def test_ending_takes_all_and_only_ours(start: Start, own: str) -> None:
    ours = [start(SLEEP, **{MARK: own}) for _ in range(3)]
    other = start(SLEEP)
    assert end_processes(own) == []
    assert [process.wait(1) for process in ours] == [-15] * 3
    assert other.poll() is None


def test_one_that_ignores_the_request_is_killed(start: Start, own: str) -> None:
    stubborn = start(STUBBORN, **{MARK: own})
    first_line(stubborn)
    begun = time.monotonic()
    assert end_processes(own) == []
    assert stubborn.wait(1) == -9
    assert time.monotonic() - begun < 5


def test_a_home_has_one_id_however_it_is_written(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    assert home_id(tmp_path / "link") == home_id(tmp_path)
    assert home_id(tmp_path / "other") != home_id(tmp_path)
