"""Output tables: parts written by workers, a record of the batch, then the switch of the pointer.

    <path>/<batch id>/part-000000.parquet
    <path>/<batch id>/batch.json            what made it; written when every part is there
    <path>/current.json                     see envelope/tables.py

A batch without its record was never finished: no reader is led there, and the next job that writes
at the path takes it away once it is old.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
from ulid import ULID

from envelope.errors import EnvelopeError
from envelope.folder import Folder
from envelope.tables import check_output_folder, current_batch, new_batch_id, publish_batch

RECORD = "batch.json"
# A job that writes nothing for that long is taken for dead. Its own last part may be large, and a
# clock may be an hour wrong.
LEFT_FOR_DEAD = timedelta(hours=24)
ROW_GROUP_ROWS = 1 << 20  # pyarrow's own default; what a reader holds at once

log = logging.getLogger(__name__)


class WrittenPart(msgspec.Struct, frozen=True, kw_only=True):
    """One output file."""

    name: str
    n_rows: int
    size_bytes: int


class BatchRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What made a batch: kept beside its parts."""

    batch_id: str
    job: str
    envelope_id: str
    envelope_name: str
    manifest_sha256: str
    function: str
    environment: str | None
    lock_sha256: str
    input: dict[str, Any]
    parts: tuple[WrittenPart, ...]
    n_rows: int
    started_at: datetime
    finished_at: datetime
    actor: str

    def metadata(self) -> dict[str, str]:
        """Return what every file of the batch says of itself, in its Parquet metadata."""
        return {
            "envelope.id": self.envelope_id,
            "envelope.name": self.envelope_name,
            "envelope.manifest_sha256": self.manifest_sha256,
            "envelope.function": self.function,
            "envelope.environment": self.environment or "",
            "envelope.lock_sha256": self.lock_sha256,
            "envelope.job": self.job,
            "envelope.batch_id": self.batch_id,
        }


def begin_batch(path: str, *, now: datetime) -> str:
    """Return the id of a new batch at `path`, after taking away what jobs that died left there.

    Raises StorageError when something lies there that no batch job wrote.
    """
    check_output_folder(path)
    remove_leftovers(path, now=now)
    return new_batch_id()


def write_part(
    path: str,
    batch_id: str,
    number: int,
    tables: Iterable[pa.Table],
    *,
    schema: pa.Schema | None,
    metadata: Mapping[str, str],
) -> WrittenPart | None:
    """Write one file of a batch; None, and no file, for no rows.

    schema: of the output, to which every table is cast; None takes what the tables have.
    The file appears whole, under a name of its number, so that a task that is tried again writes
    it again. Raises StorageError.
    """
    folder = Folder(f"{path}/{batch_id}")  # what a worker that dies leaves lies below it too
    name = f"part-{number:06d}.parquet"
    with folder.spool() as file:
        writer: pq.ParquetWriter | None = None
        n_rows = 0
        try:
            for table in _same_schema(tables, schema):
                if writer is None:
                    own = table.schema.with_metadata(_encoded(metadata))
                    writer = pq.ParquetWriter(file, own)
                with folder.failing("writing", name):
                    writer.write_table(
                        table.replace_schema_metadata(_encoded(metadata)), ROW_GROUP_ROWS
                    )
                n_rows += table.num_rows
        finally:
            if writer is not None:
                writer.close()
        if writer is None:
            return None
        size_bytes = file.tell()
        folder.publish(file, name)
    return WrittenPart(name=name, n_rows=n_rows, size_bytes=size_bytes)


def count_parts(path: str, batch_id: str) -> int:
    """Return how many files of a batch there are by now. Raises StorageError."""
    return sum(name.startswith("part-") for name in Folder(path).names(batch_id))


def write_empty_part(
    path: str, batch_id: str, schema: pa.Schema, metadata: Mapping[str, str]
) -> WrittenPart:
    """Write the one file of a batch without rows, so that a reader finds its columns."""
    folder = Folder(path)
    name = "part-000000.parquet"
    data = io.BytesIO()
    pq.write_table(schema.with_metadata(_encoded(metadata)).empty_table(), data)
    folder.write(f"{batch_id}/{name}", data.getvalue())
    return WrittenPart(name=name, n_rows=0, size_bytes=data.tell())


def finish_batch(path: str, record: BatchRecord) -> bool:
    """Keep a batch's record and make it the current one.

    Returns False, and lets the pointer be, when a job that began later has published already: its
    output is of newer input. Raises StorageError.
    """
    data = msgspec.json.format(msgspec.json.encode(record))
    Folder(path).write(f"{record.batch_id}/{RECORD}", data)
    current = current_batch(path)
    if current is not None and current > record.batch_id:
        return False
    publish_batch(path, record.batch_id)
    return True


def abandon_batch(path: str, batch_id: str) -> None:
    """Take away what a job that failed had written. Its error is the one to see, not another."""
    try:
        Folder(path).remove(batch_id)
    except EnvelopeError as exc:
        log.warning(
            "the parts of a failed batch were left", extra={"batch": batch_id, "why": str(exc)}
        )


def remove_leftovers(path: str, *, now: datetime) -> list[str]:
    """Take away batches that were never finished and were not written to for a day."""
    folder = Folder(path)
    current = current_batch(path)
    removed = []
    for name in folder.names():
        if name == current or not _is_old(name, now):
            continue
        files = folder.names(name)
        if RECORD in files or any(
            now - folder.modified_at(f"{name}/{file}") < LEFT_FOR_DEAD for file in files
        ):
            continue
        folder.remove(name)
        removed.append(name)
        log.info("removed a batch that was never finished", extra={"batch": name, "path": path})
    return removed


def _is_old(name: str, now: datetime) -> bool:
    try:
        started_at: datetime = ULID.from_str(name).datetime
    except ValueError:
        return False
    return now - started_at.astimezone(UTC) > LEFT_FOR_DEAD


def _same_schema(tables: Iterable[pa.Table], schema: pa.Schema | None) -> Iterator[pa.Table]:
    filled = (table for table in tables if table.num_rows)
    if schema is not None:
        for table in filled:
            yield table.select(schema.names).cast(schema)
        return
    together = list(filled)
    if together:
        yield pa.concat_tables(together, promote_options="permissive")


def _encoded(metadata: Mapping[str, str]) -> dict[bytes, bytes]:
    return {key.encode(): value.encode() for key, value in metadata.items()}
