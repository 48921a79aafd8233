"""Batch jobs as jobs of Ray's job server: handed over with their YAML alone, then followed."""

from __future__ import annotations

import asyncio
import logging
import os
import shlex
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from envelope.config import BatchJobConfig, DesiredState
from envelope.errors import ClusterError
from envelope.settings import Settings
from ray_runtime.cluster import is_own
from ray_runtime.connection import prepare_environment
from ray_runtime.home import Home

FILE = "batch.yaml"
SERVER = "RAY_API_SERVER_ADDRESS"  # Ray's own variable
_CHATTY = (
    "ray.dashboard.modules.dashboard_sdk",  # "Uploading package gcs://..."
    "ray._private.runtime_env.packaging",
    "ray.dashboard.modules.job.sdk",  # "WebSocket closed ..."
)
_IN_THE_LOG = "Job entrypoint command failed"  # what follows is the end of the log once more


def submit_job(name: str, config: BatchJobConfig, settings: Settings) -> str:
    """Hand a job to the cluster's job server and return its id there.

    It runs with the cluster's own ENVELOPE_* settings. Raises ClusterError.
    """
    client = _client(settings)
    # Another cluster's Python is where its own PATH leads.
    python = shlex.quote(sys.executable) if is_own(settings, Home(settings.home)) else "python"
    with tempfile.TemporaryDirectory(prefix="envelope-batch-") as folder:
        state = DesiredState(batch_jobs={name: config})
        text = yaml.safe_dump(state.model_dump(mode="json", exclude_defaults=True))
        (Path(folder) / FILE).write_text(text, encoding="utf-8")
        try:
            job_id: str = client.submit_job(
                entrypoint=f"{python} -m ray_runtime.batch {FILE} {shlex.quote(name)}",
                runtime_env={"working_dir": folder},
                metadata={"envelope_batch_job": name},
            )
        except (RuntimeError, ConnectionError) as exc:
            raise ClusterError(f"the job server did not take the batch job {name}: {exc}") from exc
    return job_id


def follow(job_id: str, settings: Settings, *, write: Callable[[str], None]) -> bool:
    """Write a job's log as it comes, until the job ends. Returns whether it succeeded."""
    from ray.job_submission import JobStatus

    client = _client(settings)
    asyncio.run(_tail(client, job_id, write))
    info = client.get_job_info(job_id)
    if info.status != JobStatus.SUCCEEDED:
        why = (info.message or "").partition(_IN_THE_LOG)[0].strip()
        write(f"job {job_id} {info.status.value.lower()}{f': {why}' if why else ''}\n")
    return bool(info.status == JobStatus.SUCCEEDED)


async def _tail(client: Any, job_id: str, write: Callable[[str], None]) -> None:
    async for text in client.tail_job_logs(job_id):
        write(text)


def _client(settings: Settings) -> Any:
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
