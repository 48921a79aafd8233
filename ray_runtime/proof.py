"""Prove an envelope on a node of the cluster, in the environment that a replica of it has there."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from envelope.connection import Connection
from envelope.errors import ClusterError
from envelope.proof import (
    TIMEOUT_S,
    ProofError,
    Replayed,
    Tell,
    check_provable,
    check_tolerance,
    record_failure,
)
from envelope.proof_process import Step
from envelope.registry import EnvelopeRow, Proof, Report
from envelope.replay import Replay

BUILD_S = 900.0  # queueing for one of a node's builders, and the build's own 600 s


@dataclass(frozen=True, slots=True, kw_only=True)
class OnNode:
    """What came of it on a node: the replays, or what failed."""

    platform: str
    python: str
    functions: dict[str, Replay]
    failed_step: Step | None = None
    reason: str = ""
    output: tuple[str, ...] = ()


def verify_on_cluster(
    connection: Connection,
    row: EnvelopeRow,
    *,
    tolerance: float | None,
    num_gpus: float,
    tell: Tell,
) -> Proof:
    """Prove an envelope on a node of the cluster, and record it for that node's platform.

    The node's plugin builds the environment (or finds that its own Python satisfies the lock); a
    fresh process of that Python loads the envelope and replays its samples, as `envelope.proof`
    does here. num_gpus: that the model needs.
    Raises ProofError (recorded too), ClusterError and DependencyError when nothing could be tried.
    """
    from ray_runtime.connection import connect
    from ray_runtime.environments import runtime_env_for

    check_tolerance(tolerance)
    began = time.perf_counter()
    connect(connection.settings)
    try:
        manifest = check_provable(connection.store, row, tolerance)
        runtime_env = runtime_env_for(connection.store, manifest)
        tell("building its environment on a node of the cluster, and replaying its sample there")
        found = _ask(connection.store.url, row, runtime_env, tolerance, num_gpus)
        if found.failed_step is not None:
            raise ProofError(
                found.reason,
                envelope_id=row.id,
                step=found.failed_step,
                output=found.output,
            )
    except _NotBuilt as exc:
        failed = ProofError(str(exc), envelope_id=row.id, step="build")
        record_failure(connection, failed, platform=_platform())
        raise failed from exc
    except ProofError as exc:
        record_failure(connection, exc, platform=_platform())
        raise
    report = Report(
        python=found.python,
        environment=runtime_env.get("envelope", {}).get("key", "uv"),
        took_s=round(time.perf_counter() - began, 3),
        functions=found.functions,
    )
    return connection.registry.add_proof(
        row.id, platform=found.platform, ok=True, actor=connection.actor, report=report
    )


class _NotBuilt(Exception):
    """Why the node could not build the environment, in the resolver's words."""


def _platform() -> str:
    """The cluster's, which is this interpreter's: see `environments.spec_for`."""
    from envelope.capture.environment import platform_tag

    return platform_tag()


def _ask(
    store_url: str,
    row: EnvelopeRow,
    runtime_env: dict[str, Any],
    tolerance: float | None,
    num_gpus: float,
) -> OnNode:
    import ray
    import ray.exceptions as rx

    from ray_runtime.environments import reason_of

    task = ray.remote(replay_on_node).options(
        runtime_env=runtime_env, num_cpus=1, num_gpus=num_gpus, max_retries=0
    )
    asked = task.remote(store_url, row.id, row.manifest_sha256, dict(row.functions), tolerance)
    try:
        found: OnNode = ray.get(asked, timeout=BUILD_S + TIMEOUT_S)
    except rx.RuntimeEnvSetupError as exc:
        reason = reason_of(str(exc)) or str(exc)
        if "the disk is full" in reason or "cannot be written" in reason:
            raise ClusterError(f"nothing was proved: {reason}") from exc
        raise _NotBuilt(reason) from exc
    except rx.GetTimeoutError as exc:
        ray.cancel(asked, force=True)
        raise ClusterError(
            f"no node proved it in {BUILD_S + TIMEOUT_S:.0f} s; look with `envelope status` "
            "whether one has a free CPU" + (f" and {num_gpus:g} free GPUs" if num_gpus else "")
        ) from exc
    except rx.RayError as exc:
        raise ClusterError(f"the node's worker ended: {exc}") from exc
    return found


def replay_on_node(
    store_url: str,
    envelope_id: str,
    manifest_sha256: str,
    function_hashes: dict[str, str],
    tolerance: float | None,
) -> OnNode:
    """Runs in a worker, whose Python is the environment's."""
    import platform
    import sys
    from pathlib import Path

    from envelope.capture.environment import platform_tag
    from envelope.proof import replay_with
    from envelope.store import Store

    what = Replayed(
        envelope_id=envelope_id, manifest_sha256=manifest_sha256, function_hashes=function_hashes
    )
    functions: dict[str, Replay] = {}
    step: Step | None = None
    reason = ""
    output: tuple[str, ...] = ()
    try:
        functions = replay_with(
            Store(store_url),
            what,
            Path(sys.executable),
            tolerance=tolerance,
            timeout_s=TIMEOUT_S,
        )
    except ProofError as exc:
        step, reason, output = exc.step, exc.reason, exc.output
    return OnNode(
        platform=platform_tag(),
        python=platform.python_version(),
        functions=functions,
        failed_step=step,
        reason=reason,
        output=output,
    )
