"""What differs between two configurations, as it is said and as it is kept."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel


def changed_keys(old: BaseModel | None, new: BaseModel) -> dict[str, list[Any]]:
    """The keys that differ, each with [old, new]; of what is new, those that are no defaults."""
    before = {} if old is None else _flat(old.model_dump(mode="json"))
    after = _flat(new.model_dump(mode="json", exclude_defaults=old is None))
    return {
        key: [before.get(key), after.get(key)]
        for key in sorted({*before, *after})
        if before.get(key) != after.get(key)
    }


def lines_of(where: str, changed: Mapping[str, list[Any]]) -> list[str]:
    """A line for each key that changed."""
    return [f"{where}: {key} {old} -> {new}" for key, (old, new) in changed.items()]


def _flat(value: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, member in value.items():
        if isinstance(member, dict):
            found |= _flat(member, f"{prefix}{key}.")
        else:
            found[prefix + key] = member
    return found
