from __future__ import annotations

import io
import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ulid import ULID

from envelope.errors import SchemaError, StorageError
from envelope.store import Folder
from envelope.tables import current_batch, read_table
from ray_runtime.batch.outputs import (
    RECORD,
    BatchRecord,
    WrittenPart,
    abandon_batch,
    begin_batch,
    finish_batch,
    remove_leftovers,
    write_empty_part,
    write_part,
)

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
SCHEMA = pa.schema([("id", pa.string()), ("output", pa.float64())])


def batch_at(when: datetime) -> str:
    return str(ULID.from_datetime(when))


def record(batch_id: str, **changes: Any) -> BatchRecord:
    own: dict[str, Any] = {
        "batch_id": batch_id,
        "job": "nightly",
        "envelope_id": "01J0000000000000000000000A",
        "envelope_name": "ltv",
        "manifest_sha256": "ab",
        "function": "predict",
        "environment": "cd",
        "lock_sha256": "ef",
        "input": {"path": "/in"},
        "parts": (),
        "n_rows": 2,
        "started_at": NOW,
        "finished_at": NOW,
        "actor": "ada@here",
    }
    return BatchRecord(**{**own, **changes})


def rows(*ids: str) -> pa.Table:
    return pa.table({"id": list(ids), "output": [0.5] * len(ids)}, SCHEMA)


def write(path: str, batch_id: str, number: int, *ids: str) -> WrittenPart | None:
    metadata = record(batch_id).metadata()
    return write_part(path, batch_id, number, [rows(*ids)], schema=SCHEMA, metadata=metadata)


@pytest.fixture(params=["file", "memory"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path / "out") if request.param == "file" else f"memory://{tmp_path.name}/out"


def test_parts_appear_with_what_made_them(path: str) -> None:
    batch = batch_at(NOW)
    part = write(path, batch, 3, "a", "b")
    assert part is not None
    assert (part.name, part.n_rows) == ("part-000003.parquet", 2)
    data = Folder(path).read(f"{batch}/part-000003.parquet")
    assert part.size_bytes == len(data)
    metadata = pq.read_schema(io.BytesIO(data)).metadata
    assert {key.decode(): value.decode() for key, value in metadata.items()} == {
        "envelope.id": "01J0000000000000000000000A",
        "envelope.name": "ltv",
        "envelope.manifest_sha256": "ab",
        "envelope.function": "predict",
        "envelope.environment": "cd",
        "envelope.lock_sha256": "ef",
        "envelope.job": "nightly",
        "envelope.batch_id": batch,
    }


def test_a_part_has_the_columns_and_types_of_the_output(path: str) -> None:
    wide = pa.table({"x": [1], "output": pa.array([1.0], pa.float32()), "id": ["a"]})
    batch = batch_at(NOW)
    write_part(path, batch, 0, [wide], schema=SCHEMA, metadata={})
    found = pq.read_table(io.BytesIO(Folder(path).read(f"{batch}/part-000000.parquet")))
    assert found.schema.equals(SCHEMA)


def test_blocks_without_rows_are_no_part_whatever_their_columns(path: str) -> None:
    empty = pa.table({"x": pa.array([], pa.int64())})
    assert write_part(path, batch_at(NOW), 0, [empty], schema=SCHEMA, metadata={}) is None
    assert Folder(path).find() == []


def test_answers_of_unknown_type_share_one_within_a_part(path: str) -> None:
    blocks = [
        pa.table({"output": pa.array([{"a": 1}])}),
        pa.table({"output": pa.array([{"a": 1.5, "b": "x"}])}),
    ]
    batch = batch_at(NOW)
    write_part(path, batch, 0, blocks, schema=None, metadata={})
    found = pq.read_table(io.BytesIO(Folder(path).read(f"{batch}/part-000000.parquet")))
    assert found["output"].to_pylist() == [{"a": 1.0, "b": None}, {"a": 1.5, "b": "x"}]


def test_a_task_that_fails_leaves_no_part(path: str) -> None:
    def failing() -> Iterator[pa.Table]:
        yield rows("a")
        raise SchemaError("the function broke its schema")

    with pytest.raises(SchemaError):
        write_part(path, batch_at(NOW), 0, failing(), schema=SCHEMA, metadata={})
    assert Folder(path).find() == []


def test_a_task_that_is_tried_again_writes_the_same_file(path: str) -> None:
    batch = batch_at(NOW)
    write(path, batch, 0, "a")
    write(path, batch, 0, "a")
    assert [name for name, _ in Folder(path).find()] == [f"{batch}/part-000000.parquet"]


def test_publishing_keeps_the_record_and_moves_the_pointer(path: str) -> None:
    batch = begin_batch(path, now=NOW)
    part = write(path, batch, 0, "a", "b")
    assert part is not None
    assert current_batch(path) is None
    assert finish_batch(path, record(batch, parts=(part,)))
    assert read_table(path)["id"].tolist() == ["a", "b"]
    kept = msgspec.json.decode(Folder(path).read(f"{batch}/{RECORD}"), type=BatchRecord)
    assert kept.parts == (part,)
    assert (kept.envelope_id, kept.actor) == ("01J0000000000000000000000A", "ada@here")


def test_a_batch_without_rows_still_has_its_columns(path: str) -> None:
    batch = begin_batch(path, now=NOW)
    part = write_empty_part(path, batch, SCHEMA, {})
    finish_batch(path, record(batch, parts=(part,)))
    found = read_table(path)
    assert list(found.columns) == ["id", "output"]
    assert len(found) == 0


def test_a_job_that_began_earlier_does_not_replace_a_later_ones_output(path: str) -> None:
    early, late = batch_at(NOW), batch_at(NOW + timedelta(minutes=1))
    for batch in (early, late):
        write(path, batch, 0, batch)
    assert finish_batch(path, record(late))
    assert not finish_batch(path, record(early))
    assert read_table(path)["id"].tolist() == [late]
    assert read_table(path, early)["id"].tolist() == [early]


def test_foreign_content_is_refused_before_anything_is_written(path: str) -> None:
    Folder(path).write("sales.csv", b"a,b")
    with pytest.raises(StorageError, match=r"no batch job wrote \(sales\.csv\)"):
        begin_batch(path, now=NOW)


def test_a_job_that_failed_takes_away_what_it_wrote(path: str) -> None:
    batch = batch_at(NOW)
    write(path, batch, 0, "a")
    abandon_batch(path, batch)
    assert Folder(path).find() == []
    abandon_batch(path, batch)  # nothing there is nothing to say


def test_what_cannot_be_taken_away_hides_no_other_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(self: Folder, path: str) -> None:
        raise StorageError("no permission")

    monkeypatch.setattr(Folder, "remove", refuse)
    abandon_batch(str(tmp_path), batch_at(NOW))
    assert "the parts of a failed batch were left" in caplog.text


def age(path: Path, when: datetime) -> None:
    for file in path.rglob("*"):
        os.utime(file, (when.timestamp(), when.timestamp()))


def test_a_batch_that_was_never_finished_is_taken_away_after_a_day(tmp_path: Path) -> None:
    path = str(tmp_path)
    dead, slow, finished, current, young = (
        batch_at(NOW - timedelta(hours=hours)) for hours in (60, 50, 40, 30, 2)
    )
    for batch in (dead, slow, finished, current, young):
        write(path, batch, 0, "a")
    age(tmp_path, NOW - timedelta(hours=30))
    write(path, slow, 1, "b")
    os.utime(tmp_path / slow / "part-000001.parquet", (NOW.timestamp(), NOW.timestamp()))
    finish_batch(path, record(finished))
    finish_batch(path, record(current))
    age(tmp_path / finished, NOW - timedelta(hours=30))
    age(tmp_path / current, NOW - timedelta(hours=30))
    assert remove_leftovers(path, now=NOW) == [dead]
    assert Folder(path).names() == sorted([slow, finished, current, young, "current.json"])
