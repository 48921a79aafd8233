"""How many replicas a deployment has, where load decides: what Serve is told, and what it counts.

Serve's autoscaler divides the requests that it counts by `target_ongoing_requests`. Our replicas
answer before Serve counts anything (docs/decisions/0002), so each reports its own figure under
Serve's own name for it. What waits for a deployment without replicas waits in Serve's fallback
proxy, which reports that itself, and Serve starts a replica at once.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from ray.serve._private.common import RUNNING_REQUESTS_KEY
from ray.serve.config import AutoscalingConfig

from envelope.config import Autoscaling, DeploymentConfig
from ray_runtime.protocols.http import Receive, Scope, Send

REPORT_S = 2.0  # how often a replica reports; Serve's own 10 s is a long time in a rush
LOOK_BACK_S = 10.0  # what is averaged
UPSCALE_DELAY_S = 3.0  # a burst shorter than a start needs no replica
NEVER_S = 1e9
FULL = 0.8  # of one CPU: beyond it requests wait in the kernel, where nobody counts them


class Ongoing:
    """The requests that one replica is answering, on average since it was last asked.

    A quick function runs on the event loop, one request at a time, and the others wait unread in
    the kernel. So a loop that is busy nearly all the time counts as more than the target.
    """

    def __init__(
        self,
        target: float,
        *,
        clock: Callable[[], float] = time.perf_counter,
        cpu: Callable[[], float] = time.thread_time,
    ) -> None:
        self._target = target
        self._clock, self._cpu = clock, cpu
        self._count, self._area = 0, 0.0
        self._changed_at = self._asked_at = clock()
        self._cpu_at = cpu()

    def around(self, app: Any) -> Any:
        """Return an ASGI application that counts what another one is answering.

        A lifespan, which lasts as long as the replica, is no request.
        """

        async def counted(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] != "http":
                await app(scope, receive, send)
                return
            self.add(1)
            try:
                await app(scope, receive, send)
            finally:
                self.add(-1)

        return counted

    def add(self, change: int) -> None:
        """Say that a request has begun (1) or ended (-1)."""
        now = self._clock()
        self._area += self._count * (now - self._changed_at)
        self._changed_at = now
        self._count += change

    def read(self) -> float:
        """Return the requests answered at once, and begin anew. Call it on the loop's thread."""
        self.add(0)
        now, cpu = self._changed_at, self._cpu()
        passed_s = now - self._asked_at
        if passed_s <= 0:
            return float(self._count)
        mean, busy = self._area / passed_s, (cpu - self._cpu_at) / passed_s
        self._asked_at, self._cpu_at, self._area = now, cpu, 0.0
        return max(mean, self._target * busy / FULL if busy > FULL else 0.0)


def report(ongoing: Ongoing | None) -> Mapping[str, float]:
    """Return what Serve asks a replica for; {} leaves it at what Serve counts itself."""
    return {} if ongoing is None else {RUNNING_REQUESTS_KEY: ongoing.read()}


def serve_scaling(
    scaling: Autoscaling, *, initial_replicas: int, may_be_none: bool
) -> AutoscalingConfig:
    """Return what Serve is told.

    initial_replicas: of `initial_replicas`.
    may_be_none: False for what stands beside a deployment, which is to be there when it is needed.
    """
    delay_s = scaling.downscale_delay_s
    return AutoscalingConfig(
        min_replicas=scaling.min,
        max_replicas=scaling.max,
        initial_replicas=initial_replicas,
        target_ongoing_requests=scaling.target_ongoing_requests,
        metrics_interval_s=REPORT_S,
        look_back_period_s=LOOK_BACK_S,
        upscale_delay_s=UPSCALE_DELAY_S,
        downscale_delay_s=delay_s,
        downscale_to_zero_delay_s=delay_s if may_be_none else NEVER_S,
    )


def initial_replicas(
    scaling: Autoscaling, *, has_answered: bool, running: int, earlier: int | None
) -> int:
    """Return with how many replicas Serve begins: what has never answered, with at least one.

    running: as many as Serve wants now, of whatever version. earlier: what it was told when it was
    asked for the very same, and None otherwise: another number would begin anew.
    """
    if earlier is not None:
        return earlier
    fewest = scaling.min if has_answered else max(1, scaling.min)
    return min(max(fewest, running), scaling.max)


def scale_of(config: DeploymentConfig) -> str:
    """Name the number of replicas that a config asks for, as `observed_scale` does."""
    scaling = config.autoscaling
    if scaling is None:
        return str(config.num_replicas)
    return _name(
        scaling.min, scaling.max, scaling.target_ongoing_requests, scaling.downscale_delay_s
    )


def observed_scale(target_replicas: int, told: Mapping[str, Any] | None) -> str:
    """Name the number of replicas that Serve was asked for. What load makes of it is not in it.

    told: the AutoscalingConfig of an application of ours, as Serve's details have it.
    """
    if told is None:
        return str(target_replicas)
    return _name(
        told["min_replicas"],
        told["max_replicas"],
        told["target_ongoing_requests"],
        told["downscale_delay_s"],
    )


def _name(least: int, most: int, target: float, delay_s: float) -> str:
    return f"{least}to{most}at{target:g}after{delay_s:g}"
