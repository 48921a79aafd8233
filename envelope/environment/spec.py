"""What decides an environment, and whether an interpreter satisfies it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import msgspec

from envelope.capture.installed import installed
from envelope.environment.platforms import Lock, lock_for
from envelope.manifest import Environment, Package, to_bytes


class EnvironmentSpec(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that decides what is in a virtual environment.

    python: x.y.z of the interpreter that it is built with. platform: as in `manifest.Environment`.
    packages: the model's lock. locked_on: the platform that it was made on; "": this one.
    transitive: as in `manifest.Environment`, () where the lock is of this platform.
    constraints: what the runtime adds, as requirement lines. runtime_version: of model-envelope,
    whose wheel is installed beside them.
    """

    python: str
    platform: str
    packages: tuple[Package, ...]
    locked_on: str = ""
    transitive: tuple[str, ...] = ()
    constraints: tuple[str, ...] = ()
    runtime_version: str

    @property
    def key(self) -> str:
        """The name of the environment: 32 hex digits that change with anything above."""
        return hashlib.sha256(to_bytes(self)).hexdigest()[:32]

    @property
    def lock(self) -> Lock:
        """What is asked for on this platform."""
        return lock_for(
            self.packages,
            self.transitive,
            locked_on=self.locked_on or self.platform,
            platform=self.platform,
        )


def lock_of(environment: Environment, platform: str) -> Lock:
    """Return what an envelope's environment asks for on a platform."""
    return lock_for(
        environment.packages,
        environment.transitive,
        locked_on=environment.platform,
        platform=platform,
    )


def transitive_of(environment: Environment, platform: str) -> tuple[str, ...]:
    """Return a spec's `transitive`: none on its own platform, where equal locks share one key."""
    return environment.transitive if environment.platform != platform else ()


def installed_packages() -> dict[str, str]:
    """Return {normalised name: version} of this interpreter, read again when it has changed."""
    return dict(installed().versions)


def unmet(lock: Lock, installed: Mapping[str, str]) -> list[str]:
    """List how an interpreter differs from a lock, in lines for people; [] when it satisfies it."""
    lines = []
    for package in (*lock.packages, *lock.preferred):
        found = installed.get(package.name)
        if found is None:
            if package not in lock.preferred:  # it may not be required here
                lines.append(f"{package.name}: locked {package.version}, not installed")
        elif not _is_version(package, found, lock):
            lines.append(f"{package.name}: locked {package.version}, installed {found}")
    return lines


def _is_version(package: Package, found: str, lock: Lock) -> bool:
    return package.version == (found if lock.is_exact else found.partition("+")[0])
