"""An envelope as one file, which takes it from one registry and store to another.

    <id>.envelope                  a zip without compression: what is in it is compressed
        store/blobs/..., store/envelopes/<id>/...      the store's own objects
        envelope.json              the id, the manifest's hash, and the history

The format is raised as a manifest's is, see envelope/manifest.py.
"""

from __future__ import annotations

import os
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from envelope.connection import Connection
from envelope.errors import EnvelopeError, IntegrityError, ModelNotFound, StorageError
from envelope.manifest import Manifest
from envelope.registry import EnvelopeRow, History
from envelope.store import Store
from envelope.transfer import copy_envelope

FORMAT_VERSION = 1
SUFFIX = ".envelope"
_RECORD = "envelope.json"
_STORE = "store"


class Archive(msgspec.Struct, frozen=True, kw_only=True):
    """What envelope.json holds."""

    format_version: int
    id: str
    manifest_sha256: str
    history: History


def export_envelope(connection: Connection, row: EnvelopeRow, path: Path) -> Path:
    """Write an envelope with its history to a file, whole or not at all.

    Raises StorageError when the file is there already or cannot be written, IntegrityError when the
    envelope's own bytes were changed.
    """
    if path.exists():
        raise StorageError(f"{path} exists; remove it, or write to another file with --to")
    record = Archive(
        format_version=FORMAT_VERSION,
        id=row.id,
        manifest_sha256=row.manifest_sha256,
        history=connection.registry.history(row.id),
    )
    with _failing(path), tempfile.TemporaryDirectory(prefix=".export-", dir=path.parent) as name:
        folder = Path(name)
        copy_envelope(
            connection.store,
            Store(str(folder / _STORE)),
            row.id,
            manifest_sha256=row.manifest_sha256,
            function_hashes=_hashes(record),
        )
        whole = folder / "whole"
        with zipfile.ZipFile(whole, "w", zipfile.ZIP_STORED) as archive:
            for file in sorted((folder / _STORE).rglob("*")):
                if file.is_file():
                    archive.write(file, file.relative_to(folder).as_posix())
            archive.writestr(_RECORD, msgspec.json.encode(record))
        os.replace(whole, path)
    return path


def import_envelope(connection: Connection, path: Path) -> tuple[EnvelopeRow, bool]:
    """Add the envelope of a file, with its id and history. Return whether it was new here.

    One that is here already is left as it is, its history too.
    Raises IntegrityError when the file was changed or is none of ours, EnvelopeError when another
    envelope has this id here.
    """
    with _failing(path), tempfile.TemporaryDirectory(prefix="envelope-import-") as name:
        record = _unpack(path, Path(name))
        if (here := _known(connection, record)) is not None:
            return here, False
        source = Store(str(Path(name) / _STORE))
        manifest = _checked_manifest(source, record, path)
        copy_envelope(
            source,
            connection.store,
            record.id,
            manifest_sha256=record.manifest_sha256,
            function_hashes=_hashes(record),
        )
    is_new = connection.registry.import_envelope(
        manifest, record.manifest_sha256, record.history, actor=connection.actor
    )
    return connection.registry.envelope(record.id), is_new


def _known(connection: Connection, record: Archive) -> EnvelopeRow | None:
    """Return the row if this envelope is here. Raises EnvelopeError if another one has its id."""
    try:
        row = connection.registry.envelope(record.id)
    except ModelNotFound:
        return None
    if row.manifest_sha256 != record.manifest_sha256:
        raise EnvelopeError(
            f"another envelope {record.id} is registered here; an envelope is never altered: keep "
            "the one that is here, or import the file into another registry"
        )
    return row


def _unpack(path: Path, folder: Path) -> Archive:
    try:
        with zipfile.ZipFile(path) as archive:
            # Ours are stored as they are, so that a small file never becomes a large folder.
            names = [
                info.filename
                for info in archive.infolist()
                if info.compress_type == zipfile.ZIP_STORED
                and info.filename.startswith((f"{_STORE}/", _RECORD))
            ]
            archive.extractall(folder, names)
        data = (folder / _RECORD).read_bytes()
    except (zipfile.BadZipFile, EOFError, FileNotFoundError) as exc:
        if not path.exists():
            raise StorageError(f"there is no file {path}; name one that was exported") from exc
        raise _changed(path, str(exc)) from exc
    try:
        version = msgspec.json.decode(data, type=_Version).format_version
        if version > FORMAT_VERSION:
            raise IntegrityError(
                f"{path} has format version {version}, this installation reads up to "
                f"{FORMAT_VERSION}; upgrade model-envelope"
            )
        return msgspec.json.decode(data, type=Archive)
    except msgspec.DecodeError as exc:
        raise _changed(path, str(exc)) from exc


class _Version(msgspec.Struct):
    format_version: int


def _checked_manifest(source: Store, record: Archive, path: Path) -> Manifest:
    """Return the manifest, if the record is about it."""
    manifest = source.get_manifest(record.id, record.manifest_sha256)
    if manifest.id != record.id:
        raise _changed(path, f"its manifest is of envelope {manifest.id}")
    if not manifest.functions.items() <= _hashes(record).items():
        raise _changed(path, "its functions are not those of its manifest")
    return manifest


def _hashes(record: Archive) -> dict[str, str]:
    return {function.name: function.sha256 for function in record.history.functions}


def _changed(path: Path, how: str) -> IntegrityError:
    return IntegrityError(f"{path} is not a whole exported envelope ({how}); export it again")


@contextmanager
def _failing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        raise StorageError(
            f"{path}: {exc.strerror or exc}; name a file in a folder that can be used, with room "
            "for the envelope"
        ) from exc
