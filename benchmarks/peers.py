"""Peers to measure against and clients to test with, each in an environment of its own.

They pin other versions of pandas and numpy than ours. An environment is built on first use, once
per machine and list of requirements, and kept in the user's cache folder.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import platform
import subprocess
import sys
from pathlib import Path

from envelope.environment.lock import file_lock

FOLDER = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "model-envelope" / "peers"
BUILD_S = 600.0
# How uv says that it could not ask the package index at all.
UNREACHABLE = ("error sending request", "Failed to fetch", "dns error", "Could not connect")

# The same model library on both sides: what is compared is the platform.
SHARED = ("numpy", "pandas", "scikit-learn", "scipy")


class IndexUnreachable(Exception):
    """The package index cannot be reached from here; the message is uv's last line."""


def peer_python(name: str, *requirements: str) -> Path:
    """Return the Python of an environment that holds `requirements` beside our model libraries.

    A requirement that rules out one of our own versions (MLflow caps pandas) gets the nearest that
    it allows.
    """
    return python_with(
        name, *requirements, f"scikit-learn=={importlib.metadata.version('scikit-learn')}"
    )


def python_with(name: str, *requirements: str) -> Path:
    """Return the Python of an environment that holds `requirements` and nothing of ours.

    Raises IndexUnreachable when it is not built yet and cannot be now.
    """
    wanted = "\n".join([platform.python_version(), sys.platform, *sorted(requirements)])
    folder = FOLDER / f"{name}-{hashlib.sha256(wanted.encode()).hexdigest()[:12]}"
    python, marker = folder / "bin" / "python", folder / "READY"
    with file_lock(folder.with_suffix(".lock"), timeout_s=BUILD_S):
        if not marker.exists():
            print(f"building the environment of {name} ...", flush=True)
            _uv("venv", "--clear", "--python", sys.executable, str(folder))
            _uv("pip", "install", "--python", str(python), *requirements)
            marker.touch()
    return python


def _uv(*arguments: str) -> None:
    uv = str(Path(sys.executable).parent / "uv")
    done = subprocess.run([uv, *arguments, "--quiet"], capture_output=True, text=True)
    if done.returncode:
        if any(sign in done.stderr for sign in UNREACHABLE):
            raise IndexUnreachable(done.stderr.strip().splitlines()[-1])
        raise RuntimeError(f"uv {arguments[0]} failed:\n{done.stderr}")


def version_in(python: Path, distribution: str) -> str:
    """Return the version of a distribution in another environment."""
    code = f"import importlib.metadata as m; print(m.version({distribution!r}))"
    done = subprocess.run([str(python), "-c", code], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def machine() -> str:
    """Return one line on the machine and our versions, for the head of every benchmark."""
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    ours = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in SHARED)
    return (
        f"{os.cpu_count()} cores, {memory_gib:.0f} GiB, {platform.machine()}, "
        f"Python {platform.python_version()}, {ours}"
    )
