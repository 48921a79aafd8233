"""What decides an environment, and whether an interpreter satisfies it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import msgspec

from envelope.capture.installed import installed
from envelope.manifest import Package, to_bytes


class EnvironmentSpec(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that decides what is in a virtual environment.

    python: x.y.z of the interpreter that it is built with. platform: as in `manifest.Environment`.
    packages: the model's lock. constraints: what the runtime adds, as requirement lines.
    runtime_version: of model-envelope, whose wheel is installed beside them.
    """

    python: str
    platform: str
    packages: tuple[Package, ...]
    constraints: tuple[str, ...] = ()
    runtime_version: str

    @property
    def key(self) -> str:
        """The name of the environment: 32 hex digits that change with anything above."""
        return hashlib.sha256(to_bytes(self)).hexdigest()[:32]


def installed_packages() -> dict[str, str]:
    """Return {normalised name: version} of this interpreter, read again when it has changed."""
    return dict(installed().versions)


def unmet(packages: Sequence[Package], installed: Mapping[str, str]) -> list[str]:
    """List how an interpreter differs from a lock, in lines for people; [] when it satisfies it."""
    lines = []
    for package in packages:
        found = installed.get(package.name)
        if found is None:
            lines.append(f"{package.name}: locked {package.version}, not installed")
        elif found != package.version:
            lines.append(f"{package.name}: locked {package.version}, installed {found}")
    return lines
