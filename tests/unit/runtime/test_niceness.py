"""Workers start nice, and a replica takes its niceness back from every thread it has by then."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ray_runtime.niceness import AFTERWARDS, SERVES, STARTING, may_rise, nice_start

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="niceness of threads is Linux'")

ROOT = Path(__file__).resolve().parents[3]
OURS = os.getpriority(os.PRIO_PROCESS, 0)

RISING = """
import os, threading
from ray_runtime.niceness import rise
def niceness(tasks="/proc/self/task"):
    return sorted({os.getpriority(os.PRIO_PROCESS, int(one)) for one in os.listdir(tasks)})
stop = threading.Event()
others = [threading.Thread(target=stop.wait) for _ in range(3)]
for one in others:
    one.start()
print(niceness())
rise()
print(niceness())
stop.set()
"""

WITHOUT_PRIVILEGE = """
import os
from ray_runtime.niceness import SERVES, may_rise, nice_start
import concurrent.futures.thread
os.setuid(65534)
print(may_rise(), nice_start("python", {SERVES: "1"}), nice_start("python", {}))
"""


def run(command: str, code: str, variables: dict[str, str]) -> list[str]:
    done = subprocess.run(
        [*command.split(), "-c", code],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **variables},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.splitlines()


def test_a_replica_takes_its_niceness_back() -> None:
    if not may_rise():
        pytest.skip("this user may not raise the priority of a process")
    command, variables = nice_start(sys.executable, {SERVES: "1"})
    assert run(command, RISING, variables) == [str([OURS + STARTING]), str([OURS])]


def test_a_batch_worker_stays_nice() -> None:
    command, variables = nice_start(sys.executable, {})
    assert variables == {}
    assert run(command, RISING, variables) == [str([min(19, OURS + STARTING)])] * 2


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_replica_is_not_nice_where_it_could_not_take_it_back() -> None:
    said = run(sys.executable, WITHOUT_PRIVILEGE, {})
    assert said == [f"False ('python', {{}}) ('nice -n {STARTING} python', {{}})"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_replica_that_may_not_rise_goes_on_nice_and_says_so() -> None:
    code = "import os, logging, ray_runtime.niceness as n; os.setuid(65534); n.rise(); print('on')"
    done = subprocess.run(
        ["nice", "-n", "5", sys.executable, "-c", code],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), AFTERWARDS: str(OURS)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "on\n"
    assert "stays nice" in done.stderr
