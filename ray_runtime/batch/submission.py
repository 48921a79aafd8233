"""Batch jobs as jobs of Ray's job server: handed over with their YAML alone, then followed."""

from __future__ import annotations

import asyncio
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
from ray_runtime.home import Home
from ray_runtime.jobs import IN_THE_LOG, job_client

FILE = "batch.yaml"


def submit_job(name: str, config: BatchJobConfig, settings: Settings) -> str:
    """Hand a job to the cluster's job server and return its id there.

    It runs with the cluster's own ENVELOPE_* settings. Raises ClusterError.
    """
    client = job_client(settings)
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

    client = job_client(settings)
    asyncio.run(_tail(client, job_id, write))
    info = client.get_job_info(job_id)
    if info.status != JobStatus.SUCCEEDED:
        why = (info.message or "").partition(IN_THE_LOG)[0].strip()
        write(f"job {job_id} {info.status.value.lower()}{f': {why}' if why else ''}\n")
    return bool(info.status == JobStatus.SUCCEEDED)


async def _tail(client: Any, job_id: str, write: Callable[[str], None]) -> None:
    async for text in client.tail_job_logs(job_id):
        write(text)
