"""Who takes part in which arm of an experiment: pure, and the same in every replica, for ever.

A query belongs to whoever its key names. The key is hashed together with the experiment's own, so
that the next experiment draws other callers.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import msgspec

from ray_runtime.protocols.http import Header

HASH_BYTES = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Sticky:
    """Where the key of a query is: in a header, or in a member of its JSON. One of the two."""

    header: str | None = None
    field: str | None = None


def is_in_share(experiment: str, key: str, percent: float) -> bool:
    """Whether a key is of the share that goes to the challenger.

    Of a larger share the same keys are, and others.
    """
    digest = blake2b(f"{experiment}\0{key}".encode(), digest_size=HASH_BYTES).digest()
    return int.from_bytes(digest, "big") < percent / 100 * (1 << 8 * HASH_BYTES)


def key_in_headers(sticky: Sticky, headers: Iterable[Header]) -> str | None:
    """The key that a query's headers have; None for an empty or missing one."""
    assert sticky.header is not None
    name = sticky.header.lower().encode()
    found = next((value for each, value in headers if each.lower() == name), b"")
    return found.strip().decode("latin-1") or None


def key_in_body(sticky: Sticky, body: bytes) -> str | None:
    """The key that a query's JSON has: of rows, if all of them have the same.

    None when there is none, and for what is no JSON.
    """
    assert sticky.field is not None
    try:
        sent = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError):
        return None
    rows = sent if isinstance(sent, list) else [sent]
    keys = {_key_of(row, sticky.field) for row in rows}
    return keys.pop() if len(keys) == 1 else None


def _key_of(row: Any, field: str) -> str | None:
    value = row.get(field) if isinstance(row, dict) else None
    is_key = isinstance(value, str | int) and not isinstance(value, bool)
    return (str(value) or None) if is_key else None
