from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import fsspec
import pytest

from envelope.errors import ConfigError, EnvelopeError, IntegrityError, ModelNotFound, StorageError
from envelope.manifest import (
    FORMAT_VERSION,
    Artifact,
    Blob,
    Environment,
    Function,
    Manifest,
    RowWise,
    sha256_of,
)
from envelope.remote.folder import RemoteFolder
from envelope.schema import types
from envelope.store import ADDING, Store

ID = "01JD0000000000000000000000"
MISSING = "0" * 64


@pytest.fixture(params=["file", "memory", "s3", "server"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "file":
        return Store(f"file://{tmp_path / 'store'}")
    if request.param == "memory":
        store: Store = request.getfixturevalue("memory_store")
        return store
    return Store(request.getfixturevalue("s3" if request.param == "s3" else "server_url"))


@pytest.fixture
def local(tmp_path: Path) -> Store:
    return Store(f"file://{tmp_path / 'store'}")


def a_function(name: str = "predict", call_ms: float | None = None) -> Function:
    schema = types.FunctionSchema(
        parameters=(types.Parameter(name="x", type=types.Float()),), output=types.Float()
    )
    proof = RowWise(is_row_wise=False, reason="no frame")
    return Function(name=name, schema=schema, row_wise=proof, call_ms=call_ms)


def a_manifest(envelope_id: str = ID) -> Manifest:
    blob = Blob(sha256=sha256_of(b"x"), size_bytes=1)
    return Manifest(
        format_version=FORMAT_VERSION,
        id=envelope_id,
        name="churn",
        description="",
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
        created_by="tester",
        artifact=Artifact(codec="cloudpickle", blobs=(blob,), type="x.Y"),
        functions={},
        default_function="predict",
        environment=Environment(
            python="3.11.7", implementation="cpython", platform="linux-x86_64", packages=()
        ),
    )


def files(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


# What every filesystem does alike


@pytest.mark.parametrize("data", [b"", b"abc", os.urandom(3_000_000)], ids=["empty", "few", "many"])
def test_a_blob_comes_back(store: Store, data: bytes) -> None:
    blob = store.put_blob(data)
    assert blob == Blob(sha256=sha256_of(data), size_bytes=len(data))
    assert store.get_blob(blob) == store.get_blob(blob.sha256) == data


def test_a_blob_written_in_parts_equals_one_written_at_once(store: Store) -> None:
    with store.write_blob() as file:
        file.write(b"ab")
        file.write(memoryview(b"cd"))
    assert file.blob == store.put_blob(b"abcd")
    with store.open_blob(file.blob) as reader:
        assert (reader.read(2), reader.read()) == (b"ab", b"cd")


def test_a_blob_larger_than_memory_limits_streams(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("envelope.store.IN_MEMORY_BYTES", 1000)
    monkeypatch.setattr("envelope.folder.IN_MEMORY_BYTES", 1000)
    data = os.urandom(6_000_000)  # more than one part of an S3 multipart upload
    assert store.get_blob(store.put_blob(data)) == data


def test_a_missing_blob_is_an_integrity_error(store: Store) -> None:
    with pytest.raises(IntegrityError, match=f"{MISSING} is missing.*restore"):
        store.get_blob(MISSING)


def test_functions_and_manifests_come_back(store: Store) -> None:
    function_hash = store.put_function(ID, a_function())
    store.put_blob(b"x")
    assert list(store.envelope_ids()) == []  # half an envelope is none
    manifest_hash = store.put_manifest(a_manifest())
    assert store.get_function(ID, "predict", function_hash) == a_function()
    assert store.get_statistics(ID, "predict", function_hash) == a_function().statistics
    with pytest.raises(IntegrityError):
        store.get_statistics(ID, "predict", MISSING)
    assert store.get_manifest(ID, manifest_hash) == a_manifest()
    assert list(store.envelope_ids()) == [ID]


def test_another_hash_is_an_integrity_error(store: Store) -> None:
    store.put_function(ID, a_function())
    store.put_blob(b"x")
    store.put_manifest(a_manifest())
    with pytest.raises(IntegrityError, match="was changed after it was saved"):
        store.get_manifest(ID, MISSING)
    with pytest.raises(IntegrityError, match="was changed after it was saved"):
        store.get_function(ID, "predict", MISSING)


def test_what_is_not_there_is_not_found(store: Store) -> None:
    with pytest.raises(ModelNotFound, match=f"holds no envelope {ID}"):
        store.get_manifest(ID)
    with pytest.raises(ModelNotFound, match="no function 'predict'"):
        store.get_function(ID, "predict")
    with pytest.raises(ModelNotFound, match=r"holds no environments/x\.json"):
        store.get_document("environments/x.json")


def test_a_document_is_replaced_whole(store: Store) -> None:
    store.put_document("environments/x.json", b"{}" * 100)
    store.put_document("environments/x.json", b"[]")
    assert store.get_document("environments/x.json") == b"[]"


def test_a_function_being_added_is_not_overwritten(store: Store) -> None:
    added = store.add_function(ID, a_function())
    with pytest.raises(EnvelopeError, match="another process is adding"):
        store.add_function(ID, a_function(call_ms=1.0))
    assert store.get_function(ID, "predict", added) == a_function()


def test_a_function_that_was_never_registered_can_be_added_again(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.add_function(ID, a_function())
    monkeypatch.setattr("envelope.store.ADDING", ADDING * -1)
    sha256 = store.add_function(ID, a_function(call_ms=1.0))
    assert store.get_function(ID, "predict", sha256).call_ms == 1.0


@pytest.mark.parametrize("path", ["../x", "/etc/x", "a/../b", ".hidden", "a//b", ""])
def test_no_name_leads_out_of_the_store(memory_store: Store, path: str) -> None:
    with pytest.raises(StorageError, match="cannot be the name of a document"):
        memory_store.get_document(path)
    with pytest.raises(IntegrityError, match="is not a SHA-256"):
        memory_store.get_blob(path)
    with pytest.raises(ModelNotFound, match="is not the id of an envelope"):
        memory_store.get_manifest(path)
    with pytest.raises(ModelNotFound, match="cannot be the name of a function"):
        memory_store.get_function(ID, path)


def test_equal_blobs_from_many_threads_are_stored_once(store: Store) -> None:
    data = os.urandom(200_000)
    together = threading.Barrier(8)

    def put(_: int) -> Blob:
        together.wait()
        return store.put_blob(data)

    with ThreadPoolExecutor(8) as pool:
        blobs = set(pool.map(put, range(8)))
    assert store.get_blob(blobs.pop()) == data
    assert not blobs
    if not isinstance(store.folder, RemoteFolder):  # which lists no blobs
        assert len(store.folder.names(f"blobs/{sha256_of(data)[:2]}")) == 1


# Damage and failures


def blob_file(store: Store, blob: Blob) -> Path:
    return Path(store.url.removeprefix("file://")) / "blobs" / blob.sha256[:2] / blob.sha256


def test_changed_bytes_are_refused(local: Store) -> None:
    blob, other = local.put_blob(b"a model"), local.put_blob(b"another")
    blob_file(local, blob).write_bytes(blob_file(local, other).read_bytes())
    with pytest.raises(IntegrityError, match=r"was changed after it was saved.*restore"):
        local.get_blob(blob)


@pytest.mark.parametrize("keep", [0, 5, 20], ids=["empty", "header", "half"])
def test_a_blob_cut_short_is_refused_and_a_save_mends_it(local: Store, keep: int) -> None:
    data = b"0123456789" * 10 + os.urandom(10)
    blob = local.put_blob(data)
    blob_file(local, blob).write_bytes(blob_file(local, blob).read_bytes()[:keep])
    with pytest.raises(IntegrityError):
        local.get_blob(blob)
    local.put_blob(data)
    assert local.get_blob(blob) == data


def test_bytes_that_are_no_zstd_are_refused(local: Store) -> None:
    blob = local.put_blob(b"a model")
    blob_file(local, blob).write_bytes(b"not zstd at all")
    with pytest.raises(IntegrityError, match="cannot be decompressed"):
        local.get_blob(blob)


def test_what_raises_while_writing_leaves_nothing(local: Store, tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="unpicklable"), local.write_blob() as file:
        file.write(b"half of it")
        raise TypeError("unpicklable")
    with pytest.raises(ValueError, match="when its `with` block has ended"):
        _ = file.blob
    assert files(tmp_path / "store") == []


def test_a_full_disk_is_a_storage_error_and_leaves_nothing(
    local: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match=r"No space left on device; free some space") as caught:
        local.put_blob(b"x" * 1000)
    assert isinstance(caught.value.__cause__, OSError)
    with pytest.raises(StorageError):
        local.put_manifest(a_manifest())
    assert files(tmp_path / "store") == []


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full on this system")
def test_a_disk_that_fills_up_half_way_is_a_storage_error(
    local: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    real_open = open

    def open_full(name: str, mode: str) -> Any:
        return real_open("/dev/full", "wb") if "x" in mode else real_open(name, mode)

    monkeypatch.setattr("builtins.open", open_full)
    with pytest.raises(StorageError, match="free some space"):
        local.put_blob(os.urandom(3_000_000))


def test_a_store_that_is_a_file_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "store").write_text("I was here first")
    with pytest.raises(StorageError, match=r"writing .* in file://.*/store failed"):
        Store(f"file://{tmp_path / 'store'}").put_blob(b"x")


def test_an_unreachable_store_is_a_storage_error(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    fsspec.get_filesystem_class("s3").clear_instance_cache()
    store = Store(s3)
    store.folder._filesystem.retries = 1
    with pytest.raises(StorageError, match="can be reached"):
        store.put_blob(b"x")


def test_a_bucket_that_is_not_there_is_a_storage_error(s3: str) -> None:
    with pytest.raises(StorageError, match="check that it is there"):
        Store("s3://no-such-bucket-of-ours/store").put_blob(b"x")


@pytest.mark.parametrize(
    ("url", "message"),
    [
        pytest.param("nosuch://x", "is not the URL of a store", id="unknown-scheme"),
        pytest.param("gs://bucket", "not installed here.*gcsfs", id="package-missing"),
    ],
)
def test_a_url_that_cannot_be_used_says_so(url: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Store(url)
