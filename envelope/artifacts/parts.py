"""What a codec takes an object apart into."""

from __future__ import annotations

import mmap
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """state: pickled with the model. files: bytes as the library's own files hold them.

    Files become blobs of their own, whatever their size, so that they can be taken out.
    """

    state: Any
    files: tuple[Any, ...] = ()


def map_file(path: Path) -> mmap.mmap | bytes:
    """Return a file's bytes without reading them into memory."""
    with path.open("rb") as file:
        if not path.stat().st_size:  # nothing cannot be mapped
            return b""
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
