"""Jobs of the cluster's job server, each with an id that whoever submits it chooses.

Whoever comes second with an id finds the job of the first, so that no two run.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from envelope.errors import ClusterError, ConfigError
from envelope.settings import Settings
from ray_runtime.cluster import is_own
from ray_runtime.connection import prepare_environment
from ray_runtime.home import Home

SERVER = "RAY_API_SERVER_ADDRESS"  # Ray's own variable
_CHATTY = (
    "ray.dashboard.modules.dashboard_sdk",  # "Uploading package gcs://..."
    "ray._private.runtime_env.packaging",
    "ray.dashboard.modules.job.sdk",  # "WebSocket closed ..."
)
IN_THE_LOG = "Job entrypoint command failed"  # what follows is the end of the log once more

JobStatus = Literal["pending", "running", "succeeded", "failed", "stopped"]


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSpec:
    """What to run. job_id: its name at the job server. entrypoint: a command for a shell.

    runtime_env: of Ray. metadata: for people who look at the job. num_cpus, num_gpus, memory_bytes:
    what its command reserves on a node; a job that reserves nothing runs on the head node.
    """

    job_id: str
    entrypoint: str
    runtime_env: Mapping[str, Any] = field(default_factory=dict)
    metadata: Mapping[str, str] = field(default_factory=dict)
    num_cpus: float = 0
    num_gpus: float = 0
    memory_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A job as the server sees it.

    exit_status: of its command; negative for a signal, None where the command did not end, or was
    never started. message: why, in Ray's words.
    """

    status: JobStatus
    exit_status: int | None = None
    message: str = ""


class RayJobs:
    """The job server of the cluster. Every call raises ClusterError when it does not answer."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def look(self, job_id: str) -> Job | None:
        """Return a job as it is now; None when there is none of this id."""
        found = self._ask("get_job_info", job_id, missing=None)
        if found is None:
            return None
        message = (found.message or "").partition(IN_THE_LOG)[0].strip()
        status: Any = found.status.value.lower()
        return Job(status=status, exit_status=found.driver_exit_code, message=message)

    def submit(self, spec: JobSpec) -> None:
        """Hand a job over; one of this id that is there already is this one.

        Raises ConfigError for what can never be taken, such as a folder that is not there.
        """
        client = job_client(self._settings)
        try:
            client.submit_job(
                entrypoint=spec.entrypoint,
                submission_id=spec.job_id,
                runtime_env=dict(spec.runtime_env),
                metadata=dict(spec.metadata),
                entrypoint_num_cpus=spec.num_cpus or None,
                entrypoint_num_gpus=spec.num_gpus or None,
                entrypoint_memory=spec.memory_bytes or None,
            )
        except OSError as exc:  # those of `requests` too
            raise _silent(exc) from exc
        except (RuntimeError, ValueError) as exc:
            if "already exists" in str(exc):
                return
            if "Request failed with status code 5" in str(exc):
                raise _silent(exc) from exc
            raise ConfigError(f"the job server did not take it: {exc}") from exc

    def stop(self, job_id: str) -> None:
        """Ask a job to end; it is killed when it does not. One that has ended is no error."""
        self._ask("stop_job", job_id, missing=False)

    def last_lines(self, job_id: str, count: int) -> Sequence[str]:
        """Return the end of what a job has written."""
        text: str = self._ask("get_job_logs", job_id, missing="")
        return text.splitlines()[-count:]

    def _ask(self, call: str, job_id: str, *, missing: Any) -> Any:
        client = job_client(self._settings)
        try:
            return getattr(client, call)(job_id)
        except (RuntimeError, OSError) as exc:
            if "status code 404" in str(exc):
                return missing
            raise _silent(exc) from exc


def job_client(settings: Settings) -> Any:
    """Return Ray's client of the cluster's job server. Raises ClusterError."""
    home = Home(settings.home)
    record = home.read_record()
    own = record if is_own(settings, home) else None
    address = own.job_url if own is not None else os.environ.get(SERVER)
    if address is None:
        raise ClusterError(
            f"set {SERVER} to the job server of the cluster at {settings.ray_address}, "
            "for example http://head:8265"
            if settings.ray_address
            else f"no cluster runs for {settings.home}; run `envelope up`"
        )
    prepare_environment(home if own is not None else None)
    from ray.job_submission import JobSubmissionClient

    for name in _CHATTY:
        logging.getLogger(name).setLevel(logging.WARNING)
    try:
        return JobSubmissionClient(address)
    except (RuntimeError, ConnectionError) as exc:
        raise ClusterError(
            f"no job server answers at {address}: {exc}; look with `envelope status`"
        ) from exc


def _silent(error: Exception) -> ClusterError:
    return ClusterError(f"the job server does not answer: {error}; look with `envelope status`")
