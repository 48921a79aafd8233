"""An envelope's own objects, taken from one store to another: same bytes, same id."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable, Mapping

from envelope.errors import EnvelopeError
from envelope.manifest import Blob, Function, Manifest, sha256_of
from envelope.store import CHUNK_BYTES, Store, function_path, manifest_path

ANNOUNCED_BYTES = 200 << 20  # what takes longer than a second is told


def blobs_of(manifest: Manifest, functions: Iterable[Function]) -> list[Blob]:
    """List the blobs that an envelope refers to, each once."""
    environment = manifest.environment
    artifacts = [manifest.artifact, *(f.artifact for f in functions if f.artifact is not None)]
    found = [
        *(blob for artifact in artifacts for blob in artifact.blobs),
        *(module.blob for module in environment.modules),
        *([environment.snapshot] if environment.snapshot is not None else []),
    ]
    return list({blob.sha256: blob for blob in found}.values())


def copy_envelope(
    source: Store,
    target: Store,
    envelope_id: str,
    *,
    manifest_sha256: str,
    function_hashes: Mapping[str, str],
) -> None:
    """Copy an envelope, checking every hash on the way; the manifest last. Again is no change.

    Raises IntegrityError when the source was changed, EnvelopeError when the target holds another
    envelope or function of this id. Nothing is ever written over.
    """
    manifest = source.get_manifest(envelope_id, manifest_sha256)
    functions = [source.get_function(envelope_id, *pair) for pair in function_hashes.items()]
    records = {function_path(envelope_id, name): sha for name, sha in function_hashes.items()}
    records[manifest_path(envelope_id)] = manifest_sha256
    for path, sha256 in records.items():
        _refuse_another(target, path, sha256)
    blobs = blobs_of(manifest, functions)
    if (size_bytes := sum(blob.size_bytes for blob in blobs)) > ANNOUNCED_BYTES:
        print(f"copying envelope {envelope_id}: {size_bytes / 1e6:,.0f} MB", file=sys.stderr)
    for blob in blobs:
        with source.open_blob(blob) as plain, target.write_blob() as packed:
            shutil.copyfileobj(plain, packed, CHUNK_BYTES)
    for path, sha256 in records.items():
        if not target.folder.create(path, source.folder.read(path)):
            _refuse_another(target, path, sha256)


def _refuse_another(store: Store, path: str, sha256: str) -> None:
    if store.folder.size(path) is not None and sha256_of(store.folder.read(path)) != sha256:
        raise EnvelopeError(
            f"{store.url}/{path} exists and is another one; envelopes are never altered: use the "
            "one that is there, or another store"
        )
