"""A process that hangs is ended; one that does not is left alone."""

from __future__ import annotations

import subprocess
import sys
import threading

from controller.watchdog import STUCK, Watchdog


def test_gives_up_on_what_takes_too_long() -> None:
    given_up = threading.Event()
    seen: list[tuple[str, float]] = []

    def give_up(what: str, limit_s: float) -> None:
        seen.append((what, limit_s))
        given_up.set()

    with Watchdog(give_up).limit("a turn", 0.01):
        assert given_up.wait(5)
    assert seen == [("a turn", 0.01)]


def test_leaves_what_ends_in_time_alone() -> None:
    given_up = threading.Event()
    with Watchdog(lambda *_: given_up.set()).limit("a turn", 0.05):
        pass
    assert not given_up.wait(0.2)


def test_ends_the_process() -> None:
    code = "import time; from controller.watchdog import Watchdog\n"
    code += "with Watchdog().limit('a turn', 0.05): time.sleep(60)"
    assert subprocess.run([sys.executable, "-c", code], timeout=30).returncode == STUCK
