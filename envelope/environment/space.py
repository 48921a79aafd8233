"""The space that environments take on a node, and which of them go when it is short.

Files are linked between environments and uv's cache, so that sizes do not add up: each file counts
once, for the environment that was used last.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from envelope.environment.lock import file_lock
from envelope.environment.use import GRACE_S, IN_USE, is_ready, last_used, unused

# "in use": a process runs in it, or was given it a moment ago. "unknown": built by a version that
# does not say so. "half built": by a builder that was killed.
State = Literal["in use", "free", "unknown", "being built", "half built"]

CLOCK_S = 1.0  # the clock of a file system's times may be that far behind

_REMOVED = ".removed-"
_LOCKS = ".locks"


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """One environment on this node.

    last_used_at: when it was last asked for, or seen to run by a sweep; seconds since 1970, None
    before it was built to its end. size_bytes: on disk, each
    of its files once. added_bytes: what it takes beside those listed before it. freed_bytes: what
    its removal gives back: files that no other environment and not uv's cache has.
    """

    key: str
    state: State
    last_used_at: float | None
    size_bytes: int
    added_bytes: int
    freed_bytes: int


def look(root: Path, *, now: float | None = None) -> list[Held]:
    """List the environments below `root`: those that stay first, then the last used first.

    Walks all their files: 0.1 to 0.5 s for each.
    """
    now = time.time() if now is None else now
    folders = [(_state(folder, now), _last_seen(folder), folder) for folder in _folders(root)]
    folders.sort(key=lambda one: (one[0] == "free", -(one[1] or 0.0)))
    counted: set[tuple[int, int]] = set()
    return [_measure(folder, state=state, at=at, counted=counted) for state, at, folder in folders]


def choose_removals(held: Sequence[Held], limit_bytes: int) -> list[Held]:
    """Say which environments go so that the others take at most limit_bytes, as far as they may.

    held: in the order of `look`. Half-built ones always go; of the free ones the least recently
    used: the first that does not fit any more, and all that were used before it.
    """
    total = 0
    gone = []
    for one in held:
        total += one.added_bytes
        if one.state == "half built" or (one.state == "free" and total > limit_bytes):
            gone.append(one)
    return gone


def sweep(root: Path, *, limit_bytes: int, now: float | None = None) -> list[Held]:
    """Remove what `choose_removals` names; returns what was removed, [] while another sweeps.

    Never one in which a process runs: each is looked at again, with its locks held, and renamed
    before its files go, so that nobody ever meets half of it. What a killed sweep left is removed.
    """
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(file_lock(root / _LOCKS / "sweep", timeout_s=0))
        except (TimeoutError, OSError):
            return []
        for leftover in root.glob(f"{_REMOVED}*"):
            shutil.rmtree(leftover, ignore_errors=True)
        began = time.time() - CLOCK_S
        held = look(root, now=now)
        for one in held:
            if one.state == "in use":
                with contextlib.suppress(OSError):
                    os.utime(root / one.key / IN_USE)
        gone = choose_removals(held, limit_bytes)
        return [one for one in gone if _remove(root, one, began=began)]


def _state(folder: Path, now: float) -> State:
    at = last_used(folder)
    if at is None or not is_ready(folder):
        return "half built" if _is_abandoned(folder) else "being built"
    if not (folder / IN_USE).is_file():
        return "unknown"
    if now - at < GRACE_S:
        return "in use"
    with unused(folder) as is_unused:
        return "free" if is_unused else "in use"


def _last_seen(folder: Path) -> float | None:
    asked_at = last_used(folder)
    try:
        return asked_at and max(asked_at, (folder / IN_USE).stat().st_mtime)
    except OSError:
        return asked_at


def _is_abandoned(folder: Path) -> bool:
    try:
        with file_lock(folder.parent / _LOCKS / folder.name, timeout_s=0):
            return not is_ready(folder)
    except (TimeoutError, OSError):
        return False


def _remove(root: Path, one: Held, *, began: float) -> bool:
    target, aside = root / one.key, root / f"{_REMOVED}{one.key}-{os.getpid()}"
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(file_lock(root / _LOCKS / one.key, timeout_s=0))
            if one.state == "half built":
                if is_ready(target):
                    return False
            elif not stack.enter_context(unused(target)) or not _is_older(target, began):
                return False
            target.rename(aside)
        except (TimeoutError, OSError):
            return False
    shutil.rmtree(aside, ignore_errors=True)
    return True


def _is_older(target: Path, moment: float) -> bool:
    at = last_used(target)
    return at is not None and at < moment


def _measure(
    folder: Path, *, state: State, at: float | None, counted: set[tuple[int, int]]
) -> Held:
    links: dict[tuple[int, int], int] = {}
    size = added = freed = 0
    for stat in _files(str(folder)):
        inode = (stat.st_dev, stat.st_ino)
        # Bytes on disk, in the blocks of 512 that stat counts in; Windows has none.
        taken = stat.st_blocks * 512 if hasattr(stat, "st_blocks") else stat.st_size
        links[inode] = links.get(inode, 0) + 1
        if links[inode] == 1:
            size += taken
            added += 0 if inode in counted else taken
            counted.add(inode)
        if links[inode] == stat.st_nlink:
            freed += taken
    return Held(
        key=folder.name,
        state=state,
        last_used_at=at,
        size_bytes=size,
        added_bytes=added,
        freed_bytes=freed,
    )


def _files(folder: str) -> Iterator[os.stat_result]:
    """Everything below a folder but folders, links not followed; what vanishes is passed over."""
    pending = [folder]
    while pending:
        try:
            with os.scandir(pending.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        pending.append(entry.path)
                        continue
                    with contextlib.suppress(OSError):
                        # Not the entry's own stat: Windows gives it without counting links.
                        yield os.lstat(entry.path)
        except OSError:
            continue


def _folders(root: Path) -> list[Path]:
    try:
        return sorted(one for one in root.iterdir() if one.is_dir() and one.name[0] != ".")
    except OSError:
        return []
