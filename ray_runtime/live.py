"""From a store to a model that answers: load, check, compile, warm up, replay. Nothing of HTTP.

A replica counts as ready only after all of it; what fails here fails the release, and the old
replica goes on answering.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import msgspec

from envelope.load import LoadedEnvelope, LoadedFunction, load_envelope
from envelope.replay import Replay, answer_sample, replay
from envelope.schema import Checker
from envelope.store import Store
from ray_runtime.lanes import Lane, Pool, threads_for
from ray_runtime.latency import LatencyError, check_latency
from ray_runtime.niceness import load_nicely, rise
from ray_runtime.pace import Pace, Timing, clock, pace_of, since

WARM_CALLS = 10  # the first ones pay for lazy imports and caches
WARM_UP_S = 2.0  # a function that takes this long is warm after one call

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaOptions:
    """What a replica is told, as plain data: it may run in another environment than its sender.

    function_hashes: name -> SHA-256 of the functions to serve. release_id: of the release that
    started it, for people. p99_ms: of calls with the sample, else the start fails; None: not
    measured. is_routed: it answers at the deployment's URL, and so may share its queries out.
    target_ongoing_requests: where load decides how many replicas there are, else None.
    The rest is of DeploymentConfig.
    """

    deployment: str
    envelope_id: str
    manifest_sha256: str
    function_hashes: Mapping[str, str]
    release_id: str | None
    store_url: str
    timeout_s: float = 30.0
    max_queue: int = 200
    max_body_bytes: int = 100 * 1024 * 1024
    batching: Literal["auto", "none"] = "auto"
    extra_columns: Literal["refuse", "ignore"] = "refuse"
    num_cpus: float = 0.25
    p99_ms: float | None = None
    is_routed: bool = True
    target_ongoing_requests: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Live:
    """An envelope that is ready to answer. lanes, replays: by function name."""

    options: ReplicaOptions
    envelope: LoadedEnvelope
    lanes: Mapping[str, Lane]
    replays: Mapping[str, Replay]
    pool: Pool

    @property
    def default(self) -> Lane:
        return self.lanes[self.envelope.manifest.default_function]


async def start(options: ReplicaOptions) -> Live:
    """Load an envelope and get it ready. The event loop stays free while that takes its time.

    Raises IntegrityError, DependencyError, ModelNotFound, StorageError, and ReplayError when the
    model does not answer its own sample as it did when it was saved, LatencyError when it takes
    longer than it may.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="envelope-load") as loading:
        loaded = await asyncio.get_running_loop().run_in_executor(loading, _load, options)
    checkers = {
        name: function.checker_for(options.extra_columns)
        for name, function in loaded.functions.items()
    }
    replays: dict[str, Replay] = {}
    for name, function in loaded.functions.items():
        replays[name] = await asyncio.to_thread(replay, function, checkers[name])
    rise()  # what is timed from here on has to be as it will be for callers
    paces: dict[str, Pace] = {}
    for name, function in loaded.functions.items():
        paces[name] = await asyncio.to_thread(measure, function, checkers[name])
        log.info("function %s: %s, %s", name, replays[name], paces[name])
        if options.p99_ms is not None:
            found_ms = await asyncio.to_thread(
                _check_latency, function, checkers[name], options.p99_ms
            )
            log.info("function %s: p99 of the sample is %.3g ms", name, found_ms)
    pool = Pool(
        threads_for(list(paces.values()), options.num_cpus),
        max_queue=options.max_queue,
        timeout_s=options.timeout_s,
    )
    lanes = {
        name: Lane(
            function,
            checkers[name],
            pace=paces[name],
            pool=pool,
            is_shared=is_shared(function, checkers[name], options.batching),
            max_queue=options.max_queue,
            timeout_s=options.timeout_s,
        )
        for name, function in loaded.functions.items()
    }
    return Live(options=options, envelope=loaded, lanes=lanes, replays=replays, pool=pool)


def _load(options: ReplicaOptions) -> LoadedEnvelope:
    """Load an envelope on a thread of its own, giving way to the replica that still answers."""
    load_nicely(options.num_cpus)
    return load_envelope(
        Store(options.store_url),
        options.envelope_id,
        manifest_sha256=options.manifest_sha256,
        function_hashes=options.function_hashes,
    )


def is_shared(
    function: LoadedFunction, checker: Checker, batching: Literal["auto", "none"]
) -> bool:
    """Decide whether callers may share calls: proved row-wise at save time, not switched off."""
    return batching == "auto" and function.row_wise.is_row_wise and checker.takes_one_frame


def measure(function: LoadedFunction, checker: Checker) -> Pace:
    """Warm a function up with its sample, and time it as a request would be.

    Without a sample what was measured at save time counts. Raises ReplayError when it fails.
    """
    if function.sample is None:
        return Pace(call_ms=function.call_ms)
    body = msgspec.json.encode(function.sample.input)
    timings: list[Timing] = []
    began = time.perf_counter()
    while len(timings) < WARM_CALLS and time.perf_counter() - began < WARM_UP_S:
        cpu, here = time.process_time(), clock()
        answer_sample(function.name, function.blocking_call, checker, body)
        timings.append(since(here)._replace(cpu_s=time.process_time() - cpu))  # of all its threads
    return pace_of(timings)


def _check_latency(function: LoadedFunction, checker: Checker, p99_ms: float) -> float:
    """Raise LatencyError for a function that is too slow, or has no sample to measure with."""
    if function.sample is None:
        raise LatencyError(f"{function.name} has no sample, so its latency cannot be judged")
    body = msgspec.json.encode(function.sample.input)
    call = partial(answer_sample, function.name, function.blocking_call, checker, body)
    return check_latency(function.name, call, p99_ms)


def describe_replay(found: Replay) -> dict[str, Any]:
    """Return a replay as JSON for `model_info`."""
    return {
        "outcome": found.outcome,
        "reason": found.reason,
        "max_difference": found.max_difference,
    }
