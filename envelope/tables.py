"""Tables that batch jobs write: a new folder every time, published by switching a pointer.

    <path>/<batch id>/part-*.parquet      written whole before it is pointed to, never changed after
    <path>/current.json                   {"batch_id": ..., "published_at": ...}

A reader sees the old complete table or the new one. Earlier batches stay: that is the history, and
publishing an earlier id again is the rollback. Batch ids sort by time.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec
from ulid import ULID

from envelope.errors import IntegrityError, StorageError
from envelope.folder import Folder

if TYPE_CHECKING:
    import pandas as pd

POINTER = "current.json"
_BATCH_ID = re.compile(r"[0-9A-Z]{26}")
_PART = re.compile(r"part-.*\.parquet")


class _Pointer(msgspec.Struct, frozen=True, kw_only=True):
    batch_id: str
    published_at: datetime


def new_batch_id() -> str:
    """Return an id that sorts after every earlier one (to the millisecond)."""
    return str(ULID())


def check_output_folder(path: str) -> None:
    """Refuse a folder that holds anything but batches; hidden files are passed over.

    Raises StorageError naming what is there that we did not write.
    """
    foreign = [
        name
        for name in Folder(path).names()
        if name != POINTER and not name.startswith(".") and not _BATCH_ID.fullmatch(name)
    ]
    if foreign:
        shown = ", ".join(foreign[:5]) + (f" and {len(foreign) - 5} more" if foreign[5:] else "")
        raise StorageError(
            f"{path} holds files that no batch job wrote ({shown}); "
            "choose an empty folder, or one that a batch job wrote before"
        )


def current_batch(path: str) -> str | None:
    """Return the id of the published batch, None when there is none yet.

    Raises IntegrityError when the pointer is not readable, StorageError.
    """
    try:
        data = Folder(path).read(POINTER)
    except FileNotFoundError:
        return None
    try:
        pointer = msgspec.json.decode(data, type=_Pointer)
    except msgspec.DecodeError as exc:
        raise IntegrityError(
            f"{path}/{POINTER} is not a pointer to a batch ({exc}); publish a batch again"
        ) from exc
    return _checked(pointer.batch_id)


def publish_batch(path: str, batch_id: str) -> None:
    """Make a batch the current one, at once. Its parts must be there.

    Raises StorageError when the batch has no part.
    """
    _parts(Folder(path), path, batch_id)
    pointer = _Pointer(batch_id=batch_id, published_at=datetime.now(UTC))
    Folder(path).write(POINTER, msgspec.json.encode(pointer))


def read_table(path: str, batch_id: str | None = None) -> pd.DataFrame:
    """Read the current table that a batch job wrote at `path`, or an earlier batch of it.

    Raises StorageError when nothing was published there, or the batch is not there.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    if batch_id is None:
        batch_id = current_batch(path)
    if batch_id is None:
        check_output_folder(path)
        raise StorageError(
            f"no batch was published at {path}; run the batch job that writes there, or check "
            "the path"
        )
    folder = Folder(path)
    tables = []
    for part in _parts(folder, path, batch_id):
        with folder.open(part) as file, folder.failing("reading", part):
            tables.append(pq.read_table(file))
    frame: pd.DataFrame = pa.concat_tables(tables, promote_options="default").to_pandas()
    return frame


def _parts(folder: Folder, path: str, batch_id: str) -> list[str]:
    parts = [name for name in folder.names(_checked(batch_id)) if _PART.fullmatch(name)]
    if not parts:
        raise StorageError(
            f"{path} has no batch {batch_id}; the batches there are "
            f"{', '.join(n for n in folder.names() if _BATCH_ID.fullmatch(n)) or 'none'}"
        )
    return [f"{batch_id}/{part}" for part in parts]


def _checked(batch_id: str) -> str:
    if not _BATCH_ID.fullmatch(batch_id):  # it becomes part of a path
        raise StorageError(f"{batch_id!r} is not the id of a batch: 26 of 0-9 and A-Z")
    return batch_id
