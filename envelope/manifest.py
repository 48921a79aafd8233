"""The envelope's own records: what is written to the store, and what is read back.

Everything here is immutable and typed; `msgspec` turns it into JSON and checks it on the way back.
To raise FORMAT_VERSION: add a reader for the old version to `read_manifest`, keep an envelope saved
by the old version in `tests/data`, and say in the CHANGELOG what old readers will answer.
"""

from __future__ import annotations

import hashlib
from datetime import datetime
from typing import Any, TypeVar

import msgspec

from envelope.errors import IntegrityError
from envelope.schema.types import FunctionSchema

FORMAT_VERSION = 1


class Blob(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes in the store, named by their content. size_bytes: before compression."""

    sha256: str
    size_bytes: int


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """An object inside a model that is written in its library's own format: `artifacts/native.py`.

    blobs: among the artifact's; each is a file as the library writes it.
    """

    codec: str
    type: str
    blobs: tuple[Blob, ...]


class Artifact(msgspec.Struct, frozen=True, kw_only=True):
    """A Python object as bytes. codec: a name in `envelope.artifacts`. type: its class, to read."""

    codec: str
    blobs: tuple[Blob, ...]
    type: str
    parts: tuple[Part, ...] = ()


class Package(msgspec.Struct, frozen=True, kw_only=True):
    """One pinned distribution.

    name: normalised (PEP 503). origin: None or a URL. is_forced: another locked package asks for a
    different version, and yet this is the one that the model was trained with.
    """

    name: str
    version: str
    origin: str | None = None
    is_forced: bool = False


class LocalModule(msgspec.Struct, frozen=True, kw_only=True):
    """A module that pip cannot install. blob: a zip whose root goes on the import path."""

    name: str
    blob: Blob


class Environment(msgspec.Struct, frozen=True, kw_only=True):
    """What it takes to run the bytes.

    python: "3.11.7". platform: "linux-x86_64". packages: the narrowed lock, sorted by name.
    transitive: names of those packages that are locked because others of them require them, and not
    because the model names them: on another platform they are wanted only where they are required.
    snapshot: JSON of every installed distribution and of conda's records, for reading and diffing.
    """

    python: str
    implementation: str
    platform: str
    packages: tuple[Package, ...]
    transitive: tuple[str, ...] = ()
    modules: tuple[LocalModule, ...] = ()
    snapshot: Blob | None = None


class RowWise(msgspec.Struct, frozen=True, kw_only=True):
    """Whether one output row follows from one input row alone, and how that is known.

    rows: how many distinct sample rows it was tried on. max_difference: the largest relative
    difference seen between calling together and apart (0.0: bit-equal).
    """

    is_row_wise: bool
    reason: str
    rows: int = 0
    max_difference: float = 0.0


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """A call that was made at save time: the JSON request body, and the JSON answer."""

    input: Any
    output: Any


class Function(msgspec.Struct, frozen=True, kw_only=True):
    """A named query function of an envelope; an object of its own in the store.

    attribute: the method of the object that is called; None calls the object itself.
    artifact: the object, when it is not the envelope's own (functions added later).
    statistics: {"input": {...}, "output": {...}} of the example data, see capture/statistics.py.
    call_ms: one warm call with the sample, in the process that saved it.
    is_deterministic: whether two calls with the sample gave equal answers; None: not tried.
    """

    name: str
    schema: FunctionSchema
    row_wise: RowWise
    attribute: str | None = None
    artifact: Artifact | None = None
    description: str = ""
    sample: Sample | None = None
    no_sample_reason: str | None = None
    statistics: dict[str, Any] = {}
    source: str | None = None
    call_ms: float | None = None
    is_deterministic: bool | None = None


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """All that an envelope is, but its bytes. Written last; its hash is what a registry row keeps.

    functions: name -> sha256 of the function object, as they were at save time.
    tags: as they were at save time; the registry holds them as they are now.
    context: git, user, host, script or notebook, job; see capture/context.py.
    sensitive: columns whose values are kept nowhere in the envelope.
    fitted: what the library shows of the trained model, see capture/fitted.py.
    datasets: what it was trained on, by address and hash, see capture/datasets.py.
    """

    format_version: int
    id: str
    name: str
    description: str
    created_at: datetime
    created_by: str
    artifact: Artifact
    functions: dict[str, str]
    default_function: str
    environment: Environment
    context: dict[str, Any] = {}
    hyperparameters: dict[str, Any] = {}
    tags: dict[str, str] = {}
    sensitive: tuple[str, ...] = ()
    fitted: dict[str, Any] = {}
    datasets: dict[str, Any] = {}


def to_bytes(record: msgspec.Struct) -> bytes:
    """Encode a record as JSON. Keys keep their order, so that people see columns as they were."""
    return msgspec.json.encode(record)


def sha256_of(data: bytes) -> str:
    """Return the hex SHA-256 that names these bytes."""
    return hashlib.sha256(data).hexdigest()


R = TypeVar("R", bound=msgspec.Struct)


def read_record(data: bytes, kind: type[R], *, where: str, sha256: str | None = None) -> R:
    """Parse a record and check that it is what was written.

    Raises IntegrityError when the hash differs, or the JSON is not such a record.
    """
    if sha256 is not None and sha256_of(data) != sha256:
        raise IntegrityError(
            f"{where} was changed after it was saved: its SHA-256 is {sha256_of(data)}, "
            f"the record says {sha256}; restore the file from a backup, or save the model again"
        )
    try:
        return msgspec.json.decode(data, type=kind)
    except msgspec.DecodeError as exc:
        raise IntegrityError(f"{where} is not a readable {kind.__name__}: {exc}") from exc


class _Version(msgspec.Struct):
    format_version: int


def read_manifest(data: bytes, *, where: str, sha256: str | None = None) -> Manifest:
    """Parse a manifest of any released format version.

    Raises IntegrityError when it was changed, cannot be parsed, or is of a newer format.
    """
    version = read_record(data, _Version, where=where, sha256=sha256).format_version
    if version > FORMAT_VERSION:
        raise IntegrityError(
            f"{where} has format version {version}, this installation reads up to "
            f"{FORMAT_VERSION}; upgrade model-envelope"
        )
    return read_record(data, Manifest, where=where)
