"""How a worker that starts gives way to the replicas that answer on the same node.

Starting Python, Ray, pandas and a model library takes a core for seconds, and a live replica may
need that core. So whatever runs in an envelope's environment starts with a niceness; a replica
takes it back before it is timed and counts as ready, a batch worker keeps it. A process may make
itself less nice only with privilege (CAP_SYS_NICE, RLIMIT_NICE): on a node without, a replica is
loaded on a nice thread instead, which ends with the load.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

STARTING = 10  # a tenth of what a process without niceness gets, when both want the same core
LOADING = 15
SERVES = "ENVELOPE_SERVES"  # in a runtime_env's env_vars: this worker answers requests once ready
AFTERWARDS = "ENVELOPE_NICENESS"  # in a worker's environment: what a replica goes back to

log = logging.getLogger(__name__)


def nice_start(python: str, env_vars: Mapping[str, str]) -> tuple[str, dict[str, str]]:
    """Return the command that starts a worker on this node, and the variables it needs for that.

    python: the command of its interpreter. env_vars: of its runtime_env.
    """
    if sys.platform != "linux" or (SERVES in env_vars and not may_rise()):
        return python, {}
    variables = {AFTERWARDS: str(os.getpriority(os.PRIO_PROCESS, 0))} if SERVES in env_vars else {}
    return f"nice -n {STARTING} {python}", variables


def may_rise() -> bool:
    """Whether a process here may become less nice again: tried on a thread that ends with it."""

    def attempt() -> bool:
        thread = threading.get_native_id()
        before = os.getpriority(os.PRIO_PROCESS, thread)
        try:
            os.setpriority(os.PRIO_PROCESS, thread, before + 1)
            os.setpriority(os.PRIO_PROCESS, thread, before)
        except PermissionError:
            return False
        return True

    with ThreadPoolExecutor(1) as one:
        return one.submit(attempt).result()


def rise() -> None:
    """Take back the niceness that this replica was started with, from each of its threads."""
    if AFTERWARDS not in os.environ:
        return
    wanted = int(os.environ[AFTERWARDS])
    risen: set[str] = set()
    # A thread that is nice may start another one meanwhile, which is as nice.
    while new := set(os.listdir("/proc/self/task")) - risen:
        for thread in new:
            try:
                os.setpriority(os.PRIO_PROCESS, int(thread), wanted)
            except ProcessLookupError:
                pass  # it has ended
            except PermissionError:
                log.warning(
                    "this replica stays nice (%d), since it may not raise its own priority as the "
                    "node's agent may; it answers late when the node is busy",
                    os.getpriority(os.PRIO_PROCESS, 0),
                )
                return
        risen |= new


def load_nicely(num_cpus: float) -> None:
    """Let the calling thread give way while it loads, where the process does not do so already.

    Niceness is a thread's own on Linux. Not with two CPUs or more: a model may start threads of its
    own as it loads, which inherit it and outlive the load.
    """
    if sys.platform == "linux" and AFTERWARDS not in os.environ and num_cpus < 2:
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), LOADING)
