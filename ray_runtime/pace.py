"""How long calls take, and whether it is their own doing: they compute, wait, or were held up.

A busy node makes calls slower, and never quicker: it takes the processor away, which neither adds
to a thread's CPU time nor counts as a wait of its own.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

if sys.platform == "linux":
    import resource

MOSTLY = 0.5  # of a call's time is CPU time, if it computes rather than waits
WAIT_S = 0.001  # a wait shorter than this is no reason for threads
TRIAL_CALLS = 20  # the first half warms up

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How a warmed function behaves. call_ms: None when there was no sample to call it with.

    is_waiting: it spends most of its time waiting, not computing.
    """

    call_ms: float | None
    is_waiting: bool = False


class Timing(NamedTuple):
    """One call, or the readings of a clock. waits: how often the processor was let go of."""

    wall_s: float
    cpu_s: float
    waits: int

    def is_waiting(self) -> bool:
        """Whether the call waited rather than computed, and for long enough to matter."""
        return self.wall_s > WAIT_S and self.cpu_s < MOSTLY * self.wall_s and self.waits > 0

    def is_longer_than(self, limit_s: float) -> bool:
        """Whether the call itself took longer, not only the node that took its processor away."""
        return self.cpu_s > limit_s or (self.wall_s > limit_s and self.waits > 0)


def clock() -> Timing:
    """Read the clocks of this thread; about 1 us."""
    if sys.platform != "linux":  # no waits are counted: each reading counts as one
        return Timing(time.perf_counter(), time.thread_time(), time.perf_counter_ns())
    used = resource.getrusage(resource.RUSAGE_THREAD)
    return Timing(time.perf_counter(), used.ru_utime + used.ru_stime, used.ru_nvcsw)


def since(began: Timing) -> Timing:
    """Return what this thread did since it read its clocks."""
    now = clock()
    return Timing(now.wall_s - began.wall_s, now.cpu_s - began.cpu_s, now.waits - began.waits)


def pace_of(timings: Sequence[Timing]) -> Pace:
    """Return what warm calls with the sample say: the later ones, of which the quickest counts."""
    warm = timings[len(timings) // 2 :]
    return Pace(
        call_ms=min(one.wall_s for one in warm) * 1000,
        is_waiting=all(one.is_waiting() for one in warm),
    )


def pace_of_requests(timings: Sequence[Timing]) -> Pace:
    """Return what requests say, each with another body: the CPU time of the slowest counts."""
    warm = timings[len(timings) // 2 :]
    return Pace(
        call_ms=max(one.cpu_s for one in warm) * 1000,
        is_waiting=2 * sum(one.is_waiting() for one in warm) >= len(warm),
    )


class Trial:
    """Times the first requests of a function that had no sample, on whichever threads they run."""

    def __init__(self) -> None:
        self._timings: list[Timing] = []

    def call(self, work: Callable[[], T]) -> T:
        """Do a request's work. One that fails tells nothing: it may not have got far."""
        began = clock()
        done = work()
        self._timings.append(since(began))
        return done

    def verdict(self) -> Pace | None:
        """Return the function's pace; None until enough requests were answered."""
        timings = self._timings
        return pace_of_requests(timings) if len(timings) >= TRIAL_CALLS else None
