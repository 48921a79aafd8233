"""What is sent that is not a method's own parameters: a manifest stays in the store."""

from __future__ import annotations

from datetime import datetime

import msgspec

from envelope.registry import History


class RegisterRecord(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An envelope whose manifest lies in the server's store. created_at: of an import."""

    id: str
    manifest_sha256: str
    created_at: datetime | None = None


class ImportRecord(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An envelope of another registry, with all that happened to it there."""

    manifest_sha256: str
    history: History
