"""A lock from another platform: what of it is asked for here, and what is only preferred.

Packages differ between platforms in three ways: some exist on one only (`pywin32`, the CUDA
libraries of a Linux torch), some are required on one only (`colorama`), and builds carry tags
(`+cu126`) that another platform has no build of. So what the model names is asked for in its
version, whatever the build; what only other packages require is taken in its version where the
resolver finds it required here; the resolver adds what is required here alone.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from urllib.parse import urlsplit

import msgspec

from envelope.manifest import Package


class Lock(msgspec.Struct, frozen=True, kw_only=True):
    """What an environment is built from.

    packages: asked for. preferred: in these versions where they are required. is_exact: builds
    count; otherwise 2.13.0 is also satisfied by 2.13.0+cpu.
    """

    packages: tuple[Package, ...]
    preferred: tuple[Package, ...] = ()
    is_exact: bool = True


def lock_for(
    packages: Sequence[Package], transitive: Collection[str], *, locked_on: str, platform: str
) -> Lock:
    """Return what a lock means on a platform. Platforms: as in `manifest.Environment`."""
    if locked_on == platform:
        return Lock(packages=tuple(packages))
    portable = [_without_build(package) for package in packages]
    return Lock(
        packages=tuple(package for package in portable if package.name not in transitive),
        preferred=tuple(package for package in portable if package.name in transitive),
        is_exact=False,
    )


def _without_build(package: Package) -> Package:
    public = package.version.partition("+")[0]
    is_built = package.origin is not None and _is_binary(package.origin)
    return msgspec.structs.replace(
        package, version=public, origin=None if is_built else package.origin
    )


def _is_binary(url: str) -> bool:
    """Say whether a URL is a wheel for one platform; `any` is the last part of the other kind."""
    path = urlsplit(url).path
    return path.endswith(".whl") and not path.endswith("-any.whl")
