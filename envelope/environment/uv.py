"""uv as a child process: found, given the node's settings, its words kept."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from envelope.environment.indexes import (
    hide_credentials,
    index_variables,
    pip_options,
    read_pip_files,
)
from envelope.environment.process import Log, run_process
from envelope.errors import DependencyError, EnvironmentBuildError

NICENESS = 15  # replicas on this node go on answering while uv unpacks with all cores
# These change what is installed or where, and come from whatever started this process.
_DROPPED = frozenset(
    {
        *("VIRTUAL_ENV", "CONDA_PREFIX", "CONDA_DEFAULT_ENV", "PYTHONPATH", "PYTHONHOME"),
        *("UV_PYTHON", "UV_SYSTEM_PYTHON", "UV_PROJECT", "UV_PROJECT_ENVIRONMENT", "UV_TARGET"),
        *("UV_CONSTRAINT", "UV_OVERRIDE", "UV_PREFIX", "UV_EXCLUDE_NEWER", "UV_RESOLUTION"),
        *("UV_REQUIRE_HASHES", "UV_COMPILE_BYTECODE", "UV_BREAK_SYSTEM_PACKAGES"),
    }
)

_FULL = re.compile("No space left on device|Disk quota exceeded|not enough space on the disk")

_GIVING_WAY = () if sys.platform == "win32" else ("nice", "-n", str(NICENESS))


def find_uv() -> str:
    """Return the uv of the `uv` package, or the one on PATH.

    Raises DependencyError with the remedy when there is none.
    """
    try:
        from uv import find_uv_bin

        return find_uv_bin()
    except (ImportError, FileNotFoundError):
        from shutil import which

        if found := which("uv"):
            return found
    raise DependencyError("uv, which builds environments, is not installed: pip install uv")


def uv_environ(environ: Mapping[str, str], *, cache_near: Path) -> dict[str, str]:
    """Return the variables that uv is run with.

    cache_near: the folder of the environments. Files are linked from uv's cache, not copied, so
    the cache has to be on the same file system: the usual one if it is, else one beside them.
    """
    kept = {name: value for name, value in environ.items() if name not in _DROPPED}
    kept.update(index_variables(environ, pip_options(environ, read_pip_files(environ))))
    kept["UV_CACHE_DIR"] = str(cache_dir(environ, near=cache_near))
    kept["UV_NO_PROGRESS"] = "1"
    kept["NO_COLOR"] = "1"
    kept["UV_PYTHON_DOWNLOADS"] = "never"
    return kept


def install_options(environ: Mapping[str, str]) -> list[str]:
    """Return the options of `uv pip install` that stand for variables which it does not read."""
    options = {"UV_NO_INDEX": "--no-index", "UV_NO_BUILD": "--no-build"}
    return [option for name, option in options.items() if environ.get(name) in ("1", "true")]


def cache_dir(environ: Mapping[str, str], *, near: Path) -> Path:
    """Return uv's own cache if files can be linked from it to `near`, else one inside `near`."""
    if environ.get("UV_CACHE_DIR"):
        usual = Path(environ["UV_CACHE_DIR"])
    elif environ.get("XDG_CACHE_HOME"):
        usual = Path(environ["XDG_CACHE_HOME"], "uv")
    elif environ.get("HOME"):
        usual = Path(environ["HOME"], ".cache", "uv")
    else:
        return near / ".uv-cache"
    place = _nearest_existing(usual)
    is_same_disk = place.stat().st_dev == _nearest_existing(near).stat().st_dev
    return usual if is_same_disk and os.access(place, os.W_OK) else near / ".uv-cache"


def _nearest_existing(path: Path) -> Path:
    path = path.absolute()
    while not path.exists():
        path = path.parent
    return path


def run_uv(
    arguments: Sequence[str],
    *,
    environ: Mapping[str, str],
    what: str,
    log: Log,
    timeout_s: float,
    keep_open: Sequence[int] = (),
) -> None:
    """Run uv and pass on each line that it says.

    keep_open: see run_process.
    Raises EnvironmentBuildError with the last of uv's words when it fails or takes too long, and
    without when the disk is full.
    """
    ended = run_process(
        [*_GIVING_WAY, find_uv(), *arguments],
        environ=environ,
        # From the root folder, so that no project's uv settings apply; the user's own still do.
        cwd=Path(Path.cwd().anchor),
        log=lambda line: log(hide_credentials(line)),
        timeout_s=timeout_s,
        keep_open=keep_open,
    )
    lines = tuple(map(hide_credentials, ended.lines))
    if ended.is_late:
        raise EnvironmentBuildError(f"{what}: uv took longer than {timeout_s:g} s", lines)
    if ended.status != 0 and (full := [line for line in lines if _FULL.search(line)]):
        # No output: what this disk lacks says nothing of what was to be built.
        raise EnvironmentBuildError(
            f"{what}: the disk is full: {full[-1].strip()}; make room (`envelope environments "
            "--prune`, `uv cache clean`), or set ENVELOPE_ENVIRONMENTS to a folder on another disk"
        )
    if ended.status != 0:
        raise EnvironmentBuildError(f"{what}: uv failed with status {ended.status}", lines)
