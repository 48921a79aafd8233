"""One desired state from several YAML files and folders."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from envelope.config import DesiredState, read_desired_state
from envelope.errors import ConfigError


def read_files(paths: Iterable[Path]) -> DesiredState:
    """Read YAML files, and all of folders, as one state.

    Raises ConfigError when a file cannot be read, or two say what a name is.
    """
    places: dict[tuple[str, str], Path] = {}
    merged: dict[str, dict[str, Any]] = {kind: {} for kind in DesiredState.model_fields}
    for path in _yaml_files(paths):
        state = read_desired_state(path)
        for kind, into in merged.items():
            for name, config in getattr(state, kind).items():
                first = places.setdefault((kind, name), path)
                if first != path:
                    raise ConfigError(f"{kind}.{name} is in {first} and in {path}; keep one")
                into[name] = config
    return DesiredState.model_validate(merged)


def _yaml_files(paths: Iterable[Path]) -> list[Path]:
    found: dict[Path, None] = {}
    for path in paths:
        inside = sorted(p for p in path.rglob("*") if p.suffix in (".yaml", ".yml"))
        if path.is_dir() and not inside:
            raise ConfigError(f"{path} holds no .yaml or .yml file")
        found |= dict.fromkeys(inside if path.is_dir() else [path])
    return list(found)
