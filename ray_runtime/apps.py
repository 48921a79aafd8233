"""Envelope + deployment config -> Serve application. The only place that writes to Serve.

One deployment is one application with one Serve deployment, whose replicas own the route. A new
envelope is a redeploy in place: with `max_surge_percent=100` the new replica loads, warms up and
replays its sample while the old one answers. Serve restarts replicas when the code version
changes, and its own default is a random one: ours is a hash of what decides the replica, so that
the same state applied twice touches nothing.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias

import httpx
import msgspec
from ray import serve
from ray.exceptions import RayError
from ray.serve.api import RunTarget
from ray.serve.config import BackpressureConfig
from ray.serve.context import _get_global_client
from ray.serve.exceptions import RayServeException
from ray.serve.schema import ServeInstanceDetails

from envelope.config import DeploymentConfig
from envelope.errors import ClusterError
from ray_runtime.live import ReplicaOptions
from ray_runtime.niceness import SERVES
from ray_runtime.reasons import readable_reason
from ray_runtime.replica import MIDDLEWARE_PATH, MIDDLEWARE_VARIABLE, Replica
from ray_runtime.scaling import initial_replicas, observed_scale, scale_of, serve_scaling

Status: TypeAlias = Literal["starting", "running", "failed", "unhealthy", "deleting"]
Slot: TypeAlias = Literal["main", "challenger", "previous"]

VERSION_VARIABLE = "ENVELOPE_APP_VERSION"  # what a replica was started as, readable from Serve
ENVELOPE_VARIABLE = "ENVELOPE_APP_ENVELOPE"  # and of which envelope
MAX_ONGOING = 100_000  # Serve's own limit is off: the queue that answers 429 is ours
DRAIN_S = 45.0  # Serve keeps an old replica reachable for 30 s before it waits for requests
HEALTH_PERIOD_S = 5.0
HEALTH_TIMEOUT_S = 30.0
ANSWER_TIMEOUT_S = 2.0
RETRY_AFTER_S = 5.0  # where max_queue queries wait for the first replica; a start takes about 7 s

ANSWERING = ("RUNNING", "PENDING_MIGRATION", "RECOVERING")  # the states of replicas that may answer

_STATUSES: Mapping[str, Status] = {
    "NOT_STARTED": "starting",
    "DEPLOYING": "starting",
    "DEPLOY_FAILED": "failed",
    "RUNNING": "running",
    "UNHEALTHY": "unhealthy",
    "DELETING": "deleting",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class AppSpec:
    """Everything that one application needs.

    release_id: of the release that asks, for people; another one alone restarts nothing.
    runtime_env: of `environments.runtime_env_for`. serve_url: where deployments answer.
    slot: main is what answers at the deployment's URL; the others stand beside it, have no URL, and
    get what it sends on.
    has_answered: a replica of it has before, so that it may begin without one where load decides.
    """

    deployment: str
    envelope_id: str
    manifest_sha256: str
    function_hashes: Mapping[str, str]
    release_id: str | None
    config: DeploymentConfig
    runtime_env: Mapping[str, Any]
    store_url: str
    serve_url: str
    slot: Slot = "main"
    has_answered: bool = False

    @property
    def application(self) -> str:
        """Its name in Serve."""
        return application_of(self.deployment, self.slot)


def application_of(deployment: str, slot: Slot) -> str:
    """The name of an application; no deployment's name has `--`."""
    return deployment if slot == "main" else f"{deployment}--{slot}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ObservedApp:
    """One application as Serve sees it.

    status: "failed" can mean that an older replica still answers. message: why, for people.
    version: `version_of` of the spec that was applied last, and its envelope; None for applications
    not ours.
    replicas: how many are running. target_replicas: how many should; 0 is no fault where load
    decides. scale: what was asked for, as `scaling.scale_of` names it. may_answer: whether there is
    a replica that may.
    """

    name: str
    status: Status
    message: str
    version: str | None
    replicas: int = 0
    target_replicas: int = 0
    scale: str = "0"
    may_answer: bool = True
    envelope_id: str | None = None


def deploy(specs: Sequence[AppSpec]) -> None:
    """Ask Serve to run these applications, and return.

    Those that run already are not touched; those that failed to start as they are asked for now
    are tried again.

    Raises ClusterError when Serve cannot be reached.
    """
    if not specs:
        return
    with _reaching_serve():
        known = _details()
        serve.run_many(
            [
                RunTarget(
                    _application(spec, known.get(spec.application)),
                    name=spec.application,
                    route_prefix=f"/{spec.deployment}" if spec.slot == "main" else None,
                )
                for spec in specs
            ],
            wait_for_ingress_deployment_creation=False,
            wait_for_applications_running=False,
        )


def delete(names: Sequence[str]) -> None:
    """Ask Serve to drain and remove applications, and return. Unknown names are no error.

    Raises ClusterError when Serve cannot be reached.
    """
    with _reaching_serve():
        for name in names:
            serve.delete(name, _blocking=False)


def version_of(spec: AppSpec) -> str:
    """Return the name of everything that decides a replica: a change of it is a restart.

    Not in it: release_id, what Serve changes in place (num_replicas, the bounds of autoscaling),
    and what the controller alone judges by. The latency that is promised is in it: each replica
    measures it as it starts.
    """
    config = spec.config.model_dump(mode="json")
    gates = config.pop("gates")
    if gates["sla"] is not None:
        config["sla"] = gates["sla"]
    scaling = config.pop("autoscaling")
    if scaling is not None:
        config["target_ongoing_requests"] = scaling["target_ongoing_requests"]
    for in_place in ("num_replicas", "start_timeout_s", "max_age", "rollout", "keep_warm_s"):
        config.pop(in_place, None)
    decides = {
        "envelope_id": spec.envelope_id,
        "manifest": spec.manifest_sha256,
        "functions": dict(spec.function_hashes),
        "runtime_env": dict(spec.runtime_env),
        "store": spec.store_url,
        "config": config,
    }
    return hashlib.sha256(msgspec.json.encode(decides, order="sorted")).hexdigest()[:16]


def observe() -> dict[str, ObservedApp]:
    """Return all applications that Serve knows, by name.

    Raises ClusterError when Serve cannot be reached, or does not run.
    """
    with _reaching_serve():
        return {name: _observed(name, app) for name, app in _details().items()}


def answering(serve_url: str, deployment: str) -> str | None:
    """Return the id of the envelope that answers for a deployment now; None when none does."""
    try:
        answer = httpx.get(f"{serve_url}/{deployment}", timeout=ANSWER_TIMEOUT_S)
    except httpx.HTTPError:
        return None
    found: str | None = answer.headers.get("x-envelope-id")
    return found


@contextmanager
def _reaching_serve() -> Iterator[None]:
    """Say in our words that Serve did not do what it was asked to."""
    try:
        yield
    except (RayError, RayServeException, ConnectionError, TimeoutError) as exc:
        raise ClusterError(
            f"Serve cannot be reached: {type(exc).__name__}: {exc}; look with `envelope status`"
        ) from exc


def _details() -> dict[str, Any]:
    raw = _get_global_client().get_serve_details()
    for app in raw.get("applications", {}).values():
        for deployment in app.get("deployments", {}).values():
            # Validating it pickles a class: 10 ms for each deployment, of which there are hundreds.
            deployment.get("deployment_config", {}).pop("request_router_config", None)
    found: dict[str, Any] = ServeInstanceDetails(**raw).applications
    return found


def _drain_s(spec: AppSpec, known: Any) -> float:
    """Return how long a replica may take to end: the longest request, after Serve's own 30 s.

    Serve does not try again what failed when it is asked for the very same, and any other setting
    is another; this one restarts nothing that runs.
    """
    drain_s = math.ceil(spec.config.timeout_s) + DRAIN_S
    if known is None or known.status.value != "DEPLOY_FAILED":
        return drain_s
    settings = [one.deployment_config for one in known.deployments.values()]
    is_same = any(one.graceful_shutdown_timeout_s == drain_s for one in settings)
    return drain_s + 1 if is_same else drain_s


def _application(spec: AppSpec, known: Any) -> Any:
    """Return the bound Serve application of a spec. known: what Serve has of it already."""
    config, version = spec.config, version_of(spec)
    actor_options: dict[str, Any] = {
        "num_cpus": config.resources.num_cpus,
        "num_gpus": config.resources.num_gpus,
        "runtime_env": _runtime_env(spec, version),
    }
    if config.resources.memory_bytes is not None:
        actor_options["memory"] = config.resources.memory_bytes
    deployment = serve.deployment(
        Replica,
        name=spec.deployment,
        **_scale(spec, version, known),
        ray_actor_options=actor_options,
        max_ongoing_requests=MAX_ONGOING,
        max_surge_percent=100,
        max_constructor_retry_count=1,  # whether to try again is the controller's to decide
        graceful_shutdown_timeout_s=_drain_s(spec, known),
        graceful_shutdown_wait_loop_s=0.5,
        health_check_period_s=HEALTH_PERIOD_S,
        health_check_timeout_s=HEALTH_TIMEOUT_S,
        logging_config={"enable_access_log": False},
    )
    deployment._version = version  # Serve takes no version in public, and makes a random one
    return deployment.bind(**asdict(_options(spec)))


def _scale(spec: AppSpec, version: str, known: Any) -> dict[str, Any]:
    """Return how many replicas Serve runs, and how many queries it lets wait for the first one."""
    config, scaling = spec.config, spec.config.autoscaling
    if scaling is None:
        return {"num_replicas": config.num_replicas, "max_queued_requests": -1}
    running, earlier = 0, None
    for one in known.deployments.values() if known is not None else ():
        told, running = _autoscaling(one), one.target_num_replicas
        is_same = _variables(one).get(VERSION_VARIABLE) == version
        if is_same and told is not None and observed_scale(running, told) == scale_of(config):
            earlier = told["initial_replicas"]
    begins = initial_replicas(
        scaling, has_answered=spec.has_answered, running=running, earlier=earlier
    )
    told = serve_scaling(scaling, initial_replicas=begins, may_be_none=spec.slot == "main")
    waits = BackpressureConfig(status_code=429, retry_after_s=RETRY_AFTER_S)
    return {
        "autoscaling_config": told,
        "max_queued_requests": config.max_queue if scaling.min == 0 else -1,
        "backpressure_config": waits,
    }


def _variables(deployment: Any) -> Mapping[str, str]:
    """Return the environment variables that a deployment's replicas were started with."""
    runtime_env = getattr(deployment.deployment_config.ray_actor_options, "runtime_env", None) or {}
    found: Mapping[str, str] = runtime_env.get("env_vars", {})
    return found


def _autoscaling(deployment: Any) -> Mapping[str, Any] | None:
    """Return how load decides the number of replicas; None where it does not."""
    told = deployment.deployment_config.autoscaling_config
    return told if isinstance(told, Mapping) else None  # Serve's DEFAULT is neither


def _options(spec: AppSpec) -> ReplicaOptions:
    config = spec.config
    return ReplicaOptions(
        deployment=spec.deployment,
        envelope_id=spec.envelope_id,
        manifest_sha256=spec.manifest_sha256,
        function_hashes=dict(spec.function_hashes),
        release_id=spec.release_id,
        store_url=spec.store_url,
        timeout_s=config.timeout_s,
        max_queue=config.max_queue,
        max_body_bytes=config.max_body_bytes,
        batching=config.batching,
        extra_columns=config.extra_columns,
        num_cpus=config.resources.num_cpus,
        p99_ms=config.gates.sla.p99_ms if config.gates.sla else None,
        is_routed=spec.slot == "main",
        target_ongoing_requests=(
            config.autoscaling.target_ongoing_requests if config.autoscaling else None
        ),
    )


def _runtime_env(spec: AppSpec, version: str) -> dict[str, Any]:
    given = spec.runtime_env
    variables = {
        **given.get("env_vars", {}),
        ENVELOPE_VARIABLE: spec.envelope_id,
        MIDDLEWARE_VARIABLE: MIDDLEWARE_PATH,
        VERSION_VARIABLE: version,
        SERVES: "1",
    }
    return {**given, "env_vars": variables}


def _is_in_place(deployment: Any, asked_at: float) -> bool:
    """Whether all of the new version runs. Serve goes on updating until the old one has drained.

    A replica that began before Serve was asked is an old one, also while no new one has begun.
    Where load decides how many there are, the first is enough.
    """
    replicas = deployment.replicas
    running = [replica for replica in replicas if replica.state.value == "RUNNING"]
    stopping = sum(replica.state.value == "STOPPING" for replica in replicas)
    is_new = all(replica.start_time_s >= asked_at for replica in running)
    if _autoscaling(deployment) is not None and running:
        return is_new
    is_enough = len(running) == deployment.target_num_replicas
    return is_new and is_enough and len(running) + stopping == len(replicas)


def _has_not_woken(deployment: Any) -> bool:
    """Whether the first replica could not start after there was none. Serve goes on trying."""
    scaling = _autoscaling(deployment)
    may_be_none = scaling is not None and scaling.get("min_replicas") == 0
    is_failing = deployment.status_trigger.value == "REPLICA_STARTUP_FAILED"
    return may_be_none and is_failing and not _may_answer(deployment)


def _may_answer(deployment: Any) -> bool:
    return any(replica.state.value in ANSWERING for replica in deployment.replicas)


def _observed(name: str, app: Any) -> ObservedApp:
    deployments = list(app.deployments.values())
    messages = [one.message for one in deployments if one.message] or [app.message]
    version, envelope_id, running, target, scale = None, None, 0, 0, "0"
    for one in deployments:
        variables = _variables(one)
        version = variables.get(VERSION_VARIABLE, version)
        envelope_id = variables.get(ENVELOPE_VARIABLE, envelope_id)
        running += sum(replica.state == "RUNNING" for replica in one.replicas)
        target += one.target_num_replicas
        if version is not None:
            scale = observed_scale(one.target_num_replicas, _autoscaling(one))
    status = _STATUSES[app.status.value]
    asked_at = app.last_deployed_time_s
    if status == "starting" and deployments:
        is_in_place = all(_is_in_place(one, asked_at) for one in deployments)
        status = "running" if is_in_place else status
    if status == "unhealthy" and any(map(_has_not_woken, deployments)):
        status = "failed"
    is_fine = status == "running" and (running > 0 or target == 0)
    message = "" if is_fine else readable_reason("\n".join(messages))
    return ObservedApp(
        name=name,
        status=status,
        message=message,
        version=version,
        replicas=running,
        target_replicas=target,
        scale=scale,
        may_answer=any(map(_may_answer, deployments)),
        envelope_id=envelope_id,
    )
