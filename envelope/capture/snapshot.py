"""Everything that is installed where the model was trained: kept for reading and diffing."""

from __future__ import annotations

import platform
import re
import sys
from functools import lru_cache
from pathlib import Path
from typing import Any

from envelope.capture.installed import Installed, without_credentials

_CHANNEL = re.compile(r'"channel":\s*"([^"]*)"')
_RECORD = re.compile(r"(?P<name>.+)-(?P<version>[^-]+)-(?P<build>[^-]+)\.json")
_HEAD_BYTES = 8192  # conda's records are sorted by key: "channel" comes before the long file list


def take_snapshot(here: Installed) -> dict[str, Any]:
    """Describe this interpreter: JSON-able, without the values of any environment variable.

    {"python": {...}, "platform": {...}, "distributions": [{"name", "version", "origin", "url",
    "installer"}, ...], "conda": [{"name", "version", "build", "channel"}, ...]}; "conda" is what
    `conda list --export` says, and empty outside conda. Absent facts are left out.
    """
    return {
        "python": {
            "version": platform.python_version(),
            "implementation": platform.python_implementation(),
            "build": " ".join(platform.python_build()),
            "compiler": platform.python_compiler(),
            "kind": _kind_of_prefix(),
        },
        "platform": {
            "system": platform.system(),
            "release": platform.release(),
            "machine": platform.machine(),
            "libc": " ".join(_libc()),
        },
        "distributions": _distributions(here),
        "conda": conda_records(Path(sys.prefix)),
    }


def _distributions(here: Installed) -> list[dict[str, str]]:
    listed = []
    for name in sorted(here.distributions):
        distribution = here.distributions[name]
        entry = {
            "name": name,
            "version": distribution.version,
            "origin": distribution.origin.kind,
            "installer": distribution.installer,
            "url": distribution.origin.url or "",
        }
        listed.append({key: value for key, value in entry.items() if value})
    return listed


def conda_records(prefix: Path) -> list[dict[str, str]]:
    """Read conda's own records of a prefix, sorted by name; [] when it is not conda's."""
    folder = prefix / "conda-meta"
    try:
        stamp = folder.stat().st_mtime_ns
    except OSError:
        return []
    return [dict(record) for record in _read_conda(folder, stamp)]


@lru_cache(maxsize=2)  # keyed by the folder's stamp: an install is seen
def _read_conda(folder: Path, stamp: int) -> tuple[dict[str, str], ...]:
    records = []
    for path in sorted(folder.glob("*.json")):
        match = _RECORD.fullmatch(path.name)
        if match is None:
            continue
        with path.open("rb") as file:
            channel = _CHANNEL.search(file.read(_HEAD_BYTES).decode("utf-8", "replace"))
        records.append({**match.groupdict(), "channel": _channel(channel)})
    return tuple(records)


def _channel(found: re.Match[str] | None) -> str:
    return without_credentials(found[1]) if found else ""


def _kind_of_prefix() -> str:
    if (Path(sys.prefix) / "conda-meta").is_dir():
        return "conda"
    return "venv" if sys.prefix != sys.base_prefix else "system"


@lru_cache(maxsize=1)
def _libc() -> tuple[str, str]:
    return platform.libc_ver()
