"""Peers to measure against, each in an environment of its own, built on first use."""

from __future__ import annotations

import importlib.metadata
import platform
import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parent.parent / ".venv-peers"

# The same model library on both sides: what is compared is the platform.
SHARED = ("numpy", "pandas", "scikit-learn", "scipy")


def peer_python(name: str, *requirements: str) -> Path:
    """Return the Python of an environment that holds `requirements` beside our model libraries.

    Built once and kept in `.venv-peers/<name>`; a requirement that rules out one of our own
    versions (MLflow caps pandas) gets the nearest that it allows.
    """
    python = FOLDER / name / "bin" / "python"
    marker = FOLDER / name / "READY"
    if not marker.exists():
        print(f"building the environment of {name} ...", flush=True)
        uv = str(Path(sys.executable).parent / "uv")
        subprocess.run(
            [uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(FOLDER / name)],
            check=True,
        )
        pins = [f"scikit-learn=={importlib.metadata.version('scikit-learn')}"]
        subprocess.run(
            [uv, "pip", "install", "--quiet", "--python", str(python), *requirements, *pins],
            check=True,
        )
        marker.touch()
    return python


def version_in(python: Path, distribution: str) -> str:
    """Return the version of a distribution in another environment."""
    code = f"import importlib.metadata as m; print(m.version({distribution!r}))"
    done = subprocess.run([str(python), "-c", code], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def machine() -> str:
    """Return one line on the machine and our versions, for the head of every benchmark."""
    import os

    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    ours = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in SHARED)
    return (
        f"{os.cpu_count()} cores, {memory_gib:.0f} GiB, {platform.machine()}, "
        f"Python {platform.python_version()}, {ours}"
    )
