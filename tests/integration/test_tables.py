from __future__ import annotations

import io
from pathlib import Path

import pandas as pd
import pytest

from envelope.errors import IntegrityError, StorageError
from envelope.folder import Folder
from envelope.tables import (
    check_output_folder,
    current_batch,
    new_batch_id,
    publish_batch,
    read_table,
)


@pytest.fixture(params=["file", "memory", "s3"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "file":
        return str(tmp_path / "table")
    if request.param == "memory":
        return f"memory://{tmp_path.name}/table"
    return f"{request.getfixturevalue('s3')}/table"


def write_part(path: str, batch_id: str, frame: pd.DataFrame, number: int = 0) -> None:
    data = io.BytesIO()
    frame.to_parquet(data)
    Folder(path).write(f"{batch_id}/part-{number:05d}.parquet", data.getvalue())


def test_a_reader_sees_the_published_batch_alone(path: str) -> None:
    first, second = sorted([new_batch_id(), new_batch_id()])
    write_part(path, first, pd.DataFrame({"y": [1.0]}))
    publish_batch(path, first)
    write_part(path, second, pd.DataFrame({"y": [2.0]}))
    assert current_batch(path) == first
    assert read_table(path)["y"].tolist() == [1.0]
    write_part(path, second, pd.DataFrame({"y": [3.0]}), number=1)
    publish_batch(path, second)
    assert read_table(path)["y"].tolist() == [2.0, 3.0]
    assert read_table(path, first)["y"].tolist() == [1.0]


def test_publishing_an_earlier_batch_rolls_back(path: str) -> None:
    first, second = new_batch_id(), new_batch_id()
    for batch_id, y in [(first, 1.0), (second, 2.0)]:
        write_part(path, batch_id, pd.DataFrame({"y": [y]}))
        publish_batch(path, batch_id)
    publish_batch(path, first)
    assert read_table(path)["y"].tolist() == [1.0]


def test_a_path_where_nothing_was_published_says_so(path: str) -> None:
    check_output_folder(path)
    assert current_batch(path) is None
    with pytest.raises(StorageError, match="no batch was published"):
        read_table(path)


def test_a_batch_without_parts_cannot_be_published(path: str) -> None:
    first, second = new_batch_id(), new_batch_id()
    write_part(path, first, pd.DataFrame({"y": [1.0]}))
    with pytest.raises(StorageError, match=f"has no batch {second}; the batches there are {first}"):
        publish_batch(path, second)
    assert current_batch(path) is None


def test_foreign_content_is_refused_by_name(path: str) -> None:
    Folder(path).write("sales.csv", b"a,b")
    with pytest.raises(StorageError, match=r"no batch job wrote \(sales\.csv\); choose an empty"):
        check_output_folder(path)
    with pytest.raises(StorageError, match=r"sales\.csv"):
        read_table(path)


def test_own_content_and_hidden_files_are_not_foreign(path: str) -> None:
    batch_id = new_batch_id()
    write_part(path, batch_id, pd.DataFrame({"y": [1.0]}))
    publish_batch(path, batch_id)
    Folder(path).write(".DS_Store", b"")
    check_output_folder(path)


@pytest.mark.parametrize(
    ("pointer", "error"),
    [
        pytest.param(b"{", IntegrityError, id="half"),
        pytest.param(b"{}", IntegrityError, id="empty"),
        pytest.param(
            b'{"batch_id": "../../etc", "published_at": "2026-01-01T00:00:00Z"}',
            StorageError,
            id="leads-out",
        ),
    ],
)
def test_a_damaged_pointer_is_refused(
    tmp_path: Path, pointer: bytes, error: type[Exception]
) -> None:
    (tmp_path / "current.json").write_bytes(pointer)
    with pytest.raises(error):
        read_table(str(tmp_path))


def test_a_part_that_is_no_parquet_is_a_storage_error(tmp_path: Path) -> None:
    batch_id = new_batch_id()
    Folder(str(tmp_path)).write(f"{batch_id}/part-0.parquet", b"PAR1 not really")
    publish_batch(str(tmp_path), batch_id)
    with pytest.raises(StorageError, match=r"reading .*part-0\.parquet"):
        read_table(str(tmp_path))
