"""Ending a process that hangs: a call into a cluster that is gone may never return."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

STUCK = 75  # exit status; a supervisor starts the controller again

log = logging.getLogger(__name__)


def end_process(what: str, limit_s: float) -> None:
    """End this process at once: the thread that hangs cannot be ended otherwise."""
    log.error("hangs, so this process ends", extra={"what": what, "limit_s": limit_s})
    logging.shutdown()
    os._exit(STUCK)


class Watchdog:
    """Gives up when something takes longer than it may."""

    def __init__(self, give_up: Callable[[str, float], None] = end_process) -> None:
        self._give_up = give_up

    @contextmanager
    def limit(self, what: str, seconds: float) -> Iterator[None]:
        """Give up unless the block ends within `seconds`."""
        timer = threading.Timer(seconds, self._give_up, (what, seconds))
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
