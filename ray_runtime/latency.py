"""Whether the sample is answered within the time that is promised, where it is going to run.

What was measured at save time is one call on another machine. So the replica measures, before it
counts as ready, beside whatever else its node does.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from envelope.errors import EnvelopeError

ROUNDS = 3  # the best counts: a busy node makes calls slower, and never quicker
CALLS = 100  # in a round, the fewest of which one in a hundred can be slower
ROUND_S = 10.0  # then fewer calls have to do, and the slowest of them counts


class LatencyError(EnvelopeError):
    """The model is slower than its deployment promises."""


def check_latency(name: str, call: Callable[[], object], p99_ms: float) -> float:
    """Call a warm function until a round of calls is quick enough; return its p99 in ms.

    Raises LatencyError with both figures when none of ROUNDS is.
    """
    best_ms = math.inf
    for _ in range(ROUNDS):
        timings = _round(call)
        best_ms = min(best_ms, percentile_99(timings) * 1000)
        if best_ms <= p99_ms:
            return best_ms
    raise LatencyError(
        f"{name} answers its sample in {best_ms:.3g} ms (p99 of {len(timings)} calls, the best of "
        f"{ROUNDS} rounds here), its deployment's gate `sla` allows {p99_ms:g} ms; make it "
        "quicker, give it more CPUs, or change gates.sla.p99_ms"
    )


def percentile_99(timings: list[float]) -> float:
    """The time that 99 of 100 calls need at most (nearest rank).

    >>> percentile_99([float(n) for n in range(1, 101)])
    99.0
    """
    return sorted(timings)[math.ceil(0.99 * len(timings)) - 1]


def _round(call: Callable[[], object]) -> list[float]:
    timings: list[float] = []
    ends_at = time.perf_counter() + ROUND_S
    while len(timings) < CALLS and time.perf_counter() < ends_at:
        began = time.perf_counter()
        call()
        timings.append(time.perf_counter() - began)
    return timings
