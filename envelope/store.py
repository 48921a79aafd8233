"""Where bytes live: content-addressed blobs, functions and manifests on any fsspec filesystem.

    <store>/blobs/<2 hex>/<sha256>                  zstd; named by the SHA-256 before compression
    <store>/envelopes/<id>/functions/<name>.json
    <store>/envelopes/<id>/manifest.json            written last: what has none is no envelope
    <store>/<document path>                         small named JSON

A file appears whole or not at all, so readers need no lock, and writers of equal bytes may race.
"""

from __future__ import annotations

import hashlib
import io
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import IO, Any, BinaryIO, TypeVar, cast

import msgspec
import zstandard

from envelope.errors import EnvelopeError, IntegrityError, ModelNotFound, StorageError
from envelope.folder import IN_MEMORY_BYTES, Folder, StoreFolder
from envelope.manifest import (
    Blob,
    Function,
    Manifest,
    read_manifest,
    read_record,
    sha256_of,
    to_bytes,
)

CHUNK_BYTES = 1 << 20
ZSTD_LEVEL = 3  # zstd's default: about 300 MB/s a core here, so a save is not felt
ADDING = timedelta(minutes=5)  # after which a function that was never registered may be replaced

_SHA256 = re.compile(r"[0-9a-f]{64}")
_ENVELOPE_ID = re.compile(r"[0-9A-Z]{26}")
_PATH = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*")


class BlobWriter(io.RawIOBase):
    """A file to write a blob to, hashed and compressed as it comes. `blob` is set on leaving."""

    def __init__(self, folder: StoreFolder, file: IO[bytes]) -> None:
        self._folder = folder
        self._file = file
        self._hash = hashlib.sha256()
        self._size_bytes = 0
        self._compressor = zstandard.ZstdCompressor(level=ZSTD_LEVEL).stream_writer(
            file, closefd=False
        )
        self._blob: Blob | None = None

    @property
    def blob(self) -> Blob:
        """The blob that was written. Raises ValueError before the `with` block has ended."""
        if self._blob is None:
            raise ValueError("the blob is known when its `with` block has ended")
        return self._blob

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        with self._folder.failing("writing", "a blob"):
            # In parts that stay in the processor's cache between the two passes over them.
            for start in range(0, len(view), CHUNK_BYTES):
                part = view[start : start + CHUNK_BYTES]
                self._hash.update(part)
                self._compressor.write(part)
        self._size_bytes += len(view)
        return len(view)

    def publish(self) -> None:
        """End the stream and make the blob appear, unless it is there already."""
        blob = Blob(sha256=self._hash.hexdigest(), size_bytes=self._size_bytes)
        path = blob_path(blob.sha256)
        with self._folder.failing("writing", path):
            self._compressor.flush(zstandard.FLUSH_FRAME)
            self._file.flush()
            size_bytes = self._file.tell()
        # The size tells a blob that a failing disk cut short; it is then written again.
        if self._folder.size(path) != size_bytes:
            self._folder.publish(self._file, path)
        self._blob = blob


class PackedWriter(io.RawIOBase):
    """A file to write a blob to as another store holds it; unpacked and hashed as it comes."""

    def __init__(self, folder: StoreFolder, file: IO[bytes], path: str) -> None:
        self._folder = folder
        self._file = file
        self._path = path
        self._hash = hashlib.sha256()
        # Its parts are small, however far a few bytes of it unpack.
        self._unpacker = zstandard.ZstdDecompressor().stream_writer(
            cast(IO[bytes], _Hashing(self._hash))
        )

    @property
    def sha256(self) -> str:
        """The hash of what was written until now, unpacked."""
        return self._hash.hexdigest()

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        with self._folder.failing("writing", self._path):
            try:
                self._unpacker.write(data)
            except zstandard.ZstdError as exc:
                raise IntegrityError(
                    f"the bytes that came for {self._path} are no zstd frame ({exc}); send what "
                    "the store holds"
                ) from exc
            return self._file.write(data)


class _Hashing(io.RawIOBase):
    def __init__(self, hasher: Any) -> None:
        self._hasher = hasher

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._hasher.update(data)
        return len(data)


class _Statistics(msgspec.Struct):
    """What is read of a function where nothing else of it is wanted."""

    statistics: dict[str, Any] = {}


R = TypeVar("R", bound=msgspec.Struct)


class Store:
    """The bytes of all envelopes below one URL. Needs no database.

    place: an fsspec URL, the address of a registry server (with ENVELOPE_TOKEN), or a folder.
    """

    def __init__(self, place: str | StoreFolder) -> None:
        self.folder = _folder_at(place) if isinstance(place, str) else place
        self.url = self.folder.url

    def __repr__(self) -> str:
        return f"Store({self.url!r})"

    # Blobs

    def put_blob(self, data: bytes | memoryview) -> Blob:
        """Write bytes once, however often they come. Raises StorageError."""
        with self.write_blob() as file:
            file.write(data)
        return file.blob

    @contextmanager
    def write_blob(self) -> Iterator[BlobWriter]:
        """Give a file to write a blob to, in little memory. If the block raises, none is kept."""
        with self.folder.spool() as file:
            writer = BlobWriter(self.folder, file)
            yield writer
            writer.publish()

    @contextmanager
    def write_packed(self, sha256: str) -> Iterator[PackedWriter]:
        """Give a file to write a blob to that is compressed already. It appears on leaving.

        Raises IntegrityError, and keeps nothing, when it is not what its name says.
        """
        path = blob_path(sha256)
        with self.folder.spool() as file:
            writer = PackedWriter(self.folder, file, path)
            yield writer
            if writer.sha256 != sha256:
                raise IntegrityError(
                    f"the bytes that came for the blob {sha256} are another: their SHA-256 is "
                    f"{writer.sha256}; send them again"
                )
            self.folder.publish(file, path)

    def get_blob(self, blob: Blob | str) -> bytes:
        """Return a blob's bytes. Raises IntegrityError if they are missing or changed."""
        with self.open_blob(blob) as file:
            return file.read()

    def open_blob(self, blob: Blob | str) -> BinaryIO:
        """Open a blob for reading; its hash is checked before the first byte is handed out.

        Raises IntegrityError if it is missing or changed, StorageError if it cannot be read.
        """
        sha256 = blob if isinstance(blob, str) else blob.sha256
        plain = tempfile.SpooledTemporaryFile(max_size=IN_MEMORY_BYTES)  # noqa: SIM115 - given away
        try:
            with self.open_packed(sha256) as (file, where):
                _unpack(file, plain, sha256=sha256, where=where)
        except BaseException:
            plain.close()
            raise
        plain.seek(0)
        return cast(BinaryIO, plain)

    def get_buffer(self, blob: Blob) -> bytearray:
        """Return a blob's bytes in one buffer, allocated once and read into: no second copy.

        Raises IntegrityError if they are missing or changed, StorageError if they cannot be read.
        """
        with self.open_packed(blob.sha256) as (file, where):
            return _unpack_into_buffer(file, blob, where=where)

    @contextmanager
    def open_packed(self, sha256: str) -> Iterator[tuple[BinaryIO, str]]:
        """Open a blob as it lies there, compressed, with the words for where that is."""
        path = blob_path(sha256)
        where = f"{self.url}/{path}"
        try:
            file = self.folder.open(path)
        except FileNotFoundError as exc:
            raise IntegrityError(
                f"{where} is missing, an envelope refers to it; "
                "restore the file from a backup, or save the model again"
            ) from exc
        with file, self.folder.failing("reading", path):
            yield file, where

    # Functions and manifests

    def put_function(self, envelope_id: str, function: Function) -> str:
        """Write a function of an envelope that is being made. Return its SHA-256."""
        data = to_bytes(function)
        self.folder.write(function_path(envelope_id, function.name), data)
        return sha256_of(data)

    def add_function(self, envelope_id: str, function: Function) -> str:
        """Write a function of an envelope that exists already, never over another's.

        A file that is in no registry row after five minutes was left by a process that died.
        Return its SHA-256. Raises EnvelopeError if another process is adding that name right now.
        """
        path, data = function_path(envelope_id, function.name), to_bytes(function)
        if not self.folder.create(path, data):
            if datetime.now(UTC) - self.folder.modified_at(path) < ADDING:
                raise EnvelopeError(
                    f"another process is adding the function {function.name!r} to {envelope_id}; "
                    "wait for it, or choose another name"
                )
            self.folder.write(path, data)
        return sha256_of(data)

    def get_function(self, envelope_id: str, name: str, sha256: str | None = None) -> Function:
        """Read a function. Raises ModelNotFound, or IntegrityError if it differs from `sha256`."""
        return self._read_function(envelope_id, name, sha256, Function)

    def get_statistics(self, envelope_id: str, name: str, sha256: str) -> dict[str, Any]:
        """Read the statistics of a function alone, for pages that show hundreds of them.

        Raises what `get_function` does.
        """
        return self._read_function(envelope_id, name, sha256, _Statistics).statistics

    def _read_function(self, envelope_id: str, name: str, sha256: str | None, kind: type[R]) -> R:
        path = function_path(envelope_id, name)
        try:
            data = self.folder.read(path)
        except FileNotFoundError as exc:
            raise ModelNotFound(
                f"{self.url} has no function {name!r} of envelope {envelope_id}"
            ) from exc
        return read_record(data, kind, where=f"{self.url}/{path}", sha256=sha256)

    def put_manifest(self, manifest: Manifest) -> str:
        """Write the manifest, which makes the envelope exist. Return its SHA-256."""
        data = to_bytes(manifest)
        self.folder.write(manifest_path(manifest.id), data)
        return sha256_of(data)

    def get_manifest(self, envelope_id: str, sha256: str | None = None) -> Manifest:
        """Read a manifest. Raises ModelNotFound, or IntegrityError if it differs from `sha256`."""
        path = manifest_path(envelope_id)
        try:
            data = self.folder.read(path)
        except FileNotFoundError as exc:
            raise ModelNotFound(
                f"{self.url} holds no envelope {envelope_id}; check ENVELOPE_STORE"
            ) from exc
        return read_manifest(data, where=f"{self.url}/{path}", sha256=sha256)

    def envelope_ids(self) -> Iterator[str]:
        """Yield the id of every whole envelope, oldest first. Half-written ones are passed over."""
        for name in self.folder.names("envelopes"):
            if _ENVELOPE_ID.fullmatch(name) and self.folder.size(manifest_path(name)) is not None:
                yield name

    # Documents

    def put_document(self, path: str, data: bytes) -> None:
        """Write a small named file, for example `environments/<key>.json`."""
        self.folder.write(document_path(path), data)

    def get_document(self, path: str) -> bytes:
        """Read a small named file. Raises ModelNotFound if there is none, StorageError."""
        try:
            return self.folder.read(document_path(path))
        except FileNotFoundError as exc:
            raise ModelNotFound(f"{self.url} holds no {path}; check ENVELOPE_STORE") from exc


def _folder_at(url: str) -> StoreFolder:
    if not url.startswith(("http://", "https://")):
        return Folder(url)
    from envelope.remote.client import Client
    from envelope.remote.folder import RemoteFolder
    from envelope.settings import Settings

    return RemoteFolder(Client(url, token=Settings.read().token))


def _unpack(packed: BinaryIO, plain: IO[bytes], *, sha256: str, where: str) -> None:
    """Decompress a blob into `plain`. Raises IntegrityError if it is not what its name says."""
    hasher = hashlib.sha256()
    reader = zstandard.ZstdDecompressor().stream_reader(packed)
    try:
        while chunk := reader.read(CHUNK_BYTES):
            hasher.update(chunk)
            plain.write(chunk)
    except zstandard.ZstdError as exc:
        raise _changed(where, f"it cannot be decompressed ({exc})") from exc
    if hasher.hexdigest() != sha256:
        raise _changed(where, f"its SHA-256 is {hasher.hexdigest()}")


def _unpack_into_buffer(packed: BinaryIO, blob: Blob, *, where: str) -> bytearray:
    """Decompress a blob of known size. Raises IntegrityError if it is not what its name says."""
    hasher = hashlib.sha256()
    reader = zstandard.ZstdDecompressor().stream_reader(packed)
    data = bytearray(blob.size_bytes)
    size_bytes = 0
    with memoryview(data) as view:
        try:
            while n := reader.readinto(view[size_bytes : size_bytes + CHUNK_BYTES]):
                hasher.update(view[size_bytes : size_bytes + n])
                size_bytes += n
            is_longer = bool(reader.read(1))
        except zstandard.ZstdError as exc:
            raise _changed(where, f"it cannot be decompressed ({exc})") from exc
    if size_bytes != blob.size_bytes or is_longer:
        raise _changed(where, f"it does not hold {blob.size_bytes} bytes")
    if hasher.hexdigest() != blob.sha256:
        raise _changed(where, f"its SHA-256 is {hasher.hexdigest()}")
    return data


def _changed(where: str, how: str) -> IntegrityError:
    return IntegrityError(
        f"{where} was changed after it was saved: {how}; "
        "restore the file from a backup, or save the model again"
    )


# Names come from manifests, which anybody who can write to the store can write: none may lead out.


def blob_path(sha256: str) -> str:
    """Return where a blob lies below the store."""
    if not _SHA256.fullmatch(sha256):
        raise IntegrityError(f"{sha256!r} is not a SHA-256; the record that names it was changed")
    return f"blobs/{sha256[:2]}/{sha256}"


def manifest_path(envelope_id: str) -> str:
    """Return where a manifest lies below the store."""
    return f"envelopes/{_checked_id(envelope_id)}/manifest.json"


def function_path(envelope_id: str, name: str) -> str:
    """Return where a function lies below the store."""
    if not name.isidentifier():
        raise ModelNotFound(f"{name!r} cannot be the name of a function")
    return f"envelopes/{_checked_id(envelope_id)}/functions/{name}.json"


def document_path(path: str) -> str:
    """Return where a document lies below the store."""
    if not _PATH.fullmatch(path):
        raise StorageError(f"{path!r} cannot be the name of a document")
    return path


def _checked_id(envelope_id: str) -> str:
    if not _ENVELOPE_ID.fullmatch(envelope_id):
        raise ModelNotFound(f"{envelope_id!r} is not the id of an envelope: 26 of 0-9 and A-Z")
    return envelope_id
