"""Programs of the clients that people have, each in an environment of its own."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from benchmarks.peers import IndexUnreachable, python_with

PROGRAMS = Path(__file__).parent / "programs"
PROGRAM_S = 60.0


def client_python(name: str, *requirements: str) -> Path:
    """Return the Python of a client's environment; skip where it cannot be built for want of an
    index.
    """
    try:
        return python_with(name, *requirements)
    except IndexUnreachable as exc:
        pytest.skip(f"the package index cannot be reached, and {name} is not here yet: {exc}")


def run_program(python: Path, program: str, *arguments: str) -> Any:
    """Run a client's program to its end, and return the JSON that it printed last."""
    done = subprocess.run(
        [str(python), "-E", "-s", str(PROGRAMS / program), *arguments],
        capture_output=True,
        text=True,
        timeout=PROGRAM_S,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])
