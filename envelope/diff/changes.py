"""The one record that everything else is made of: something was added, removed or changed."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal["added", "removed", "changed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """old: None where it was added; new: None where it was removed."""

    name: str
    kind: Kind
    old: Any = None
    new: Any = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TextChange:
    """A text that differs. text: a unified diff, or in words what cannot be shown so."""

    name: str
    kind: Kind
    text: str


def changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> tuple[Change, ...]:
    """Compare two mappings, by name.

    >>> [(c.name, c.kind) for c in changes({"a": 1, "b": 2}, {"b": 3, "c": 4})]
    [('a', 'removed'), ('b', 'changed'), ('c', 'added')]
    """
    found = []
    for name in sorted(old.keys() | new.keys()):
        if name not in new:
            found.append(Change(name=name, kind="removed", old=old[name]))
        elif name not in old:
            found.append(Change(name=name, kind="added", new=new[name]))
        elif _differ(old[name], new[name]):
            found.append(Change(name=name, kind="changed", old=old[name], new=new[name]))
    return tuple(found)


def _differ(old: Any, new: Any) -> bool:
    """Compare as JSON would: 1, 1.0 and true are three values, NaN is itself."""
    if type(old) is not type(new):
        return True
    return bool(old != new) and not (old != old and new != new)


def flatten(value: Mapping[str, Any], path: str = "") -> dict[str, Any]:
    """Name the members of nested objects by their path; lists are compared whole.

    >>> flatten({"tree": {"depth": 3}, "layers": [64, 32]})
    {'tree.depth': 3, 'layers': [64, 32]}
    """
    flat: dict[str, Any] = {}
    for key, member in value.items():
        if isinstance(member, Mapping) and member:
            flat.update(flatten(member, f"{path}{key}."))
        else:
            flat[f"{path}{key}"] = member
    return flat


def text_change(name: str, old: str | bytes | None, new: str | bytes | None) -> TextChange | None:
    """Compare two texts, or files; None when they are equal. None stands for what is not there."""
    if old == new:
        return None
    kind: Kind = "added" if old is None else "removed" if new is None else "changed"
    before, after = _lines(old), _lines(new)
    if before is None or after is None:
        sizes = " -> ".join(f"{len(side):,}" for side in (old, new) if side is not None)
        return TextChange(name=name, kind=kind, text=f"not a text, {sizes} bytes")
    lines = difflib.unified_diff(before, after, f"a/{name}", f"b/{name}", lineterm="")
    return TextChange(name=name, kind=kind, text="\n".join(lines))


def _lines(content: str | bytes | None) -> list[str] | None:
    if isinstance(content, bytes):
        try:
            content = content.decode()
        except UnicodeDecodeError:
            return None
    return (content or "").splitlines()
