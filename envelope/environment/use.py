"""Who uses an environment: every Python in it holds a shared lock for as long as it lives.

The lock is taken by a `.pth` file of the environment, before any other code, so that a replica, a
batch worker, a proof and whatever they start all hold it; the operating system frees it, also
when they are killed. Between being asked for and the start of that Python, the time of last use
(the marker READY's own) keeps the environment, see `GRACE_S`.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from envelope.environment.lock import file_lock

READY = "READY"  # written last; an environment without it is half built, and is removed
IN_USE = "IN_USE"  # what its processes hold a shared lock on
# Ray starts a worker within a minute of asking for its environment, or gives up and asks again.
GRACE_S = 600.0
_ASK_S = 5.0  # an exclusive lock is held for the time of a rename

_HOOK = """\
import os
import sys
import time


def hold():
    import fcntl

    path = os.path.join(sys.prefix, "IN_USE")
    descriptor = os.open(path, os.O_RDONLY)  # stays open until this process ends
    for _ in range(500):
        try:
            return fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:  # somebody looks whether it is in use
            time.sleep(0.01)


try:
    hold()
except (ImportError, OSError):  # Windows, which removes no file that is open
    pass
"""


def python_of(target: Path) -> Path:
    """Return the interpreter of a virtual environment."""
    if sys.platform == "win32":
        return target / "Scripts" / "python.exe"
    return target / "bin" / "python"


def is_ready(target: Path) -> bool:
    """Say whether the environment in this folder was built to its end and can be run."""
    return (target / READY).is_file() and python_of(target).exists()


def last_used(target: Path) -> float | None:
    """Return when an environment was last asked for (seconds since 1970); None: it is not ready."""
    try:
        return (target / READY).stat().st_mtime
    except OSError:
        return None


def claim(target: Path) -> Path | None:
    """Note that an environment is about to be used, and return its Python; None: it is not ready.

    Whoever removes environments sees either this use or has removed it before: then it is None.
    """
    if not is_ready(target):
        return None
    try:
        with _shared(target):
            if not is_ready(target):
                return None
            os.utime(target / READY)
    except TimeoutError:
        return None  # being removed: building it again waits for that
    except OSError:
        if not is_ready(target):
            return None
        # A folder that cannot be written is nobody's to remove either.
    return python_of(target)


def install_hook(target: Path, site_packages: Path) -> None:
    """Let every Python of an environment hold its lock. Without it, none would be known to run."""
    (target / IN_USE).touch()
    (site_packages / "_envelope_in_use.py").write_text(_HOOK, encoding="utf-8")
    (site_packages / "_envelope_in_use.pth").write_text("import _envelope_in_use\n")


@contextlib.contextmanager
def unused(target: Path) -> Iterator[bool]:
    """Yield whether no process runs in an environment; while the block runs, none is given it.

    False also where that cannot be known: an environment that was built without the hook.
    """
    if not (target / IN_USE).is_file():
        yield False
        return
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(file_lock(target / IN_USE, timeout_s=0))
        except (TimeoutError, OSError):
            yield False
            return
        yield True


@contextlib.contextmanager
def _shared(target: Path) -> Iterator[None]:
    if sys.platform == "win32" or not (target / IN_USE).is_file():
        yield
        return
    with file_lock(target / IN_USE, timeout_s=_ASK_S, kind="shared"):
        yield
