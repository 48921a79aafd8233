"""Locks between processes of one machine, freed by the operating system when they end."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

POLL_S = 0.05

Kind = Literal["exclusive", "shared"]


@contextlib.contextmanager
def file_lock(path: Path, *, timeout_s: float, kind: Kind = "exclusive") -> Iterator[int]:
    """Hold a lock on a file; yields its descriptor, which a child may inherit.

    kind: "shared" is held by any number of processes at once. Windows knows "exclusive" alone.
    The file stays: removing it would let two holders in. Raises TimeoutError after timeout_s.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        deadline = time.monotonic() + timeout_s
        while not _try_lock(descriptor, kind):
            if time.monotonic() > deadline:
                raise TimeoutError(f"{path} was held by another process for {timeout_s:g} s")
            time.sleep(POLL_S)
        yield descriptor
    finally:
        os.close(descriptor)


def _try_lock(descriptor: int, kind: Kind) -> bool:
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            how = fcntl.LOCK_EX if kind == "exclusive" else fcntl.LOCK_SH
            fcntl.flock(descriptor, how | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
