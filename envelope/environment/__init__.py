"""Environments without Ray: what a lock asks for, what is installed, and a virtual environment.

Used by the proof and by the plugin that prepares nodes. See docs/environments.md.
"""

from envelope.environment.build import build_environment
from envelope.environment.runtime import (
    check_batch,
    check_python,
    runtime_requirements,
    runtime_roots,
    runtime_version,
)
from envelope.environment.space import Held, look, sweep
from envelope.environment.spec import (
    EnvironmentSpec,
    installed_packages,
    lock_of,
    transitive_of,
    unmet,
)
from envelope.environment.use import claim, is_ready, python_of
from envelope.environment.wheel import repack_wheel

__all__ = [
    "EnvironmentSpec",
    "Held",
    "build_environment",
    "check_batch",
    "check_python",
    "claim",
    "installed_packages",
    "is_ready",
    "lock_of",
    "look",
    "python_of",
    "repack_wheel",
    "runtime_requirements",
    "runtime_roots",
    "runtime_version",
    "sweep",
    "transitive_of",
    "unmet",
]
