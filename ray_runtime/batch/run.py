"""Run a batch job on the cluster: score every part, then publish, or leave all as it was."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec
import pyarrow as pa

from envelope.config import BatchJobConfig
from envelope.connection import Connection
from envelope.environment import check_batch
from envelope.errors import EnvelopeError
from envelope.manifest import Manifest
from envelope.schema.arrow import OUTPUT
from ray_runtime.batch.failures import translated
from ray_runtime.batch.job import Job, check_job
from ray_runtime.batch.outputs import (
    BatchRecord,
    WrittenPart,
    abandon_batch,
    begin_batch,
    count_parts,
    finish_batch,
    write_empty_part,
)
from ray_runtime.batch.plan import Cut, worker_cpus, worker_slots

if TYPE_CHECKING:
    from ray_runtime.batch.pipeline import Workers

Report = Callable[[str], None]
# Called with (parts written, parts in all or None where that is not known yet).
Progress = Callable[[int, int | None], None]
PROGRESS_S = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchResult:
    """What a job did. is_published: False when a job that began later was faster."""

    job: str
    batch_id: str
    envelope_id: str
    function: str
    path: str
    rows: int
    files: int
    seconds: float
    rows_per_s: float
    is_published: bool

    def __str__(self) -> str:
        late = "" if self.is_published else "; NOT current: a job that began later was faster"
        return (
            f"{self.job}: {self.rows:,} rows in {self.seconds:.1f} s ({self.rows_per_s:,.0f} "
            f"rows/s), {self.files} {'file' if self.files == 1 else 'files'}, by {self.function} "
            f"of envelope {self.envelope_id}\n"
            f"output: {self.path} (batch {self.batch_id}{late})"
        )


def run_job(
    name: str,
    config: BatchJobConfig,
    connection: Connection,
    *,
    report: Report = lambda line: None,
    progress: Progress | None = None,
) -> BatchResult:
    """Run a job and publish its output; on any failure the earlier output stays the current one.

    report: gets a line when the job was found to be in order. progress: see Progress.

    Raises what `check_job` raises, ClusterError, and what a worker met.
    """
    began, started_at = time.monotonic(), datetime.now(UTC)
    job = check_job(name, config, connection)
    path = config.output.path
    record = _record(job, begin_batch(path, now=started_at), started_at, connection.actor)
    report(_announcement(job))
    try:
        record, parts = _score(job, record, connection, progress)
        n_rows = sum(part.n_rows for part in parts)
        if job.scoring.shape == "rows" and job.n_rows not in (None, n_rows):
            raise EnvelopeError(
                f"batch job {name}: the input had {job.n_rows:,} rows when the job began, and "
                f"{n_rows:,} were scored; it changed meanwhile, so run the job again"
            )
        record = msgspec.structs.replace(
            record, parts=parts, n_rows=n_rows, finished_at=datetime.now(UTC)
        )
        is_published = finish_batch(path, record)
    except BaseException:  # also when the job is stopped
        abandon_batch(path, record.batch_id)
        raise
    seconds = time.monotonic() - began
    return BatchResult(
        job=name,
        batch_id=record.batch_id,
        envelope_id=record.envelope_id,
        function=record.function,
        path=path,
        rows=n_rows,
        files=len(parts),
        seconds=seconds,
        rows_per_s=n_rows / seconds,
        is_published=is_published,
    )


def _score(
    job: Job, record: BatchRecord, connection: Connection, progress: Progress | None
) -> tuple[BatchRecord, tuple[WrittenPart, ...]]:
    """Write every part. Returns them, and the record with the environment that they ran in."""
    path = job.config.output.path
    parts: tuple[WrittenPart, ...] = ()
    if job.files:
        # Ray is imported and joined here, after all that can go wrong without it.
        from ray_runtime.batch.pipeline import Source, Writing, run_pipeline

        workers, slots = _workers(job, connection)
        record = msgspec.structs.replace(record, environment=_key(workers))
        how = job.cut(slots)
        with translated(), _watched(path, record.batch_id, _n_parts(how, job), progress):
            parts = run_pipeline(
                Source(job.reading, how, size_bytes=job.size_bytes),
                how,
                job.scoring,
                Writing(
                    path=path,
                    batch_id=record.batch_id,
                    schema=None if job.schema is None else job.schema.serialize().to_pybytes(),
                    metadata=record.metadata(),
                ),
                workers,
            )
    if not parts:
        schema = job.schema or pa.schema([(OUTPUT, pa.null())])
        parts = (write_empty_part(path, record.batch_id, schema, record.metadata()),)
    return record, parts


@contextmanager
def _watched(
    path: str, batch_id: str, n_parts: int | None, progress: Progress | None
) -> Iterator[None]:
    """Report the parts that lie at the output while the block waits for them."""
    if progress is None:
        yield
        return
    is_over = threading.Event()

    def watch() -> None:
        while not is_over.wait(PROGRESS_S):
            with suppress(EnvelopeError):  # the store may be busy: it is asked again
                progress(count_parts(path, batch_id), n_parts)

    watcher = threading.Thread(target=watch, name="batch-progress", daemon=True)
    progress(0, n_parts)
    watcher.start()
    try:
        yield
    finally:
        is_over.set()
        watcher.join()
    progress(count_parts(path, batch_id), n_parts)


def _n_parts(how: Cut, job: Job) -> int | None:
    is_one_each = not how.is_spread and job.scoring.shape != "groups"
    return len(how.parts) if is_one_each else None


def _workers(job: Job, connection: Connection) -> tuple[Workers, int]:
    """Join the cluster. Returns how the job's tasks run, and how many run at once.

    Raises DependencyError when the envelope's lock cannot go with Ray Data, or with the cluster.
    """
    check_batch(job.manifest.environment.packages)
    from ray_runtime.cluster import connect

    connect(connection.settings)
    import ray

    from ray_runtime.batch.pipeline import Workers
    from ray_runtime.environments import runtime_env_for

    total = ray.cluster_resources().get("CPU", 0.0)
    free = ray.available_resources().get("CPU", 0.0)
    slots = worker_slots(total)
    return Workers(
        runtime_env=runtime_env_for(connection.store, job.manifest),
        num_cpus=worker_cpus(total=total, free=free),
        concurrency=job.config.concurrency,
    ), min(slots, job.config.concurrency or slots)


def _key(workers: Workers) -> str | None:
    field = workers.runtime_env.get("envelope")
    return field["key"] if field else None


def _record(job: Job, batch_id: str, started_at: datetime, actor: str) -> BatchRecord:
    return BatchRecord(
        batch_id=batch_id,
        job=job.name,
        envelope_id=job.manifest.id,
        envelope_name=job.manifest.name,
        manifest_sha256=job.manifest_sha256,
        function=job.function.name,
        environment=None,
        lock_sha256=lock_sha256(job.manifest),
        input={"path": job.table.where, "folder": job.table.url, "files": len(job.table.files)},
        parts=(),
        n_rows=0,
        started_at=started_at,
        finished_at=started_at,
        actor=actor,
    )


def lock_sha256(manifest: Manifest) -> str:
    """Return the hash of an envelope's locked packages: equal locks, equal hashes."""
    return hashlib.sha256(msgspec.json.encode(manifest.environment.packages)).hexdigest()


def _announcement(job: Job) -> str:
    rows = "all rows" if job.n_rows is None else f"{job.n_rows:,} rows"
    files = len(job.table.files)
    return (
        f"{job.name}: {rows} of {job.table.where} ({files} {'file' if files == 1 else 'files'}) "
        f"through {job.function.name} of envelope {job.manifest.id} ({job.manifest.name})"
    )
