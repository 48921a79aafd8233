"""Read two envelopes for comparison: records, and the files of local modules that differ."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable
from typing import TYPE_CHECKING

from envelope.diff.difference import Described
from envelope.manifest import LocalModule
from envelope.store import Store

if TYPE_CHECKING:
    from envelope.handle import Envelope


def describe_pair(
    a: Envelope, a_store: Store, b: Envelope, b_store: Store
) -> tuple[Described, Described]:
    """Read both envelopes. Modules that both hold are not read. Raises IntegrityError."""
    ours, theirs = set(a.manifest.environment.modules), set(b.manifest.environment.modules)
    return (_describe(a, a_store, ours - theirs), _describe(b, b_store, theirs - ours))


def _describe(envelope: Envelope, store: Store, modules: Iterable[LocalModule]) -> Described:
    return Described(
        manifest=envelope.manifest,
        created_at=envelope.created_at,
        functions=envelope.functions,
        tags=envelope.tags,
        metrics=envelope.metrics_json(),
        files={path: data for module in modules for path, data in _files(store, module).items()},
    )


def _files(store: Store, module: LocalModule) -> dict[str, bytes]:
    with store.open_blob(module.blob) as packed, zipfile.ZipFile(packed) as archive:
        return {info.filename: archive.read(info) for info in archive.infolist() if info.file_size}
